"""A blob's own origin is of no use, and another image's blob, at another origin, has the chunk."""
import time

import chunk_facts
import histories
import lab
import remake

FIRST = "edge:v6"
ENCRYPTED = "edge:v6-encrypted"  # the same chunks, encrypted
LAYERS, BATCHES = "layers:v6", "layers:v6-batch"  # the same chunks, many to a unit
TIMEOUT_MS = 9000
FEW = 12


class Elsewhere(lab.LabTest):
    """first is mounted from one origin, the same chunks in another blob from the other."""

    def world(self, first=FIRST, second=ENCRYPTED):
        for image in (first, second):
            lab.registry().push(image)
        self.own, self.other = self.faulty_origin(), self.faulty_origin()
        agent = self.agent(config={"read": {"timeout_ms": TIMEOUT_MS}, "registries": [
            {"host": o.host, "scheme": "http"} for o in (self.own, self.other)]})
        where = agent.mount(f"{self.own.host}/{first}")
        self.second_at = agent.mount(f"{self.other.host}/{second}")
        return agent, where

    def received(self, agent, origin):
        return sum(v for (name, labels), v in agent.metrics().items()
                   if name == "shoal_origin_received_bytes_total" and ("kind", "data") in labels
                   and any(k == "origin" and origin.host in text for k, text in labels))

    def read(self, where, files):
        for path, _, digest in files:
            self.assertEqual(histories.read_digest(where + path), digest, path)

    def check(self, first=FIRST, second=ENCRYPTED, few=FEW, **faults):
        agent, where = self.world(first, second)
        if faults:
            self.own.set(**faults)
        else:
            self.own.stop()
        self.read(where, histories.TRUTH.files(first)[:few])
        agent.settle()
        self.assertGreater(self.received(agent, self.other), 0, "the metrics name the source")
        self.assertGreater(agent.metric("shoal_chunks_total", source="origin"), 0)
        return agent, where

    def test_refused(self):
        """From a blob in another order that is not compressed: a request a chunk."""
        agent, where = self.check(second=remake.remake(FIRST, remake.NONE), few=3)
        agent.shoal("verify")
        self.assertEqual(self.received(agent, self.own), 0)
        path = max(histories.TRUTH.files(FIRST), key=lambda f: f[1])[0]
        asked = agent.json("explain", where + path)["asked"]
        self.assertIn(("elsewhere", "ok"), {(a["source"], a["result"]) for a in asked}, asked)
        self.assertTrue(any(self.other.host in a["detail"] for a in asked if a["source"] == "elsewhere"), asked)

    def test_404_and_encrypted_chunks(self):
        self.check(status=404)

    def test_403_and_batches(self):
        self.check(LAYERS, BATCHES, status=403)

    def test_silence_is_waited_for_once(self):
        self.check(stall_head=True)
        # Readers go elsewhere at once from then on; what reads ahead looks once in a while.
        self.assertLess(self.own.stats()["injected"]["stall_head"], FEW)

    def test_wrong_bytes(self):
        agent, _ = self.check(flip=1.0)
        self.assertGreater(agent.metric("shoal_verify_failures_total", source="origin"), 0)

    def test_the_other_image_is_not_mounted_and_the_agent_is_new(self):
        agent, where = self.world()
        agent.umount(self.second_at)
        self.own.set(status=404)
        agent.restart()
        agent.shoal("prefetch", where)
        agent.shoal("verify")
        self.assert_tree(where, FIRST)
        self.assertEqual(self.received(agent, self.own), 0)

    def test_both_are_gone(self):
        agent, where = self.world()
        self.own.set(status=404)
        self.other.set(status=404)
        path = max(histories.TRUTH.files(FIRST), key=lambda f: f[1])[0]
        start = time.monotonic()
        with self.assertRaises(OSError):
            histories.read_digest(where + path)
        self.assertLess(time.monotonic() - start, TIMEOUT_MS / 1000, "no source is left: at once")
        self.own.set()
        self.read(where, histories.TRUTH.files(FIRST))
        self.assertEqual(self.received(agent, self.other), 0)
        self.assertEqual(self.received(agent, self.own), chunk_facts.packed_bytes(FIRST))
