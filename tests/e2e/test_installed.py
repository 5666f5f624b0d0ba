"""cmake --install: everything that it puts somewhere finds the rest of it there."""
import glob
import os
import re
import subprocess
import tempfile

import lab


class Installed(lab.LabTest):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="installed-", dir=lab.TMP)
        done = subprocess.run(["cmake", "--install", lab.BUILD], env={**os.environ, "DESTDIR": self.root},
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def below(self, path):
        found = glob.glob(self.root + path)
        self.assertEqual(len(found), 1, path)
        return found[0]

    def said(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_programs_run_and_the_configuration_is_right(self):
        for program in ("bin/shoal", "bin/nydusd", "sbin/shoald"):
            self.assertRegex(self.said(self.below(f"/usr/{program}"), "--version"), r"\d\.\d")
        self.said(self.below("/usr/sbin/shoald"), "--check-config", self.below("/etc/shoal/shoal.yaml"))

    def test_units_and_manual_pages_name_files_that_are_there(self):
        n = 0
        for unit in glob.glob(self.root + "/usr/lib/systemd/system/*.service"):
            with open(unit, encoding="utf-8") as f:
                text = f.read()
            for path in re.findall(r"^ExecStart=(\S+)|file:(\S+)|(/etc/\S+)", text, re.M):
                self.below("".join(path))
                n += 1
        for page in glob.glob(self.root + "/usr/share/man/man*/*.gz"):
            for path in re.findall(r"/usr/share/doc/[\w./-]*\w", self.said("zcat", page)):
                self.below(path)
                n += 1
        self.assertGreaterEqual(n, 6)

    def test_links_of_the_pages_lead_to_pages_pictures_and_the_chart(self):
        said = self.said(os.path.join(lab.REPO, "tools", "check-links"), self.below("/usr/share/doc/shoal"))
        self.assertGreater(int(re.match(r"(\d+) links in", said)[1]), 50)
