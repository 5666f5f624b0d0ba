"""docs/containerd.md: its commands, word by word, on a copy of this machine's root that nobody else sees."""
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import node as nodes  # noqa: E402
import lab  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE_LINE = "IMAGE=127.0.0.1:5000/app:1-v6\n"
REASON = nodes.missing()
# /usr, /etc, /var and /run are written to, and thrown away. What mounts stand on must be no overlay.
PLACE = """
set -eu
for dir in usr etc var run; do
  mkdir -p "$ROOT/$dir" "$ROOT/.$dir"
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$ROOT/$dir,workdir=$ROOT/.$dir" "/$dir"
done
for dir in containerd shoal; do
  mkdir -p "$ROOT/lib/$dir" "/var/lib/$dir"
  mount --bind "$ROOT/lib/$dir" "/var/lib/$dir"
done
rm -rf /run/containerd /run/shoal /etc/containerd
mkdir -p "$ROOT/bin" "$UNITS_DIR"
cp "$HERE/systemctl" "$ROOT/bin/"
PATH=$ROOT/bin:$PATH
cd "$REPO"
set -x
"""


def commands():
    with open(os.path.join(lab.REPO, "docs", "containerd.md"), encoding="utf-8") as f:
        return "".join(re.findall(r"^```sh\n(.*?)^```$", f.read(), re.M | re.S))


@unittest.skipIf(REASON, REASON or "")
class Guide(lab.LabTest):
    def test_from_a_plain_node_to_the_first_container(self):
        if not shutil.which("cpack") or lab.BUILD != os.path.join(lab.REPO, "build", "release"):
            self.skipTest("the guide builds a package of build/release")
        reference = lab.registry().push("app:1-v6")
        text = commands()
        self.assertIn(IMAGE_LINE, text)
        root = lab.tempfile.mkdtemp(prefix="guide-", dir=lab.TMP)
        script = os.path.join(root, "guide.sh")
        with open(script, "w", encoding="utf-8") as f:
            f.write(PLACE + text.replace(IMAGE_LINE, f"IMAGE={reference}\n"))
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private", "--mount-proc",
             "bash", script], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=600,
            env={**os.environ, "ROOT": root, "HERE": HERE, "REPO": lab.REPO, "UNITS_DIR": os.path.join(root, "units")})
        self.assertEqual(0, done.returncode, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}\n{self.logs(root)}")
        self.assertRegex(done.stdout, r"(?m)^Flask \d")
        self.assertRegex(done.stdout, r"(?m)^file +/.*/usr/bin/sleep$")  # of shoal explain
        self.assertRegex(done.stdout, r'shoal_read_bytes_total\{source="origin"')

    @staticmethod
    def logs(root):
        words = []
        for name in sorted(os.listdir(os.path.join(root, "units"))) if os.path.isdir(os.path.join(root, "units")) else []:
            if name.endswith(".log"):
                with open(os.path.join(root, "units", name), encoding="utf-8", errors="replace") as f:
                    words.append(f"{name}:\n{f.read()[-2000:]}")
        return "\n".join(words)


if __name__ == "__main__":
    unittest.main()
