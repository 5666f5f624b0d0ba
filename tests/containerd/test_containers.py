"""Containers on shoal: containerd and nydus-snapshotter as they are, nydusd ours."""
import os
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import node as nodes  # noqa: E402
import front  # noqa: E402
import lab  # noqa: E402

APP = "app:1-v6"
REASON = nodes.missing()


@unittest.skipIf(REASON, REASON or "")
class ContainerTest(lab.LabTest):
    def lab_agent(self, **kw):
        return self.agent(config=nodes.agent_config(**kw))

    def node(self, agent, **kw):
        n = nodes.Node(agent, **kw)
        self.addCleanup(n.take_down)
        return n

    def frees_all(self, agent):
        """The agent comes to have no blob's file any more."""
        lab.wait_for(lambda: os.listdir(os.path.join(agent.state_dir, "blobs")) == [], "the agent to free the space",
                     nodes.DEADLINE_S)

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
        self.assertIn("nobody", n.run(reference, "setuid", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
                                      "passwd", "-S", options=["--allow-new-privs"]).stdout, "passwd reads /etc/shadow as root")
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


class Cache(ContainerTest):
    def test_the_cache_is_accounted_for_and_collected(self):
        agent = self.lab_agent()
        n = self.node(agent)
        reference = lab.registry().push(APP)
        n.pull(reference)
        n.run(reference, "one", "python3", "-c", "import flask")
        cached = [f for f in os.listdir(n.path("nydus", "cache")) if f.endswith(".blob.data")]
        self.assertEqual(3, len(cached))
        usage = n.ctr("snapshot", "--snapshotter", "nydus", "usage", "-b").stdout
        self.assertGreater(max(int(line.split()[1]) for line in usage.splitlines()[1:]), 1 << 20, usage)
        n.ctr("image", "rm", "--sync", reference)
        lab.wait_for(lambda: not [f for f in os.listdir(n.path("nydus", "cache")) if f.endswith(".blob.data")],
                     "the snapshotter to collect its cache", nodes.DEADLINE_S)
        self.frees_all(agent)


class Deaths(ContainerTest):
    """kill -9 under load: what a container sees."""

    def loaded(self, policy="failover", mode="dedicated", how="tree", **kw):
        """(agent, node), and a container that reads all the time"""
        agent = self.lab_agent(mount=how)
        n = self.node(agent, policy=policy, mode=mode, **kw)
        reference = lab.registry().push(APP)
        n.pull(reference)
        n.ctr("run", "-d", "--snapshotter", "nydus", reference, "load", "sh", "-c",
              "n=0; while :; do find /usr -type f | head -n 400 | xargs cat > /dev/null 2>/tmp/error || "
              "{ echo failed; exit 1; }; n=$((n + 1)); echo $n > /tmp/rounds; done")
        self.reference = reference
        self.rounds(n, 0)
        return agent, n

    @staticmethod
    def seen(n):
        done = n.ctr("task", "exec", "--exec-id", f"x{os.urandom(4).hex()}", "load", "cat", "/tmp/rounds", check=False)
        return int(done.stdout or 0)

    def rounds(self, n, after):
        """Wait until it has read everything twice more, without an error, and not from the page cache."""
        def read_on():
            lab.drop_caches()
            return self.seen(n) > after + 1
        lab.wait_for(read_on, lambda: f"the container to read on: {n.ctr('task', 'ls').stdout}", nodes.DEADLINE_S)

    def kill(self, n, *pids):
        before = self.seen(n)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return before

    def new_container(self, n, name="another"):
        out = n.run(self.reference, name, "python3", "-c", "import flask; print('fine')").stdout
        self.assertEqual("fine\n", out)

    def nydusd_dies(self, policy):
        for mode in ("dedicated", "shared"):
            with self.subTest(mode):
                _, n = self.loaded(policy=policy, mode=mode)
                old = n.nydusds()
                before = self.kill(n, *old)
                lab.wait_for(lambda: n.nydusds() and not set(old) & set(n.nydusds()), "another nydusd",
                             nodes.DEADLINE_S)
                self.rounds(n, before)
                self.new_container(n)
                n.take_down()

    def test_nydusd_with_failover(self):
        self.nydusd_dies("failover")

    def test_nydusd_with_restart(self):
        self.nydusd_dies("restart")

    def test_nydusd_with_nothing(self):
        _, n = self.loaded(policy="none")
        before = self.kill(n, *n.nydusds())
        self.rounds(n, before)

    def test_live_upgrade_of_nydusd(self):
        for mode in ("dedicated", "shared"):
            with self.subTest(mode):
                place = lab.tempfile.mkdtemp(prefix="bin-", dir=lab.TMP)
                paths = [os.path.join(place, version, "nydusd") for version in ("old", "new")]
                for path in paths:
                    os.mkdir(os.path.dirname(path))
                    shutil.copy(front.NYDUSD, path)
                _, n = self.loaded(mode=mode, nydusd=paths[0])
                before = self.seen(n)
                n.upgrade(paths[1])
                self.assertEqual([paths[1]], [argv[0] for argv in n.nydusds().values()])
                self.rounds(n, before)
                self.new_container(n)
                n.take_down()

    def test_the_agent(self):
        for how in ("tree", "auto"):
            with self.subTest(how):
                agent, n = self.loaded(how=how, mode="shared")
                before = self.seen(n)
                agent.kill()
                agent.start()
                self.rounds(n, before)
                self.new_container(n)
                n.take_down()

    def test_the_keeper(self):
        agent, n = self.loaded()
        keepers = lab.processes_that_name(agent.config["keeper"]["socket"])
        self.assertEqual(1, len(keepers))
        before = self.kill(n, *keepers)
        self.rounds(n, before)
        lab.wait_for(lambda: "a keeper holds the mounts" in agent.log(), "another keeper", nodes.DEADLINE_S)
        self.assertEqual(set(), set(keepers) & set(lab.processes_that_name(agent.config["keeper"]["socket"])))
        agent.kill()
        agent.start()
        self.rounds(n, before)

    def test_snapshotter_and_containerd(self):
        agent, n = self.loaded()
        before = self.kill(n, n.snapshotter.pid, n.containerd.pid)
        n.snapshotter.wait()
        n.containerd.wait()
        n.start_snapshotter()
        n.start_containerd()
        self.rounds(n, before)
        self.new_container(n)
        self.assertEqual(1, len(agent.json("ls")["mounts"]))


if __name__ == "__main__":
    unittest.main()
