"""Certificates that change while agents run."""
import os
import signal
import tempfile

import cluster
import lab


class Renewal(lab.LabTest):
    @staticmethod
    def put(source, target, *whats):
        """As whoever renews certificates does it: whole or not at all."""
        for what in whats:
            with open(source[what], "rb") as f, open(target[what] + ".new", "wb") as new:
                new.write(f.read())
            os.rename(target[what] + ".new", target[what])

    def test_what_is_new_counts_without_a_restart(self):
        ours, other = cluster.Pki(), cluster.Pki()
        right, wrong = ours.node("b"), other.node("b")
        directory = tempfile.mkdtemp(prefix="renewal-", dir=lab.TMP)
        live = {what: os.path.join(directory, os.path.basename(path)) for what, path in right.items()}
        self.put(wrong, live, "ca")  # b trusts nobody yet
        self.put(right, live, "cert", "key")
        a, b = (self.agent(config={"peers": peers}) for peers in cluster.loopback_peers(2, tls=[ours.node("a"), live]))
        lab.wait_for(lambda: "is refused" in a.log() or "is refused" in b.log() or "refuses" in a.log(), "them to refuse")
        self.assertEqual(a.metric("shoal_peers", state="up"), 0)
        self.put(right, live, "ca")
        b.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: "certificate renewed" in b.log(), "the new CA to be read")
        cluster.wait_for_members([a, b])

        self.put(wrong, live, "cert", "key")  # of another key, so of another node
        b.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: "is not used" in b.log(), "the wrong one to be refused")
        self.put(right, live, "cert")  # half of a renewal: the key is still the other one
        b.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: b.log().count("is not used") == 2, "one that does not fit its key to be refused")
        for agent in (a, b):
            self.assertEqual(agent.metric("shoal_peers", state="up"), 1)
        self.assertGreater(b.metric("shoal_certificate_end_seconds"), 1.7e9)


if __name__ == "__main__":
    lab.unittest.main()
