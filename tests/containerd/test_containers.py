"""Containers on shoal: containerd and nydus-snapshotter as they are, nydusd ours."""
import itertools
import os
import shutil
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import node as nodes  # noqa: E402
import front  # noqa: E402
import lab  # noqa: E402

APP, NEXT, ZRAN = "app:1-v6", "app:2-v6", "layers:zran"
MODES = ("dedicated", "shared")
WAYS = {"tree": "tree", "auto": "erofs"}  # setting `mount` -> what `shoal ls` says of each image then
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
        """From the pull to a container that goes on: what people do with containers. In zran's image is nothing that a
        kernel can run: there the programs are ours, bound into the container."""
        reference = lab.registry().push(image)
        n.pull(reference)
        name = image.replace(":", "-")
        options, file = (n.tools(), "/usr/lib/libbig.so") if image == ZRAN else ((), "/usr/bin/sha1sum")
        said = f"{lab.expected_digest(image, file[1:])}  {file}\n"
        if image == ZRAN:
            self.assertEqual(said, n.run(reference, "first-" + name, "sha256sum", file, options=options).stdout)
        else:
            self.assertEqual("flask\n", n.run(reference, "first-" + name, "python3", "-c", "import flask; print(flask.__name__)").stdout)
            self.assertIn("nobody", n.run(reference, "setuid-" + name, "setpriv", "--reuid=nobody", "--regid=nogroup",
                                          "--clear-groups", "passwd", "-S", options=["--allow-new-privs"]).stdout,
                          "passwd reads /etc/shadow as root")
        n.ctr("run", "-d", "--snapshotter", "nydus", *options, reference, name, "sleep", "1000")
        self.assertEqual("sleep\n" + said, n.execute(name, "sh", "-c", f"cat /proc/1/comm; sha256sum {file}; echo hello > /usr/hello; "
                                                     f"echo more >> {file}").stdout)
        self.assertEqual("hello\n", n.execute(name, "cat", "/usr/hello").stdout)
        self.assertNotEqual(said, n.execute(name, "sha256sum", file).stdout)
        n.execute(name, "rm", file)
        self.assertNotEqual(0, n.execute(name, "ls", file, check=False).returncode)
        self.assertEqual(said, n.run(reference, "other-" + name, "sh", "-c", f"test ! -e /usr/hello && sha256sum {file}",
                                     options=options).stdout, "a container's writes are its own")
        return reference

    def end(self, n, agent, image, reference):
        """Stop, remove, collect: the image is not mounted then."""
        name, mounted = image.replace(":", "-"), len(agent.json("ls")["mounts"])
        n.ctr("task", "kill", "-s", "SIGKILL", name)
        lab.wait_for(lambda: "RUNNING" not in n.status(name), "the task to stop", nodes.DEADLINE_S)
        n.ctr("task", "rm", "-f", name, check=False)
        n.ctr("container", "rm", name)
        n.ctr("image", "rm", "--sync", reference)
        lab.wait_for(lambda: len(agent.json("ls")["mounts"]) < mounted, "the agent's mount to end", nodes.DEADLINE_S)


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


LOAD = """
while :; do
  part=$((part % 18 + 1))
  sed -n "1,200p;$((part * 200 + 1)),$((part * 200 + 200))p" /load/files > /load/part
  sha256sum --quiet -c /load/part > /load/wrong 2>&1 || exit 1
  rounds=$((rounds + 1))
  echo $rounds > /load/new
  mv /load/new /load/rounds
done"""


class Load:
    """A container that reads all the time, and holds what it reads against the list of the image. In each round are
    files that it had before and as many others, so that in the first 18 some are not here yet."""

    def __init__(self, n, reference):
        self.dir = n.path("load")
        os.mkdir(self.dir)
        with open(os.path.join(self.dir, "files"), "w", encoding="utf-8") as f:
            for line in lab.expected_lines(APP):
                words = line.split(" ")
                if words[0] == "f" and len(words) == 11 and words[10].startswith("/usr/") and "\\" not in words[10]:
                    f.write(f"{words[8]}  {words[10]}\n")
        n.ctr("run", "-d", "--snapshotter", "nydus", "--mount", f"type=bind,src={self.dir},dst=/load,options=rbind:rw",
              reference, "load", "sh", "-c", LOAD)

    def said(self, name):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def rounds(self):
        return int(self.said("rounds") or 0)

    def goes_on(self, n_rounds=2):
        """Wait until it has read this much more, every byte right, and not from the page cache. It is asked by no way
        of containerd's."""
        first = last = self.rounds()

        def has_read():
            nonlocal last
            now = self.rounds()
            if now != last:
                lab.drop_caches()
            last = now
            if self.said("wrong"):
                raise AssertionError(f"the container has read: {self.said('wrong')}")
            return now >= first + n_rounds
        lab.drop_caches()
        lab.wait_for(has_read, lambda: f"the container to read on, after {self.rounds()} rounds", nodes.DEADLINE_S)


class Deaths(ContainerTest):
    """kill -9 under load: what a container sees."""

    def everywhere(self, scenario, **kw):
        """In each mode, by each way of mounting: scenario(agent, node, load), with a container that reads."""
        for mode, how in itertools.product(MODES, WAYS):
            with self.subTest(f"{mode}, {WAYS[how]}"):
                agent = self.lab_agent(mount=how)
                self.require_way(agent, WAYS[how])
                n = self.node(agent, mode=mode, **kw)
                try:
                    self.under_load(scenario, agent, n, how)
                finally:  # what failed stays in nobody's way
                    n.take_down()
                    agent.take_down()

    def under_load(self, scenario, agent, n, how):
        self.reference = lab.registry().push(APP)
        n.pull(self.reference)
        load = Load(n, self.reference)
        load.goes_on(1)
        scenario(agent, n, load)
        self.assertIn("RUNNING", n.status("load"))
        self.assertEqual({WAYS[how]}, {m["as"] for m in agent.json("ls")["mounts"]})
        n.ctr("task", "rm", "-f", "load")
        lab.wait_for(lambda: len(agent.json("ls")["mounts"]) == 1, "what only that container had to be unmounted", nodes.DEADLINE_S)

    @staticmethod
    def kill(*pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def new_container(self, n):
        out = n.run(self.reference, "c" + os.urandom(4).hex(), "python3", "-c", "import flask; print('fine')").stdout
        self.assertEqual("fine\n", out)

    def nydusd_dies(self, _, n, load):
        old = n.nydusds()
        self.kill(*old)
        lab.wait_for(lambda: n.nydusds() and not set(old) & set(n.nydusds()), "another nydusd", nodes.DEADLINE_S)
        load.goes_on()
        self.new_container(n)

    def test_nydusd_with_failover(self):
        self.everywhere(self.nydusd_dies, policy="failover")

    def test_nydusd_with_restart(self):
        self.everywhere(self.nydusd_dies, policy="restart")

    def test_nydusd_with_nothing(self):
        def dies(_, n, load):
            self.kill(*n.nydusds())
            load.goes_on()
            self.assertEqual({}, n.nydusds())
        self.everywhere(dies, policy="none")

    def test_live_upgrade_of_nydusd(self):
        place = lab.tempfile.mkdtemp(prefix="bin-", dir=lab.TMP)
        paths = [os.path.join(place, version, "nydusd") for version in ("old", "new")]
        for path in paths:
            os.mkdir(os.path.dirname(path))
            shutil.copy(front.NYDUSD, path)

        def upgraded(_, n, load):
            n.upgrade(paths[1])
            self.assertEqual([paths[1]], [argv[0] for argv in n.nydusds().values()])
            load.goes_on()
            self.new_container(n)
        self.everywhere(upgraded, nydusd=paths[0])

    def test_the_agent(self):
        def dies(agent, n, load):
            agent.kill()
            agent.start()
            load.goes_on()
            self.new_container(n)
        self.everywhere(dies)

    def test_the_keeper(self):
        def dies(agent, n, load):
            keepers = lab.processes_that_name(agent.config["keeper"]["socket"])
            self.assertEqual(1, len(keepers))
            self.kill(*keepers)
            load.goes_on()
            lab.wait_for(lambda: "a keeper holds the mounts" in agent.log(), "another keeper", nodes.DEADLINE_S)
            self.assertEqual(set(), set(keepers) & set(lab.processes_that_name(agent.config["keeper"]["socket"])))
            agent.kill()
            agent.start()
            load.goes_on()
            self.new_container(n)
        self.everywhere(dies)

    def test_snapshotter_and_containerd(self):
        """Each alone, then both at once."""
        def die(_, n, load):
            for which in (("snapshotter",), ("containerd",), ("snapshotter", "containerd")):
                for process in (getattr(n, name) for name in which):
                    process.kill()
                    process.wait()
                load.goes_on(1)
                for name in which:
                    getattr(n, "start_" + name)()
                load.goes_on(1)
                lab.wait_for(lambda: n.ctr("snapshot", "--snapshotter", "nydus", "ls", check=False).returncode == 0,
                             "containerd to try again to reach the snapshotter", nodes.DEADLINE_S)
                self.new_container(n)
        self.everywhere(die)


if __name__ == "__main__":
    unittest.main()
