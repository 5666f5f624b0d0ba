"""An image made of another one's chunks, in another order, in one blob, differently compressed."""
import chunk_facts
import lab
import remake


class Remade(lab.LabTest):
    def test_images_that_the_tests_write_are_read_right(self):
        for image, compressor in (("edge:v6", remake.NONE), ("edge:v6", remake.LZ4)):
            with self.subTest(image=image, compressor=compressor):
                name = remake.remake(image, compressor)
                agent = self.agent()
                where = agent.mount(lab.registry().push(name))
                self.assert_tree(where, name, "made anew")
                self.assertEqual(agent.origin_bytes(), chunk_facts.packed_bytes(name))
                self.assertEqual(agent.metric("shoal_verify_failures_total"), 0)
                self.assertEqual(chunk_facts.keys(name), chunk_facts.keys(image))
                agent.stop()
