"""nydusd while it runs: what readers wait for, and a mount that gets another configuration or image."""
import glob
import hashlib
import json
import os
import subprocess
import tempfile
import time
import unittest
import urllib.parse

import front
import lab
import rafs_facts
from test_nydusd import IMAGE, NydusdTest

READ = 15  # of linux/fuse.h
OTHER = "layers:v6"


class Inflight(NydusdTest):
    """GET /api/v1/metrics/inflight: the requests that readers wait for. nydus-snapshotter counts those that are old."""

    @staticmethod
    def requests(agent, below):
        status, answer, _ = front.ask(agent.socket, "GET", f"/v1/mounts/requests?below={urllib.parse.quote(below)}")
        assert status == 200, (status, answer)
        return json.loads(answer)["requests"]

    def reads(self, f):
        """What is in flight; [] while there is anything but reads: a reader on its way."""
        found = self.inflight(f)
        return found if all(one["opcode"] == READ for one in found) else []

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
        self.require_way(agent, how)
        odd = tempfile.mkdtemp(prefix="nydusd %2e+&=#-", dir=lab.TMP)
        f, other = self.front(agent, directory=odd), self.front(agent)
        for each in (f, other):
            self.assertEqual((204, None), each.mount("1", IMAGE, front.registry_config("edge", each.cache, host=registry.host)))
        path = os.path.join(f.mountpoint, "1", "big/random")
        inode = os.stat(path).st_ino if how == "tree" else 2  # the image's first blob
        for each in (f, other):  # the kernel may have its answer before the request is off the list
            lab.wait_for(lambda one=each: self.inflight(one) == [], "nothing to be in flight")
        with lab.stopped(registry.process):
            before = int(time.time())
            join = self.start_waiting_readers(agent, path)
            found = lab.wait_for(lambda: self.reads(f), "the readers to have found the file")
            for one in found:
                self.assertEqual(["inode", "opcode", "timestamp_secs", "unique"], sorted(one))
                self.assertEqual((inode, READ), (one["inode"], one["opcode"]))
                self.assertLessEqual(before, one["timestamp_secs"])
                self.assertLessEqual(one["timestamp_secs"], time.time())
            self.assertEqual(len(found), len({one["unique"] for one in found}))
            self.assertTrue({one["unique"] for one in found} & {one["unique"] for one in self.inflight(f)}, "it still waits")
            self.assertEqual([], self.inflight(other), "those are of another nydusd")
            for below, n_dirs in ((f.mountpoint, 1), (f.mountpoint + "//", 1), (os.path.join(f.mountpoint, "1"), 1), ("/", 1),
                                  (f.mountpoint[:-1], 0), (other.mountpoint, 0)):
                self.assertEqual(n_dirs, len({one["dir"] for one in self.requests(agent, below)}), below)
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


class Remount(NydusdTest):
    """PUT /api/v1/mount: another configuration, or another bootstrap, in place of what is mounted."""

    def agent_for(self, how):
        for image in (IMAGE, OTHER):
            lab.registry().push(image)
        agent = self.agent(config={"registries": [], "mount": how, "keeper": {"socket": lab.keeper_socket()}})
        self.require_way(agent, how)
        return agent

    def test_another_configuration_comes_under_the_readers(self):
        private = self.private_registry("sesame-17")
        agent = self.quiet_agent()
        f = self.front(agent)

        def config(password):
            return front.registry_config("edge", f.cache, snapshot="1", host=private.host, auth=lab.base64_of("nydus:" + password))
        self.assertEqual((204, None), f.mount("1", IMAGE, config("wrong")))
        where = os.path.join(f.mountpoint, "1")
        with self.assertRaises(OSError), open(os.path.join(where, "sizes/4096"), "rb") as file:
            file.read()
        device = os.stat(where).st_dev
        with open(os.path.join(where, "big/random"), "rb") as opened:
            self.assertEqual((204, None), f.mount("1", IMAGE, config("sesame-17"), method="PUT"))
            self.assertEqual(device, os.stat(where).st_dev, "it is the mount that was there")
            self.assertEqual(4096, len(opened.read(4096)))
        self.assert_tree(where, IMAGE)
        with self.subTest("the agent goes on with it when it is started anew"):
            agent.restart()
            self.assert_tree(where, IMAGE)
        self.assertEqual([], lab.files_that_hold(agent.dir, "sesame-17"))
        self.assertEqual((204, None), f.umount("1"))

    def another_image(self, how):
        agent = self.agent_for(how)
        f = self.front(agent)
        self.assertEqual((204, None), f.mount("1", IMAGE))
        where = os.path.join(f.mountpoint, "1")
        merged = self.overlay(where)
        with open(os.path.join(where, "big/random"), "rb") as opened:
            self.assertEqual((204, None), f.mount("1", OTHER, method="PUT"))
            self.assert_tree(where, OTHER, "in its place")
            self.assert_tree(merged, IMAGE, "below a container that runs")
            self.assertEqual(lab.expected_digest(IMAGE, "big/random"), hashlib.sha256(opened.read()).hexdigest())
        _, cache, _ = f.request("GET", "/api/v1/metrics/blobcache?id=/1")
        self.assertEqual([i + ".blob.data" for i in rafs_facts.blob_ids(OTHER)], cache["underlying_files"])
        self.assertEqual([False, True], sorted(m.get("hidden", False) for m in agent.json("ls")["mounts"]))
        subprocess.run(["umount", merged], check=True)
        lab.wait_for(lambda: len(agent.json("ls")["mounts"]) == 1, "the old one to go when nobody uses it")
        with self.subTest("and it is what the next agent has"):
            agent.kill()
            agent.start()
            self.assert_tree(where, OTHER)
        self.assertEqual((204, None), f.umount("1"))
        self.assertEqual(([], []), (agent.json("ls")["mounts"], os.listdir(f.mountpoint)))

    def test_another_image_leaves_the_old_one_to_who_uses_it(self):
        self.another_image("tree")

    def test_another_image_by_the_kernels_erofs(self):
        self.another_image("erofs")

    def test_what_cannot_be_mounted_changes_nothing(self):
        agent = self.agent_for("tree")
        f = self.front(agent)
        self.assertEqual((204, None), f.mount("1", IMAGE))
        garbage = os.path.join(f.dir, "garbage")
        with open(garbage, "wb") as file:
            file.write(b"x" * 8192)
        before = agent.json("ls")["mounts"]
        for wrong in ({"source": garbage}, {"source": "/none"}, {"config": {"device": {"backend": {"type": "oss", "config": {}}}}},
                      {"config": {"mode": "direct"}}):
            with self.subTest(wrong):
                self.assertEqual(500, f.mount("1", IMAGE, **wrong, method="PUT")[0])
                self.assertEqual(before, agent.json("ls")["mounts"])
        self.assertEqual(500, f.mount("2", IMAGE, method="PUT")[0], "nothing is mounted there")
        self.assert_tree(os.path.join(f.mountpoint, "1"), IMAGE)

    def test_what_fails_once_the_old_one_is_detached_brings_it_back(self):
        """The list of mounts cannot be written. The old one needs its credentials again, too."""
        private = self.private_registry("sesame-21")
        agent = self.agent_for("tree")
        f = self.front(agent)
        config = front.registry_config("edge", f.cache, snapshot="1", host=private.host, auth=lab.base64_of("nydus:sesame-21"))
        self.assertEqual((204, None), f.mount("1", IMAGE, config))
        where = os.path.join(f.mountpoint, "1")
        listed = os.path.join(agent.state_dir, "mounts")
        os.rename(listed, listed + ".away")
        with open(listed, "wb"):
            pass
        self.assertEqual(500, f.mount("1", OTHER, method="PUT")[0])
        lab.wait_for(lambda: [m["state"] for m in agent.json("ls")["mounts"] if not m.get("hidden")] == ["mounted"], "the old one to be back")
        self.assert_tree(where, IMAGE)
        os.unlink(listed)
        os.rename(listed + ".away", listed)
        self.assertEqual((204, None), f.mount("1", OTHER, method="PUT"))
        self.assert_tree(where, OTHER)

    def test_what_the_agent_has_replaced_and_did_not_say_is_the_old_one_again(self):
        """It was killed in between: the next one has the new image, and whoever asked was told that it failed."""
        agent = self.agent_for("tree")
        f = self.front(agent)
        self.assertEqual((204, None), f.mount("1", IMAGE))
        where = os.path.join(f.mountpoint, "1")
        agent.kill()
        self.assertEqual(500, f.mount("1", OTHER, method="PUT")[0])
        record, = glob.glob(os.path.join(agent.state_dir, "mounts", "*", "mount.json"))
        with open(record, encoding="utf-8") as file:
            listed = json.load(file)
        del listed["digest"]
        listed["bootstrap"] = front.bootstrap_file(f.dir, OTHER)
        with open(record, "w", encoding="utf-8") as file:
            json.dump(listed, file)
        agent.start()
        lab.wait_for(lambda: [(m["state"], m["bootstrap"]) for m in agent.json("ls")["mounts"] if not m.get("hidden")]
                     == [("mounted", front.bootstrap_file(f.dir, IMAGE))], "the old one to be back")
        self.assert_tree(where, IMAGE)

    def test_one_image_alone_and_its_successor(self):
        """nydusd of one image: the mountpoint itself; and what the next nydusd is told is the new image."""
        agent, supervisor = self.agent_for("tree"), self.supervisor()
        f = self.front(agent, IMAGE, supervisor=supervisor.path)
        self.assertEqual((204, None), f.mount("", OTHER, method="PUT"))
        self.assert_tree(f.mountpoint, OTHER)
        supervisor.fetch(f)
        f.kill()
        f.start(wait=False)
        f.wait_for_state("INIT")
        self.assertEqual((204, None), supervisor.serve(f))
        self.assertEqual(204, f.request("PUT", "/api/v1/daemon/start")[0])
        self.assert_tree(f.mountpoint, OTHER)
        f.stop()
        self.assertEqual((None, []), (lab.mount_type(f.mountpoint), agent.json("ls")["mounts"]))


class Leftovers(NydusdTest):
    def test_what_another_nydusd_left_in_the_cache_directory_is_not_believed(self):
        """nydusd's own cache: a data file of zeros whose map says that all is there, and a meta file that is none."""
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent, start=False)
        blob, = rafs_facts.blob_ids(IMAGE)
        left = {f"{blob}.blob.data": 1 << 25, f"{blob}.blob.data.chunk_map": 0, f"{blob}.chunk_map": 0, f"{blob}.blob.meta": 4096, blob: 100,
                f"{blob}.blob.digest": 32, "cas.db": 8192}
        for name, size in left.items():
            with open(os.path.join(f.cache, name), "wb") as out:
                out.write(b"PAMB\x01\0\0\0PAMCPMMM".ljust(4096, b"\0") + b"\xff" * 64 if size == 0 else b"")
                out.truncate(max(size, out.tell()))
        f.start()
        self.assertEqual((204, None), f.mount("1", IMAGE))
        self.assert_tree(os.path.join(f.mountpoint, "1"), IMAGE)
        self.assertTrue(os.path.samefile(os.path.join(f.cache, f"{blob}.blob.data"),
                                         os.path.join(agent.state_dir, "blobs", f"{blob}.blob.data")))
        for name in left:  # in the snapshotter's order, or any other: while it is read
            os.unlink(os.path.join(f.cache, name))
        lab.drop_caches()
        self.assert_tree(os.path.join(f.mountpoint, "1"), IMAGE)


class Large(NydusdTest):
    def test_a_state_of_any_length_is_taken_over_and_handed_on(self):
        """Longer than a socket's buffer by far, for mounts that the agent does not know any more."""
        supervisor = self.supervisor()
        f = self.front(self.quiet_agent(), supervisor=supervisor.path, options=["--upgrade"], wait=False)
        f.wait_for_state("INIT")
        mounts = [{"at": f"/{i}", "wish": {"dir": os.path.join(f.mountpoint, str(i)), "bootstrap": "/none", "blobs": "dir:/none"},
                   "shown": {"x": "y" * 30000}, "backend": "localfs", "mounted_s": i} for i in range(200)]
        supervisor.state = json.dumps({"shoal_nydusd": 1, "root": f.mountpoint, "mounts": mounts}).encode()
        supervisor.fds = [os.open("/dev/null", os.O_RDONLY)]
        self.assertEqual((204, None), supervisor.serve(f))
        self.assertEqual("READY", f.state())
        self.assertEqual(200, len(f.request("GET", "/api/v1/daemon")[1]["backend_collection"]))
        first = len(supervisor.state)
        supervisor.fetch(f)
        self.assertEqual(1, len(supervisor.fds))
        self.assertEqual([m["at"] for m in mounts], [m["at"] for m in json.loads(supervisor.state)["mounts"]])
        self.assertGreater(len(supervisor.state), first * 0.99)

    @lab.in_the_long_run
    def test_three_hundred_mounts_at_once_show_what_they_should(self):
        """nydusd itself mixed them up from the 256th on."""
        images = (IMAGE, OTHER)
        for image in images:
            lab.registry().push(image)
        agent = self.quiet_agent()
        f = self.front(agent)
        for i in range(300):
            self.assertEqual((204, None), f.mount(f"m{i}", images[i % 2]))
        names = [sorted(os.listdir(os.path.join(f.mountpoint, f"m{i}"))) for i in range(300)]
        self.assertNotEqual(names[0], names[1])
        for i in range(300):
            self.assertEqual(names[i % 2], names[i], i)
        for i in (0, 1, 255, 256, 299):
            self.assert_tree(os.path.join(f.mountpoint, f"m{i}"), images[i % 2])
        f.stop()
        self.assertEqual(([], []), (agent.json("ls")["mounts"], lab.mounts_below(f.dir)))

    @lab.in_the_long_run
    def test_a_slow_registry_does_not_hold_up_the_socket_for_ever(self):
        """The snapshotter waits 10 s for it; until the image can be read, nydusd is not RUNNING."""
        lab.registry().push("layers:zran")
        slow = self.faulty_origin(stall_head=True)
        directory = lab.tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        began = time.monotonic()
        f = self.front(self.quiet_agent(), "layers:zran", directory=directory, wait=False,
                       config=front.registry_config("layers", os.path.join(directory, "cache"), host=slow.host))
        lab.wait_for(lambda: os.path.exists(f.sock), "the socket")
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual("INIT", f.state())
        slow.set()
        f.wait_for_state("RUNNING")
        self.assert_tree(f.mountpoint, "layers:zran")


if __name__ == "__main__":
    unittest.main()
