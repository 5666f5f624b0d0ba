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
import test_data_files
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

    def test_blobs_that_can_only_be_read(self):
        """The agent's state is elsewhere then: beside the API's socket, or where nydusd stands."""
        blobs = self.path("blobs")
        subprocess.run(["mount", "--bind", blobs, blobs], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", blobs], check=True)
        os.mkdir(self.path("run"))
        for options, where in ((("--apisock", "run/api.sock"), "run"), ((), ".")):
            with self.subTest(where):
                self.shows_the_image(self.path("mnt"), "--localfs-dir", "blobs", "--mountpoint", "mnt", *options)
                self.assertTrue(os.path.isdir(self.path(where, "shoal/state")))

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

    def test_a_user_without_a_password(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent)
        for name, auth in (("1", "user:"), ("2", ":token")):
            self.assertEqual((204, None), f.mount(name, IMAGE, front.registry_config("edge", f.cache, auth=lab.base64_of(auth))))
        self.assertEqual([True, True], [m["credentials_given"] for m in agent.json("ls")["mounts"]])
        self.assert_tree(os.path.join(f.mountpoint, "2"), IMAGE)

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

    def of_one_image(self, config, **kw):
        """A nydusd that begins with it; config: of its cache."""
        directory = lab.tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        return self.front(self.agent_here, self.SLOW, directory=directory, config=config(os.path.join(directory, "cache")), wait=False, **kw)

    def test_nydusd_of_one_image_can_be_stopped(self):
        f = self.of_one_image(self.config)
        self.ends(f, f.process.terminate)

    def wish(self, f):
        return f.wish_for("1", self.SLOW, self.config(f.cache))

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

    def test_many_that_wait_hold_up_nobody(self):
        """More than there are threads; who hangs up has given up, and asks anew later."""
        lab.registry().push(IMAGE)
        f = self.front(self.agent_here)
        waiting = [f.wish_for(f"s{i}", self.SLOW, self.config(f.cache)) for i in range(20)]
        lab.wait_for(lambda: len(self.agent_here.json("ls")["mounts"]) == 20, "all of them to wait")
        self.assertEqual((204, None), f.mount("good", IMAGE))
        self.assertEqual((204, None), f.umount("s0"))
        for connection in waiting:
            connection.close()
        lab.wait_for(lambda: os.listdir(f.mountpoint) == ["good"], "the others to be given up")
        lab.wait_for(lambda: [m["dir"] for m in self.agent_here.json("ls")["mounts"]] == [os.path.join(f.mountpoint, "good")],
                     "the agent to take them back")
        self.silent.set()
        self.assertEqual((204, None), f.mount("s1", self.SLOW, self.config(f.cache)))
        self.assert_tree(os.path.join(f.mountpoint, "s1"), self.SLOW)

    SOON = {"SHOAL_MOUNT_TIMEOUT": "1"}

    @staticmethod
    def refused(cache):
        """A registry at which nobody listens."""
        return front.registry_config("layers", cache, host="127.0.0.1:1")

    def test_a_registry_that_cannot_be_reached_is_told(self):
        lab.registry().push(IMAGE)
        f = self.front(self.agent_here, env=self.SOON)
        self.assertEqual((204, None), f.mount("2", IMAGE))
        for method, name in (("POST", "1"), ("PUT", "2")):
            status, answer = f.mount(name, self.SLOW, self.refused(f.cache), method)
            self.assertEqual(500, status)
            self.assertIn("127.0.0.1:1", answer["message"])
            self.assertEqual(["2"], os.listdir(f.mountpoint))
        self.assert_tree(os.path.join(f.mountpoint, "2"), IMAGE)

    def test_a_registry_that_says_nothing_is_told(self):
        f = self.front(self.agent_here, env=self.SOON)
        status, answer = f.mount("1", self.SLOW, self.config(f.cache))
        self.assertEqual(500, status)
        self.assertIn(self.silent.host, answer["message"])
        self.assertEqual((204, None), f.mount("1", self.SLOW), "once it can be had")

    def test_a_start_with_a_registry_that_cannot_be_reached_ends(self):
        f = self.of_one_image(self.refused, env=self.SOON)
        self.assertEqual(1, f.process.wait(lab.DEADLINE_S))
        self.assertIn("127.0.0.1:1", f.log())
        self.nothing_is_left(f)

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


class Laid(NydusdTest):
    """A snapshot as nydus-snapshotter lays it: blobs' chunk indexes beside the bootstrap, or in its cache directory."""
    IMAGE = "layers:zran"

    def setUp(self):
        lab.registry().push(self.IMAGE)
        self.dir = lab.tempfile.mkdtemp(prefix="laid-", dir=lab.TMP)
        self.cache = os.path.join(self.dir, "cache")
        self.snapshot = os.path.join(self.dir, "fs")
        os.mkdir(self.cache)
        with rafs_facts.last_layer(self.IMAGE) as layer:
            layer.extractall(self.snapshot)
        self.image = os.path.join(self.snapshot, "image")
        self.metas = [name for name in os.listdir(self.image) if name.endswith(".blob.meta")]
        self.assertNotEqual([], self.metas)

    def start(self, origin, **kw):
        """A nydusd of that one image."""
        f = self.front(self.quiet_agent(), directory=self.dir, start=False, **kw)
        f.argv = [front.NYDUSD, "fuse", "--config", f.write_config(front.registry_config("layers", self.cache, host=origin.host)),
                  "--bootstrap", os.path.join(self.image, "image.boot"), "--mountpoint", f.mountpoint, "--apisock", f.sock,
                  "--log-file", f.log_path]
        return f.start()

    def runs_without_the_registry(self):
        silent = self.faulty_origin(stall_head=True)
        f = self.start(silent)
        self.assertEqual(0, silent.stats()["requests"])
        silent.set()
        self.assert_tree(f.mountpoint, self.IMAGE)

    def test_beside_the_bootstrap(self):
        self.runs_without_the_registry()

    def test_in_the_cache_directory(self):
        for name in self.metas:
            os.rename(os.path.join(self.image, name), os.path.join(self.cache, name))
        self.runs_without_the_registry()

    def test_what_is_none_is_fetched(self):
        """Zeros, a link to the right one, half of it, a directory, and one for another blob."""
        spoilers = test_data_files.cut_to_nothing_and_grow, self.link, test_data_files.cut, self.directory, self.others
        for name, spoil in zip(self.metas, spoilers * len(self.metas)):
            spoil(os.path.join(self.image, name))
        origin = self.faulty_origin()
        f = self.start(origin)
        self.assertGreater(origin.stats()["requests"], 0)
        self.assert_tree(f.mountpoint, self.IMAGE)

    @staticmethod
    def link(path):
        os.rename(path, path + ".away")
        os.symlink(path + ".away", path)

    @staticmethod
    def directory(path):
        os.unlink(path)
        os.mkdir(path)

    def others(self, path):
        os.unlink(path)
        os.symlink(os.path.join(self.image, "image.boot"), path)


if __name__ == "__main__":
    unittest.main()
