"""tools/bench mount --erofs, and tools/bench takeover: the kernel's path beside the tree and an ext4 copy, and how
long readers wait while the agent is killed. Ratios in one run."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import lab

HOWS = ("tree", "erofs")
N_MOUNTS = 8
N_READERS = 32
KILLS = 5


def end_keeper(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(path)
        pid = struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    os.kill(pid, signal.SIGKILL)


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


def read_under(image, wheres, strike):
    """KILLS strikes, 20 files of each reader apart. @return the longest reads in seconds, number of errors"""
    argv = [sys.executable, os.path.join(lab.HERE, "takeover_readers.py"), image, str(N_READERS), *wheres]
    readers = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lab.adopt_process(readers)
    for _ in range(KILLS):
        for _ in range(20 * N_READERS):
            readers.stdout.readline()
        strike()
    readers.stdin.close()
    said = json.loads(readers.stdout.read().splitlines()[-1])
    return said["read_s"], len(said["errors"])


def run_takeover(row, image):
    """kill -9 of the agent under 32 readers of 8 mounts, again and again; the time until it serves again is in it."""
    reference = lab.registry().push(image)
    path = os.path.join(lab.TMP, "keeper.sock")
    agent = lab.Agent(config={"keeper": {"socket": path}})
    hows = HOWS if agent.json("status")["erofs"]["works"] else ("tree",)
    wheres = [agent.mount(reference, "--how", hows[i % len(hows)]) for i in range(N_MOUNTS)]
    calm, _ = read_under(image, wheres, lambda: None)
    pauses = []

    def kill():
        start = time.perf_counter()
        agent.kill()
        agent.start()
        pauses.append(time.perf_counter() - start)

    longest, errors = read_under(image, wheres, kill)
    agent.stop()
    end_keeper(path)
    # Of the reads that a kill can have met: one of each reader, each time.
    p99 = KILLS * N_READERS // 100
    print(f"from kill to ready, ms: {' '.join(f'{1000 * p:.0f}' for p in pauses)}; compared: the same readers, nobody killed")
    print(f"{'':44} {'shoal':>9} {'compared':>9}  {'ratio':>7}  {'goal':>8}")
    row("killed: longest read, ms", 1000 * longest[0], None, "<= 300")
    row("killed: p99 of the reads that were met, ms", 1000 * longest[p99], None, "<= 300")
    row("killed: that p99 / calm", 1000 * longest[p99], 1000 * calm[p99], "<= 2")
    row("killed: errors that readers saw", errors, None, "<= 0")
