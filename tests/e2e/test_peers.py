"""Neighbours before the registry: real agents that find each other on loopback, a real registry.

The larger clusters, on networks of their own, are in the benches and behind SHOAL_ALL.
"""
import json
import os
import subprocess
import unittest

import cluster
import lab

IMAGE = "edge:v6"


def compressed_bytes(image):
    """What an image's blobs cost a single node: measured once."""
    agent = lab.Agent()
    try:
        where = agent.mount(lab.registry().push(image))
        agent.shoal("prefetch", where)
        agent.umount(where)
        return agent.origin_bytes()
    finally:
        agent.stop()


class Once(cluster.LoopbackTest):
    """The registry sees each byte once, over loopback too."""

    alone = True  # slow nodes are taken for dead ones

    def test_at_once_over_tls_the_registry_sees_each_byte_once(self):
        pki = cluster.Pki()
        agents = self.cluster(3, tls=[pki.node(f"node{i}") for i in range(3)])
        reference = lab.registry().push(IMAGE)
        once = compressed_bytes(IMAGE)
        dirs = cluster.at_once(lambda a: a.mount(reference), agents)
        cluster.prefetch_all(agents, dirs)
        self.assertEqual(sum(a.origin_bytes() for a in agents), once)
        for agent, where in zip(agents, dirs):
            self.assert_tree(where, IMAGE)
            self.assertEqual(agent.metric("shoal_insecure"), 0)

    def test_units_of_many_chunks_cross_once_too(self):
        agents = self.cluster(3)
        for image in ("edge:v6-batch",):
            once = compressed_bytes(image)
            reference = lab.registry().push(image)
            dirs = [a.mount(reference) for a in agents]
            before = sum(a.origin_bytes() for a in agents)
            cluster.prefetch_all(agents, dirs)
            self.assertEqual(sum(a.origin_bytes() for a in agents) - before, once, image)
            for where in dirs:
                self.assert_tree(where, image)

    def assert_leased(self, agent, names):
        """What it fetched from the registry it was let fetch by homes: that is no delivery of a peer's."""
        told = [agent.json("explain", name) for name in names if os.path.getsize(name) > 0]
        told = [(t, [(row["source"], row["result"]) for row in t["asked"]]) for t in told if not t.get("hole")]
        for t, said in told:
            self.assertEqual(t["source"], "origin", t)
            self.assertNotIn(("peer", "ok"), said)
            if ("peer", "lease") in said:
                self.assertIn("this node was let fetch it", t["why"])
        self.assertTrue(any(("peer", "lease") in said for _, said in told), told)

    def test_what_a_neighbour_has_is_not_asked_of_the_registry(self):
        first, second = self.cluster(2)
        reference = lab.registry().push(IMAGE)
        here = first.mount(reference)
        self.assert_tree(here, IMAGE)
        self.assert_leased(first, list(lab.regular_files(here))[:20])
        where = second.mount(reference)
        self.assert_tree(where, IMAGE)
        self.assertGreater(first.origin_bytes(), 0)
        self.assertEqual(second.origin_bytes(), 0)
        self.assertGreater(second.metric("shoal_chunk_bytes_total", source="peer"), 0)  # to readers, or before they came
        self.assertGreater(second.metric("shoal_peer_received_bytes_total", zone="same"), 0)
        self.assertEqual(second.metric("shoal_verify_failures_total"), 0)
        self.assertEqual(second.metric("shoal_insecure"), 1)
        peers = second.json("peers")["peers"]
        self.assertEqual(sorted(p["state"] for p in peers), ["self", "up"])
        self.assertGreater(next(p for p in peers if p["state"] == "up")["received_bytes"], 0)
        name = next(path for path in lab.regular_files(where) if os.path.getsize(path) > 4096)
        asked = second.json("explain", name)["asked"]
        self.assertTrue(any(e["source"] == "peer" and "chunks" in e["detail"] for e in asked), asked)
        self.assertIn("INSECURE", second.shoal("peers").stdout)


class PeersTest(cluster.LoopbackTest):
    def test_a_certificate_of_another_ca_is_no_member(self):
        ours, theirs = cluster.Pki(), cluster.Pki()
        agents = [self.agent(config={"peers": peers})
                  for peers in cluster.loopback_peers(2, tls=[pki.node("node") for pki in (ours, theirs)])]
        reference = lab.registry().push(IMAGE)
        for agent in agents:
            self.assert_tree(agent.mount(reference), IMAGE)
            self.assertGreater(agent.origin_bytes(), 0)
            self.assertEqual(agent.metric("shoal_peers", state="up"), 0)

    def test_a_drained_node_is_asked_for_nothing(self):
        first, second = self.cluster(2)
        reference = lab.registry().push(IMAGE)
        first.shoal("prefetch", first.mount(reference))
        first.shoal("drain")
        lab.wait_for(lambda: second.metric("shoal_peers", state="draining") == 1, "the drain to be known")
        self.assert_tree(second.mount(reference), IMAGE)
        self.assertEqual(first.metric("shoal_peer_sent_bytes_total"), 0)
        self.assertTrue(first.json("peers")["draining"])
        said = [agent.json("status")["peers"] for agent in (first, second)]
        self.assertEqual([(True, 0), (False, 1)], [(s["draining"], s["others_draining"]) for s in said])
        self.assertRegex(first.shoal("status").stdout, r"(?m)^draining +yes$")

    def served(self, upload_bytes_per_s):
        """(first, second, process): a prefetch of the second one, whose chunks the first one gives it this slowly."""
        first, second = self.cluster(2, limits={"upload_bytes_per_s": upload_bytes_per_s})
        reference = lab.registry().push(IMAGE)
        first.shoal("prefetch", first.mount(reference))
        where = second.mount(reference)
        reader = second.start_shoal("prefetch", where)
        lab.wait_for(lambda: second.metric("shoal_chunks_total", source="peer") > 0, "the other one to be served chunks")
        return first, second, reader

    def test_a_drain_that_a_taker_holds_up_ends_in_time(self):
        first, second, reader = self.served(16384)
        with lab.stopped(second.process):  # it would not wait for who is so slow
            done = first.shoal("drain", "--timeout", "1", check=False)
        self.assertEqual((1, True), (done.returncode, "still being served" in done.stderr), done.stderr)
        self.assertTrue(first.json("peers")["draining"])
        self.assertEqual(2, first.shoal("drain", "--timeout", "soon", check=False).returncode)
        lab.stop_process(reader)

    def test_all_who_wait_for_a_drain_wait_for_its_end_and_a_stop_is_none(self):
        first, second, reader = self.served(16384)
        with lab.stopped(second.process):
            waiting = first.start_shoal("drain")
            lab.wait_for(lambda: first.json("peers")["draining"], "the drain to begin")
            late = first.shoal("drain", "--timeout", "1", check=False)
            self.assertIn("still being served", late.stderr)
            self.assertIsNone(waiting.poll(), "told that it is over")
            first.stop()
        self.assertEqual((1, ""), (waiting.wait(60), waiting.stdout.read()))
        self.assertIn("the agent is stopping", waiting.stderr.read())
        lab.stop_process(reader)

    def test_all_who_wait_for_a_drain_are_told_of_its_end(self):
        first, second, reader = self.served(2097152)
        with lab.stopped(second.process):
            waiting = [first.start_shoal("drain") for _ in range(3)]
            lab.wait_for(lambda: first.json("peers")["draining"], "the drain to begin")
            self.assertEqual([None] * 3, [process.poll() for process in waiting], "told that it is over")
        for process in waiting:
            self.assertEqual(0, process.wait(60), process.stderr.read())
            self.assertIn("drained", process.stdout.read())
        self.assertEqual(0, reader.wait(60))

    def test_a_killed_neighbour_delays_and_fails_nobody(self):
        agents = self.cluster(3)
        reference = lab.registry().push(IMAGE)
        agents[0].shoal("prefetch", agents[0].mount(reference))
        dirs = [a.mount(reference) for a in agents[1:]]
        agents[0].kill()
        for where in dirs:
            self.assert_tree(where, IMAGE)

    def test_with_the_registry_gone_what_a_neighbour_has_stays_readable(self):
        registry = lab.Registry()
        reference = registry.push(IMAGE)
        try:
            first, second = self.cluster(2, registries=[{"host": registry.host, "scheme": "http"}])
            first.shoal("prefetch", first.mount(reference))
            where = second.mount(reference)
        finally:
            registry.stop()
        self.assert_tree(where, IMAGE)
        self.assertEqual(second.origin_bytes(), 0)

    def test_certificates_that_cannot_work_are_said_at_the_start(self):
        ours, others = cluster.Pki(), cluster.Pki()
        mine, theirs = ours.node("mine"), others.node("theirs")
        peers = {"listen": f"127.0.0.1:{lab.free_port()}"}
        for tls, why in (({**mine, "key": theirs["key"]}, "key"), ({**mine, "ca": "/nowhere/ca.pem"}, "/nowhere/ca.pem")):
            with self.assertRaisesRegex(AssertionError, rf"(?s)ended with 1:.*cannot start.*peers.*{why}"):
                self.agent(config={"peers": {**peers, "tls": tls}})
        # Of another CA: no other agent takes it, but mounts go on from the registry.
        alone = self.agent(config={"peers": {**peers, "tls": {**mine, "ca": theirs["ca"]}}})
        self.assertIn("no other agent will take this node's certificate", alone.log())
        self.assert_tree(alone.mount(lab.registry().push(IMAGE)), IMAGE)

    def test_a_configuration_without_tls_must_say_so(self):
        path = os.path.join(lab.TMP, "peers.yaml")
        cases = (({"listen": "127.0.0.1:9465"}, r":\d+: .*peers.insecure"),
                 ({"listen": "127.0.0.1:9465", "insecure": True, "members": ["nowhere"]}, r':\d+: peers.members: "nowhere"'),
                 ({"listen": "127.0.0.1:9465", "insecure": True, "tls": {"ca": "/a", "cert": "/b", "key": "/c"}},
                  r":\d+: .*exclude"))
        for peers, word in cases:
            with open(path, "w", encoding="utf-8") as f:
                json.dump({"state_dir": "/nowhere", "peers": peers}, f, indent=1)
            done = subprocess.run([os.path.join(lab.BUILD, "agent", "shoald"), "--check-config", path],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 2, peers)
            self.assertRegex(done.stderr, rf"peers\.yaml{word}")


if __name__ == "__main__":
    unittest.main()
