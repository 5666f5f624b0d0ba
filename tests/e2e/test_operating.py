"""docs/operating.md: its commands, word by word and in their order, on two nodes: each a network, an /etc/shoal, a /run/shoal of its own."""
import os
import re
import signal
import subprocess
import tempfile
import threading

import lab
import netlab

AGENT = os.path.join(lab.BUILD, "agent")
GUIDE = os.path.join(lab.REPO, "docs", "operating.md")
IMAGE = "edge:v6"
# What stands in the guide, and what it is called here.
FILE, OUR_FILE = "usr/bin/python3", "big/random"
DONE = "-- done with status "

# A node: what the package would have installed, and a systemctl that knows one unit. The programs are on the PATH. The
# places that it is given are this namespace's alone.
NODE = """
set -eu
mount -t tmpfs tmpfs /mnt
for dir in etc/shoal run/shoal var/lib/shoal; do
  mkdir -p "$ROOT/$dir"
  lower=$(dirname "/$dir")
  mkdir -p "$ROOT/over/$lower" "$ROOT/scratch/$lower"
  [ -d "/$dir" ] || mount -t overlay overlay -o "lowerdir=$lower,upperdir=$ROOT/over/$lower,workdir=$ROOT/scratch/$lower" "$lower"
  mkdir -p "/$dir"
  mount --bind "$ROOT/$dir" "/$dir"
done
SHOALD=
trap '[ -z "$SHOALD" ] || kill "$SHOALD"' EXIT
systemctl() {
  case $1 in
    stop) kill "$SHOALD"; wait "$SHOALD"; SHOALD= ;;
    reload) kill -HUP "$SHOALD" ;;
    restart)
      shoald --config /etc/shoal/shoal.yaml >>"$ROOT/log" 2>&1 </dev/null &
      SHOALD=$!
      until shoal status >/dev/null 2>&1; do kill -0 "$SHOALD" || return 1; done ;;
    *) echo "systemctl $1 is not known here"; return 1 ;;
  esac
}
"""


def blocks():
    """(who, text) of every block of commands, in order."""
    with open(GUIDE, encoding="utf-8") as f:
        return re.findall(r"^```sh ?(.*?)\n(.*?)^```$", f.read(), re.M | re.S)


class Shell:
    """A shell that is given one block after another."""

    def __init__(self, directory, prefix=(), env=None):
        self.process = subprocess.Popen([*prefix, "bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, cwd=directory, start_new_session=True,
                                        env={**os.environ, "PATH": f"{AGENT}:{os.environ['PATH']}", **(env or {})})
        lab.adopt_process(self.process)

    def run(self, text):
        """(status, what it said). A command that fails ends the shell."""
        watchdog = threading.Timer(4 * lab.DEADLINE_S, self.process.kill)
        watchdog.start()
        try:
            self.process.stdin.write(f"{text}\necho; echo '{DONE}'0\n")
            self.process.stdin.flush()
            said = ""
            for line in self.process.stdout:
                if line.startswith(DONE):
                    return int(line[len(DONE):]), said
                said += line
            return self.process.wait(), said
        finally:
            watchdog.cancel()

    def close(self):
        lab.stop_process(self.process, signal.SIGKILL)
        self.process.stdin.close()
        self.process.stdout.close()


class OperatingGuide(lab.LabTest):
    def node(self, directory, net_node, root):
        os.makedirs(root)
        shell = Shell(directory, net_node.command(["unshare", "--mount", "--propagation", "private"]), {"ROOT": root})
        self.addCleanup(shell.close)
        self.addCleanup(lambda: shell.process.poll() is None and shell.run('[ -z "$SHOALD" ] || systemctl stop'))
        status, said = shell.run(NODE)
        self.assertEqual(status, 0, said)
        return shell

    def test_as_it_stands_on_two_nodes(self):
        directory = tempfile.mkdtemp(prefix="operating-", dir=lab.TMP)
        net = netlab.Net()
        self.addCleanup(net.close)
        root, names = netlab.registry_root(IMAGE)
        registry = lab.Registry(root=root, node=net.node())
        self.addCleanup(registry.stop)
        nodes = [net.node(), net.node()]
        os.symlink(os.path.join(lab.REPO, "charts"), os.path.join(directory, "charts"))  # the administrator has a clone
        admin = Shell(directory)
        self.addCleanup(admin.close)
        shells = {"admin": admin, **{f"node-{i + 1}": self.node(directory, node, os.path.join(directory, f"node-{i + 1}-root"))
                                     for i, node in enumerate(nodes)}}
        self.assertEqual(admin.run("set -eu")[0], 0)
        words = {"10.0.0.5:5000/app:1": f"{registry.host}/{names[IMAGE]}", "10.0.0.5:5000": registry.host, FILE: OUR_FILE,
                 "10.0.0.1": nodes[0].address, "10.0.0.2": nodes[1].address}
        ran = {"admin": 0, "node-1": 0, "node-2": 0}
        said_all = {}
        for who, text in blocks():
            if who == "no-run":
                continue
            self.assertIn(who, shells, f"nobody is said to run: {text}")
            for old, new in words.items():
                text = text.replace(old, new)
            status, said = shells[who].run(text)
            self.assertEqual(status, 0, f"{who}: {text}\n{said}\n{self.logs(directory)}")
            ran[who] += 1
            said_all[who] = said_all.get(who, "") + said
        self.assertGreaterEqual(min(ran.values()), 2, ran)
        self.assertGreater(sum(text.count("shoal ") for _, text in blocks()), 20)
        peer = re.search(r'^shoal_chunks_total\{source="peer"\} (\d+)$', said_all["node-2"], re.M)
        self.assertTrue(peer and int(peer[1]) > 0, said_all["node-2"])
        self.assertIn("certificate renewed", self.logs(directory))
        self.assertIn("all right", said_all["node-1"])  # of shoal verify

    @staticmethod
    def logs(directory):
        text = ""
        for name in ("node-1-root", "node-2-root"):
            path = os.path.join(directory, name, "log")
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    text += f"{name}:\n{f.read()[-4000:]}\n"
        return text


if __name__ == "__main__":
    lab.unittest.main()
