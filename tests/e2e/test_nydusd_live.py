"""nydusd while it runs: what readers wait for, and a mount that gets another configuration or image."""
import os
import signal
import time
import unittest

import front
import lab
from test_nydusd import IMAGE, NydusdTest

READ = 15  # of linux/fuse.h


class Inflight(NydusdTest):
    """GET /api/v1/metrics/inflight: the requests that readers wait for. nydus-snapshotter counts those that are old."""

    @staticmethod
    def inflight(f):
        status, found, _ = f.request("GET", "/api/v1/metrics/inflight")
        assert (status == 204) == (found is None), (status, found)
        return found or []

    def reads_of_a_stopped_registry(self, how):
        registry = lab.Registry()
        self.addCleanup(registry.stop)
        registry.push(IMAGE)
        agent = self.agent(config={"registries": [], "mount": how})
        if how == "erofs" and not agent.json("status")["erofs"]["works"]:
            self.skipTest("this kernel cannot mount images")
        f, other = self.front(agent), self.front(agent)
        for each in (f, other):
            self.assertEqual((204, None), each.mount("1", IMAGE, front.registry_config("edge", each.cache, host=registry.host)))
        path = os.path.join(f.mountpoint, "1", "big/random")
        inode = os.stat(path).st_ino if how == "tree" else 2  # the image's first blob
        self.assertEqual([], self.inflight(f))
        registry.process.send_signal(signal.SIGSTOP)
        try:
            before = int(time.time())
            join = self.start_waiting_readers(agent, path)
            found = self.inflight(f)
            self.assertGreaterEqual(len(found), 1)
            for one in found:
                self.assertEqual(["inode", "opcode", "timestamp_secs", "unique"], sorted(one))
                self.assertEqual((inode, READ), (one["inode"], one["opcode"]))
                self.assertLessEqual(before, one["timestamp_secs"])
                self.assertLessEqual(one["timestamp_secs"], time.time())
            self.assertEqual(len(found), len({one["unique"] for one in found}))
            self.assertTrue({one["unique"] for one in found} & {one["unique"] for one in self.inflight(f)}, "it still waits")
            self.assertEqual([], self.inflight(other), "those are of another nydusd")
        finally:
            registry.process.send_signal(signal.SIGCONT)
        for got in join():
            self.assertIsInstance(got, bytes)
        lab.wait_for(lambda: self.inflight(f) == [], "nothing to be in flight")

    def test_of_a_tree(self):
        self.reads_of_a_stopped_registry("tree")

    def test_of_the_kernels_erofs(self):
        self.reads_of_a_stopped_registry("erofs")

    def test_without_an_agent_nobody_knows(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent)
        self.assertEqual((204, None), f.mount("1", IMAGE))
        agent.kill()
        status, answer, _ = f.request("GET", "/api/v1/metrics/inflight")
        self.assertEqual((500, "UNDEFINED"), (status, answer["code"]))


if __name__ == "__main__":
    unittest.main()
