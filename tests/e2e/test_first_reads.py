"""What readers of an image ask for first is brought before they come, the next time: on this node and on others."""
import glob
import os
import struct

import cluster
import front
import lab

IMAGE = "edge:v6"
LIST = "first-reads"


class FirstReadsTest(cluster.LoopbackTest):
    def lists(self, agent):
        """What the agent keeps: {path: bytes}"""
        found = {}
        for path in glob.glob(os.path.join(agent.state_dir, "images", "*", LIST)):
            with open(path, "rb") as f:
                found[path] = f.read()
        return found

    @staticmethod
    def some_files(where, n):
        return [path for path in lab.regular_files(where) if os.path.getsize(path) > 0][5:5 + n]

    def read_some(self, where, n=20):
        for path in self.some_files(where, n):
            with open(path, "rb") as f:
                f.read()

    @staticmethod
    def n_chunks(data):
        return sum(count for _, _, count in struct.iter_unpack("<III", data[16:]))

    def started_on(self, agent, reference):
        """It mounts and reads, and has written all of it down. @return the directory"""
        return self.read_and_kept(agent, agent.mount(reference))

    def read_and_kept(self, agent, where):
        self.read_some(where)
        chunks = {(x["blob"], x["chunk_idx"]) for x in (agent.json("explain", p) for p in self.some_files(where, 20))}
        lab.wait_for(lambda: any(self.n_chunks(data) >= len(chunks) for data in self.lists(agent).values()),
                     "the list of first reads to be kept")
        return where

    @staticmethod
    def mount_file(agent, registry, *options):
        """As containers are: the snapshotter has brought the bootstrap, nobody asked the registry for it."""
        where = agent.new_dir()
        agent.shoal("mount", *options, "--bootstrap", front.bootstrap_file(agent.dir, IMAGE), "--blobs", f"registry:{registry.host}/edge", where)
        return where


class FromNeighbours(FirstReadsTest):
    alone = True  # all of it comes from the neighbour: slow nodes are taken for dead ones

    def test_a_second_node_has_them_from_the_first_before_anybody_reads(self):
        first, second = self.cluster(2)
        reference = lab.registry().push(IMAGE)
        self.started_on(first, reference)
        where = second.mount(reference)
        read = first.metric("shoal_read_bytes_total", source="origin")
        lab.wait_for(lambda: second.metric("shoal_chunk_bytes_total", source="peer") >= read, "them to come")
        second.settle()
        self.assertEqual({}, self.lists(second), "a neighbour's list is used once and not kept")
        self.read_some(where)
        self.assertEqual(0, second.origin_bytes())
        self.assertEqual(0, second.metric("shoal_read_bytes_total", source="peer"), "no reader waits")
        self.assertGreaterEqual(second.metric("shoal_read_bytes_total", source="cache"), read)
        lab.wait_for(lambda: self.lists(second), "its own list to be kept")

    def test_a_second_node_has_them_from_the_first_of_a_bootstrap_file_too(self):
        first, second = self.cluster(2)
        lab.registry().push(IMAGE)
        self.read_and_kept(first, self.mount_file(first, lab.registry()))
        read = first.metric("shoal_read_bytes_total", source="origin")
        first.stop()  # the next agent knows it, too
        first.start()
        lab.wait_for(lambda: first.metric("shoal_peers", state="up") == 1, "them to have met again")
        where = self.mount_file(second, lab.registry())
        lab.wait_for(lambda: second.metric("shoal_chunk_bytes_total", source="peer") >= read, "them to come")
        second.settle()
        self.read_some(where)
        self.assertEqual(0, second.metric("shoal_read_bytes_total", source="peer"), "no reader waits")


class FirstReads(FirstReadsTest):
    def test_of_a_bootstrap_file_whose_blobs_are_private_nothing_is_given(self):
        private = lab.Registry(htpasswd=lab.htpasswd_file("first-reads-htpasswd", "nydus", "sesame-31"))
        self.addCleanup(private.stop)
        private.push(IMAGE, creds="nydus:sesame-31")
        first, second = self.cluster(2, registries=[{"host": "*", "scheme": "http"}])
        auth_file = lab.auth_file("private.json", private.host, "nydus", "sesame-31")
        self.read_and_kept(first, self.mount_file(first, private, "--auth-file", auth_file))
        where = self.mount_file(second, private)  # it has none, and may ask
        second.settle()
        self.assertEqual(0, second.metric("shoal_chunk_bytes_total", source="peer"), "nothing is given")
        self.read_some(where, 1)
        second.settle()
        got = second.metric("shoal_chunk_bytes_total", source="peer")
        self.assertGreater(got, 0, "who has the digests has the chunks")
        self.assertLess(got, first.metric("shoal_read_bytes_total", source="origin"), "a list would have brought all that the first had read")

    def test_of_an_image_whose_metadata_is_not_shared_nothing_is_asked(self):
        hosts = [{"host": "*", "scheme": "http", "share_metadata": "never"}]
        first, second = self.cluster(2, registries=hosts)
        reference = lab.registry().push(IMAGE)
        self.started_on(first, reference)
        where = second.mount(reference)
        second.settle()
        self.assertEqual(0, second.metric("shoal_chunk_bytes_total", source="peer"), "nothing is brought")
        self.read_some(where, 1)
        self.assertGreater(second.metric("shoal_chunk_bytes_total", source="peer"), 0, "chunks are the cluster's as ever")

    def test_a_node_that_has_lost_them_asks_for_them_at_once(self):
        agent = self.agent()
        reference = lab.registry().push(IMAGE)
        where = self.started_on(agent, reference)
        before = agent.origin_bytes()
        agent.umount(where)
        agent.shoal("gc", "--to", "0")
        agent.mount(reference, where=where)
        lab.wait_for(lambda: agent.origin_bytes() > before, "them to be asked for")
        agent.settle()
        got = agent.origin_bytes()
        self.read_some(where)
        self.assertEqual(got, agent.origin_bytes(), "nothing was missing")
        self.assertLessEqual(got, 2 * before)

    def test_a_short_start_takes_nothing_of_a_list(self):
        agent = self.agent()
        reference = lab.registry().push(IMAGE)
        where = self.started_on(agent, reference)
        agent.umount(where)
        before = [self.n_chunks(data) for data in self.lists(agent).values()]
        agent.mount(reference, where=where)
        self.read_some(where, 10)
        agent.umount(where)
        agent.stop()
        after = [self.n_chunks(data) for data in self.lists(agent).values()]
        self.assertGreaterEqual(after, before)

    def test_a_list_that_is_damaged_is_none(self):
        agent = self.agent()
        reference = lab.registry().push(IMAGE)
        where = self.started_on(agent, reference)
        agent.umount(where)
        agent.shoal("gc", "--to", "0")
        for path, data in self.lists(agent).items():
            with open(path, "wb") as f:
                f.write(data[:-1])
        before = agent.origin_bytes()
        agent.mount(reference, where=where)
        self.read_some(where, 1)
        self.assertGreater(agent.origin_bytes(), before)
        lab.wait_for(lambda: any(len(data) % 12 == 4 for data in self.lists(agent).values()), "a new one to be kept")
