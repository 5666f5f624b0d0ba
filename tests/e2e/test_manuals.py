"""What people read and type: manual pages and completion say what the programs take."""
import os
import re
import shutil
import subprocess
import unittest

import lab

AGENT = os.path.join(lab.BUILD, "agent")
PACKAGE = os.path.join(lab.REPO, "tools", "package")


def said(program, *args):
    return subprocess.run([os.path.join(AGENT, program), *args], capture_output=True, text=True, check=False)


def options_in(text):
    text = re.sub(r"\\f.", "", text).replace("\\-", "-")
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--print-docs"}


def page(name):
    with open(os.path.join(PACKAGE, name), encoding="utf-8") as f:
        return f.read()


class Manuals(lab.LabTest):
    def test_pages_name_the_options_that_there_are(self):
        self.assertEqual(options_in(page("shoald.8")), options_in(said("shoald", "--help").stdout))
        self.assertEqual(options_in(page("nydusd.1")), options_in(said("nydusd", "--help").stdout))
        self.assertEqual(options_in(page("shoal-keeper.8")), options_in(said("shoal-keeper").stderr))
        self.assertEqual(options_in(said("shoal", "--print-docs", "man").stdout), options_in(said("shoal", "--help").stdout))

    @unittest.skipUnless(shutil.which("groff"), "no groff")
    def test_groff_finds_no_fault(self):
        texts = [page("shoald.8"), page("nydusd.1"), page("shoal-keeper.8"), said("shoal", "--print-docs", "man").stdout,
                 said("shoald", "--print-docs", "man").stdout]
        for text in texts:
            done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-P-c"], input=text, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), text[:60])
            self.assertNotIn("\\", done.stdout)

    def test_every_setting_is_on_its_page(self):
        names = re.findall(r"^\| `([a-z_.]+)`", said("shoald", "--print-docs", "config").stdout, re.M)
        text = said("shoald", "--print-docs", "man").stdout
        self.assertGreater(len(names), 30)
        for name in names:
            self.assertIn(f"\\fB{name}\\fR", text)


@unittest.skipUnless(shutil.which("bash"), "no bash")
class Completion(lab.LabTest):
    def complete(self, *words, socket="/nowhere"):
        """What is offered for the last of the words."""
        script = f'''source {PACKAGE}/shoal.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_shoal
printf '%s\\n' "${{COMPREPLY[@]}}"'''
        done = subprocess.run(["bash", "-uc", script, "bash", "shoal", *words], capture_output=True, text=True, check=False,
                              env={"PATH": f"{AGENT}:/usr/bin:/bin", "SHOAL_SOCKET": socket}, cwd=os.path.join(lab.REPO, "docs"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_commands(self):
        self.assertEqual(self.complete("p"), ["peers", "pin", "pki", "prefetch"])
        self.assertEqual(self.complete("image", ""), ["ls", "inspect", "rm"])
        self.assertEqual(self.complete("--socket", "/x", "pki", "n"), ["node"])
        self.assertEqual(self.complete("nothing", ""), [])

    def test_options_are_those_of_the_command(self):
        self.assertEqual(self.complete("mount", "--"),
                         ["--socket", "--json", "--help", "--version", "--prefetch", "--auth-file", "--bootstrap", "--blobs", "--how"])
        self.assertEqual(self.complete("gc", "--d"), ["--dry-run"])
        self.assertEqual(self.complete("pin", "--l"), ["--list"])
        self.assertEqual(self.complete("mount", "--how", "e"), ["erofs"])
        self.assertEqual(self.complete("ls", "--v"), ["--version"])
        self.assertEqual(self.complete("--j"), ["--json"])

    def test_paths_and_images(self):
        self.assertEqual(self.complete("explain", "config"), ["config.md"])
        self.assertEqual(self.complete("pki", "node", "../do"), ["../docs"])
        self.assertEqual(self.complete("pin", "--list", "oper"), ["operating.md"])
        agent = self.agent()
        reference = lab.registry().push("edge:v6")
        agent.mount(reference)
        for words in (("image", "rm"), ("pin",), ("unpin",)):
            self.assertEqual(self.complete(*words, "", socket=agent.socket), [reference])
        self.assertIn(reference, self.complete("prefetch", "", socket=agent.socket))


if __name__ == "__main__":
    unittest.main()
