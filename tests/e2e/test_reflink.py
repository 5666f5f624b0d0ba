"""Sharing by extents, on file systems that can (loop devices; skipped where the kernel lacks one)."""
import os

import histories
import lab
import remake

FIRST = "edge:v6"
SLACK = 1 << 20  # a file system's own tables


class Reflink(lab.LabTest):
    def place(self, kind):
        fs = histories.LoopFs(kind)
        self.addCleanup(fs.close)
        return fs, self.agent(state_dir=os.path.join(fs.dir, "state"))

    def way(self, agent):
        return agent.json("status")["cache"]["sharing"]

    def blob_of(self, agent, image):
        [key] = {b["key"] for b in agent.json("blob", "ls")["blobs"]} - self.before
        return next(b for b in agent.json("blob", "ls")["blobs"] if b["key"] == key)

    def both(self, kind):
        fs, agent = self.place(kind)
        self.assertEqual(self.way(agent), "reflink")
        second = remake.remake(FIRST, remake.LZ4)
        mounts = {FIRST: agent.mount(lab.registry().push(FIRST))}
        self.assertEqual(histories.wrong_files(mounts[FIRST], FIRST), [])
        self.before = {b["key"] for b in agent.json("blob", "ls")["blobs"]}
        used = fs.used_bytes()
        mounts[second] = agent.mount(lab.registry().push(second))
        self.assertEqual(histories.wrong_files(mounts[second], second), [])
        blob = self.blob_of(agent, second)
        total = blob["plain_size_bytes"]
        self.assertGreater(blob["n_ready"], 0.99 * blob["n_chunks"])
        lab.wait_for(lambda: self.blob_of(agent, second)["n_referred"] < blob["n_chunks"] // 50, "references to become clones")
        self.assertLess(fs.used_bytes() - used, total // 10 + SLACK)
        counted = agent.metric("shoal_cache_bytes")
        self.assertEqual(agent.shoal("verify").returncode, 0)
        self.assert_owner_does_not_matter(agent, mounts, second)
        self.assertLess(counted, 1.2 * total + SLACK)
        agent.shoal("gc", "--to", "0")
        self.assertLess(fs.used_bytes() - used, SLACK)
        self.assertEqual(histories.wrong_files(mounts[second], second), [])

    def assert_owner_does_not_matter(self, agent, mounts, second):
        agent.restart()  # what it holds open is let go
        agent.wait_for_mounts(*mounts.values())
        agent.umount(mounts[FIRST])
        agent.shoal("image", "rm", lab.registry().push(FIRST))
        agent.shoal("gc")
        lab.drop_caches()
        before = agent.origin_bytes()
        self.assertEqual(histories.wrong_files(mounts[second], second), [])
        self.assertEqual(agent.origin_bytes(), before)
        self.assertEqual(agent.shoal("verify").returncode, 0)

    def test_xfs(self):
        self.both("xfs")

    def test_btrfs(self):
        self.both("btrfs")

    def test_ext4_refers(self):
        _, agent = self.place("ext4")
        self.assertEqual(self.way(agent), "refer")
