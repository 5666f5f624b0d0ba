"""What docs/ tells people to type: the quick start as it stands, commands and configurations that there are."""
import glob
import json
import os
import re
import shlex
import subprocess
import tempfile

import front
import lab

AGENT = os.path.join(lab.BUILD, "agent")
DOCS = sorted(glob.glob(os.path.join(lab.REPO, "docs", "*.md"))) + [os.path.join(lab.REPO, "README.md"),
                                                                     os.path.join(lab.REPO, "charts", "shoal", "README.md")]


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def blocks(path, language):
    """Code blocks of a language, as (number of the line, text)."""
    text = text_of(path)
    return [(text[:m.start()].count("\n") + 2, m[1]) for m in re.finditer(rf"^```{language}\n(.*?)^```", text, re.M | re.S)]


def members(answer):
    """The names of all members of a JSON document."""
    if isinstance(answer, list):
        return set().union(*map(members, answer))
    return set(answer).union(*map(members, answer.values())) if isinstance(answer, dict) else set()


# A machine of its own for what docs say to a new user: its ports, its mounts, its state directory, its processes.
MACHINE = """
ip link set lo up
mkdir -p /var/lib/shoal /run/shoal machine/state machine/run machine/mnt
mount --bind machine/state /var/lib/shoal
mount --bind machine/run /run/shoal
mount --bind machine/mnt /mnt
ln -s "$REPO/tests" tests
"""
# The package's agent runs, with its own configuration: the quick start's agents live beside it.
PACKAGE = """
shoald --config "$REPO/tools/package/shoal.yaml" 2> machine/package.log &
until shoal status; do sleep 0.1; done
"""
NOTHING_MOUNTED = """
! grep -e "$PWD/try" -e " /mnt fuse" /proc/self/mounts
"""


class QuickStart(lab.LabTest):
    GUIDE = os.path.join(lab.REPO, "docs", "quick-start.md")

    def on_a_machine(self, script):
        """What the script says, typed into a shell on a machine where nothing runs yet."""
        directory = tempfile.mkdtemp(prefix="new-user-", dir=lab.TMP)
        process = lab.start_process(["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child",
                                     "--mount-proc", "bash", "-euo", "pipefail", "-c", MACHINE + script + NOTHING_MOUNTED],
                                    cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                    env={**os.environ, "PATH": f"{AGENT}:{os.environ['PATH']}", "REPO": lab.REPO})
        said, _ = process.communicate(timeout=4 * lab.DEADLINE_S)
        logs = "".join(text_of(p) for p in glob.glob(os.path.join(directory, "*", "*.log")) + glob.glob(os.path.join(directory, "*.log")))
        self.assertEqual(process.returncode, 0, said[-3000:] + logs[-3000:])
        return said

    def test_as_it_stands(self):
        script = "\n".join(text for _, text in blocks(self.GUIDE, "sh"))
        self.assertGreater(script.count("shoal "), 10)
        said = self.on_a_machine(PACKAGE + script)
        peer = re.search(r'^shoal_chunks_total\{source="peer"\} (\d+)$', said, re.M)
        self.assertTrue(peer and int(peer[1]) > 0, said[-3000:])

    def test_what_the_readme_types(self):
        registry = next(text for _, text in blocks(self.GUIDE, "sh") if "docker-registry serve" in text)
        use = next(text for _, text in blocks(os.path.join(lab.REPO, "README.md"), "sh") if "shoald --config" in text)
        self.assertIn("\nshoal_chunks_total", self.on_a_machine(registry + use))


class Text(lab.LabTest):
    def test_commands_are_those_that_there_are(self):
        table = {}
        for line in subprocess.run([os.path.join(AGENT, "shoal"), "--print-docs", "words"], capture_output=True, text=True,
                                   check=True).stdout.splitlines():
            name, args, options = line.split("\t")
            table[name] = (args.split(), {o.split("=")[0] for o in options.split()})
        n, faults = 0, []
        for path in DOCS:
            text = text_of(path)
            lines = [line for _, block in blocks(path, "sh[a-z0-9 -]*") for line in block.splitlines()]
            lines = [part for line in lines for part in re.split(r"&&|\|\||;", line)]
            lines += re.findall(r"`(shoal [^`]+)`", text)
            for line in lines:
                m = re.match(r"^(?:.*(?:-- |until ))?\s*shoal ((?:--?\w|[a-z]).*)$", line.split(" #")[0].strip())
                if not m or "COMMAND" in line or "--print-docs" in line or "public name" in line or line == "shoal pki":
                    continue
                n += 1
                fault = self.fault(table, shlex.split(re.split(r" (?:[|&;>]|2>)", m[1])[0].rstrip(";")))
                if fault:
                    faults.append(f"{os.path.basename(path)}: {line}: {fault}")
        self.assertEqual(faults, [])
        self.assertGreater(n, 40)

    def fault(self, table, words):
        """Why that is no command of shoal; None: it is one."""
        if words[:1] == ["--socket"]:
            words = words[2:]
        words = [w for w in words if w != "--json"]
        if words[0].startswith("--"):
            return None if words[0] in ("--help", "--version") else "no such option"
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in table), None)
        if name is None:
            return "no such command"
        return next((f"no option of it: {w}" for w in words if w.startswith("--") and w.split("=")[0] not in table[name][1]), None)

    def test_the_members_of_answers_are_named(self):
        agent = self.agent(config={"peers": {"listen": f"127.0.0.1:{lab.free_port()}", "insecure": True}})
        image = lab.registry().push("edge:v6")
        where = agent.mount(image)
        file = next(lab.regular_files(where))
        lab.read_all(where)
        digest = agent.json("explain", file)["digest"]
        agent.shoal("pin", image)
        text = text_of(os.path.join(lab.REPO, "docs", "api.md"))
        named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
        states = set(re.findall(r"\w+", " ".join(re.findall(r"^\| ([a-z, ]+) \|", text, re.M))))
        for path in ("status", "live", "mounts", f"mounts?dir={where}", "mounts/requests", "images", f"images/inspect?image={image}", "blobs",
                     f"chunks/{digest}", "pins", f"explain?path={file}&offset=0", "peers"):
            status, answer, _ = front.ask(agent.socket, "GET", f"/v1/{path}")
            self.assertEqual(status, 200, (path, answer))
            self.assertEqual(sorted(members(json.loads(answer)) - named - states), [], path)

    def test_configurations_are_accepted(self):
        n, faults = 0, []
        for path in DOCS:
            for line, block in blocks(path, "yaml"):
                n += 1
                with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
                    f.write(block)
                    f.flush()
                    done = subprocess.run([os.path.join(AGENT, "shoald"), "--check-config", f.name], capture_output=True,
                                          text=True, check=False)
                if done.returncode != 0:
                    faults.append(f"{os.path.basename(path)}:{line}: {done.stderr}")
        self.assertEqual(faults, [])
        self.assertGreaterEqual(n, 4)
