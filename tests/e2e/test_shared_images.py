"""Sharing: a chunk that one image on the node has is not fetched, and not kept, for another."""
import os

import chunk_facts
import histories
import lab
import remake
from chunk_facts import check_state

PAIR = ("app:1-v6", "app:2-v6") if "app:1-v6" in lab.LAYOUTS else ("edge:v6", "edge:v6-next")


class SharingTest(lab.LabTest):
    def mount(self, agent, image):
        return agent.mount(lab.registry().push(image))

    def assert_reads_right(self, where, image):
        self.assertEqual(histories.wrong_files(where, image), [], image)

    def moved(self, agent, image, where=None):
        """Read all of it. @return the bytes that it took from the registry"""
        before = agent.origin_bytes()
        self.assert_reads_right(where or self.mount(agent, image), image)
        agent.settle()
        return agent.origin_bytes() - before

    def both_read(self, first, second):
        """(an agent that has all of both, where the first is mounted, where the second)"""
        agent, wheres = self.agent(), []
        for image in (first, second):
            wheres.append(self.mount(agent, image))
            self.moved(agent, image, wheres[-1])
        return agent, *wheres


class Sharing(SharingTest):
    def test_the_next_version_costs_its_new_chunks_alone(self):
        first, second = PAIR
        for image in PAIR:
            lab.require_image(image)
        agent = self.agent()
        mounts = {i: self.mount(agent, i) for i in PAIR}
        lacking = chunk_facts.missing_bytes(second, chunk_facts.keys(first))
        self.assertLessEqual(self.moved(agent, first, mounts[first]), chunk_facts.packed_bytes(first))
        self.assertEqual(self.moved(agent, second, mounts[second]), lacking)
        self.assertGreater(agent.metric("shoal_dedup_saved_bytes_total"), 0)
        agent.restart()
        self.assertEqual([self.moved(agent, i, mounts[i]) for i in PAIR], [0, 0])
        self.assertEqual(agent.shoal("verify").returncode, 0)

    def test_explain_names_the_blob_in_whose_file_a_chunk_stands(self):
        first, second = "edge:v6", "edge:v6-encrypted"
        agent = self.agent()
        mounts = {i: self.mount(agent, i) for i in (first, second)}
        path, _, digest = max(histories.TRUTH.files(first), key=lambda f: f[1])
        said = {}
        for image in (first, second):
            self.assertEqual(histories.read_digest(mounts[image] + path), digest)
            said[image] = agent.json("explain", mounts[image] + path)
        self.assertEqual(said[first]["source"], "origin")
        self.assertNotIn("owner", said[first])
        self.assertTrue(said[second]["ready"])
        if "owner" in said[second]:  # else its extents are shared by now
            self.assertEqual(said[second]["source"], "dedup")
            self.assertEqual(said[second]["owner"], said[first]["blob"])
            self.assertEqual([said[second][k] for k in ("data_file", "data_offset")],
                             [said[first][k] for k in ("data_file", "data_offset")])

    def test_chunks_in_another_order_in_one_blob_and_packed_otherwise_are_shared(self):
        image = PAIR[0]
        lab.require_image(image)
        other = remake.remake(image, remake.LZ4)
        agent = self.agent()
        self.moved(agent, image)
        moved = self.moved(agent, other)
        self.assertLessEqual(moved, chunk_facts.packed_bytes(other) // 100)
        shared = agent.metric("shoal_chunks_total", source="dedup")
        self.assertGreaterEqual(shared, 0.99 * len(chunk_facts.units(other)))

    def test_what_comes_later_reaches_images_that_are_mounted(self):
        first, second = "edge:v6", remake.remake("edge:v6", remake.NONE)
        agent = self.agent()
        mounts = {i: self.mount(agent, i) for i in (first, second)}
        files = histories.TRUTH.files(first)
        for i, (path, _, digest) in enumerate(files):  # by turns, so that each has what the other needs
            image = (first, second)[i % 2]
            self.assertEqual(histories.read_digest(mounts[image] + path), digest, path)
        agent.settle()
        before = agent.origin_bytes()
        self.assertLessEqual(before, max(chunk_facts.packed_bytes(i) for i in mounts))
        self.assertEqual(self.moved(agent, first, mounts[first]) + self.moved(agent, second, mounts[second]), 0)

    def test_an_image_that_is_not_mounted_any_more_still_gives(self):
        first, second = "edge:v6", remake.remake("edge:v6", remake.LZ4)
        agent = self.agent()
        where = self.mount(agent, first)
        self.moved(agent, first, where)
        agent.umount(where)
        agent.restart()
        self.assertEqual(self.moved(agent, second), 0)

    def test_prefetch_of_what_is_here_moves_nothing(self):
        first, second = "edge:v6", remake.remake("edge:v6", remake.NONE)
        agent = self.agent()
        self.moved(agent, first)
        reference = lab.registry().push(second)
        before = agent.origin_bytes()
        where = agent.mount(reference)
        agent.shoal("prefetch", where)
        self.assertEqual(agent.origin_bytes(), before)
        self.assert_reads_right(where, second)
        self.assertEqual(agent.origin_bytes(), before)

    def test_a_partly_shared_image_never_costs_more_than_what_it_lacks(self):
        """Widened requests, readahead and prefetch stop at what is here."""
        first, second = "edge:v6", "edge:v6-64k"
        lab.require_image(second)
        agent = self.agent()
        self.moved(agent, first)
        self.assertEqual(self.moved(agent, second), chunk_facts.missing_bytes(second, chunk_facts.keys(first)))

    def test_digests_of_another_kind_share_nothing(self):
        for first, second in (("edge:v6", "edge:v6-lz4-sha256"), ("layers:v6", "layers:zran")):
            if first not in lab.LAYOUTS or second not in lab.LAYOUTS:
                continue
            with self.subTest(pair=(first, second)):
                agent = self.agent()
                self.moved(agent, first)
                self.assertEqual(agent.metric("shoal_chunks_total", source="dedup"), 0)
                self.moved(agent, second)
                self.assertEqual(agent.metric("shoal_chunks_total", source="dedup"), 0)
                agent.stop()

    def test_it_can_be_switched_off(self):
        first, second = "edge:v6", remake.remake("edge:v6", remake.NONE)
        agent = self.agent(config={"cache": {"dedup": False}})
        self.moved(agent, first)
        self.assertEqual(self.moved(agent, second), chunk_facts.packed_bytes(second))

    def test_the_owner_may_be_removed(self):
        first, second = "edge:v6", remake.remake("edge:v6", remake.NONE)
        agent, where, other = self.both_read(first, second)
        agent.umount(where)
        agent.shoal("image", "rm", lab.registry().push(first))
        self.assertEqual(self.moved(agent, second, other), 0)
        agent.restart()
        self.assertEqual(self.moved(agent, second, other), 0)
        agent.umount(other)
        agent.shoal("image", "rm", lab.registry().push(second))
        lab.wait_for(lambda: not os.listdir(os.path.join(agent.state_dir, "blobs")), "all files to go")
        lab.wait_for_removals(agent.state_dir)
        agent.stop()
        self.assertEqual(histories.leftover_rows(agent.state_dir), {})


class Rot(SharingTest):
    """Bytes that changed on disk, in the file that others refer to."""

    def spoil(self, agent, image, n):
        """Flip a bit in the n largest chunks of the image's blobs, on disk."""
        with lab.database(agent.state_dir) as db:
            keys = {blob_id: key for key, blob_id in db.execute("SELECT key, blob_id FROM blob")}
        blobs = check_state.read_v6(chunk_facts.image_files(image)["image.boot"])
        places = [(keys[b.blob_id], at, size) for b in blobs for at, size, _ in b.chunks.values()]
        places.sort(key=lambda p: -p[2])
        for key, at, size in places[:n]:
            fd = os.open(os.path.join(agent.state_dir, "blobs", key + ".blob.data"), os.O_RDWR)
            byte = os.pread(fd, 1, at + size // 2)
            os.pwrite(fd, bytes([byte[0] ^ 4]), at + size // 2)
            os.close(fd)

    def test_found_when_it_is_shared(self):
        first, second = "edge:v6", remake.remake("edge:v6", remake.NONE)
        agent = self.agent()
        where = self.mount(agent, first)
        self.moved(agent, first, where)
        agent.restart()  # all of it is on disk
        self.spoil(agent, first, 3)
        other = self.mount(agent, second)
        self.assertGreater(self.moved(agent, second, other), 0)
        self.assertEqual(agent.metric("shoal_verify_failures_total", source="dedup"), 3)
        self.assert_reads_right(where, first)
        self.assert_reads_right(other, second)
        self.assertEqual(agent.shoal("verify").returncode, 0)

    def test_found_by_verify_when_it_was_shared_before(self):
        first, second = "edge:v6", remake.remake("edge:v6", remake.NONE)
        agent, where, other = self.both_read(first, second)
        agent.restart()
        self.spoil(agent, first, 3)
        self.assertEqual(agent.shoal("verify", check=False).returncode, 1)
        self.assertEqual(agent.shoal("verify").returncode, 0)
        self.assert_reads_right(where, first)
        self.assert_reads_right(other, second)
        self.assertEqual(agent.shoal("verify").returncode, 0)

