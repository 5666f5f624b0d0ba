"""A keeper holds the mounts: the agent is killed, stopped or replaced under readers, who see a pause and no error."""
import contextlib
import ctypes
import glob
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading

import front
import lab

IMAGE = "edge:v6"
N_MOUNTS = 8
N_READERS = 32
SLOW_BYTES_PER_S = 3 << 20
# include/mount/keeper_protocol.h
MAGIC, KEY_BYTES, NOTE_MAX_BYTES = 0x3150454b, 32, 1024
VERB_KEEP, VERB_GET = 1, 3


class Readers:
    """takeover_readers.py on some mounts."""

    def __init__(self, wheres):
        argv = [sys.executable, os.path.join(lab.HERE, "takeover_readers.py"), IMAGE, str(N_READERS), *wheres]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.adopt_process(self.process)
        self.n_read = 0
        self.said = None
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        for line in self.process.stdout:
            if line == ".\n":
                self.n_read += 1
            else:
                self.said = json.loads(line)

    def go_on(self):
        """Wait until they have read more than what may have been under way."""
        before = self.n_read
        lab.wait_for(lambda: self.n_read > before + 2 * N_READERS, "readers to go on")

    def stop(self):
        """What they say in the end."""
        self.process.stdin.close()
        lab.wait_for(lambda: self.process.poll() is not None, "readers to end")
        self.thread.join()
        return self.said


def n_bytes_read(path):
    with open(path, "rb") as f:
        return len(f.read())


def touch(where):
    """Close a file once: the kernel asks a new mount whether that is to be told, and whoever closes waits for it."""
    with open(os.path.join(where, "sizes", "4095"), "rb"):
        pass


class TakeOver(lab.LabTest):
    def kept_agent(self, start=True, **kw):
        self.socket = lab.keeper_socket()
        config = {**kw.pop("config", {}), "keeper": {"socket": self.socket, "start": start}}
        self.addCleanup(lab.end_keeper, self.socket)  # after the agent, which would start another one
        return self.agent(config=config, **kw)

    def keeper_pid(self):
        return lab.keeper_pid(self.socket)

    def n_kept(self):
        """Descriptors of /dev/fuse that the keeper holds."""
        pid = self._answers()  # one that has nothing to hold ends with the agent that started it
        return lab.n_fuse_devices(pid) if pid else 0

    def keeps(self, n):
        """The keeper comes to hold so many: it takes them up by itself, a moment after a mount is told."""
        lab.wait_for(lambda: self.n_kept() == n, lambda: f"the keeper to hold {n} descriptors, not {self.n_kept()}")

    def hows(self, agent):
        return ("tree", "erofs") if agent.json("status")["erofs"]["works"] else ("tree",)

    def mount_all(self, agent, reference):
        hows = self.hows(agent)
        return [agent.mount(reference, "--how", hows[i % len(hows)]) for i in range(N_MOUNTS)]

    def under_load(self, strike, cold):
        """8 mounts, 32 readers, and strike(agent) three times."""
        lab.registry().push(IMAGE)
        origin = self.faulty_origin(**({"bytes_per_s": SLOW_BYTES_PER_S} if cold else {}))
        agent = self.kept_agent(host=origin.host)
        reference = f"{origin.host}/{IMAGE}"
        if not cold:
            agent.shoal("prefetch", reference)
        wheres = self.mount_all(agent, reference)
        self.keeps(N_MOUNTS)
        readers = Readers(wheres)
        for _ in range(3):
            if cold:
                lab.wait_for(lambda: agent.metric("shoal_readers_waiting") >= 1, "a reader to wait")
            strike(agent)
            readers.go_on()
            if not cold:
                lab.drop_caches()
        origin.set()
        self.assertEqual(readers.stop()["errors"], [])
        self.assertEqual(len(agent.json("ls")["mounts"]), N_MOUNTS)
        self.keeps(N_MOUNTS)
        for where in wheres:
            self.assert_tree(where, IMAGE, "after all")
        self.assertEqual(agent.metric("shoal_verify_failures_total"), 0)
        for where in wheres:
            agent.umount(where)
        self.keeps(0)
        agent.stop()

    def test_killed_under_cold_readers(self):
        self.under_load(lambda agent: (agent.kill(), agent.start()), cold=True)

    def test_killed_under_warm_readers(self):
        self.under_load(lambda agent: (agent.kill(), agent.start()), cold=False)

    def test_stopped_and_started_under_cold_readers(self):
        self.under_load(lambda agent: agent.restart(), cold=True)

    @staticmethod
    def other_version(agent, version):
        """A copy of shoald that calls itself by another version; its path."""
        path = os.path.join(tempfile.mkdtemp(prefix="shoald-", dir=lab.TMP), "shoald")
        with open(os.path.join(agent.build, "agent", "shoald"), "rb") as f:
            program = f.read().replace(agent.json("status")["version"].encode() + b"\0", version.encode() + b"\0")
        with open(path, "wb") as f:
            f.write(program)
        os.chmod(path, 0o755)
        return path

    def test_another_binary_with_another_configuration_takes_over_under_readers(self):
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        agent.shoal("prefetch", reference)
        programs = [self.other_version(agent, v) for v in ("9.9.8", "9.9.9")]
        wheres = self.mount_all(agent, reference)
        devices = [os.stat(where).st_dev for where in wheres]
        self.keeps(N_MOUNTS)
        readers = Readers(wheres)
        for program, how, end in zip(programs, ("tree", "auto"), (agent.kill, agent.stop)):
            end()
            agent.program = program
            agent.config.update(mount=how, read={"timeout_ms": 20000}, cache={"reserve_bytes": 0, "dedup": how == "auto"})
            agent.start()
            self.assertEqual(agent.json("status")["version"], "9.9.8" if how == "tree" else "9.9.9")
            readers.go_on()
            lab.drop_caches()
        self.assertEqual(readers.stop()["errors"], [])
        self.assertEqual([os.stat(where).st_dev for where in wheres], devices, "taken on, not mounted anew")
        self.keeps(N_MOUNTS)

    def test_a_note_of_another_version_is_not_taken_on(self):
        agent = self.kept_agent()
        where = agent.mount(lab.registry().push(IMAGE))
        touch(where)
        fd = os.open(os.path.join(where, "sizes", "4096"), os.O_RDONLY)  # also keeps the device's number
        self.addCleanup(os.close, fd)
        self.keeps(1)
        agent.kill()
        header, note_at = "<IIiII", struct.calcsize("<IIiII") + KEY_BYTES
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(self.socket)
            s.send(struct.pack(header, MAGIC, VERB_GET, 0, 0, 0) + bytes(KEY_BYTES + NOTE_MAX_BYTES))
            packet, fds, _, _ = socket.recv_fds(s, 4096, 1)
            magic, _, result, idx, n = struct.unpack_from(header, packet)
            self.assertEqual((0, 1), (result, len(fds)))
            version = struct.unpack_from("<I", packet, note_at)[0]
            changed = bytearray(packet)
            struct.pack_into(header, changed, 0, magic, VERB_KEEP, 0, idx, n)
            struct.pack_into("<I", changed, note_at, version + 1)
            socket.send_fds(s, [bytes(changed)], fds)
            self.assertEqual(0, struct.unpack_from(header, s.recv(4096))[2])
            os.close(fds[0])
        agent.start()
        self.assertIn("another version of shoal", agent.log())
        self.assert_tree(where, IMAGE, "mounted anew")
        self.assertNotEqual(os.stat(where).st_dev, os.fstat(fd).st_dev)
        with self.assertRaises(OSError):
            os.pread(fd, 100, 0)
        self.keeps(1)

    def test_a_reader_that_waits_for_the_origin_waits_for_the_next_agent(self):
        lab.registry().push(IMAGE)
        origin = self.faulty_origin()
        agent = self.kept_agent(host=origin.host)
        for how in self.hows(agent):
            where = agent.mount(f"{origin.host}/{IMAGE}", "--how", how)
            path = "sizes/4096" if how == "tree" else "big/random"  # far from each other
            digest = lab.expected_digest(IMAGE, path)
            origin.set(stall=True)
            reader = subprocess.Popen(["sha256sum", os.path.join(where, path)], stdout=subprocess.PIPE, text=True)
            lab.adopt_process(reader)
            lab.wait_for(lambda: agent.metric("shoal_readers_waiting") >= 1, "the reader to wait")
            agent.kill()
            origin.set()
            self.assertIsNone(reader.poll())
            agent.start()
            lab.wait_for(lambda: reader.poll() is not None, "the reader to end")
            self.assertEqual(reader.returncode, 0)
            self.assertEqual(reader.stdout.read().split(" ")[0], digest, how)

    def test_a_stop_takes_down_what_is_idle_and_leaves_what_is_busy(self):
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        idle, busy, lower = (agent.mount(reference) for _ in range(3))
        merged = self.overlay(lower)
        for where in (busy, lower):
            touch(where)
        with open(os.path.join(busy, "sizes", "4096"), "rb") as f:
            agent.stop()
            self.assertIsNone(lab.mount_type(idle))
            self.assertEqual(lab.mount_type(busy), "fuse.shoal")
            self.keeps(2)
            self.assertIn("left to the keeper", agent.log())
            agent.start()
            self.assertEqual(len(f.read()), 4096)
        with open(os.path.join(merged, "sizes", "4096"), "rb") as f:
            self.assertEqual(len(f.read()), 4096)
        self.assertEqual([m["state"] for m in agent.json("ls")["mounts"]], ["mounted"] * 3)
        subprocess.run(["umount", merged], check=True)
        agent.stop()
        self.keeps(0)

    def test_what_was_unmounted_meanwhile_is_mounted_anew(self):
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        wheres = [agent.mount(reference, "--how", how) for how in self.hows(agent)]
        agent.kill()
        for where in wheres:
            # Not umount(8): it asks the file system first, and so waits for an agent.
            self.assertEqual(ctypes.CDLL(None).umount2(where.encode(), 0), 0)
        agent.start()
        for where in wheres:
            self.assert_tree(where, IMAGE, "mounted anew")
        self.keeps(len(wheres))

    def test_files_brought_ahead_that_wait_for_the_origin_are_left_where_they_are(self):
        """They were to be shared from an image whose bytes turn out to be wrong; nobody has asked for them."""
        images = [lab.registry().push(image).partition("/")[2] for image in (IMAGE, IMAGE + "-next")]
        origin = self.faulty_origin()
        agent = self.kept_agent(host=origin.host)
        agent.shoal("prefetch", f"{origin.host}/{images[0]}")
        [blob] = agent.json("blob", "ls")["blobs"]
        many = os.path.join(agent.mount(f"{origin.host}/{images[1]}"), "many")
        names = [os.path.join(many, name) for name in sorted(os.listdir(many))[:40]]
        sizes = [n_bytes_read(name) for name in names[:3]]  # so the next ones are brought
        data = os.path.join(agent.state_dir, "blobs", f"{blob['key']}.blob.data")
        with open(data, "r+b") as f:
            f.write(bytes(os.path.getsize(data)))
        origin.set(stall=True)
        lab.drop_caches()  # or nothing is asked of the agent before the first that it has not brought
        reader = threading.Thread(target=lambda: sizes.extend(map(n_bytes_read, names[3:])))
        reader.start()
        lab.wait_for(lambda: agent.metric("shoal_readers_waiting") > 1, "more to wait for the origin than is read")
        agent.stop()  # and it ends well
        origin.set()
        agent.start()
        reader.join()
        self.assertEqual(sizes, [os.path.getsize(name) for name in names])

    def test_what_is_not_listed_any_more_is_let_go(self):
        """As one that was made just before the agent was killed, which had no time to list it."""
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        wheres = [agent.mount(reference, "--how", how) for how in self.hows(agent)]
        stays = agent.mount(reference)
        self.keeps(len(wheres) + 1)
        agent.kill()
        for name in os.listdir(os.path.join(agent.state_dir, "mounts")):
            record = os.path.join(agent.state_dir, "mounts", name, "mount.json")
            with open(record, encoding="utf-8") as f:
                if json.load(f)["dir"] in wheres:
                    os.unlink(record)
        agent.start()
        self.keeps(1)
        self.assertEqual([m["dir"] for m in agent.json("ls")["mounts"]], [stays])
        for where in wheres:
            self.assertIsNone(lab.mount_type(where), "nothing dead stays on its directory")
            agent.mount(reference, where=where)
            self.assert_tree(where, IMAGE, "mounted anew")

    def test_what_nobody_wants_back_is_let_go_under_who_still_reads_it(self):
        """nydusd ends while the agent is away, and a container still runs on its mount, the only one that is listed."""
        lab.registry().push(IMAGE)
        for how in ("tree", "erofs"):
            with self.subTest(how):
                agent = self.kept_agent(config={"mount": how})
                self.require_way(agent, how)
                f = front.Front(agent, IMAGE)
                self.addCleanup(f.take_down)
                self.keeps(1)
                merged = self.overlay(f.mountpoint)
                agent.kill()
                f.stop()
                reader = subprocess.Popen(["cat", os.path.join(merged, "sizes", "4096")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                lab.adopt_process(reader)
                self.addCleanup(reader.stderr.close)
                agent.start()
                self.assertEqual(1, reader.wait(lab.DEADLINE_S), "it waited for a mount that nobody serves")
                self.assertEqual([], agent.json("ls")["mounts"])
                self.keeps(0)

    def start_with_a_broken_list(self, agent):
        """It does not start, and the next start finds the list as it was."""
        agent.env = {"LD_PRELOAD": os.path.join(lab.BUILD, "tests", "fakes", "libbroken_dir.so"),
                     "SHOAL_BROKEN_DIR": os.path.join(agent.state_dir, "mounts")}
        with self.assertRaisesRegex(AssertionError, "shoald ended with 1:(.|\\n)*mounts cannot be read to its end"):
            agent.start()
        agent.env = {}

    def test_a_list_that_cannot_be_read_to_its_end_lets_no_mount_go(self):
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        wheres = [agent.mount(reference) for _ in range(2)]
        devices = [os.stat(where).st_dev for where in wheres]
        self.keeps(2)
        agent.kill()
        self.start_with_a_broken_list(agent)
        self.keeps(2)
        agent.start()
        agent.wait_for_mounts(*wheres)
        self.assertEqual([os.stat(where).st_dev for where in wheres], devices, "taken on, not mounted anew")
        for where in wheres:
            self.assert_tree(where, IMAGE, "taken on")

    def test_what_nobody_wants_back_is_not_wanted_once_the_list_can_be_read_again(self):
        lab.registry().push(IMAGE)
        agent = self.kept_agent()
        f = front.Front(agent, IMAGE)
        self.addCleanup(f.take_down)
        self.keeps(1)
        agent.kill()
        f.stop()
        self.start_with_a_broken_list(agent)
        agent.start()
        self.assertEqual([], agent.json("ls")["mounts"])
        self.keeps(0)

    def test_mounts_of_another_state_directory_stay_for_the_agent_that_lists_them(self):
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        where, other = agent.mount(reference), agent.mount(reference)
        self.keeps(2)
        agent.kill()
        listed = os.path.join(agent.state_dir, "mounts")
        os.rename(listed, listed + ".away")
        agent.start()
        self.assertIn("this state_dir does not list", agent.log())
        agent.mount(reference, where=other)  # said: nobody waits for the old one
        self.assert_tree(other, IMAGE, "over the one from before")
        self.keeps(2)
        agent.kill()
        agent.start()  # it has a list now, which is still not that one
        self.keeps(2)
        self.assert_tree(other, IMAGE, "taken on")
        reader = subprocess.Popen(["sha256sum", os.path.join(where, "sizes", "4096")], stdout=subprocess.PIPE, text=True)
        lab.adopt_process(reader)
        agent.umount(other)
        agent.kill()
        self.assertIsNone(reader.poll())
        os.rmdir(listed)
        os.rename(listed + ".away", listed)
        agent.start()
        self.assertEqual(reader.wait(lab.DEADLINE_S), 0)
        self.assert_tree(where, IMAGE, "of the agent that lists it")
        agent.umount(where)
        agent.umount(other)
        self.keeps(0)

    def test_who_goes_back_to_an_older_version_takes_over_once_the_cache_is_put_aside(self):
        agent = self.kept_agent()
        wheres = [agent.mount(lab.registry().push(IMAGE), "--how", how) for how in self.hows(agent)]
        agent.shoal("prefetch", wheres[0])
        devices = [os.stat(where).st_dev for where in wheres]
        agent.kill()
        with contextlib.closing(sqlite3.connect(os.path.join(agent.state_dir, "shoal.db"))) as db:
            db.execute("PRAGMA user_version=99")
        with self.assertRaisesRegex(AssertionError, "(?s)ended with 2:.*newer shoal"):
            agent.start()
        readers = [subprocess.Popen(["cat", os.path.join(where, "sizes", "4096")], stdout=subprocess.DEVNULL) for where in wheres]
        for reader in readers:
            lab.adopt_process(reader)
        # As docs/operating.md, "Downgrade" and the chart's README have it.
        subprocess.run("mkdir -p newer && mv blobs images shoal.db* newer/", shell=True, check=True, cwd=agent.state_dir)
        agent.start()
        self.assertEqual([reader.wait(lab.DEADLINE_S) for reader in readers], [0] * len(readers))
        for where in wheres:
            self.assert_tree(where, IMAGE, "taken on")
        self.assertEqual([os.stat(where).st_dev for where in wheres], devices)

    def test_a_lost_image_is_an_error_for_readers_and_not_a_wait_for_ever(self):
        agent = self.kept_agent()
        where = agent.mount(lab.registry().push(IMAGE))
        agent.kill()
        subprocess.run(["rm", "-r", os.path.join(agent.state_dir, "images")], check=True)
        subprocess.run(["find", agent.state_dir, "-maxdepth", "1", "-name", "shoal.db*", "-delete"], check=True)
        agent.start()
        self.assert_tree(where, IMAGE, "mounted again from the registry")

    def test_the_keeper_may_die_and_be_replaced_under_readers(self):
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        agent.shoal("prefetch", reference)
        wheres = self.mount_all(agent, reference)
        readers = Readers(wheres)
        first = self.keeper_pid()
        os.kill(first, signal.SIGKILL)
        lab.wait_for(lambda: self._answers() not in (None, first) and self.n_kept() == N_MOUNTS,
                     "another keeper to hold the mounts")
        second = self.keeper_pid()
        program = os.path.join(agent.build, "agent", "shoal-keeper")
        heir = lab.start_process([program, "--socket", self.socket, "--take-over"], stdout=subprocess.PIPE)
        self.assertEqual(heir.stdout.read(1), b"\n")
        self.assertNotEqual(self.keeper_pid(), second)
        self.assertEqual(self.keeper_pid(), heir.pid)
        lab.wait_for(lambda: not os.path.exists(f"/proc/{second}"), "the agent to wait for the keeper that it had started")
        self.keeps(N_MOUNTS)
        agent.kill()
        agent.start()
        readers.go_on()
        self.assertEqual(readers.stop()["errors"], [])
        for where in wheres:
            agent.umount(where)
        self.keeps(0)
        agent.stop()
        lab.stop_process(heir)

    def test_keepers_that_end_one_after_the_other_are_all_waited_for(self):
        agent = self.kept_agent()
        for _ in range(20):
            pid = self.keeper_pid()
            os.kill(pid, signal.SIGKILL)
            lab.wait_for(lambda ended=pid: self._answers() not in (None, ended), "the next keeper")

        def children():
            found = []
            for path in glob.glob(f"/proc/{agent.process.pid}/task/*/children"):
                with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as f:
                    found += f.read().split()
            return found
        lab.wait_for(lambda: children() == [str(self._answers())], lambda: f"all but the last keeper to be waited for: {children()}")

    def test_where_both_are_killed_readers_get_an_error_and_the_next_start_mounts_again(self):
        agent = self.kept_agent()
        reference = lab.registry().push(IMAGE)
        wheres = [agent.mount(reference, "--how", how) for how in self.hows(agent)]
        agent.kill()
        lab.end_keeper(self.socket)
        for where in wheres:
            with self.assertRaises(OSError), open(os.path.join(where, "big", "random"), "rb") as f:
                f.read()
        agent.start()
        for where in wheres:
            self.assert_tree(where, IMAGE, "mounted again")
        self.keeps(len(wheres))

    def test_a_keeper_that_comes_late_gets_what_is_mounted(self):
        agent = self.kept_agent(start=False)
        where = agent.mount(lab.registry().push(IMAGE))
        self.assertEqual(agent.metric("shoal_keeper"), 0)
        late = lab.start_process([os.path.join(agent.build, "agent", "shoal-keeper"), "--socket", self.socket])
        lab.wait_for(lambda: agent.metric("shoal_keeper") == 1, "the agent to find the keeper")
        self.keeps(1)
        second = agent.mount(lab.registry().push(IMAGE))
        self.keeps(2)
        devices = [os.stat(path).st_dev for path in (where, second)]
        agent.kill()
        agent.start()
        self.assert_tree(where, IMAGE, "taken on")
        self.assertEqual([os.stat(path).st_dev for path in (where, second)], devices)
        agent.umount(where)
        self.keeps(1)
        agent.umount(second)
        self.keeps(0)
        agent.stop()
        lab.stop_process(late)

    def test_mounts_are_counted_by_whether_they_outlive_the_agent(self):
        def kept(agent):
            return {how: agent.metric("shoal_mounts", kept=how) for how in ("yes", "no", "off")}

        agent, alone = self.kept_agent(start=False), self.agent()
        reference = lab.registry().push(IMAGE)
        agent.mount(reference)
        alone.mount(reference)
        self.assertEqual(kept(agent), {"yes": 0, "no": 1, "off": 0})
        self.assertEqual(kept(alone), {"yes": 0, "no": 0, "off": 1})
        keeper = lab.start_process([os.path.join(agent.build, "agent", "shoal-keeper"), "--socket", self.socket])
        lab.wait_for(lambda: kept(agent) == {"yes": 1, "no": 0, "off": 0}, "the keeper to have the mount")
        lab.stop_process(keeper, signal.SIGKILL)
        lab.wait_for(lambda: kept(agent) == {"yes": 0, "no": 1, "off": 0}, "the agent to notice")
        self.assertEqual(agent.metric("shoal_keeper"), 0)

    def _answers(self):
        try:
            return self.keeper_pid()
        except OSError:
            return None

    def test_a_keeper_takes_no_nonsense(self):
        agent = self.kept_agent()
        agent.mount(lab.registry().push(IMAGE))
        for packet in (b"", b"x", b"KEP1" * 300, bytes(2000), struct.pack("<IIiII", 0x3150454b, 1, 0, 0, 1 << 20) + bytes(1056)):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.settimeout(lab.DEADLINE_S)
                s.connect(self.socket)
                if packet:
                    s.send(packet)
                    self.assertEqual(s.recv(4096), b"", "it hangs up")
        self.keeps(1)


if __name__ == "__main__":
    lab.unittest.main()
