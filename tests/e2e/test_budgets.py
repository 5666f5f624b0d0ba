"""Budgets in bytes a second: how long it takes at least. How long at most is nobody's promise on a busy machine."""
import os
import time
from concurrent.futures import ThreadPoolExecutor

import cluster
import lab
import rafs_facts
from test_origins import IMAGE as TLS_IMAGE
from test_origins import start_tls_registry

IMAGE = "edge:v6"
LARGE_IMAGE = "app:1-v6"
RATE = 4_000_000
CURL_PIECE_BYTES = 256 << 10  # at most, of a body
SLACK = 0.9  # of the clock's and the bucket's steps


class BudgetsTest(lab.LabTest):
    def agents(self, **limits):
        """Two agents that know each other; the second one has these limits."""
        agents = [self.agent(config={"peers": peers, "limits": of_it})
                  for peers, of_it in zip(cluster.loopback_peers(2), ({}, limits))]
        cluster.wait_for_members(agents)
        return agents

    def timed_prefetch(self, agent, reference, image=IMAGE):
        where = agent.mount(reference)
        began = time.monotonic()
        agent.shoal("prefetch", where)
        took = time.monotonic() - began
        self.assert_tree(where, image, "within its budget")
        return took

    def change_limits(self, agent, **limits):
        agent.reload(limits=limits)
        self.assertNotIn("needs a restart", agent.log())

    def at_least(self, took, n_bytes, rate=RATE):
        """An eighth of a second's worth comes at once."""
        least = (n_bytes / rate - 1 / 8) * SLACK
        self.assertGreater(least, 0.5)
        self.assertGreaterEqual(took, least)


class Downloads(BudgetsTest):
    alone = True  # all of it comes from the neighbour: slow nodes are taken for dead ones

    def test_downloads(self):
        first, second = self.agents(download_bytes_per_s=4 * RATE)
        reference = lab.registry().push(LARGE_IMAGE)
        first.shoal("prefetch", first.mount(reference))
        took = self.timed_prefetch(second, reference, LARGE_IMAGE)
        self.assertEqual(second.origin_bytes(), 0)  # who waits for its turn does not ask the registry instead
        # A question begins when the debt of those before it is paid: the last ones may come at once.
        self.at_least(took, second.metric("shoal_peer_received_bytes_total") - (10 << 20), 4 * RATE)


class Budgets(BudgetsTest):
    def test_origins(self):
        agent = self.agent(config={"limits": {"origin_bytes_per_s": RATE}})
        took = self.timed_prefetch(agent, lab.registry().push(IMAGE))
        self.assertEqual(agent.origin_bytes(), rafs_facts.packed_bytes(IMAGE))  # nothing came twice
        self.at_least(took, agent.origin_bytes())

    def test_uploads_from_the_moment_they_are_set(self):
        first, second = self.agents()
        reference = lab.registry().push(IMAGE)
        first.shoal("prefetch", first.mount(reference))
        self.change_limits(first, upload_bytes_per_s=RATE)
        took = self.timed_prefetch(second, reference)
        self.at_least(took, first.metric("shoal_peer_sent_bytes_total") - (1 << 20))


class Tls(BudgetsTest):
    """Of a registry that speaks HTTP/2. An answer can rest for the budget only where its connection is its own."""

    def setUp(self):
        super().setUp()
        self.registry, self.certificates = start_tls_registry(self)

    def mounted(self, **limits):
        """(an agent with these limits, where the image is mounted)"""
        entry = {"host": self.registry.host, "scheme": "https", "ca_file": self.certificates.ca}
        agent = self.agent(config={"registries": [entry], "limits": limits})
        where = agent.mount(f"{self.registry.host}/{TLS_IMAGE}")
        agent.settle()
        return agent, where

    def connections(self, agent):
        """Those to the registry: inodes."""
        files = set(lab.open_files(agent.process.pid))
        return {inode for inode, _, other, _ in lab.tcp_table(agent.process.pid)
                if other == self.registry.port and f"socket:[{inode}]" in files}

    def test_from_the_moment_it_is_set(self):
        agent, where = self.mounted()
        self.assertEqual(len(self.connections(agent)), 1)
        self.change_limits(agent, origin_bytes_per_s=1)
        prefetch = agent.start_shoal("prefetch", where)
        lab.wait_for(lambda: len(self.connections(agent)) >= 3, "two answers that rest")
        self.change_limits(agent, origin_bytes_per_s=0)
        self.assertEqual(prefetch.wait(lab.DEADLINE_S), 0)
        self.assert_tree(where, TLS_IMAGE)

    def test_answers_that_share_a_connection_do_so_with_none_that_may_rest(self):
        """libcurl would take a connection of the other kind for them, also where an answer rests on that."""
        agent, where = self.mounted(origin_bytes_per_s=1 << 40)
        before = self.connections(agent)
        self.change_limits(agent, origin_bytes_per_s=0)
        self.read_a_chunk(max(lab.regular_files(where), key=os.path.getsize))
        agent.settle()
        self.assertNotEqual(self.connections(agent) - before, set())  # a new one, though there was one without work
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lab.read_whole, lab.regular_files(where)))
        self.assert_tree(where, TLS_IMAGE)

    def test_what_is_on_its_way_by_http_2_does_not_rest(self):
        agent, where = self.mounted()
        largest = max(lab.regular_files(where), key=os.path.getsize)
        before = agent.origin_bytes()
        with ThreadPoolExecutor(1) as pool:
            with lab.stopped(self.registry.process):
                read = pool.submit(self.read_a_chunk, largest)
                lab.wait_for(lambda: agent.metric("shoal_fetches_in_flight") > 0 and self.is_asked(), "a question that waits for the registry")
                self.change_limits(agent, origin_bytes_per_s=1)
            read.result()
        self.assertGreater(agent.origin_bytes() - before, CURL_PIECE_BYTES)  # the first piece is never held up
        self.change_limits(agent, origin_bytes_per_s=0)
        self.assert_tree(where, TLS_IMAGE)

    @staticmethod
    def read_a_chunk(path):
        """Its first byte: there when all of the chunk is."""
        with open(path, "rb", buffering=0) as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no readahead of the kernel's
            f.read(1)

    def is_asked(self):
        """Does something lie before the registry that it has not read?"""
        return any(own == self.registry.port and unread > 0 for _, own, _, unread in lab.tcp_table())
