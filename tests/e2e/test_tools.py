"""What the tools of this repository say of one that is made for it."""
import json
import os
import shutil
import subprocess
import unittest

import lab


@unittest.skipUnless(shutil.which("clang-tidy-14"), "no clang-tidy-14: tools/setup build")
class Tidy(unittest.TestCase):
    def setUp(self):
        self.dir = lab.tempfile.mkdtemp(prefix="tidy-", dir=lab.TMP)
        os.makedirs(os.path.join(self.dir, "tools"))
        os.makedirs(os.path.join(self.dir, "build", "clang"))
        shutil.copy(os.path.join(lab.REPO, "tools", "tidy"), os.path.join(self.dir, "tools"))
        shutil.copy(os.path.join(lab.REPO, ".clang-tidy"), self.dir)
        source = self.write("a.c", '#include "a.h"\nint n;\n')
        self.write("a.h", "extern int n;\n")
        self.write("build/clang/compile_commands.json", json.dumps(
            [{"directory": self.dir, "command": f"cc -o a.o -c {source}", "file": source}]))

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def tidy(self):
        """Its exit status, how many texts it looked at, and all that it said."""
        done = subprocess.run([os.path.join(self.dir, "tools", "tidy"), "a.c"], capture_output=True, text=True, check=False,
                              timeout=lab.DEADLINE_S)
        return done.returncode, int(done.stdout.split()[4]), done.stdout

    def test_what_nothing_was_found_in_is_looked_at_once(self):
        self.assertEqual((0, 1), self.tidy()[:2])
        self.assertEqual((0, 0), self.tidy()[:2])

    def test_what_the_preprocessor_takes_away_is_looked_at_too(self):
        for name, text in (("a.c", '#include "a.h"\nint n;\n#define TWICE(a) a * 2\n'),
                           ("a.h", "extern int n;\n#define TWICE(a) a * 2\n")):
            with self.subTest(name):
                self.setUp()
                self.assertEqual((0, 1), self.tidy()[:2])
                self.write(name, text)
                for _ in range(2):  # what was found is found again
                    status, _, said = self.tidy()
                    self.assertEqual(1, status)
                    self.assertIn("bugprone-macro-parentheses", said)
                self.write(name, text.replace("a * 2\n", "a * 2 // NOLINT\n"))
                self.assertEqual(0, self.tidy()[0])
                self.write(name, text)
                self.assertEqual(1, self.tidy()[0])
