"""The agent as those who run it meet it: signals, restarts, what is listed, what is cancelled."""
import contextlib
import glob
import json
import os
import resource
import select
import signal
import socket
import sqlite3
import subprocess

import front
import lab

IMAGE = "layers:v6"
FS_BYTES = 64 << 10


def mounts_at(where):
    return [d for d in lab.mounts_below(where) if d == where]


class SilentServer:
    """Takes connections and never says a word."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def close(self):
        self.socket.close()


class Restart(lab.LabTest):
    def test_a_dead_mount_is_detached_before_it_is_mounted_again(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        os.stat(where)  # the kernel remembers the answer, and would give it for the dead one
        agent.kill()
        agent.start()
        self.assertEqual(len(mounts_at(where)), 1)
        self.assert_tree(where, IMAGE)
        agent.umount(where)
        self.assertEqual(mounts_at(where), [])

    def test_a_clean_stop_unmounts_and_the_next_start_mounts_again(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        agent.stop()
        self.assertEqual(mounts_at(where), [])
        agent.start()
        self.assert_tree(where, IMAGE)

    def test_a_busy_mount_is_detached_and_comes_back(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        inside = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, inside)
        done = agent.shoal("umount", where, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("in use", done.stderr)
        agent.stop()
        self.assertEqual(mounts_at(where), [])
        self.assertIn("in use: detached", agent.log())
        agent.start()
        self.assert_tree(where, IMAGE)

    def test_a_mount_whose_directory_is_gone_stays_listed_with_the_reason(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        agent.stop()
        os.rmdir(where)
        agent.start()
        [listed] = agent.json("ls")["mounts"]
        self.assertEqual((listed["dir"], listed["state"]), (where, "down"))
        self.assertIn(where, listed["error"])
        agent.umount(where)
        self.assertEqual(agent.json("ls")["mounts"], [])

    def test_an_auth_file_that_is_gone_is_said(self):
        agent = self.agent()
        auth_file = os.path.join(agent.dir, "config.json")
        with open(auth_file, "w", encoding="utf-8") as f:
            f.write('{"auths": {}}')
        where = agent.mount(lab.registry().push(IMAGE), "--prefetch", "--auth-file", auth_file)
        with open(os.path.join(agent.state_dir, "shoal.db"), "rb") as f:
            self.assertNotIn(b'{"auths"', f.read())
        agent.stop()
        os.unlink(auth_file)
        agent.start()
        self.assertIn("auth file is gone", agent.shoal("ls").stdout)
        self.assert_tree(where, IMAGE)


class Signals(lab.LabTest):
    def test_sighup_reads_the_configuration_again(self):
        agent = self.agent()
        agent.reload(log={"level": "debug"}, read={"timeout_ms": 1000})
        self.assertIn('counts from now on" setting=read.timeout_ms', agent.log())
        agent.reload(peers={"members": ["127.0.0.1:1"]})
        self.assertIn('means nothing while peers.listen is off" setting=peers.members', agent.log())
        with open(agent.config_path, "w", encoding="utf-8") as f:
            f.write("frob: 1\n")
        agent.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: "the old one stays" in agent.log(), "the agent to refuse it")
        self.assertIn(":1: frob", agent.log())
        os.unlink(agent.config_path)
        os.mkfifo(agent.config_path)  # nobody will write into it
        agent.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: "it is not a regular file" in agent.log(), "the agent to go on")
        agent.shoal("status")

    @staticmethod
    def chunks_here(agent):
        return {b["key"]: b["n_ready"] for b in agent.json("blob", "ls")["blobs"]}

    def test_a_smaller_quota_counts_at_once_and_so_does_a_larger_one(self):
        agent = self.agent()
        image = lab.registry().push("edge:v6")
        agent.shoal("prefetch", image)
        size, chunks = agent.metric("shoal_cache_bytes"), self.chunks_here(agent)
        agent.reload(cache={"quota_bytes": int(size) // 2, "high_watermark_percent": 80, "low_watermark_percent": 60,
                            "dedup": False})
        self.assertIn('counts from now on" setting=cache.quota_bytes', agent.log())
        self.assertIn('needs a restart" setting=cache.dedup', agent.log())
        lab.wait_for(lambda: agent.metric("shoal_cache_bytes") <= size / 2 * 0.6, "the cache to shrink")
        self.assertEqual(agent.metric("shoal_cache_quota_bytes"), int(size) // 2)
        self.assertEqual(agent.json("status")["cache"]["quota_bytes"], int(size) // 2)
        agent.reload(cache={"quota_bytes": 0, "dedup": False})
        agent.shoal("prefetch", image)
        self.assertEqual(self.chunks_here(agent), chunks)
        # A file system counts the blocks that say where a file's bytes are, and there are more for bytes that came in pieces.
        self.assertAlmostEqual(agent.metric("shoal_cache_bytes"), size, delta=FS_BYTES)

    def test_a_registry_that_is_added_can_be_used_and_one_that_changed_is_another_one(self):
        agent = self.agent()
        host, registries = lab.registry().host, agent.config["registries"]
        image = lab.registry().push(IMAGE)
        agent.reload(registries=[])
        self.assertNotEqual(agent.shoal("prefetch", image, check=False).returncode, 0)  # https, where nobody speaks it
        agent.reload(registries=registries)
        self.assertIn('counts from now on" setting=registries', agent.log())
        where = agent.mount(image)
        agent.reload(registries=[{"host": host, "scheme": "https"}])
        agent.reload(registries=registries)
        self.assert_tree(where, IMAGE, "after its registry's entry was replaced twice")

    def loading(self):
        """(agent, directory, process): a mount there whose registry says nothing."""
        server = SilentServer()
        self.addCleanup(server.close)
        agent = self.agent(host=server.host)
        where = agent.new_dir()
        mount = agent.start_shoal("mount", f"{server.host}/a:b", where)
        lab.wait_for(lambda: [m for m in agent.json("ls")["mounts"] if m["state"] == "loading"], "the load")
        return agent, where, mount

    def test_interrupting_a_mount_cancels_it(self):
        agent, _, mount = self.loading()
        lab.stop_process(mount, signal.SIGINT)
        lab.wait_for(lambda: agent.json("ls")["mounts"] == [], "the mount to be taken back")
        agent.stop()

    def test_what_is_on_its_way_up_can_be_unmounted(self):
        agent, where, mount = self.loading()
        agent.umount(where)
        self.assertEqual((1, []), (mount.wait(lab.DEADLINE_S), agent.json("ls")["mounts"]))
        self.assertIn("cancelled", mount.stderr.read())

    def test_a_stop_does_not_wait_for_a_registry(self):
        agent, _, mount = self.loading()
        agent.stop()
        self.assertEqual(mount.wait(lab.DEADLINE_S), 1)
        lab.stop_process(mount)


class Configuration(lab.LabTest):
    def check(self, text):
        path = os.path.join(lab.TMP, "check.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return subprocess.run([os.path.join(lab.BUILD, "agent", "shoald"), "--check-config", path],
                              capture_output=True, text=True, timeout=lab.DEADLINE_S, check=False)

    def test_check_config_says_file_line_and_reason(self):
        self.assertEqual(self.check("log: { level: info }\n").returncode, 0)
        done = self.check("log:\n  level: loud\n")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^shoald: /.*check\.yaml:2: log\.level: .+\n$")

    def test_a_start_that_is_refused_says_who_waits_for_it(self):
        agent = self.agent(config={"keeper": {"socket": os.path.join(lab.TMP, "nobody.sock"), "start": False}})
        agent.stop()
        none = os.path.join(agent.dir, "none.pem")
        listen = {"listen": f"0.0.0.0:{lab.free_port()}"}
        peers = {**listen, "tls": {"ca": none, "cert": none, "key": none}}

        def refused(change, status, word, argv=()):
            agent.config.update(change)
            agent.write_config()
            done = subprocess.run([*argv, agent.program, "--config", agent.config_path], capture_output=True, text=True,
                                  timeout=lab.DEADLINE_S, check=False)
            for name in change:
                agent.config.pop(name)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(word, done.stderr)
            self.assertRegex(done.stderr, "readers .*wait")

        # What stays wrong is 2, and a manager does not try it again; what may pass is 1.
        refused({"nonsense": 1}, 2, "nonsense")
        refused({"peers": peers}, 1, none)
        refused({"peers": {**listen, "insecure": True}}, 1, "no address", ["unshare", "--net"])  # as at boot
        with contextlib.closing(sqlite3.connect(os.path.join(agent.state_dir, "shoal.db"))) as db:
            db.execute("PRAGMA user_version=99")
        refused({}, 2, "newer shoal")


class Watchdog(lab.LabTest):
    """As systemd does it: WATCHDOG_USEC in the environment, and datagrams."""

    def test_a_loop_that_turns_says_so_and_one_that_hangs_does_not(self):
        agent = self.agent(env={"WATCHDOG_USEC": "400000"})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = os.path.join(agent.dir, "notify.sock")
            os.unlink(path)
            manager.bind(path)
            manager.settimeout(lab.DEADLINE_S)
            for _ in range(3):
                self.assertEqual(b"WATCHDOG=1", manager.recv(100))
            manager.settimeout(1)  # more than two turns
            with lab.stopped(agent.process), self.assertRaises(socket.timeout):
                while True:
                    manager.recv(100)
            manager.settimeout(lab.DEADLINE_S)
            self.assertEqual(b"WATCHDOG=1", manager.recv(100))

    def test_a_word_meant_for_another_process_is_not_for_this_one(self):
        agent = self.agent(env={"WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = os.path.join(agent.dir, "notify.sock")
            os.unlink(path)
            manager.bind(path)
            manager.settimeout(lab.DEADLINE_S)
            agent.process.terminate()
            self.assertEqual(b"STOPPING=1", manager.recv(100))


class Descriptors(lab.LabTest):
    """Callers who find the agent without descriptors wait for one, and the agent does not turn in vain meanwhile."""
    N_MORE = 3  # callers than there are descriptors; the socket's queue holds them

    def crowd(self, agent, connect):
        fds = [int(fd) for fd in os.listdir(f"/proc/{agent.process.pid}/fd")]
        most = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
        limit = max(fds) + 2
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (limit, most[1]))
        with contextlib.ExitStack() as held:
            for _ in range(limit - len(fds) + self.N_MORE):
                held.enter_context(connect())
            lab.wait_for(lambda: agent.log().count("nobody can connect") >= 2, "the agent to be out of descriptors, and to try again")
            self.assertIn("Too many open files", agent.log())
            resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, most)
            agent.json("status")
            agent.metric("shoal_fetches_in_flight")
        self.assertNotIn("[warn]", agent.log())  # libevent's own word, once a turn

    def test_callers_of_the_api_wait_for_one(self):
        agent = self.agent()

        def connect():
            caller = socket.socket(socket.AF_UNIX)
            caller.connect(agent.socket)
            return caller
        self.crowd(agent, connect)

    def test_callers_of_the_page_wait_for_one(self):
        agent = self.agent()
        self.crowd(agent, lambda: socket.create_connection(("127.0.0.1", agent.http_port)))


class Desk(lab.LabTest):
    """What blocks a moment is the work of two threads, for all who ask."""
    N_ASK = 4

    def test_a_slow_disk_holds_up_only_who_asks_for_what_it_has_to_record(self):
        reference = lab.registry().push(IMAGE)
        agent = self.agent()
        with lab.frozen_thread(agent.process.pid, "cas-writer-0"):
            agent.mount(reference)
            asked = [front.UnixConnection(agent.socket) for _ in range(self.N_ASK)]
            for connection in asked:
                self.addCleanup(connection.close)
                connection.request("GET", "/v1/images")
            for _ in range(2):
                self.assertEqual({"mounted": 1}, agent.json("status")["mounts"])
            self.assertEqual([], select.select([connection.sock for connection in asked], [], [], 0)[0])
        for connection in asked:
            images = json.loads(connection.getresponse().read())["images"]
            self.assertEqual([reference], [image["name"] for image in images])


class Verify(lab.LabTest):
    def test_changed_bytes_are_found_listed_and_fetched_again(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        self.assert_tree(where, IMAGE)
        blob = max(agent.json("blob", "ls")["blobs"], key=lambda b: b["ready_bytes"])
        path = os.path.join(agent.state_dir, "blobs", blob["key"] + ".blob.data")
        with open(path, "r+b") as f:
            first = f.read(1)
            f.seek(0)
            f.write(bytes([first[0] ^ 1]))
        done = agent.shoal("verify", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(blob["key"], done.stdout)
        self.assertEqual(agent.shoal("verify").returncode, 0)
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "after the repair")

    def test_a_blob_that_cannot_be_looked_at_is_not_all_right(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE), "--prefetch")
        agent.umount(where)
        agent.stop()
        path = max(glob.glob(os.path.join(agent.state_dir, "blobs", "*.blob.data")))
        os.unlink(path)
        os.mkdir(path)
        agent.start()
        done = agent.shoal("verify", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 blob could not be checked", done.stderr)
        self.assertNotIn("all right", done.stdout)
        self.assertIn(os.path.basename(path), agent.log())
        as_json = agent.shoal("--json", "verify", check=False)
        self.assertEqual(as_json.returncode, 1)
        document = json.loads(as_json.stdout)
        self.assertEqual((document["n_left_out"], document["n_faults"]), (1, 0))
        os.rmdir(path)
        self.assertIn("all right", agent.shoal("verify").stdout)

    def test_as_json_the_faults_are_in_the_document(self):
        agent = self.agent()
        agent.mount(lab.registry().push(IMAGE), "--prefetch")
        document = agent.json("verify")
        self.assertEqual((document["n_faults"], document["faults"]), (0, []))


class Inspect(lab.LabTest):
    def test_a_bootstrap_file_needs_no_agent(self):
        import rafs_facts
        path = os.path.join(lab.TMP, "inspect.boot")
        with open(path, "wb") as f:
            f.write(rafs_facts.bootstrap("edge:v6"))
        shoal = [lab.SHOAL, "--socket", "/no/such.sock"]
        done = subprocess.run([*shoal, "--json", "image", "inspect", path], capture_output=True, check=True)
        self.assertEqual(json.loads(done.stdout)["format"], "RAFS v6")
        with open(path, "wb") as f:
            f.write(b"no bootstrap at all" * 1000)
        done = subprocess.run([*shoal, "image", "inspect", path], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^shoal: image inspect .+: .+\n$")
