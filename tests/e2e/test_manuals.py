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
    def complete(self, *words, socket="/nowhere", cwd=os.path.join(lab.REPO, "docs")):
        """What is offered for the last of the words."""
        broken = ["shoal"]  # as bash does it
        for word in words:
            broken += re.findall(r"(?:\\.|[^\\:=])+|[:=]+", word) or [""]
        script = f'''source {PACKAGE}/shoal.bash
COMP_LINE=$LINE COMP_POINT=${{#COMP_LINE}} COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_shoal
printf '%s\\n' "${{COMPREPLY[@]}}"'''
        done = subprocess.run(["bash", "-uc", script, "bash", *broken], capture_output=True, text=True, check=False,
                              env={"PATH": f"{AGENT}:/usr/bin:/bin", "SHOAL_SOCKET": socket, "LINE": " ".join(["shoal", *words])}, cwd=cwd)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [line for line in done.stdout.splitlines() if line]

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

    def test_every_option_that_takes_a_value_has_it(self):
        words = said("shoal", "--print-docs", "words").stdout
        valued = set(re.findall(r"(--[a-z-]+)=", words))
        self.assertIn("--timeout", valued)
        for option in valued:
            self.assertEqual(self.complete(option, "5", "drain", "--t"), ["--timeout"], f"{option}'s value is no command")
            self.assertNotIn("peers", self.complete(option, "p"))

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
        self.assertEqual(self.complete("--socket", agent.socket, "pin", ""), [reference])

    def test_bash_breaks_words_at_colons(self):
        agent = self.agent()
        reference = lab.registry().push("edge:v6")
        agent.mount(reference)
        host, port, tag = reference.split(":")
        repository = port.partition("/")[0] + "/ed"
        for typed, offered in ((f"{host}:", f"{port}:{tag}"), (f"{host}:{repository}", f"{port}:{tag}"),
                               (f"{host}:{port}:", tag), (f"{host}\\:{repository}", reference)):
            self.assertEqual(self.complete("pin", typed, socket=agent.socket), [offered], typed)
        self.assertEqual(self.complete("mount", reference, "../do", socket=agent.socket), ["../docs"])

    def test_paths_have_colons_and_blanks(self):
        cwd = lab.tempfile.mkdtemp(prefix="complete-", dir=lab.TMP)
        os.makedirs(os.path.join(cwd, "my dir"))
        for name in ("a:b.meta", "c=d.meta", "my dir/f"):
            with open(os.path.join(cwd, name), "wb"):
                pass
        for typed, offered in (("a:", "b.meta"), ("a:b", "b.meta"), ("a\\:b", "a:b.meta"), ("c=d", "d.meta"), ("my\\ d", "my dir"),
                               ("my\\ dir/", "my dir/f")):
            self.assertEqual(self.complete("explain", typed, cwd=cwd), [offered], typed)
        self.assertEqual(self.complete("mount", "--auth-file", "my\\ dir/", cwd=cwd), ["my dir/f"])


if __name__ == "__main__":
    unittest.main()
