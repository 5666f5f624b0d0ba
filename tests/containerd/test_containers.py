"""Containers on shoal: containerd and nydus-snapshotter as they are, nydusd ours."""
import os
import signal
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import node as nodes  # noqa: E402
import lab  # noqa: E402

APP = "app:1-v6"
REASON = nodes.missing()


@unittest.skipIf(REASON, REASON or "")
class ContainerTest(lab.LabTest):
    def lab_agent(self, **kw):
        """An agent as on a node: with a keeper, and without a word on registries."""
        keeper = os.path.join(lab.tempfile.mkdtemp(prefix="k-", dir=lab.TMP), "keeper.sock")
        return self.agent(config={"registries": [], "keeper": {"socket": keeper}, **kw})

    def node(self, agent, **kw):
        n = nodes.Node(agent, **kw)
        self.addCleanup(n.take_down)
        return n

    def life(self, n, image=APP):
        """From the pull to nothing: what people do with containers."""
        reference = lab.registry().push(image)
        n.pull(reference)
        out = n.run(reference, "first", "python3", "-c", "import flask; print(flask.__name__)").stdout
        self.assertEqual("flask", out.strip())
        n.ctr("run", "-d", "--snapshotter", "nydus", reference, "web", "sleep", "1000")
        self.assertIn("sleep", n.ctr("task", "exec", "--exec-id", "e1", "web", "sh", "-c",
                                     "cat /proc/1/comm; echo hello > /usr/bin/hello; rm /usr/bin/sha1sum").stdout)
        self.assertEqual("hello\n", n.ctr("task", "exec", "--exec-id", "e2", "web", "cat", "/usr/bin/hello").stdout)
        self.assertNotEqual(0, n.ctr("task", "exec", "--exec-id", "e3", "web", "ls", "/usr/bin/sha1sum", check=False).returncode)
        self.assertEqual("gone\n", n.run(reference, "other", "sh", "-c", "test -e /usr/bin/sha1sum && test ! -e "
                                         "/usr/bin/hello && echo gone").stdout, "a container's writes are its own")
        return reference

    def end(self, n, agent, reference):
        """Stop, remove, collect: nothing may be left."""
        n.ctr("task", "kill", "-s", "SIGKILL", "web", check=False)
        lab.wait_for(lambda: "RUNNING" not in n.ctr("task", "ls").stdout, "the task to stop", nodes.DEADLINE_S)
        n.ctr("task", "rm", "-f", "web", check=False)
        n.ctr("container", "rm", "web")
        n.ctr("image", "rm", "--sync", reference)
        lab.wait_for(lambda: agent.json("ls")["mounts"] == [], "the agent's mounts to end", nodes.DEADLINE_S)
        n.stop()


class Life(ContainerTest):
    def test_dedicated(self):
        agent = self.lab_agent()
        n = self.node(agent)
        reference = self.life(n)
        self.assertEqual(1, len(n.nydusds()))
        self.end(n, agent, reference)


if __name__ == "__main__":
    unittest.main()
