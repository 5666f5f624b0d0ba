"""nydusd as people run it by hand: configurations of all kinds, odd places, and what a failed start leaves."""
import contextlib
import json
import os
import subprocess
import threading
import unittest

import front
import lab
import rafs_facts
from test_nydusd import IMAGE, NydusdTest


class ByHand(NydusdTest):
    """Each nydusd runs in a directory of its own, which is what relative paths are relative to."""

    def setUp(self):
        lab.require_image(IMAGE)
        self.dir = os.path.realpath(lab.tempfile.mkdtemp(prefix="hand-", dir=lab.TMP))
        self.addCleanup(lab.unmount_below, self.dir)
        self.boot = os.path.basename(front.bootstrap_file(self.dir, IMAGE))
        rafs_facts.write_blobs(IMAGE, self.path("blobs"))
        os.mkdir(self.path("mnt"))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text if isinstance(text, str) else json.dumps(text))
        return name

    def nydusd(self, *argv, agent=None):
        """A process; with no agent it knows of none."""
        with open(self.path("words"), "ab") as words:
            self.n_before = words.tell()
            return lab.start_process([front.NYDUSD, *argv], cwd=self.dir, stdout=words, stderr=words,
                                     env={**os.environ, "SHOAL_SOCKET": agent.socket if agent else "/none"})

    def words(self):
        """Of the process that was started last."""
        with open(self.path("words"), "rb") as f:
            f.seek(self.n_before)
            return f.read().decode(errors="replace")

    def own_agents(self):
        return [pid for pid, argv in lab.processes_that_name(self.dir).items() if "shoald" in argv[0]]

    def shows_the_image(self, where, *argv, agent=None):
        device = os.stat(where).st_dev
        p = self.nydusd(*argv, "--bootstrap", self.boot, agent=agent)
        lab.wait_for(lambda: os.stat(where).st_dev != device or p.poll() is not None, "the mount")
        self.assertIsNone(p.poll(), self.words())
        self.assert_tree(where, IMAGE)
        self.assertEqual(0, lab.stop_process(p), self.words())
        self.assertEqual(device, os.stat(where).st_dev, "it is unmounted")
        lab.wait_for(lambda: self.own_agents() == [], "its own agent to end")

    def test_toml_with_relative_paths_and_a_cache_directory_that_is_not_there(self):
        config = self.write("config.toml", f"""
# as in nydus's own examples
version = 2
id = "my_id"
[backend]
type = "localfs"
[backend.localfs]
dir = "blobs"
[cache]
type = "filecache"
compressed = false
[cache.filecache]
work_dir = "new/cache"
[rafs]
mode = "direct"
batch_size = 1_048_576
[rafs.prefetch]
enable = true
threads = 8
unknown = [1, {{ a = 'b' }}]
""")
        self.shows_the_image(self.path("mnt"), "--config", config, "--mountpoint", "mnt", "--apisock", "api.sock", "--log-file", "log")
        self.assertEqual([i + ".blob.data" for i in rafs_facts.blob_ids(IMAGE)],
                         [n for n in os.listdir(self.path("new/cache")) if n != "shoal"])

    def test_without_a_cache_directory_it_stands_where_nydusd_does(self):
        config = self.write("config.json", {"version": 2, "backend": {"type": "localfs", "localfs": {"dir": "blobs"}}, "zzz": {"y": [1]},
                                            "device": {"backend": {"type": "oss"}}})
        self.shows_the_image(self.path("mnt"), "--config", config, "--mountpoint", "mnt")
        self.assertTrue(os.path.isdir(self.path("shoal/state")))

    def test_odd_places(self):
        agent = self.agent()
        config = self.write("config.json", {"device": {"backend": {"type": "localfs", "config": {"dir": "./blobs/../blobs"}},
                                                       "cache": {"type": "blobcache", "config": {"work_dir": "cache"}}}, "mode": "direct"})
        odd = self.path("a b 'c' =,:\\")
        os.mkdir(odd)
        self.write(os.path.join(odd, "full"), "there is something in it already")
        os.symlink(odd, self.path("link"))
        outer = agent.mount(lab.registry().push(IMAGE, "outer:1"), where=self.path("mnt"))
        for mountpoint, where in ((odd, odd), ("link", odd), (os.path.join("mnt", "modes"), os.path.join(outer, "modes"))):
            with self.subTest(mountpoint):
                self.shows_the_image(where, "--config", config, "--mountpoint", mountpoint, agent=agent)
        self.assertEqual(["full"], os.listdir(odd))
        self.assert_tree(outer, IMAGE)

    def fails(self, *argv, words, agent=None):
        p = self.nydusd(*argv, agent=agent)
        self.assertNotIn(p.wait(lab.DEADLINE_S), (0, -11, -6))
        self.assertIn(words, self.words())
        self.assertEqual([], lab.mounts_below(self.dir))
        lab.wait_for(lambda: self.own_agents() == [], "its own agent to end")

    def test_a_start_that_fails_leaves_nothing(self):
        config = self.write("config.json", {"device": {"backend": {"type": "localfs", "config": {"dir": "blobs"}},
                                                       "cache": {"config": {"work_dir": "cache"}}}})
        image = ("--config", config, "--bootstrap", self.boot, "--mountpoint", "mnt")
        for name, argv, words in (
                ("a directory of images", ("--mountpoint", "mnt", "--apisock", "none/api.sock"), "none/api.sock"),
                ("an image and its own agent", (*image, "--apisock", "none/api.sock"), "none/api.sock"),
                ("below a directory of images", (*image, "--virtual-mountpoint", "/x", "--apisock", "none/api.sock"), "none/api.sock"),
                ("a configuration that is not there", (*image[2:], "--config", "gone.json", "--virtual-mountpoint", "/x"), "gone.json"),
                ("a bootstrap that is none", ("--config", config, "--bootstrap", config, "--mountpoint", "mnt"), "config.json"),
                ("a place for its agent that is too long", (*image[2:], "--config", self.write("long.json", {
                    "device": {"backend": {"type": "localfs", "config": {"dir": "blobs"}},
                               "cache": {"config": {"work_dir": "l" * 100}}}})), "at most 107 bytes")):
            with self.subTest(name):
                self.fails(*argv, words=words)
        with self.subTest("an image of the node's agent"):
            agent = self.quiet_agent()
            self.fails(*image, "--apisock", "none/api.sock", words="none/api.sock", agent=agent)
            self.assertEqual([], agent.json("ls")["mounts"])


class Twice(NydusdTest):
    """A nydusd is started where one runs, or where one has left its mount: what is mounted stays."""

    def fails(self, f, words, *options):
        """The last of an option that is given twice counts."""
        done = subprocess.run([*f.argv, *options, "--log-file", os.path.join(f.dir, "second.log")], env=f.env, capture_output=True, text=True,
                              check=False, timeout=lab.DEADLINE_S)
        self.assertEqual(1, done.returncode)
        self.assertIn(words, done.stderr)

    def first(self, *options):
        lab.registry().push(IMAGE)
        return self.front(self.quiet_agent(), IMAGE, options=options)

    def stays(self, f, below=""):
        where = os.path.join(f.mountpoint, below)
        with open(os.path.join(where, "big/random"), "rb") as opened:
            self.fails(f, "another one is listening")
            self.fails(f, "none/api.sock", "--apisock", "none/api.sock")
            self.fails(f, "gone.json", "--apisock", f.sock + "2", "--config", "gone.json")
            self.assertEqual(4096, len(opened.read(4096)))
        self.assertEqual("RUNNING", f.state())
        self.assert_tree(where, IMAGE)

    def test_one_image(self):
        f = self.first()
        self.stays(f)
        f.kill()
        self.fails(f, "none/api.sock", "--apisock", "none/api.sock")
        self.assert_tree(f.mountpoint, IMAGE)
        os.unlink(f.sock)  # else it is a failed one, to be taken over
        f.start().stop()
        self.assertEqual([], lab.mounts_below(f.dir))

    def test_an_image_below_a_directory_of_images(self):
        f = self.first("--virtual-mountpoint", "/x")
        self.stays(f, "x")
        f.stop()
        self.assertEqual([], lab.mounts_below(f.dir))


class ByOthers(NydusdTest):
    def test_the_environment_has_credentials(self):
        private = self.private_registry("sesame-18")
        directory = lab.tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        config = front.registry_config("edge", os.path.join(directory, "cache"), host=private.host, auth=lab.base64_of("nydus:wrong"))
        f = self.front(self.quiet_agent(), IMAGE, config=config, directory=directory,
                       env={"IMAGE_PULL_AUTH": lab.base64_of("nydus:sesame-18")})
        self.assert_tree(f.mountpoint, IMAGE)
        f.stop()
        f.env["IMAGE_PULL_AUTH"] = "nonsense"
        f.start(wait=False)
        self.assertEqual(1, f.process.wait(lab.DEADLINE_S))
        self.assertIn("IMAGE_PULL_AUTH", f.log())

    def test_what_was_unmounted_by_hand_can_be_unmounted_at_once(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent)
        for i in range(10):
            self.assertEqual((204, None), f.mount(f"m{i}", IMAGE))
            subprocess.run(["umount", os.path.join(f.mountpoint, f"m{i}")], check=True)
            self.assertEqual((204, None), f.umount(f"m{i}"))
        self.assertEqual(([], []), (agent.json("ls")["mounts"], os.listdir(f.mountpoint)))

    def test_names_of_all_kinds(self):
        lab.registry().push(IMAGE)
        f = self.front(self.quiet_agent())
        config = front.registry_config("edge", f.cache)
        for name in ("a%20b", "%C3%A4", ".hidden", "a%5cb", "x" * 255):
            with self.subTest(name[:20]):
                self.assertEqual((204, None), f.mount(name, IMAGE, config))
                self.assertEqual((204, None), f.umount(name))
        for name, status in (("..", 500), (".", 500), ("%2e%2e", 500), ("a/b", 500), ("a%2fb", 500), ("", 500), ("x" * 256, 500), ("%0a", 500),
                             ("a%00b", 400)):
            with self.subTest(name[:20]):
                self.assertEqual(status, f.mount(name, IMAGE, config)[0])
        self.assertEqual([], os.listdir(f.mountpoint))



class Stuck(NydusdTest):
    """A registry that says nothing: mounts wait for it, and whoever wants them no longer does not."""
    SLOW = "layers:zran"

    def setUp(self):
        lab.registry().push(self.SLOW)
        self.silent = self.faulty_origin(stall_head=True)
        self.agent_here = self.quiet_agent()

    def wait_for_the_question(self):
        lab.wait_for(lambda: self.silent.stats()["requests"] > 0, "the mount to wait for its registry")

    def nothing_is_left(self, f):
        lab.wait_for(lambda: self.agent_here.json("ls")["mounts"] == [], "the agent to take it back")
        self.assertEqual([], lab.mounts_below(f.dir))

    def ends(self, f, how):
        self.wait_for_the_question()
        how()
        self.assertEqual(0, f.process.wait(lab.DEADLINE_S / 2))
        self.nothing_is_left(f)

    def config(self, cache):
        return front.registry_config("layers", cache, host=self.silent.host)

    def start_mount(self, f, method="POST"):
        """In the background; a function for what it said: (status, body)."""
        said = []
        thread = threading.Thread(target=lambda: said.append(f.mount("1", self.SLOW, self.config(f.cache), method)))
        thread.start()
        self.wait_for_the_question()

        def join():
            thread.join(lab.DEADLINE_S)
            return said[0]
        return join

    def test_nydusd_of_one_image_can_be_stopped(self):
        directory = lab.tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        f = self.front(self.agent_here, self.SLOW, directory=directory, config=self.config(os.path.join(directory, "cache")), wait=False)
        self.ends(f, f.process.terminate)

    def wish(self, f):
        """POST, and nobody reads the answer; the connection."""
        connection = front.UnixConnection(f.sock)
        connection.request("POST", "/api/v1/mount?mountpoint=/1", json.dumps({
            "fs_type": "rafs", "source": front.bootstrap_file(f.dir, self.SLOW), "config": json.dumps(self.config(f.cache))}))
        return connection

    def test_nydusd_of_many_can_be_stopped(self):
        f = self.front(self.agent_here)
        with contextlib.closing(self.wish(f)):
            self.ends(f, f.process.terminate)

    def test_a_mount_on_its_way_can_be_unmounted(self):
        f = self.front(self.agent_here)
        join = self.start_mount(f)
        self.assertEqual((204, None), f.umount("1"))
        self.assertEqual(500, join()[0])
        self.assertEqual(([], []), (os.listdir(f.mountpoint), self.agent_here.json("ls")["mounts"]))
        self.silent.set()
        self.assertEqual((204, None), f.mount("1", self.SLOW, self.config(f.cache)))
        self.assert_tree(os.path.join(f.mountpoint, "1"), self.SLOW)

    def test_a_mount_that_is_to_be_replaced_can_be_unmounted(self):
        lab.registry().push(IMAGE)
        f = self.front(self.agent_here)
        self.assertEqual((204, None), f.mount("1", IMAGE))
        join = self.start_mount(f, "PUT")
        self.assertEqual((204, None), f.umount("1"))
        self.assertEqual(500, join()[0])
        self.assertEqual(([], []), (os.listdir(f.mountpoint), self.agent_here.json("ls")["mounts"]))

    def test_an_exit_does_not_wait_for_it(self):
        f = self.front(self.agent_here)
        with contextlib.closing(self.wish(f)):
            self.wait_for_the_question()
            self.assertEqual(204, f.request("PUT", "/api/v1/daemon/exit")[0])
            self.assertEqual(0, f.process.wait(lab.DEADLINE_S / 2))
        self.assertEqual([f.mountpoint], lab.mounts_below(f.dir), "what is mounted stays")

    def test_a_socket_that_is_served_is_not_taken(self):
        f = self.front(self.agent_here)
        done = subprocess.run([front.NYDUSD, "--mountpoint", f.mountpoint, "--apisock", f.sock], capture_output=True, text=True, check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn("another one is listening", done.stderr)
        self.assertEqual(("RUNNING", "tmpfs"), (f.state(), lab.mount_type(f.mountpoint)))

    def test_an_agent_of_its_own_that_cannot_live_is_not_waited_for(self):
        full = lab.tempfile.mkdtemp(prefix="full-", dir=lab.TMP)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", full], check=True)
        self.addCleanup(lab.unmount_below, full)
        f = self.front(None, IMAGE, config=front.registry_config("edge", full), wait=False, env={"SHOAL_SOCKET": "/none"})
        self.assertEqual(1, f.process.wait(lab.DEADLINE_S / 2))
        self.assertIn("shoald.log", f.log())


if __name__ == "__main__":
    unittest.main()
