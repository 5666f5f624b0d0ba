"""Budgets in bytes a second: how long it takes at least. How long at most is nobody's promise on a busy machine."""
import time

import cluster
import lab
import rafs_facts

IMAGE = "edge:v6"
LARGE_IMAGE = "app:1-v6"
RATE = 4_000_000
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
