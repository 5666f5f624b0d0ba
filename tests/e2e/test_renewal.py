"""Certificates that change while agents run."""
import os
import signal
import subprocess
import tempfile

import lab


class Renewal(lab.LabTest):
    def pki(self, name, *nodes):
        directory = os.path.join(self.dir, name)
        for args in (["init", directory], *(["node", directory, n] for n in nodes)):
            subprocess.run([os.path.join(lab.BUILD, "agent", "shoal"), "pki", *args], check=True, capture_output=True)
        return directory

    def put(self, source, name):
        """As whoever renews certificates does it: whole or not at all."""
        target = os.path.join(self.live, name)
        with open(source, "rb") as f, open(target + ".new", "wb") as new:
            new.write(f.read())
        os.rename(target + ".new", target)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="renewal-", dir=lab.TMP)
        self.live = os.path.join(self.dir, "live")
        os.mkdir(self.live)

    def agents(self, tls):
        ports = [lab.free_port(), lab.free_port()]
        return [self.agent(config={"peers": {"listen": f"127.0.0.1:{mine}", "advertise": f"127.0.0.1:{mine}",
                                             "members": [f"127.0.0.1:{other}"], "tls": t}})
                for t, mine, other in zip(tls, ports, ports[::-1])]

    @staticmethod
    def tls(ca, directory, name):
        return {"ca": ca, "cert": os.path.join(directory, f"{name}.pem"), "key": os.path.join(directory, f"{name}.key")}

    def test_what_is_new_counts_without_a_restart(self):
        ours, other = self.pki("ours", "a", "b"), self.pki("other", "b")
        self.put(os.path.join(other, "ca.pem"), "ca.pem")  # b trusts nobody yet
        for name in ("b.pem", "b.key"):
            self.put(os.path.join(ours, name), name)
        a, b = self.agents([self.tls(os.path.join(ours, "ca.pem"), ours, "a"),
                            self.tls(os.path.join(self.live, "ca.pem"), self.live, "b")])
        lab.wait_for(lambda: "is refused" in a.log() or "is refused" in b.log() or "refuses" in a.log(), "them to refuse")
        self.assertEqual(a.metric("shoal_peers", state="up"), 0)
        self.put(os.path.join(ours, "ca.pem"), "ca.pem")
        b.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: "certificate renewed" in b.log(), "the new CA to be read")
        for agent in (a, b):
            lab.wait_for(lambda: agent.metric("shoal_peers", state="up") == 1, "the two to meet")

        for name in ("b.pem", "b.key"):  # of another key, so of another node
            self.put(os.path.join(other, name), name)
        b.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: "is not used" in b.log(), "the wrong one to be refused")
        self.put(os.path.join(ours, "b.pem"), "b.pem")  # half of a renewal: the key is still the other one
        b.process.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: b.log().count("is not used") == 2, "one that does not fit its key to be refused")
        for agent in (a, b):
            self.assertEqual(agent.metric("shoal_peers", state="up"), 1)
        self.assertGreater(b.metric("shoal_certificate_end_seconds"), 1.7e9)


if __name__ == "__main__":
    lab.unittest.main()
