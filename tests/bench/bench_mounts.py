"""tools/bench mount --erofs, and tools/bench takeover: the kernel's path beside the tree and an ext4 copy, and how
long readers wait while the agent is killed. Ratios in one run."""
import os
import shutil
import subprocess
import sys
import time

import lab

HOWS = ("tree", "erofs")
N_MOUNTS = 8
N_READERS = 32
KILLS = 10  # of an agent that has everything
COLD_ROUNDS = (1, 4, 12, 30)  # files that each reader has read when an agent that has nothing is killed
CALM_S = 0.1  # about as long as a kill and a new start take: for how long calls are looked at where nobody is killed


def one_round(how, reference, listed, copy, tools):
    """Cold by a new agent; then hot and from disk, beside the copy."""
    samples, seconds = tools.samples, tools.seconds
    agent = lab.Agent(config={"mount": how})
    where = agent.new_dir()
    start = time.perf_counter()
    agent.mount(reference, where=where)
    samples.add(f"mount {how}", time.perf_counter() - start)
    if lab.mount_type(where) != {"tree": "fuse.shoal", "erofs": "erofs"}[how]:
        sys.exit(f"bench: not mounted as {how}: {agent.json('status')['erofs']['why']}")
    samples.add(f"cold {how}", seconds("read", listed, where, 1))
    for name, directory in ((how, where), ("ext4", copy)):
        seconds("read", listed, directory, 1)
        seconds("lstat", listed, directory)
    for _ in range(tools.hot_repeats):
        for name, directory in ((how, where), ("ext4", copy)):
            samples.add(f"hot {name}", seconds("read", listed, directory, 1))
            samples.add(f"lstat {name}", seconds("lstat", listed, directory))
            samples.add(f"pread {name}", seconds("pread", listed, directory, tools.small_reads, 7))
    agent.umount(where)  # what is here as a whole now, the next mount gives to the kernel
    agent.mount(reference, where=where)
    for name, directory in ((how, where), ("ext4", copy)):
        lab.drop_caches()
        samples.add(f"disk {name}", seconds("read", listed, directory, 1))
    tools.take_down(agent, where)


def run_erofs(tools, reference, listed, copy, rounds):
    for _ in range(rounds):
        for how in HOWS:
            one_round(how, reference, listed, copy, tools)
    m, row = tools.samples.median, tools.row
    print(f"{'':44} {'shoal':>9} {'compared':>9}  {'ratio':>7}  {'goal':>8}")
    row("erofs, hot, every file, s / ext4", m("hot erofs"), m("hot ext4"), "<= 1.05")
    row("erofs, hot, lstat of every entry, s / ext4", m("lstat erofs"), m("lstat ext4"), "<= 1.05")
    row(f"erofs, hot, {tools.small_reads} preads of 4 KiB, s / ext4", m("pread erofs"), m("pread ext4"), "<= 1.05")
    row("erofs, on disk, page cache empty, s / ext4", m("disk erofs"), m("disk ext4"), "<= 0.35")
    row("erofs, cold, 1 reader, s / the tree's", m("cold erofs"), m("cold tree"), "<= 1.0")
    row("erofs, mount, s / the tree's", m("mount erofs"), m("mount tree"), "<= 1.5")


class Readers:
    """bench_pause on some mounts, and what it tells in the end."""

    def __init__(self, listed, wheres):
        argv = [os.path.join(lab.BUILD, "tests", "bench", "bench_pause"), listed, str(N_READERS), *wheres]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.adopt_process(self.process)

    def go_on(self, n_rounds):
        """Until all have read so many more files."""
        for _ in range(n_rounds):
            self.process.stdout.readline()

    def stop(self):
        """[(reader, begin, end)] of the calls that took a while, in seconds of time.monotonic(); number of errors"""
        self.process.stdin.close()
        calls = []
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "errors":
                return calls, int(words[1])
            if len(words) == 3:
                calls.append((int(words[0]), int(words[1]) / 1e9, int(words[2]) / 1e9))
        sys.exit("bench: the readers ended early")


def longest_calls(calls, begin, end):
    """Of each reader the longest call that was under way between begin and end, in seconds."""
    longest = [0.0] * N_READERS
    for reader, since, until in calls:
        if since < end and until > begin:
            longest[reader] = max(longest[reader], until - since)
    return longest


def strike_at(readers, at_rounds, strike):
    """Strike after so many files of each reader, each time. @return longest calls of all strikes, seconds, errors"""
    struck = []
    for n in at_rounds:
        readers.go_on(n)
        begin = time.monotonic()
        strike()
        struck.append((begin, time.monotonic()))
    readers.go_on(4)
    calls, errors = readers.stop()
    return [s for begin, end in struck for s in longest_calls(calls, begin, end)], [e - b for b, e in struck], errors


class Pauses:
    """One part of the take-over bench: with kills, and the same without."""

    def __init__(self):
        self.calls = {"killed": [], "calm": []}
        self.took = {"killed": [], "calm": []}
        self.errors = 0

    def add(self, kind, said):
        self.calls[kind] += said[0]
        self.took[kind] += said[1]
        self.errors += said[2]

    def p99(self, kind):
        ordered = sorted(self.calls[kind])
        return 1000 * ordered[len(ordered) - 1 - len(ordered) // 100]

    def print(self, row, name, against_calm):
        print(f"{name}: from kill to ready, ms: {' '.join(f'{1000 * t:.0f}' for t in self.took['killed'])}")
        row(f"{name}: p99 of the calls that were met, ms", self.p99("killed"), None, "<= 300")
        row(f"{name}: longest call, ms", 1000 * max(self.calls["killed"]), None, "<= 300")
        if against_calm:
            row(f"{name}: p99 / the same, nobody killed", self.p99("killed"), self.p99("calm"), "<= 3")
        row(f"{name}: errors that readers saw", self.errors, None, "<= 0")


class KeptAgent:
    """An agent with a keeper and 8 mounts, by turns as a tree and by the kernel's EROFS."""

    def __init__(self, reference, prefetch):
        self.keeper = lab.keeper_socket()
        self.agent = lab.Agent(config={"keeper": {"socket": self.keeper}})
        hows = HOWS if self.agent.json("status")["erofs"]["works"] else ("tree",)
        self.wheres = [self.agent.mount(reference, "--how", hows[i % len(hows)]) for i in range(N_MOUNTS)]
        if prefetch:
            self.agent.shoal("prefetch", self.wheres[0])
            self.agent.restart()  # what is ready reaches the database up to a second later

    def kill(self):
        self.agent.kill()
        self.agent.start()

    def end(self):
        for where in self.wheres:
            self.agent.umount(where)
        self.agent.stop()
        lab.end_keeper(self.keeper)
        shutil.rmtree(self.agent.dir, ignore_errors=True)


def run_takeover(row, reference, listed, rounds):
    """kill -9 of the agent under 32 readers of 8 mounts, again and again; the time until it serves again is in it."""
    def calm():
        time.sleep(CALM_S)  # the time itself is meant: what the readers' calls take in it is measured

    warm, cold = Pauses(), Pauses()
    kept = KeptAgent(reference, prefetch=True)
    warm.add("killed", strike_at(Readers(listed, kept.wheres), [20] * KILLS, kept.kill))
    kept.end()
    for i in range(rounds):
        for kind in ("calm", "killed"):
            kept = KeptAgent(reference, prefetch=False)
            at = [COLD_ROUNDS[i % len(COLD_ROUNDS)]]
            cold.add(kind, strike_at(Readers(listed, kept.wheres), at, calm if kind == "calm" else kept.kill))
            kept.end()
    print(f"{'':44} {'shoal':>9} {'compared':>9}  {'ratio':>7}  {'goal':>8}")
    warm.print(row, "warm", against_calm=False)  # calm readers wait for nobody
    cold.print(row, "cold", against_calm=True)
