"""shoal pki: two commands make a cluster's certificates; openssl and people can read them."""
import json
import os
import stat
import subprocess
import tempfile
import unittest

import lab


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


class Pki(unittest.TestCase):
    def setUp(self):
        self.dir = os.path.join(tempfile.mkdtemp(prefix="pki-", dir=lab.TMP), "cluster")

    def path(self, name):
        return os.path.join(self.dir, name)

    def pki(self, *words):
        return run(lab.SHOAL, "--socket", "/no/such.sock", *words)

    def test_two_commands_make_what_openssl_accepts(self):
        self.assertEqual(self.pki("pki", "init", self.dir).returncode, 0)
        made = self.pki("--json", "pki", "node", self.dir, "node-1")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual(json.loads(made.stdout),
                         {"cert": self.path("node-1.pem"), "key": self.path("node-1.key")})
        for purpose in ("sslserver", "sslclient"):
            verified = run("openssl", "verify", "-x509_strict", "-purpose", purpose,
                           "-CAfile", self.path("ca.pem"), self.path("node-1.pem"))
            self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        # Another clock may be an hour behind; and it does not end tomorrow.
        hour_ago = run("date", "+%s", "-d", "1 hour ago").stdout.strip()
        for at in (hour_ago, str(int(hour_ago) + 365 * 86400)):
            verified = run("openssl", "verify", "-attime", at, "-CAfile", self.path("ca.pem"), self.path("node-1.pem"))
            self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        for key in ("ca.key", "node-1.key"):
            self.assertEqual(stat.S_IMODE(os.stat(self.path(key)).st_mode), 0o600)

    def test_what_goes_wrong_is_said_and_nothing_is_overwritten(self):
        early = self.pki("pki", "node", self.dir, "a")
        self.assertEqual(early.returncode, 4)
        self.assertIn("pki init", early.stderr)
        self.assertEqual(self.pki("pki", "init", self.dir).returncode, 0)
        with open(self.path("ca.key"), "rb") as f:
            before = f.read()
        again = self.pki("pki", "init", self.dir)
        self.assertEqual(again.returncode, 1)
        self.assertRegex(again.stderr, r"\Ashoal: pki init .*is there already.*\n\Z")
        with open(self.path("ca.key"), "rb") as f:
            self.assertEqual(f.read(), before)
        self.assertEqual(self.pki("pki", "node", self.dir, "../evil").returncode, 2)
        self.assertEqual(self.pki("pki", "node", self.dir).returncode, 2)
        self.assertEqual(sorted(os.listdir(self.dir)), ["ca.key", "ca.pem"])
