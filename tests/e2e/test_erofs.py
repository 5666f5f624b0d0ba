"""Images that the kernel's EROFS mounts over the agent's blob files: how they come, go and fall back.
(That each tree is right is test_images.py's.)"""
import hashlib
import json
import os
import subprocess

import lab

IMAGE = "edge:v6"


class ErofsTest(lab.LabTest):
    def kernel_agent(self, **kw):
        agent = self.agent(**kw)
        self.require_way(agent, "erofs")
        return agent


class Erofs(ErofsTest):
    def mounted(self, agent, where):
        return next(m for m in agent.json("ls")["mounts"] if m["dir"] == where)

    def test_how_is_chosen_by_config_and_by_mount(self):
        reference = lab.registry().push(IMAGE)
        agent = self.kernel_agent(config={"mount": "auto"})
        self.assertEqual(lab.mount_type(agent.mount(reference)), "erofs")
        self.assertEqual(lab.mount_type(agent.mount(reference, "--how", "tree")), "fuse.shoal")
        self.assertEqual(lab.mount_type(agent.mount(reference, "--how", "erofs")), "erofs")
        done = agent.shoal("mount", "--how", "frob", reference, agent.new_dir(), check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        kinds = sorted(m["as"] for m in agent.json("ls")["mounts"])
        self.assertEqual(kinds, ["erofs", "erofs", "tree"])
        agent.restart()
        self.assertEqual(sorted(m["as"] for m in agent.json("ls")["mounts"]), kinds, "each comes back as it was")

    def test_a_tree_with_a_reason_where_the_kernel_cannot(self):
        reference = lab.registry().push("layers:v5")
        agent = self.agent(config={"mount": "auto"})
        where = agent.mount(reference)
        self.assertEqual(lab.mount_type(where), "fuse.shoal")
        self.assertIn("v6", self.mounted(agent, where)["no_erofs"])
        self.assertIn("v6", agent.shoal("ls").stdout)
        self.assertIn("v6", agent.log())
        self.assert_tree(where, "layers:v5")

    def test_a_tree_with_a_reason_where_the_state_directory_is_no_place_for_it(self):
        reference = lab.registry().push(IMAGE)
        tmpfs = os.path.join(lab.TMP, "tmpfs-state")
        os.makedirs(tmpfs, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmpfs], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", tmpfs], check=False)
        agent = self.agent(config={"mount": "auto"}, state_dir=os.path.join(tmpfs, "state"))
        status = agent.json("status")["erofs"]
        self.assertFalse(status["works"])
        self.assertTrue(status["why"])
        self.assertIn(status["why"][:40], agent.shoal("status").stdout)
        for how in ("auto", "erofs"):
            where = agent.mount(reference, "--how", how)
            self.assertEqual(lab.mount_type(where), "fuse.shoal")
            self.assertTrue(self.mounted(agent, where)["no_erofs"])
            self.assert_tree(where, IMAGE)
        agent.stop()

    def test_nosuid_and_nodev_are_on_the_mount_and_it_is_read_only(self):
        agent = self.kernel_agent(config={"mount": "erofs"})
        where = agent.mount(lab.registry().push(IMAGE))
        options = subprocess.run(["findmnt", "-no", "OPTIONS", where], capture_output=True, text=True, check=True).stdout
        for word in ("ro", "nosuid", "nodev"):
            self.assertIn(word, options.strip().split(","))
        with self.assertRaisesRegex(OSError, "Read-only"):
            open(os.path.join(where, "new"), "wb")

    def test_an_unmount_from_outside_is_noticed(self):
        agent = self.kernel_agent(config={"mount": "erofs"})
        where = agent.mount(lab.registry().push(IMAGE))
        subprocess.run(["umount", where], check=True)
        lab.wait_for(lambda: self.mounted(agent, where)["state"] == "down", "the agent to notice")
        agent.mount(lab.registry().push(IMAGE), where=where)
        self.assertEqual(lab.mount_type(where), "erofs")
        agent.umount(where)
        self.assertIsNone(lab.mount_type(where))

    def test_what_a_killed_agent_leaves_is_cleared_away(self):
        reference = lab.registry().push(IMAGE)
        agent = self.kernel_agent(config={"mount": "erofs"})
        listed = agent.mount(reference)
        forgotten = agent.mount(reference)
        agent.kill()
        self.assertEqual(lab.mount_type(listed), "erofs")
        with self.assertRaises(OSError):  # nothing of it was read before
            lab.tree_manifest.tree_lines(listed)
        # As if it had been killed before that mount was listed.
        for at, _dirs, files in os.walk(os.path.join(agent.state_dir, "mounts")):
            for name in files:
                path = os.path.join(at, name)
                with open(path, encoding="utf-8") as f:
                    if json.load(f)["dir"] == forgotten:
                        os.unlink(path)
        agent.start()
        self.assert_tree(listed, IMAGE, "mounted again")
        agent.mount(reference, where=forgotten)
        self.assert_tree(forgotten, IMAGE, "mounted again")
        self.assertEqual(len([d for d in lab.mounts_below(agent.dir)]), 2, "nothing lies below them")
        agent.umount(listed)
        agent.umount(forgotten)
        agent.stop()

    def test_it_works_as_a_lower_directory_of_overlayfs_and_is_busy_then(self):
        agent = self.kernel_agent(config={"mount": "erofs"})
        lower = agent.mount(lab.registry().push(IMAGE))
        merged = self.overlay(lower)
        with open(os.path.join(merged, "sizes", "4096"), "rb") as f, \
                open(os.path.join(lower, "sizes", "4096"), "rb") as g:
            self.assertEqual(f.read(), g.read())
        done = agent.shoal("umount", lower, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("in use", done.stderr)
        subprocess.run(["umount", merged], check=True)
        agent.umount(lower)

    def test_a_reader_gets_an_error_from_a_dead_origin_and_the_bytes_once_it_is_back(self):
        lab.registry().push(IMAGE)
        origin = self.faulty_origin()
        agent = self.kernel_agent(host=origin.host, config={"mount": "erofs", "read": {"timeout_ms": 1000}})
        where = agent.mount(f"{origin.host}/{IMAGE}")
        origin.set(stall=True)
        with self.assertRaises(OSError):
            with open(os.path.join(where, "sizes", "4096"), "rb") as f:
                f.read()
        agent.reload(read={"timeout_ms": 1000 * int(lab.DEADLINE_S)})  # what comes now may take its time
        origin.set()
        self.assert_tree(where, IMAGE, "after the origin came back")

    def test_the_agent_stops_under_readers_of_a_stalled_origin(self):
        lab.registry().push(IMAGE)
        origin = self.faulty_origin()
        agent = self.kernel_agent(host=origin.host, config={"mount": "erofs"})
        where = agent.mount(f"{origin.host}/{IMAGE}")
        origin.set(stall=True)
        join_readers = self.start_waiting_readers(agent, os.path.join(where, "sizes", "4096"))
        agent.stop()
        results = join_readers()
        self.assertTrue(results and all(isinstance(r, OSError) for r in results), results)


class HandedFiles(ErofsTest):
    """Blobs that are here as a whole: the kernel reads their data files without the agent."""

    IMAGE = "layers:v6"  # three blobs, of which the smallest stays with the agent
    alone = True  # mount namespaces that other tests make have all mounts of their moment, and the kernel the files for as long

    def whole(self, **config):
        """An agent with the image mounted when all of it was here. @return it, the directory"""
        agent = self.kernel_agent(config={"mount": "erofs", **config})
        self.reference = lab.registry().push(self.IMAGE)
        where = agent.mount(self.reference)
        agent.shoal("prefetch", where)
        agent.umount(where)
        return agent, agent.mount(self.reference, where=where)

    def blobs(self, agent):
        """As the agent tells of them, the smallest first."""
        return sorted(agent.json("blob", "ls")["blobs"], key=lambda b: b["plain_size_bytes"])

    def a_file_in(self, agent, where, key, image=None):
        """Of the mount, with bytes in that blob. @return its path in the image, its digest"""
        return next((fields[-1], fields[8]) for fields in (line.split(" ") for line in lab.expected_lines(image or self.IMAGE))
                    if fields[0] == "f" and int(fields[4]) > 4096 and agent.json("explain", where + fields[-1])["blob"] == key)

    @staticmethod
    def spoil(path, offset=0):
        with open(path, "r+b") as f:
            f.seek(offset)
            first = f.read(1)
            f.seek(offset)
            f.write(bytes([first[0] ^ 1]))

    def evicted_all(self, agent):
        """What of it stays, in bytes: the files that the kernel has."""
        said = agent.json("gc", "--to", "0")
        lab.drop_caches()
        return said["pinned_bytes"]

    def test_the_agent_has_no_part_in_reading_them_and_nothing_of_them_is_evicted(self):
        agent, where = self.whole()
        smallest = self.blobs(agent)[0]["plain_size_bytes"]
        lab.drop_caches()
        self.assert_tree(where, self.IMAGE)
        self.assertLessEqual(agent.metric("shoal_read_bytes_total"), smallest + 4096)
        self.assertGreater(self.evicted_all(agent), 0)
        self.assert_tree(where, self.IMAGE, "after eviction")
        agent.umount(where)
        self.assertEqual(self.evicted_all(agent), 0)
        self.assertEqual([b["n_ready"] for b in self.blobs(agent)], [0] * 3)

    def test_wrong_bytes_that_verify_finds_are_replaced_at_once(self):
        agent, where = self.whole()
        blob = self.blobs(agent)[-1]
        self.spoil(os.path.join(agent.state_dir, "blobs", blob["key"] + ".blob.data"))
        self.assertEqual(agent.shoal("verify", check=False).returncode, 1)
        lab.wait_for(lambda: self.blobs(agent)[-1]["n_ready"] == blob["n_ready"], "the chunk to come back, unasked")
        lab.drop_caches()
        self.assert_tree(where, self.IMAGE, "after the repair")

    def test_so_they_are_where_two_mounts_share_them_and_each_time(self):
        agent, where = self.whole()
        agent.mount(self.reference)
        blob = self.blobs(agent)[-1]
        for n in (1, 2):
            self.spoil(os.path.join(agent.state_dir, "blobs", blob["key"] + ".blob.data"))
            self.assertEqual(agent.shoal("verify", check=False).returncode, 1)
            lab.wait_for(lambda: agent.log().count("is whole again") == n, "the chunk to come back, unasked")
        self.assertEqual(self.blobs(agent)[-1]["n_ready"], blob["n_ready"])
        lab.drop_caches()
        self.assert_tree(where, self.IMAGE, "after the repair")

    def test_one_that_somebody_cuts_short_is_whole_again_when_verify_has_found_it(self):
        agent, where = self.whole()
        blob = self.blobs(agent)[-1]
        path = os.path.join(agent.state_dir, "blobs", blob["key"] + ".blob.data")
        size = os.path.getsize(path)
        os.truncate(path, size // 2)
        self.assertEqual(agent.shoal("verify", check=False).returncode, 1)
        lab.wait_for(lambda: self.blobs(agent)[-1]["n_ready"] == blob["n_ready"], "the chunks to come back, unasked")
        self.assertEqual(os.path.getsize(path), size)
        lab.drop_caches()
        self.assert_tree(where, self.IMAGE, "after the repair")
        os.truncate(path, size - 4096)  # where no chunk is, but a block that the kernel reads
        agent.shoal("verify", check=False)
        self.assertEqual(os.path.getsize(path), size)

    def test_they_stay_whole_while_anybody_reads_them_also_behind_an_agent_that_was_killed(self):
        agent, where = self.whole()
        largest = self.blobs(agent)[-1]["key"]
        path, digest = self.a_file_in(agent, where, largest)
        with open(where + path, "rb", buffering=0) as f:
            agent.kill()
            agent.start()
            agent.umount(where)  # what is open is of the mount that the killed agent left
            self.assertEqual(lab.mounts_below(agent.dir), [])
            lab.drop_caches()
            agent.shoal("gc", "--to", "0")
            self.assertEqual(hashlib.sha256(f.read()).hexdigest(), digest)
            self.assertGreater(self.blobs(agent)[-1]["n_ready"], 0)
        lab.wait_for(lambda: not self.evicted_all(agent) and self.blobs(agent)[-1]["n_ready"] == 0, "them to be let go")

    def test_they_stay_whole_when_the_database_is_lost_and_they_have_another_name(self):
        agent, where = self.whole()
        blob = self.blobs(agent)[-1]
        path, digest = self.a_file_in(agent, where, blob["key"])
        own = os.path.join(agent.state_dir, "blobs", blob["key"] + ".blob.data")
        other = os.path.join(agent.new_dir(), "other")
        os.link(own, other)
        inode = os.stat(own).st_ino
        with open(where + path, "rb", buffering=0) as f:
            agent.kill()
            for name in os.listdir(agent.state_dir):
                if name.startswith("shoal.db"):
                    os.unlink(os.path.join(agent.state_dir, name))
            agent.start()  # no row names the file: it goes, and what the kernel reads does not
            self.assertFalse(os.path.exists(own) and os.stat(own).st_ino == inode)
            lab.drop_caches()
            self.assertEqual(hashlib.sha256(f.read()).hexdigest(), digest)
        self.assertEqual(os.stat(other).st_size, blob["plain_size_bytes"])

    def test_what_another_image_has_in_a_blob_is_not_given_to_one_that_names_a_part_of_it(self):
        # The second is built upon chunks of the first one's blob, and names some of them.
        all_of_it, part_of_it = (lab.registry().push(image) for image in ("edge:v6", "edge:v6-chunk-dict"))
        agent = self.kernel_agent(config={"mount": "erofs"})
        agent.shoal("prefetch", agent.mount(all_of_it, "--how", "tree"))
        where = agent.mount(part_of_it)
        agent.shoal("prefetch", where)
        agent.umount(where)
        where = agent.mount(part_of_it)  # all is here now
        self.assertEqual(lab.mount_type(where), "erofs")
        self.assertEqual(len(self.blobs(agent)), 2, "the blob is one for both")
        self.assert_tree(where, "edge:v6-chunk-dict")
        self.assertEqual(self.evicted_all(agent), 0, "the kernel has none of the files")
        self.assert_tree(where, "edge:v6-chunk-dict", "after eviction")

    def test_what_is_replaced_is_the_images_own_and_nothing_that_another_one_names(self):
        all_of_it, part_of_it = (lab.registry().push(image) for image in ("edge:v6", "edge:v6-chunk-dict"))
        agent = self.kernel_agent(config={"mount": "erofs"})
        where = agent.mount(part_of_it)
        agent.shoal("prefetch", where)
        agent.umount(where)
        where = agent.mount(part_of_it)  # all is here now
        agent.mount(all_of_it, "--how", "tree")
        shared = max(self.blobs(agent), key=lambda b: b["n_chunks"] - b["n_ready"])
        self.assertGreater(self.evicted_all(agent), 0, "the kernel has a file")
        path, _ = self.a_file_in(agent, where, shared["key"], "edge:v6-chunk-dict")
        place = agent.json("explain", where + path)
        self.spoil(place["data_file"], place["data_offset"])
        self.assertEqual(agent.shoal("verify", check=False).returncode, 1)
        lab.wait_for(lambda: "is whole again" in agent.log(), "the chunk to come back, unasked")
        self.assertEqual([b["n_ready"] for b in self.blobs(agent) if b["key"] == shared["key"]], [shared["n_ready"]])
        self.assertLess(shared["n_ready"], shared["n_chunks"])

    def test_a_take_over_knows_them(self):
        keeper = lab.keeper_socket()
        agent, where = self.whole(keeper={"socket": keeper})
        device = os.stat(where).st_dev
        agent.kill()
        agent.start()
        self.assertEqual(os.stat(where).st_dev, device, "taken on")
        self.assertGreater(self.evicted_all(agent), 0)
        self.assert_tree(where, self.IMAGE, "taken on")
        agent.umount(where)
        self.assertEqual(self.evicted_all(agent), 0)
        agent.stop()
        lab.end_keeper(keeper)


if __name__ == "__main__":
    lab.unittest.main()
