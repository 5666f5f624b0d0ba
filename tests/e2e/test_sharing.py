"""Chunks that another image on the node has: not fetched, not kept twice, and right."""
import os

import lab


class Sharing(lab.LabTest):
    def blobs_bytes(self, agent):
        blobs = os.path.join(agent.state_dir, "blobs")
        return sum(os.stat(os.path.join(blobs, n)).st_blocks * 512 for n in os.listdir(blobs))

    def second_costs(self, agent, first, second):
        """Read first, then second: what that moved, with the first image unmounted in between."""
        where = agent.mount(lab.registry().push(first))
        self.assert_tree(where, first)
        agent.umount(where)
        before, disk = agent.origin_bytes(), self.blobs_bytes(agent)
        where = agent.mount(lab.registry().push(second))
        self.assert_tree(where, second)
        return agent.origin_bytes() - before, self.blobs_bytes(agent) - disk

    def test_the_same_tree_encrypted_moves_nothing(self):
        agent = self.agent()
        moved, stored = self.second_costs(agent, "edge:v6", "edge:v6-encrypted")
        self.assertEqual(moved, 0)
        self.assertLess(stored, 1 << 16)
        self.assertGreater(agent.metric("shoal_chunks_total", source="dedup"), 0)
        self.assertIn("all right", agent.shoal("verify").stdout)

    def test_digests_of_another_kind_share_nothing(self):
        agent = self.agent()
        moved, _ = self.second_costs(agent, "edge:v6", "edge:v5-lz4-sha256")
        self.assertGreater(moved, 0)
        self.assertEqual(agent.metric("shoal_chunks_total", source="dedup") or 0, 0)

    def test_a_prefetch_of_what_is_here_moves_nothing_and_an_owner_outlives_its_image(self):
        agent = self.agent()
        first = lab.registry().push("edge:v6")
        where = agent.mount(first)
        agent.shoal("prefetch", where)
        before = agent.origin_bytes()
        other = agent.mount(lab.registry().push("edge:v6-encrypted"))
        agent.shoal("prefetch", other)
        self.assertEqual(agent.origin_bytes(), before)
        agent.umount(where)
        agent.shoal("image", "rm", first)
        agent.restart()
        self.assert_tree(other, "edge:v6-encrypted")
        self.assertEqual(agent.origin_bytes(), 0)

    def test_bit_rot_in_the_file_of_the_owner_is_caught_when_shared(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push("edge:v6"))
        self.assert_tree(where, "edge:v6")
        blobs = os.path.join(agent.state_dir, "blobs")
        name = max(os.listdir(blobs), key=lambda n: os.stat(os.path.join(blobs, n)).st_blocks)
        with open(os.path.join(blobs, name), "r+b") as f:
            first = os.lseek(f.fileno(), 0, os.SEEK_DATA)
            byte = os.pread(f.fileno(), 1, first)
            os.pwrite(f.fileno(), bytes([byte[0] ^ 1]), first)
        other = agent.mount(lab.registry().push("edge:v6-encrypted"))
        self.assert_tree(other, "edge:v6-encrypted")
        self.assertEqual(agent.metric("shoal_verify_failures_total", source="dedup"), 1)
        agent.umount(where)
        agent.restart()
        self.assertIn("all right", agent.shoal("verify").stdout)
