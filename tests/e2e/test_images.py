"""Every image of the sets, from a real registry: each entry of its tree is right."""
import json
import os
import unittest

import front
import lab
import rafs_facts

NATIVE = {"edge:v6", "edge:v6-lz4-sha256", "edge:v6-none", "edge:v6-64k", "edge:v6-encrypted", "edge:v6-prefetch",
          "edge:v6-next", "edge:v6-chunk-dict", "layers:v6", "app:1-v6", "app:2-v6"}


class Images(lab.LabTest):
    """One test an image (made below)."""
    HOW = "tree"

    def check(self, image):
        reference = lab.registry().push(image)
        agent = self.agent(config={"mount": self.HOW})
        self.require_way(agent, self.HOW)
        where = agent.mount(reference)
        self.assertEqual(lab.mount_type(where), {"tree": "fuse.shoal", "erofs": "erofs"}[self.HOW])
        self.assert_tree(where, image, "cold")
        cold_bytes = agent.origin_bytes()
        if image in NATIVE:
            # Every chunk once, and nothing else; one that stands in two of its blobs may be shared.
            self.assertLessEqual(cold_bytes, rafs_facts.packed_bytes(image))
            self.assertGreaterEqual(cold_bytes, rafs_facts.unique_packed_bytes(image))
        self.assertGreater(cold_bytes, 0)

        lab.drop_caches()
        self.assert_tree(where, image, "hot")
        self.assertEqual(agent.origin_bytes(), cold_bytes)

        agent.restart()
        self.assertIn(where, lab.mounts_below(agent.dir), "a listed mount comes back")
        lab.drop_caches()
        self.assert_tree(where, image, "after a restart")
        self.assertEqual(agent.origin_bytes(), 0)
        self.assertEqual(agent.shoal("verify").returncode, 0)
        self.assertEqual(agent.metric("shoal_verify_failures_total"), 0)
        agent.umount(where)
        self.assertEqual(os.listdir(where), [])
        agent.stop()

    def test_an_image_on_a_chunk_dictionary_and_then_the_dictionary_itself(self):
        """The first names a part of the other's blob; what it left out must be found when it comes."""
        images = ["edge:v6-chunk-dict", "edge:v6"]
        for image in images:
            lab.require_image(image)
        for order in (images, images[::-1]):
            agent = self.agent()
            for image in order:
                where = agent.mount(lab.registry().push(image))
                self.assert_tree(where, image, f"in the order {order}")
            agent.stop()


class OneBlobOfTwo(lab.LabTest):
    """An image on a chunk dictionary names a part of the dictionary's blob."""

    def test_each_fetches_and_counts_what_it_names(self):
        part, whole = "edge:v6-chunk-dict", "edge:v6"
        for image in (part, whole):
            lab.require_image(image)
        agent = self.agent()
        wheres = {image: agent.mount(lab.registry().push(image)) for image in (whole, part)}
        chunks = {image: rafs_facts.chunk_records(rafs_facts.bootstrap(image)) for image in wheres}
        digests = {image: {c[5] for c in chunks[image]} for image in wheres}
        self.assertTrue(digests[whole] - digests[part], "the part is all of it")

        agent.shoal("prefetch", wheres[part])
        mounts = {m["dir"]: m for m in agent.json("ls")["mounts"]}
        live = {m["dir"]: m for m in json.loads(front.ask(agent.socket, "GET", "/v1/live")[1])["mounts"]}
        both = [c for c in chunks[whole] if c[5] in digests[part]]
        for image, here in ((part, chunks[part]), (whole, both)):
            told, where = mounts[wheres[image]], wheres[image]
            self.assertEqual(sum(c[3] for c in chunks[image]), told["plain_bytes"], image)
            self.assertEqual(sum(c[3] for c in here), told["ready_bytes"], image)
            self.assertEqual(len(here), told["ready_chunks"], image)
            self.assertEqual((len(chunks[image]), len(here)), (live[where]["chunks"], live[where]["chunks_ready"]), image)
        self.assertLessEqual(agent.origin_bytes(), rafs_facts.packed_bytes(part))


class ImagesByTheKernel(Images):
    """The same for those that the kernel's EROFS can mount."""
    HOW = "erofs"


def _test_of(image):
    return lambda self: self.check(image)


for _image in lab.ALL:
    _name = "test_" + _image.replace(":", "_").replace("-", "_")
    setattr(Images, _name, _test_of(_image))
    if ":v5" in _image:
        setattr(ImagesByTheKernel, _name, None)


if __name__ == "__main__":
    unittest.main()
