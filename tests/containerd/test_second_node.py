"""A container on a node whose neighbour has the image already."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import pair  # noqa: E402
from test_containers import APP, ContainerTest, REASON  # noqa: E402


@unittest.skipIf(REASON, REASON or "")
class SecondNode(ContainerTest):
    def start_and_read(self, how):
        p = pair.Pair(APP, how=how)
        self.addCleanup(p.take_down)
        p.fill_first()
        first, second = p.agents
        before = first.origin_bytes()
        p.nodes[1].pull(p.reference)
        out = p.nodes[1].run(p.reference, "second", "sh", "-c", "python3 -c 'import flask' && find /usr -type f | xargs cat | wc -c").stdout
        self.assertGreater(int(out), 50 << 20)
        self.assertEqual((0, before), (second.origin_bytes(), first.origin_bytes()), "the registry is asked for no chunk again")
        self.assertEqual(0, second.metric("shoal_origin_received_bytes_total"), "nor for an index")
        self.assertGreater(second.metric("shoal_chunk_bytes_total", source="peer"), 50 << 20)

    def test_by_trees_asks_the_registry_for_nothing(self):
        self.start_and_read("tree")

    def test_by_the_kernels_erofs_asks_the_registry_for_nothing(self):
        self.start_and_read("auto")


if __name__ == "__main__":
    unittest.main()
