"""nydusd by that name: command lines, API, take-over, and what it leaves behind."""
import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import unittest

import front
import lab
import rafs_facts
from test_origins import Certificates, start_proxy, start_tls_registry

IMAGE = "edge:v6"
N_MOUNTS = 200 if lab.LONG else 20


class NydusdTest(lab.LabTest):
    def front(self, *args, **kw):
        f = front.Front(*args, **kw)
        self.addCleanup(f.take_down)
        return f

    def supervisor(self):
        s = front.Supervisor(lab.tempfile.mkdtemp(prefix="supervisor-", dir=lab.TMP))
        self.addCleanup(s.close)
        return s

    @staticmethod
    def allow(password):
        """From now on the private registry takes this password of the user nydus. @return its htpasswd file"""
        return lab.htpasswd_file("nydusd-htpasswd", "nydus", password)

    def private_registry(self, password):
        """One that has the image, for the user nydus alone."""
        private = lab.Registry(htpasswd=self.allow(password))
        self.addCleanup(private.stop)
        private.push(IMAGE, creds=f"nydus:{password}")
        return private

    def quiet_agent(self, **kw):
        """An agent that knows nothing of the registry: nydusd brings what is needed."""
        return self.agent(config={"registries": []}, **kw)


class OneImage(NydusdTest):
    def test_an_image_is_mounted_read_and_unmounted(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent, IMAGE)
        self.assert_tree(f.mountpoint, IMAGE)
        status, info, headers = f.request("GET", "/api/v1/daemon")
        self.assertEqual((200, "RUNNING", "Nydus API", "application/json"),
                         (status, info["state"], headers["Server"], headers["Content-Type"]))
        self.assertEqual(["/"], list(info["backend_collection"]))
        f.stop()
        self.assertIsNone(lab.mount_type(f.mountpoint))
        self.assertFalse(os.path.exists(f.sock))
        self.assertEqual([], agent.json("ls")["mounts"])

    def test_credentials_come_along_and_are_stored_nowhere(self):
        private = self.private_registry("sesame-4711")
        agent = self.quiet_agent()
        directory = lab.tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        config = front.registry_config("edge", os.path.join(directory, "cache"), host=private.host,
                                       auth=lab.base64_of("nydus:sesame-4711"))
        f = self.front(agent, IMAGE, config=config, directory=directory)
        self.assertTrue(agent.json("ls")["mounts"][0]["credentials_given"])
        self.assertNotIn("sesame", json.dumps(f.request("GET", "/api/v1/daemon")[1]))
        self.assertNotIn("sesame", json.dumps(f.request("GET", "/api/v1/config?id=/")[1]))
        with self.subTest("an agent that is started anew is given them again"):
            agent.restart()
            self.assert_tree(f.mountpoint, IMAGE)
        os.unlink(os.path.join(directory, "config.json"))  # it is the snapshotter's
        for where in (agent.dir, directory):
            self.assertEqual([], lab.files_that_hold(where, "sesame"))
            self.assertEqual([], lab.files_that_hold(where, lab.base64_of("nydus:sesame-4711")))

    def test_an_end_without_the_agent_leaves_no_mount(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent, IMAGE)
        agent.kill()
        f.stop()
        self.assertIsNone(lab.mount_type(f.mountpoint))
        os.rmdir(f.mountpoint)  # as the snapshotter does
        agent.start()
        self.assertEqual([], agent.json("ls")["mounts"])

    def test_an_end_without_the_agent_is_told_to_the_next_one(self):
        """The directory stays, as by hand. What is mounted there later is another matter. The socket is named from where nydusd stands."""
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent, IMAGE, env={"SHOAL_SOCKET": os.path.basename(agent.socket)}, start=False)
        f.argv = ["env", "-C", os.path.dirname(agent.socket), *f.argv]
        f.start()
        agent.stop()
        f.stop()
        agent.start()
        self.assertEqual(([], None), (agent.json("ls")["mounts"], lab.mount_type(f.mountpoint)))
        f.start()
        agent.restart()
        self.assert_tree(f.mountpoint, IMAGE)

    def test_credentials_are_renewed(self):
        private = self.private_registry("first")
        f = self.front(self.quiet_agent(), IMAGE, config=front.registry_config(
            "edge", "", host=private.host, auth=lab.base64_of("nydus:first")))
        self.allow("second")
        put = f.request("PUT", "/api/v1/config?id=/", {"registry_auth": lab.base64_of("nydus:second")})
        self.assertEqual(204, put[0])
        self.assert_tree(f.mountpoint, IMAGE)

    def test_blobs_are_seen_in_the_cache_directory_and_may_be_removed(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent, IMAGE)
        names = [i + ".blob.data" for i in rafs_facts.blob_ids(IMAGE)]
        _, cache, _ = f.request("GET", "/api/v1/metrics/blobcache?id=/some-snapshot")
        self.assertEqual(names, cache["underlying_files"])
        self.assertEqual(sorted(names), sorted(n for n in os.listdir(f.cache) if n.endswith(".blob.data")))
        lab.read_all(f.mountpoint)
        own = os.path.join(agent.state_dir, "blobs", names[0])
        self.assertTrue(os.path.samefile(own, os.path.join(f.cache, names[0])))
        self.assertGreater(os.stat(own).st_blocks, 0)
        for name in names:
            os.unlink(os.path.join(f.cache, name))
        lab.drop_caches()
        self.assert_tree(f.mountpoint, IMAGE)
        _, metrics, _ = f.request("GET", "/api/v1/metrics")
        self.assertGreater(metrics["data_read"], 0)

    def test_what_is_said_to_be_here_is_here(self):
        """Of a mount that is down nothing is known: that is not all of it."""
        def told():
            _, cache, _ = f.request("GET", "/api/v1/metrics/blobcache")
            return cache["entries_count"], cache["data_all_ready"]

        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent, IMAGE)
        self.assertEqual((0, False), told())
        agent.shoal("prefetch", f.mountpoint)
        self.assertEqual((len(rafs_facts.chunk_records(rafs_facts.bootstrap(IMAGE))), True), told())
        agent.stop()
        shutil.rmtree(os.path.join(agent.state_dir, "images"))
        os.unlink(front.bootstrap_file(f.dir, IMAGE))
        agent.start()
        lab.wait_for(lambda: [m["state"] for m in agent.json("ls")["mounts"]] == ["down"], "the mount to be down")
        self.assertEqual((0, False), told())

    def test_space_is_free_when_the_snapshotter_has_collected(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent, IMAGE)
        lab.read_all(f.mountpoint)
        names = os.listdir(f.cache)
        f.stop()
        for name in names:
            os.unlink(os.path.join(f.cache, name))
        self.assertEqual(1, len(agent.json("image", "ls")["images"]), "its bootstrap is there: it may be mounted again")
        os.unlink(front.bootstrap_file(f.dir, IMAGE))
        lab.wait_for(lambda: agent.json("image", "ls")["images"] == [], "the image to be forgotten")
        self.assertEqual([], os.listdir(os.path.join(agent.state_dir, "blobs")))

    def test_localfs_by_hand_starts_an_agent_of_its_own(self):
        lab.require_image(IMAGE)
        directory = lab.tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        blobs = rafs_facts.write_blobs(IMAGE, os.path.join(directory, "blobs"))
        config = {"device": {"backend": {"type": "localfs", "config": {"dir": blobs}},
                             "cache": {"type": "blobcache", "config": {"work_dir": os.path.join(directory, "cache")}}}}
        f = self.front(None, IMAGE, config=config, directory=directory,
                       env={"SHOAL_SOCKET": os.path.join(directory, "none.sock"), "IMAGE_PULL_AUTH": "sesame-24"})
        self.assert_tree(f.mountpoint, IMAGE)
        own = os.path.join(f.cache, "shoal", "api.sock")
        self.assertTrue(stat.S_ISSOCK(os.stat(own).st_mode))
        started = lab.processes_that_name(os.path.join(f.cache, "shoal", ""))
        self.assertEqual({"shoald", "shoal-keeper"}, {os.path.basename(argv[0]) for argv in started.values()})
        for pid in started:
            with open(f"/proc/{pid}/environ", "rb") as file:
                self.assertFalse(b"sesame-24" in file.read(), "it is nydusd's alone")
        f.stop()
        self.assertIsNone(lab.mount_type(f.mountpoint))
        lab.wait_for(lambda: not lab.listens(own), "the agent of its own to end")

    def test_readers_outlive_the_agent_of_its_own(self):
        lab.require_image(IMAGE)
        f = self.front(None, env={"SHOAL_SOCKET": "/none"}, start=False)
        blobs = rafs_facts.write_blobs(IMAGE, os.path.join(f.dir, "blobs"))
        f.argv = [front.NYDUSD, "--localfs-dir", blobs, "--bootstrap", front.bootstrap_file(f.dir, IMAGE),
                  "--mountpoint", f.mountpoint, "--apisock", f.sock, "--log-file", f.log_path]
        f.start()
        directory = os.path.join(blobs, "shoal")

        def pids(word):
            return {pid for pid, argv in lab.processes_that_name(directory + "/").items() if word in argv[0]}
        agents = pids("shoald")
        with open(os.path.join(f.mountpoint, "sizes", "4096"), "rb") as file:
            self.assertEqual((1, 1), (len(agents), len(pids("shoal-keeper"))))
            os.kill(agents.pop(), signal.SIGKILL)
            self.assert_tree(f.mountpoint, IMAGE, "it waits for the next one")
            self.assertEqual(4096, len(file.read()))
        f.stop()
        lab.wait_for(lambda: not pids(""), lambda: f"agent and keeper to end: {lab.processes_that_name(directory)}")

    def test_the_shortest_command_line_does_without_an_agent(self):
        lab.require_image(IMAGE)
        f = self.front(None, env={"SHOAL_SOCKET": "/none"}, start=False)
        blobs = rafs_facts.write_blobs(IMAGE, os.path.join(f.dir, "blobs"))
        f.argv = [front.NYDUSD, "--localfs-dir", os.path.relpath(blobs) + "/", "--bootstrap",
                  front.bootstrap_file(f.dir, IMAGE), "--mountpoint", f.mountpoint]
        f.start(wait=False)
        lab.wait_for(lambda: lab.mount_type(f.mountpoint) is not None, "the mount")
        self.assert_tree(f.mountpoint, IMAGE)
        own = os.path.join(blobs, "shoal", "api.sock")
        f.stop()
        lab.wait_for(lambda: not lab.listens(own), "the agent of its own to end")

    def test_what_cannot_be_mounted_is_said_and_ends_it(self):
        agent = self.quiet_agent()
        f = self.front(agent, IMAGE, config={"device": {"backend": {"type": "oss", "config": {}}}}, wait=False)
        self.assertEqual(1, f.process.wait(lab.DEADLINE_S))
        self.assertIn("oss", f.log())
        self.assertFalse(os.path.exists(f.sock))
        self.assertEqual([], agent.json("ls")["mounts"])


class NodeAgentAway(NydusdTest):
    """No second agent is started beside one that is away: nydusd waits, and finds the node's."""

    def mount_waits(self, agent, f):
        lab.wait_for(lambda: os.path.exists(f.log_path) and "waiting for it" in f.log(), "nydusd to wait for the node's agent")
        self.assertFalse(os.path.exists(os.path.join(f.cache, "shoal")))
        agent.start()
        f.wait_for_state("RUNNING")
        self.assert_tree(f.mountpoint, IMAGE)
        self.assertEqual(1, len(agent.json("ls")["mounts"]))
        self.assertFalse(os.path.exists(os.path.join(f.cache, "shoal")))

    def test_stopped(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        agent.stop()
        self.mount_waits(agent, self.front(agent, IMAGE, wait=False))

    def test_set_up_and_not_started_yet(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        agent.stop()
        os.unlink(agent.socket)
        self.mount_waits(agent, self.front(agent, IMAGE, wait=False, env={"SHOAL_OWN_AGENT": "no"}))

    def test_installed_and_not_started_yet(self):
        """The package's configuration in /etc, and nothing in /run: in a mount namespace of its own."""
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        agent.stop()
        os.unlink(agent.socket)
        f = self.front(None, IMAGE, start=False)
        f.env.pop("SHOAL_SOCKET", None)
        away = (f"mount -t tmpfs none /etc && mkdir /etc/shoal && : >/etc/shoal/shoal.yaml && mount -t tmpfs none /run && "
                f"mkdir /run/shoal && mount --bind {agent.dir} /run/shoal && exec \"$@\"")
        f.argv = ["unshare", "-m", "--propagation", "slave", "sh", "-c", away, "sh", *f.argv]
        f.start(wait=False)
        self.mount_waits(agent, f)

    def test_whoever_waits_can_be_stopped(self):
        agent = self.quiet_agent()
        agent.stop()
        f = self.front(agent, IMAGE, wait=False)
        lab.wait_for(lambda: os.path.exists(f.log_path) and "waiting for it" in f.log(), "nydusd to wait")
        f.process.terminate()
        self.assertIn(f.process.wait(lab.DEADLINE_S), (0, 1))
        self.assertIn("remove its socket", f.log())  # whoever left it there: it is what keeps nydusd waiting


class ManyImages(NydusdTest):
    def test_images_come_and_go_through_the_api(self):
        for image in (IMAGE, "layers:zran"):
            lab.registry().push(image)
        agent = self.quiet_agent()
        f = self.front(agent)
        self.assertEqual("tmpfs", lab.mount_type(f.mountpoint))
        for name, image in (("1", IMAGE), ("2", "layers:zran")):
            self.assertEqual((204, None), f.mount(name, image))
            self.assert_tree(os.path.join(f.mountpoint, name), image)
        self.assertEqual(500, f.mount("1", IMAGE)[0])
        _, info, _ = f.request("GET", "/api/v1/daemon")
        self.assertEqual(["/1", "/2"], sorted(info["backend_collection"]))
        self.assertEqual(404, f.request("GET", "/api/v1/metrics/blobcache")[0])
        for name, image in (("1", IMAGE), ("2", "layers:zran")):
            _, cache, _ = f.request("GET", f"/api/v1/metrics/blobcache?id=/{name}")
            self.assertEqual([i + ".blob.data" for i in rafs_facts.blob_ids(image)], cache["underlying_files"])
        self.assertEqual((204, None), f.umount("1"))
        self.assertEqual(["2"], os.listdir(f.mountpoint))
        self.assertEqual(500, f.umount("1")[0])
        f.stop()
        self.assertEqual([], lab.mounts_below(f.dir))
        self.assertEqual([], agent.json("ls")["mounts"])

    def test_many_trees_leave_nothing_behind(self):
        self.many_mounts_leave_nothing_behind("tree")

    def test_many_mounts_by_the_kernels_erofs_leave_nothing_behind(self):
        self.many_mounts_leave_nothing_behind("erofs")

    def many_mounts_leave_nothing_behind(self, how):
        lab.registry().push(IMAGE)
        agent = self.agent(config={"registries": [], "mount": how})
        self.require_way(agent, how)
        f = self.front(agent)

        def traces():
            return (lab.mounts_below(lab.TMP), os.listdir(f.mountpoint), os.listdir(os.path.join(agent.state_dir, "mounts")))

        def files():
            """But for the database: a connection stays for each worker that has ever read it beside another."""
            return [sorted(name for name in lab.open_files(p.pid) if "shoal.db" not in name) for p in (f.process, agent.process)]

        def n_fds():
            return [len(of_one) for of_one in files()]
        f.mount("first", IMAGE)
        f.umount("first")
        before, opened, fds = traces(), files(), n_fds()
        for i in range(N_MOUNTS):
            self.assertEqual((204, None), f.mount(f"m{i}", IMAGE))
            os.stat(os.path.join(f.mountpoint, f"m{i}"))
            self.assertEqual(how, agent.json("ls")["mounts"][0]["as"])
            self.assertEqual((204, None), f.umount(f"m{i}"))
        lab.wait_for(lambda: traces() == before and all(now <= then for now, then in zip(n_fds(), fds)),
                     lambda: f"traces to be gone: {before} {opened}, {traces()} {files()}")
        self.assertEqual([], agent.json("ls")["mounts"])

    def test_what_is_unmounted_from_outside_goes_from_the_list(self):
        lab.registry().push(IMAGE)
        agent = self.quiet_agent()
        f = self.front(agent)
        f.mount("1", IMAGE)
        subprocess.run(["umount", os.path.join(f.mountpoint, "1")], check=True)
        lab.wait_for(lambda: agent.json("ls")["mounts"] == [], "the mount to be forgotten")
        f.kill()
        subprocess.run(["umount", f.mountpoint], check=True)
        agent.restart()
        self.assertEqual([], agent.json("ls")["mounts"])


    def test_each_mount_has_its_own_way_to_one_registry(self):
        """The same host, known to no configuration: mounts whose credentials, scheme or proxy do not work are not in
        the way of those whose do."""
        private = self.private_registry("sesame-16")
        agent = self.quiet_agent()
        f = self.front(agent)
        good = {"host": private.host, "auth": lab.base64_of("nydus:sesame-16")}

        def mount(name, repo="edge", **backend):
            return f.mount(name, IMAGE, front.registry_config(repo, f.cache, snapshot=name, **{**good, **backend}))
        self.assertEqual((204, None), mount("good"))
        self.assertEqual((204, None), mount("locked-out", auth=lab.base64_of("nydus:other")))
        self.assertEqual((204, None), mount("wrong-scheme", scheme="https"))
        self.assertEqual((204, None), mount("dead-proxy", proxy={"url": "http://127.0.0.1:1", "fallback": False}))
        self.assertEqual((204, None), mount("other-repository", repo="none", scheme="https", skip_verify=True))
        self.assert_tree(os.path.join(f.mountpoint, "good"), IMAGE)


    def test_a_registry_without_tls_and_behind_a_dead_proxy_is_found(self):
        """As nydusd does, where neither a scheme is named nor the proxy said to be the only way."""
        private = self.private_registry("sesame-17")
        agent = self.quiet_agent()
        f = self.front(agent)
        config = front.registry_config("edge", f.cache, host=private.host, auth=lab.base64_of("nydus:sesame-17"),
                                       proxy={"url": "http://127.0.0.1:1", "fallback": True})
        del config["device"]["backend"]["config"]["scheme"]
        self.assertEqual((204, None), f.mount("1", IMAGE, config))
        self.assert_tree(os.path.join(f.mountpoint, "1"), IMAGE)


    def test_a_proxys_password_comes_along_and_is_stored_nowhere(self):
        private = self.private_registry("sesame-18")
        proxy = start_proxy(self, "me:pass w@rd-4713")
        agent = self.quiet_agent()
        f = self.front(agent)
        url = f"http://me:pass%20w%40rd-4713@127.0.0.1:{proxy.server_port}"
        config = front.registry_config("edge", f.cache, host=private.host, snapshot="1", auth=lab.base64_of("nydus:sesame-18"),
                                       proxy={"url": url, "fallback": False})
        self.assertEqual((204, None), f.mount("1", IMAGE, config))
        where = os.path.join(f.mountpoint, "1")
        with open(next(lab.regular_files(where)), "rb") as first:
            first.read()
        self.assertIn(("GET", private.host), proxy.seen)
        self.assertIn(f"http://127.0.0.1:{proxy.server_port}", json.dumps(f.request("GET", "/api/v1/daemon")[1]))
        self.assertNotIn("4713", json.dumps([f.request("GET", path)[1] for path in ("/api/v1/daemon", "/api/v1/config?id=/1")]))
        with self.subTest("other credentials for the registry leave the proxy's"):
            self.allow("sesame-19")
            private.stop()
            private.start()
            self.assertEqual((204, None), f.request("PUT", "/api/v1/config?id=/1",
                                                    {"registry_auth": lab.base64_of("nydus:sesame-19")})[:2])
        with self.subTest("an agent that is started anew is given them again"):
            agent.restart()
            proxy.seen.clear()
            self.assert_tree(where, IMAGE)
            self.assertIn(("GET", private.host), proxy.seen)
        for where in (agent.dir, f.dir):
            self.assertEqual([], [path for word in ("4713", lab.base64_of("me:pass w@rd-4713"))
                                  for path in lab.files_that_hold(where, word)])

    def test_a_proxys_password_alone(self):
        """The registry is opened by what the agent itself has for it."""
        private = self.private_registry("sesame-20")
        proxy = start_proxy(self, "me:4714")
        agent = self.quiet_agent(env={"DOCKER_CONFIG": os.path.dirname(
            lab.auth_file("config.json", private.host, "nydus", "sesame-20"))})
        f = self.front(agent)
        for name, url in (("1", f"http://me:4714@127.0.0.1:{proxy.server_port}"), ("2", f"http://127.0.0.1:{proxy.server_port}")):
            config = front.registry_config("edge", f.cache, host=private.host, snapshot=name, proxy={"url": url, "fallback": False})
            self.assertEqual(204, f.mount(name, IMAGE, config)[0])
        self.assert_tree(os.path.join(f.mountpoint, "1"), IMAGE)
        self.assertEqual({"registry_auth": ""}, f.request("GET", "/api/v1/config?id=/1")[1])

    def test_all_ca_files_count(self):
        registry, certificates = start_tls_registry(self)
        image = "layers:v6-batch"  # its mount asks the registry
        lab.registry().push(image)
        others = Certificates()
        f = self.front(self.quiet_agent())

        def mount(name, *files):
            return f.mount(name, image, front.registry_config("layers", f.cache, host=registry.host, snapshot=name, scheme="https",
                                                              ca_cert_files=list(files)))
        status, answer = mount("1", others.ca, "/none/ca.pem", certificates.ca)
        self.assertEqual(500, status)
        self.assertIn("/none/ca.pem", answer["message"])
        status, answer = mount("1", others.ca, others.ca)
        self.assertEqual(500, status)
        self.assertIn("certificate", answer["message"])
        self.assertEqual((204, None), mount("1", others.ca, certificates.ca))
        self.assert_tree(os.path.join(f.mountpoint, "1"), image)

    def test_an_id_mapping_is_said_to_have_no_effect(self):
        lab.registry().push(IMAGE)
        f = self.front(self.quiet_agent())
        config = front.registry_config("edge", f.cache, snapshot="1")
        config["id_mapping"] = {"uid_map": "0:100000:65536"}
        self.assertEqual((204, None), f.mount("1", IMAGE, config))
        self.assertEqual(1, f.log().count("id_mapping"))


class Api(NydusdTest):
    def test_every_path_answers_as_nydusd_does(self):
        lab.registry().push(IMAGE)
        f = self.front(self.quiet_agent())
        f.mount("1", IMAGE)
        wish = {"fs_type": "rafs", "source": "/none", "config": "{}"}
        for status, method, path, body in (
                (200, "GET", "/api/v1/daemon", None), (200, "GET", "/api/v2/daemon", None),
                (200, "GET", "/api/v1/daemon/events", None),
                (204, "PUT", "/api/v1/daemon", {"log_level": "debug"}),
                (204, "PUT", "/api/v2/daemon", {"log_level": "info"}),
                (400, "PUT", "/api/v1/daemon", {"log_level": "loud"}), (400, "PUT", "/api/v1/daemon", None),
                (400, "PUT", "/api/v1/daemon", "{"), (400, "PUT", "/api/v1/daemon", "[1]"),
                (400, "GET", "/api/v1/daemon", {"a": 1}), (400, "PATCH", "/api/v1/daemon", None),
                (400, "DELETE", "/api/v1/daemon", None), (404, "GET", "/", None), (404, "GET", "/api/v3/x", None),
                (200, "GET", "/api/v1/daemon/backend?mountpoint=/1", None),
                (400, "GET", "/api/v1/daemon/backend", None),
                (500, "GET", "/api/v1/daemon/backend?mountpoint=/2", None),
                (400, "PUT", "/api/v1/daemon/start", None), (400, "PUT", "/api/v1/daemon/start", {"a": 1}),
                (400, "PUT", "/api/v1/daemon/fuse/takeover", None),
                (500, "PUT", "/api/v1/daemon/fuse/sendfd", None),
                (400, "POST", "/api/v1/mount", wish), (400, "POST", "/api/v1/mount?mountpoint=/x", None),
                (400, "POST", "/api/v1/mount?mountpoint=/x", {"fs_type": "rafs"}),
                (400, "POST", "/api/v1/mount?mountpoint=/x", {**wish, "fs_type": "ext4"}),
                (501, "POST", "/api/v1/mount?mountpoint=/x", {**wish, "fs_type": "passthrough_fs"}),
                (500, "POST", "/api/v1/mount?mountpoint=/x", wish), (500, "POST", "/api/v1/mount?mountpoint=/", wish),
                (500, "POST", "/api/v1/mount?mountpoint=/../x", wish),
                (500, "POST", "/api/v1/mount?mountpoint=/a/b", wish),
                (500, "PUT", "/api/v1/mount?mountpoint=/x", wish),
                (400, "DELETE", "/api/v1/mount", None), (500, "DELETE", "/api/v1/mount?mountpoint=/x", None),
                (200, "GET", "/api/v1/metrics", None), (200, "GET", "/api/v1/metrics?id=/1", None),
                (404, "GET", "/api/v1/metrics?id=/2", None), (200, "GET", "/api/v1/metrics/files", None),
                (200, "GET", "/api/v1/metrics/pattern?id=/1", None),
                (200, "GET", "/api/v1/metrics/backend?id=/1", None),
                (200, "GET", "/api/v1/metrics/blobcache?id=/1", None),
                (404, "GET", "/api/v1/metrics/blobcache?id=/2", None),
                (204, "GET", "/api/v1/metrics/inflight", None),
                (200, "GET", "/api/v1/config?id=/1", None), (404, "GET", "/api/v1/config?id=/2", None),
                (204, "PUT", "/api/v1/config?id=/1", {"registry_auth": lab.base64_of("u:p")}),
                (500, "PUT", "/api/v1/config?id=/1", {"registry_auth": "?"}),
                (500, "PUT", "/api/v1/config?id=/2", {"registry_auth": lab.base64_of("u:p")}),
                (500, "PUT", "/api/v1/config?id=/1", {"other": "x"}),
                (500, "PUT", "/api/v1/config?id=/1", {"registry_auth": lab.base64_of("u:p"), "proxy_url": "http://127.0.0.1:1"}),
                (400, "PUT", "/api/v1/config", {"registry_auth": lab.base64_of("u:p")}),
                (501, "GET", "/api/v2/blobs?domain_id=a", None), (501, "PUT", "/api/v2/blobs", {"a": 1}),
                (501, "DELETE", "/api/v2/blobs?blob_id=a", None)):
            with self.subTest(f"{method} {path} {body}"):
                got, answer, headers = f.request(method, path, body)
                self.assertEqual(status, got, answer)
                self.assertEqual("Nydus API", headers["Server"])
                if status >= 400:
                    self.assertEqual(["code", "message"], sorted(answer))
                    self.assertEqual("UNDEFINED", answer["code"])
                else:
                    self.assertEqual(status == 204, answer is None)
        with self.subTest("the mount that was there is there"):
            self.assert_tree(os.path.join(f.mountpoint, "1"), IMAGE)

    def test_what_is_no_request_is_refused_or_hung_up_on(self):
        """Broken HTTP, bodies that are too long or never come, texts that are no UTF-8: it goes on, and answers others."""
        f = self.front(self.quiet_agent())
        deep = "[" * 100000
        for sent, status in (
                (b"\0" * 100 + b"\r\n\r\n", None), (b"GET\r\n\r\n", None),
                (b"GET /api/v1/daemon HTTP/9.9\r\n\r\n", None),
                (b"GET /api/v1/daemon HTTP/1.1\r\n" + b"X: y\r\n" * 100000 + b"\r\n", None),
                (b"GET /" + b"a" * 1000000 + b" HTTP/1.1\r\n\r\n", None),
                (b"PUT /api/v1/daemon HTTP/1.1\r\nContent-Length: -1\r\n\r\n", None),
                (b"PUT /api/v1/daemon HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", None),
                (b"PUT /api/v1/daemon HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", None),  # and hangs up
                (b"GET /api/v1/metrics?id=%ff%00%zz HTTP/1.1\r\n\r\n", (404, 400)),
                (b"GET /api/v1/metrics?id=" + b"/.." * 1000 + b" HTTP/1.1\r\n\r\n", (404,)),
                (b"POST /api/v1/mount?mountpoint=%00 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", (400,)),
                (b"POST /api/v1/mount?mountpoint=/x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + deep.encode(), (400,)),
                (b"POST /api/v1/mount?mountpoint=/x HTTP/1.1\r\nContent-Length: 4\r\n\r\n\"\xff\xfe\"", (400,)),
                (b"PUT /api/v1/daemon HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None)):
            with self.subTest(sent[:80]), contextlib.closing(front.UnixConnection(f.sock)) as connection:
                connection.connect()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.sock.sendall(sent)
                    connection.sock.shutdown(socket.SHUT_WR)
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    while piece := connection.sock.recv(65536):
                        answer += piece
                got = int(answer.split()[1]) if answer else None
                if status:
                    self.assertIn(got, status)
                else:
                    self.assertTrue(got is None or 400 <= got <= 505, answer)
                self.assertEqual("RUNNING", f.state())
        self.assertEqual({}, f.request("GET", "/api/v1/daemon")[1]["backend_collection"])

    def test_one_who_waits_and_one_who_idles_hold_up_nobody(self):
        """A mount whose registry does not answer: the state is told all the same, and hang-ups end nothing."""
        lab.registry().push("layers:zran")
        slow = self.faulty_origin(delay_ms=100000)
        f = self.front(self.quiet_agent())
        idle = [front.UnixConnection(f.sock) for _ in range(30)]
        for connection in idle:
            connection.connect()
        config = front.registry_config("layers", f.cache, host=slow.host)
        waiting = f.wish_for("slow", "layers:zran", config)
        lab.wait_for(lambda: slow.stats()["requests"] > 0, "the mount to wait for its registry")
        self.assertEqual("RUNNING", f.state())
        waiting.close()
        idle[0].request("GET", "/api/v1/daemon")
        self.assertEqual(200, idle[0].getresponse().status)
        for connection in idle:
            connection.close()
        self.assertEqual("RUNNING", f.state())

    def test_command_lines(self):
        version = subprocess.run([front.NYDUSD, "--version"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(version, r"Git Commit:\s*(.+)")
        for argv, words in (([], "--mountpoint"), (["fuse", "--mountpoint", "/x", "--bootstrap", "/y"], "--config"),
                            (["singleton", "--fscache", "/x", "--apisock", "/y"], "fscache"),
                            (["virtiofs"], "subcommand"), (["--mountpoint"], "value is missing"),
                            (["--mountpoint", "/x", "--id", "1"], "--supervisor"),
                            (["--mountpoint", "/none/at/all"], "/none/at/all")):
            with self.subTest(argv):
                done = subprocess.run([front.NYDUSD, *argv], capture_output=True, text=True, check=False)
                self.assertNotEqual(0, done.returncode)
                self.assertIn(words, done.stderr)

    def test_a_singleton_has_an_api_alone(self):
        f = self.front(None, env={"SHOAL_SOCKET": "/none"}, start=False)
        f.argv = [front.NYDUSD, "singleton", "--apisock", f.sock, "--log-file", f.log_path, "--new-option", "x"]
        f.start()
        self.assertEqual({}, f.request("GET", "/api/v1/daemon")[1]["backend_collection"])
        self.assertEqual(501, f.request("DELETE", "/api/v2/blobs?domain_id=x")[0])
        self.assertEqual(501, f.mount("1", IMAGE)[0])
        f.stop()


class TakeOver(NydusdTest):
    def shared(self):
        """(agent, front with two mounts, supervisor that has its state)"""
        agent, supervisor = self.quiet_agent(), self.supervisor()
        f = self.front(agent, supervisor=supervisor.path)
        for name in ("1", "2"):
            lab.registry().push(IMAGE)
            self.assertEqual((204, None), f.mount(name, IMAGE))
        supervisor.fetch(f)
        self.assertEqual(1, len(supervisor.fds))
        return agent, f, supervisor

    @staticmethod
    def start_the_next(f):
        """What the snapshotter starts when a nydusd has died: it knows nothing yet."""
        f.start(wait=False)
        f.wait_for_state("INIT")

    def hand_over(self, f, supervisor):
        self.assertEqual((204, None), supervisor.serve(f))
        f.wait_for_state("READY")
        self.assertEqual(204, f.request("PUT", "/api/v1/daemon/start")[0])

    def check(self, f):
        for name in ("1", "2"):
            self.assert_tree(os.path.join(f.mountpoint, name), IMAGE)
        self.assertEqual(["/1", "/2"], sorted(f.request("GET", "/api/v1/daemon")[1]["backend_collection"]))
        self.assertEqual((204, None), f.umount("1"))
        self.assertEqual((204, None), f.mount("3", IMAGE))

    def test_failover(self):
        """kill -9: the mounts live on, and the next one takes them over."""
        _, f, supervisor = self.shared()
        f.kill()
        self.assert_tree(os.path.join(f.mountpoint, "2"), IMAGE, "while there is no nydusd")
        self.start_the_next(f)
        self.assertEqual(503, f.mount("4", IMAGE)[0])
        self.hand_over(f, supervisor)
        f.wait_for_state("RUNNING")
        self.check(f)

    def test_failover_of_one_image(self):
        lab.registry().push(IMAGE)
        supervisor = self.supervisor()
        f = self.front(self.quiet_agent(), IMAGE, supervisor=supervisor.path)
        supervisor.fetch(f)
        f.kill()
        self.start_the_next(f)
        self.hand_over(f, supervisor)
        self.assert_tree(f.mountpoint, IMAGE)
        f.stop()
        self.assertIsNone(lab.mount_type(f.mountpoint))

    def test_failover_after_both_have_died(self):
        """Without a keeper the mount is dead meanwhile: the next nydusd waits for the agent all the same."""
        lab.registry().push(IMAGE)
        agent, supervisor = self.quiet_agent(), self.supervisor()
        f = self.front(agent, IMAGE, supervisor=supervisor.path)
        supervisor.fetch(f)
        agent.kill()
        f.kill()
        self.start_the_next(f)
        agent.start()
        self.hand_over(f, supervisor)
        self.assert_tree(f.mountpoint, IMAGE)

    def test_credentials_survive_failover_and_a_new_agent(self):
        """They are in no state: the next nydusd finds them where the snapshotter has them."""
        private = self.private_registry("sesame-815")
        agent, supervisor = self.quiet_agent(), self.supervisor()
        directory = lab.tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        for path in ("socket/daemon-1", "config/daemon-1/7"):
            os.makedirs(os.path.join(directory, path))
        config = front.registry_config("edge", os.path.join(directory, "cache"), host=private.host, snapshot="7",
                                       auth=lab.base64_of("nydus:sesame-815"))
        with open(os.path.join(directory, "config/daemon-1/7/config.json"), "w", encoding="utf-8") as out:
            json.dump(config, out)
        f = self.front(agent, supervisor=supervisor.path, directory=directory, sock="socket/daemon-1/api.sock")
        self.assertEqual((204, None), f.mount("7", IMAGE, config))
        supervisor.fetch(f)
        self.assertNotIn(b"sesame", supervisor.state)
        self.assertNotIn(lab.base64_of("nydus:sesame-815").encode(), supervisor.state)
        f.kill()
        self.start_the_next(f)
        self.hand_over(f, supervisor)
        agent.restart()
        self.assert_tree(os.path.join(f.mountpoint, "7"), IMAGE)

    def test_live_upgrade(self):
        agent, old, supervisor = self.shared()
        new = self.front(agent, supervisor=supervisor.path, directory=old.dir, sock="api1.sock",
                         options=["--upgrade"], wait=False)
        new.wait_for_state("INIT")
        self.assertEqual((204, None), supervisor.serve(new))
        new.wait_for_state("READY")
        self.assertEqual(204, old.request("PUT", "/api/v1/daemon/exit")[0])
        self.assertEqual(0, old.process.wait(lab.DEADLINE_S))
        self.assertEqual(204, new.request("PUT", "/api/v1/daemon/start")[0])
        new.wait_for_state("RUNNING")
        self.assertEqual((204, None), new.mount("1", IMAGE), "the snapshotter mounts again what was taken over")
        self.assertEqual(500, new.mount("1", "layers:zran")[0])
        self.check(new)
        new.stop()
        self.assertEqual([], lab.mounts_below(old.dir))

    def restarted(self):
        """As by the recover policy restart, when nydusd has died: the snapshotter removes the socket and starts anew."""
        agent, f, _ = self.shared()
        f.kill()
        os.unlink(f.sock)
        f.start()
        return agent, f

    def test_a_restart_finds_what_is_mounted(self):
        """Recover policy restart: the snapshotter mounts again."""
        _, f = self.restarted()
        for name in ("1", "2"):
            self.assertEqual((204, None), f.mount(name, IMAGE))
        self.check(f)

    def test_who_hangs_up_does_not_unmount_what_was_there(self):
        """The next nydusd asks for what is in use, the agent is slow, and the snapshotter waits no longer."""
        agent, f = self.restarted()
        directory = os.open(os.path.join(f.mountpoint, "1"), os.O_RDONLY)
        self.addCleanup(os.close, directory)

        before = set(lab.open_files(f.process.pid))

        def n_new_sockets():
            return sum(name.startswith("socket:") for name in set(lab.open_files(f.process.pid)) - before)
        agent.process.send_signal(signal.SIGSTOP)
        waiting = f.wish_for("1", IMAGE, front.registry_config("edge", f.cache, snapshot="1"))
        lab.wait_for(lambda: n_new_sockets() == 2, "nydusd to ask the agent")
        waiting.close()
        lab.wait_for(lambda: n_new_sockets() < 2, "the hang-up to be noticed")
        agent.process.send_signal(signal.SIGCONT)
        lab.wait_for(lambda: f.mount("1", IMAGE)[0] == 204, "the next one to find it")
        self.assertNotEqual([], os.listdir(directory))
        f.mount("2", IMAGE)
        self.check(f)

    def test_a_restart_while_the_agent_restores_waits_for_it(self):
        agent, f, _ = self.shared()
        token = "t" * 40000
        config = front.registry_config("edge", f.cache, snapshot="1", registry_token=token)
        f.kill()
        os.unlink(f.sock)
        agent.kill()
        f.start()
        coming = threading.Thread(target=agent.start)
        coming.start()
        self.addCleanup(coming.join)
        self.assertEqual((204, None), f.mount("1", IMAGE, config=config))
        self.assertEqual((204, None), f.mount("2", IMAGE))
        coming.join()
        self.assertTrue(next(m for m in agent.json("ls")["mounts"] if m["dir"].endswith("/1"))["credentials_given"])

    def test_an_agent_that_is_killed_is_waited_for(self):
        agent, f, _ = self.shared()
        agent.kill()
        self.assertEqual("RUNNING", f.state())
        _, cache, _ = f.request("GET", "/api/v1/metrics/blobcache?id=/1")
        self.assertNotEqual([], cache["underlying_files"])
        agent.start()
        self.check(f)

    def test_a_state_of_somebody_else_is_refused(self):
        supervisor = self.supervisor()
        f = self.front(self.quiet_agent(), supervisor=supervisor.path, options=["--upgrade"], wait=False)
        f.wait_for_state("INIT")
        for state in (b"x", b"{}", json.dumps({"shoal_nydusd": 1, "root": "/elsewhere", "mounts": []}).encode(),
                      json.dumps({"shoal_nydusd": 1, "root": f.mountpoint, "mounts": [{"at": "/../x"}]}).encode()):
            supervisor.state, supervisor.fds = state, [os.open("/dev/null", os.O_RDONLY)]
            self.assertEqual(500, supervisor.serve(f)[0])
            supervisor.close()
        self.assertEqual("INIT", f.state())
        f.stop()


if __name__ == "__main__":
    unittest.main()
