"""Room: the quota, a full disk, gc, what removed images leave behind."""
import contextlib
import itertools
import os
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import front
import histories
import lab
import rafs_facts

IMAGE = "edge:v6"
N_READERS = 8
MIB = 1 << 20


def read_tree(where, errors):
    try:
        lab.read_all(where)
    except OSError as e:
        errors.append(e)


def disk_bytes(agent):
    total = 0
    blobs = os.path.join(agent.state_dir, "blobs")
    for name in os.listdir(blobs):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(os.path.join(blobs, name)).st_blocks * 512
    return total


def read_by_many(agent, where):
    """Read all by 8 readers at once. The most that blobs took meanwhile."""
    errors, most = [], 0
    readers = [threading.Thread(target=read_tree, args=(where, errors)) for _ in range(N_READERS)]
    for r in readers:
        r.start()
    while any(r.is_alive() for r in readers):
        most = max(most, disk_bytes(agent))
        time.sleep(0.005)  # between two looks at the disk
    for r in readers:
        r.join()
    if errors:
        raise errors[0]
    return most


def plain_bytes(agent):
    return sum(b["ready_bytes"] for b in agent.json("blob", "ls")["blobs"])


class Quota(lab.LabTest):
    def test_a_third_of_the_working_set_is_enough_for_8_readers(self):
        lab.registry().push(IMAGE)
        first = self.agent()
        where = first.mount(f"{lab.registry().host}/{IMAGE}")
        first.shoal("prefetch", where)
        whole = disk_bytes(first)
        first.umount(where)
        first.stop()
        quota = whole // 3
        agent = self.agent(config={"cache": {"quota_bytes": quota, "high_watermark_percent": 80,
                                             "low_watermark_percent": 60}})
        where = agent.mount(f"{lab.registry().host}/{IMAGE}")
        most = 0
        for _ in range(2):
            lab.drop_caches()
            most = max(most, read_by_many(agent, where))
        in_flight = max(quota // 16, MIB)  # a chunk, or so much, is written while room is made
        metadata = 64 * 1024  # the file system's own blocks for each file
        self.assertLessEqual(most, quota * 80 // 100 + in_flight + metadata)
        self.assertGreater(most, quota // 3)  # the room is used
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "under a quota")
        self.assertLessEqual(disk_bytes(agent), quota + metadata)
        self.assertGreater(agent.metric("shoal_cache_evicted_bytes_total"), 0)
        self.assertEqual(agent.metric("shoal_cache_quota_bytes"), quota)
        self.assertEqual(agent.metric("shoal_cache_room_bytes"), quota)
        lab.wait_for(lambda: abs(agent.metric("shoal_cache_bytes") - disk_bytes(agent)) <= quota // 10,  # eviction may be at work
                     lambda: f"{agent.metric('shoal_cache_bytes')} bytes to be {disk_bytes(agent)}")
        self.assertEqual(agent.shoal("verify").returncode, 0)
        agent.restart()
        agent.wait_for_mounts(where)
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "after a restart")


class Gc(lab.LabTest):
    def test_gc_frees_what_it_says_and_the_mount_reads_on(self):
        ref = lab.registry().push(IMAGE)
        agent = self.agent()
        where = agent.mount(ref)
        agent.shoal("prefetch", where)
        before = disk_bytes(agent)
        dry = agent.json("gc", "--to", str(before // 2), "--dry-run")
        self.assertEqual(dry["before_bytes"], before)
        self.assertEqual(disk_bytes(agent), before)
        done = agent.json("gc", "--to", str(before // 2))
        self.assertTrue(done["done"])
        self.assertLessEqual(disk_bytes(agent), before // 2)
        self.assertEqual(done["after_bytes"], disk_bytes(agent))
        self.assertEqual(done["freed_bytes"], before - disk_bytes(agent))
        self.assertIn("freed", agent.shoal("gc", "--to", "0").stdout)
        self.assertEqual(disk_bytes(agent), 0)
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "after gc")
        self.assertEqual(agent.shoal("gc", "--to", "a lot", check=False).returncode, 2)
        self.assertEqual(agent.shoal("gc", "7", check=False).returncode, 2)
        self.assertEqual(agent.json("gc")["freed_bytes"], 0)  # nobody needs room

    def test_a_file_deleted_by_hand_costs_a_refetch(self):
        ref = lab.registry().push(IMAGE)
        agent = self.agent()
        where = agent.mount(ref)
        self.assert_tree(where, IMAGE, "cold")
        agent.stop()
        blobs = os.path.join(agent.state_dir, "blobs")
        for name in os.listdir(blobs):
            os.unlink(os.path.join(blobs, name))
        agent.start()
        agent.wait_for_mounts(where)
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "after its files were deleted")
        self.assertGreater(agent.origin_bytes(), rafs_facts.packed_bytes(IMAGE) // 2)


class Remove(lab.LabTest):
    IMAGES = ("edge:v6", "edge:v5", "edge:v6-64k")

    def count_rows(self, agent):
        lab.wait_for_removals(agent.state_dir)
        agent.stop()
        rows = lab.table_rows(agent.state_dir)
        agent.start()
        return rows

    def test_images_removed_in_any_order_leave_no_row_and_no_byte(self):
        images = [i for i in self.IMAGES if i in lab.LAYOUTS]
        refs = [lab.registry().push(i) for i in images]
        for order in (refs, refs[::-1], refs[1:] + refs[:1]):
            agent = self.agent()
            wheres = {ref: agent.mount(ref) for ref in refs}
            for where in wheres.values():
                agent.shoal("prefetch", where)
            self.assertEqual(agent.shoal("image", "rm", order[0], check=False).returncode, 1)  # it is mounted
            for where in wheres.values():
                agent.umount(where)
            for i, ref in enumerate(order):
                agent.shoal("image", "rm", ref)
                self.assertEqual(agent.shoal("image", "rm", ref, check=False).returncode, 4)
                for other in order[i + 1:]:
                    self.assertIn(other, [m["name"] for m in agent.json("image", "ls")["images"]])
            agent.shoal("gc")  # behind whatever was being closed
            rows = self.count_rows(agent)
            self.assertEqual({t: n for t, n in rows.items() if n > 0}, {})
            self.assertEqual(os.listdir(os.path.join(agent.state_dir, "blobs")), [])
            self.assertEqual(os.listdir(os.path.join(agent.state_dir, "images")), [])
            agent.stop()

    def test_an_image_that_is_just_being_loaded_under_another_name_is_not_removed(self):
        image = "layers:v6-batch"
        for name in (image, "other:1"):
            lab.registry().push(image, name)
        origin = self.faulty_origin()
        agent = self.agent(origin.host)
        reference = f"{origin.host}/{image}"
        agent.umount(agent.mount(reference))
        [digest] = os.listdir(os.path.join(agent.state_dir, "images"))
        files = os.path.join(agent.state_dir, "images", digest)
        for name in os.listdir(files):
            if name.endswith(".blob.meta"):
                os.remove(os.path.join(files, name))
        origin.set(stall_head=True)
        where = agent.new_dir()
        with ThreadPoolExecutor(1) as pool:
            mounting = pool.submit(agent.mount, f"{origin.host}/other@sha256:{digest}", where=where)
            lab.wait_for(lambda: origin.stats()["injected"].get("stall_head"), "an index to be asked for")
            done = agent.shoal("image", "rm", reference, check=False)
            origin.set()
            mounting.result()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"being loaded as {origin.host}/other@sha256:{digest}", done.stderr)
        self.assertEqual(agent.shoal("image", "rm", reference, check=False).returncode, 1)  # it is mounted
        agent.stop()
        origin.stop()
        agent.start()
        agent.wait_for_mounts(where)

    def agent_that_removes_later(self):
        """The agent; the fifo that it removes images behind."""
        gate = os.path.join(tempfile.mkdtemp(prefix="gate-", dir=lab.TMP), "fifo")
        os.mkfifo(gate)
        return self.agent(program=os.path.join(lab.BUILD, "tests", "fakes", "hostile_shoald"),
                          env={"SHOAL_HOSTILE": "remove", "SHOAL_HOSTILE_GATE": gate}), gate

    def test_who_mounts_an_image_that_is_just_being_removed_has_it_anew(self):
        reference = lab.registry().push(self.IMAGES[0])
        agent, gate = self.agent_that_removes_later()
        agent.umount(agent.mount(reference))
        [digest] = os.listdir(os.path.join(agent.state_dir, "images"))
        where = agent.new_dir()
        with ThreadPoolExecutor(2) as pool:
            removing = pool.submit(agent.shoal, "image", "rm", reference)
            with open(gate, "wb"):  # that nobody uses it was looked at
                mounting = pool.submit(agent.mount, reference, where=where)
                lab.wait_for(lambda: mounting.done() or "it is just being removed" in agent.log(), "the mount")
            removing.result()
            mounting.result()
        self.assertEqual(os.listdir(os.path.join(agent.state_dir, "images")), [digest])
        self.assert_tree(where, self.IMAGES[0], "after its removal")

    def test_who_mounts_an_image_that_is_just_being_let_go_of_has_it_anew(self):
        lab.registry().push(IMAGE)
        agent, gate = self.agent_that_removes_later()
        f = front.Front(agent, IMAGE)
        self.addCleanup(f.take_down)
        lab.read_all(f.mountpoint)
        names = os.listdir(f.cache)
        f.stop()
        for name in names:
            os.unlink(os.path.join(f.cache, name))
        os.unlink(front.bootstrap_file(f.dir, IMAGE))
        where = agent.new_dir()
        boot = front.bootstrap_file(agent.dir, IMAGE)
        with ThreadPoolExecutor(1) as pool:
            with open(gate, "wb"):
                mounting = pool.submit(agent.shoal, "mount", "--bootstrap", boot, "--blobs", f"registry:{lab.registry().host}/edge", where)
                lab.wait_for(lambda: "it is just being removed" in agent.log(), "the mount to wait")
            mounting.result()
        self.assertEqual([boot], [image["name"] for image in agent.json("image", "ls")["images"]])
        self.assert_tree(where, IMAGE, "after its removal")


class FullDisk(lab.LabTest):
    def small_ext4(self, size_bytes, *mkfs_options):
        fs = histories.LoopFs("ext4", size_bytes, "-m", "0", *mkfs_options)
        self.addCleanup(fs.close)
        return fs.dir

    @staticmethod
    def fill(disk):
        """Somebody else takes all of the disk, to the last byte."""
        ballast = os.path.join(disk, "somebody-elses")
        with open(ballast, "ab", buffering=0) as f:
            for n_bytes in (MIB, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        f.write(b"x" * n_bytes)
        return ballast

    def test_another_image_can_be_mounted_on_a_full_disk(self):
        first, second = (lab.registry().push(i) for i in (IMAGE, "edge:v5"))
        disk = self.small_ext4(32 * MIB)
        agent = self.agent(state_dir=os.path.join(disk, "state"))
        mounts = {IMAGE: agent.mount(first)}
        agent.shoal("prefetch", mounts[IMAGE])
        agent.restart()  # everything is written down
        agent.wait_for_mounts(mounts[IMAGE])
        self.fill(disk)
        here = disk_bytes(agent)
        mounts["edge:v5"] = agent.mount(second)
        self.assertLess(disk_bytes(agent), here)  # room was made for its bootstrap
        self.fill(disk)
        self.assertIn(second, [i["name"] for i in agent.json("image", "ls")["images"]])
        self.assertEqual(agent.shoal("verify").returncode, 0)
        agent.umount(mounts[IMAGE])
        agent.restart()
        agent.wait_for_mounts(mounts["edge:v5"])
        agent.shoal("image", "rm", first)
        self.assert_tree(mounts["edge:v5"], "edge:v5", "after a restart on a full disk")

    def test_the_databases_shared_memory_is_on_the_disk(self):
        """What is stored in a hole of it is a SIGBUS when the disk is full; SQLite fills 1 KiB of each 4."""
        agent = self.agent(state_dir=os.path.join(self.small_ext4(24 * MIB, "-b", "1024"), "state"))
        for _ in range(2):
            self.assertGreaterEqual(os.stat(os.path.join(agent.state_dir, "shoal.db-shm")).st_blocks * 512, 4 * 32 * 1024)
            agent.restart()

    def test_reads_go_on_and_room_is_made(self):
        ref = lab.registry().push(IMAGE)
        disk = self.small_ext4(24 * MIB)
        agent = self.agent(state_dir=os.path.join(disk, "state"))
        where = agent.mount(ref)
        ballast = self.fill(disk)
        if lab.LONG:
            self.assert_tree(where, IMAGE, "on a full disk")
        for path, _, digest in histories.TRUTH.files(IMAGE)[::20]:  # each a request to the registry
            self.assertEqual(histories.read_digest(where + path), digest, path)
        self.assertIn("the cache takes no more chunks", agent.log())
        self.assertEqual(agent.shoal("verify").returncode, 0)
        files = itertools.cycle(histories.TRUTH.files(IMAGE)[10::20])

        def is_told_to_be_full():
            """It comes and goes with the few chunks that it keeps and gives up for others: so when one was read just now."""
            path, _, digest = next(files)
            self.assertEqual(histories.read_digest(where + path), digest, path)
            return agent.metric("shoal_cache_full") == 1
        lab.wait_for(is_told_to_be_full, "the metrics to say that it takes no more")
        os.unlink(ballast)
        lab.drop_caches()

        def keeps_again():
            read_tree(where, [])
            lab.drop_caches()
            return agent.metric("shoal_cache_full") == 0 and disk_bytes(agent) > 4 * MIB
        lab.wait_for(keeps_again, "the cache to take chunks again")
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "when there is room again")
        agent.kill()
        subprocess.run(["umount", "-l", where], check=False, stderr=subprocess.DEVNULL)
        agent.start()
        agent.wait_for_mounts(where)
        self.assertEqual(agent.shoal("verify").returncode, 0)
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "after a kill")
        agent.umount(where)
        agent.stop()
