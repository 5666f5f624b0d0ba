"""tools/bench dedup: what sharing chunks between images saves and what it costs, ratios in one run."""
import os
import shutil
import statistics
import subprocess
import sys
import time

import lab

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import big_image  # noqa: E402
import chunk_facts  # noqa: E402
import histories  # noqa: E402
from lists import list_of  # noqa: E402

FIRST, SECOND = "app:1-v6", "app:2-v6"
BIG_CHUNKS = 100000
NEW_ON_DISK = 1.033  # what the new chunks alone add to app:1


class Rows:
    """Prints the table; counts the goals that were missed."""

    def __init__(self):
        print(f"{'':66} {'shoal':>11} {'compared':>11}  {'ratio':>7}  {'goal':>12}")

    def row(self, name, value, reference, goal):
        ratio = value / reference if reference else value
        sign, _, bound = goal.partition(" ")
        good = ratio <= float(bound) if sign == "<=" else ratio >= float(bound)
        shown = f"{reference:11.5g}" if reference else f"{'-':>11}"
        print(f"{name:66} {value:11.5g} {shown}  {ratio:7.4g}  {goal:>12}  {'ok' if good else 'MISSED'}", flush=True)

    @staticmethod
    def note(name, value):
        print(f"{name:66} {value:11.5g}", flush=True)


class Bench:
    def __init__(self, args, seconds):
        self.args, self.seconds = args, seconds
        self.references = {i: lab.registry().push(i) for i in (FIRST, SECOND)}
        self.lists = {i: list_of(i) for i in (FIRST, SECOND)}

    def agent(self, dedup, state_dir=None):
        return lab.Agent(config={"cache": {"dedup": dedup}}, state_dir=state_dir)

    def read(self, agent, image):
        """@return (seconds to read all of the image, bytes from the registry)"""
        before = agent.origin_bytes()
        where = agent.mount(self.references[image])
        took_s = self.seconds("read", self.lists[image], where, 1)
        return took_s, agent.origin_bytes() - before

    @staticmethod
    def end(agent):
        for where in lab.mounts_below(agent.dir):
            agent.umount(where)
        agent.stop()
        shutil.rmtree(agent.dir, ignore_errors=True)


def new_ranges():
    """[(blob, first, last byte)] of the neighbouring units of the second image that the first lacks."""
    have, ranges = chunk_facts.keys(FIRST), []
    for u in sorted(chunk_facts.units(SECOND), key=lambda u: (u.blob_id, u.first)):
        if set(u.members.values()) <= set(have):
            continue
        if ranges and ranges[-1][0] == u.blob_id and ranges[-1][2] + 1 == u.first:
            ranges[-1] = (u.blob_id, ranges[-1][1], u.end - 1)
        else:
            ranges.append((u.blob_id, u.first, u.end - 1))
    return ranges


def gets_s(bench, ranges):
    """Seconds that curl takes for these ranges, one after another on one connection: count x median."""
    prefix = f"http://{lab.registry().host}/v2/{SECOND.split(':')[0]}/blobs/sha256:"
    said = subprocess.run([os.path.join(bench.args.build, "tests", "bench", "bench_gets"), prefix], check=True,
                          capture_output=True, text=True, input="".join(f"{b} {a} {e}\n" for b, a, e in ranges))
    return len(ranges) * float(said.stdout.split()[1]) / 1000


def reading(bench, rows):
    """Bytes from the registry and times, in interleaved rounds."""
    times = {name: [] for name in ("1 on", "1 off", "2 shared", "2 shared, cold pages", "2 on disk", "2 cold", "gets")}
    ranges = new_ranges()
    for _ in range(bench.args.rounds):
        agent = bench.agent(False)
        times["1 off"].append(bench.read(agent, FIRST)[0])
        times["2 cold"].append(bench.read(agent, SECOND)[0])
        lab.drop_caches()
        times["2 on disk"].append(bench.read(agent, SECOND)[0])
        bench.end(agent)
        agent = bench.agent(True)
        took_s, first_bytes = bench.read(agent, FIRST)
        times["1 on"].append(took_s)
        took_s, second_bytes = bench.read(agent, SECOND)
        times["2 shared"].append(took_s)
        bench.end(agent)
        agent = bench.agent(True)
        bench.read(agent, FIRST)
        lab.drop_caches()
        times["2 shared, cold pages"].append(bench.read(agent, SECOND)[0])
        bench.end(agent)
        times["gets"].append(gets_s(bench, ranges))
    m = {name: statistics.median(values) for name, values in times.items()}
    new = chunk_facts.missing_bytes(SECOND, chunk_facts.keys(FIRST))
    rows.row(f"registry bytes for {SECOND} after {FIRST} / its new chunks", second_bytes, new, "<= 1.1")
    rows.row(f"registry bytes for {FIRST} / its packed chunks", first_bytes, chunk_facts.packed_bytes(FIRST), "<= 1.01")
    rows.row(f"read {FIRST}, s: sharing on / off", m["1 on"], m["1 off"], "<= 1.03")
    rows.row(f"read {SECOND} after {FIRST}, s / it on disk, page cache empty", m["2 shared"], m["2 on disk"], "<= 1.25")
    rows.note(f"  the {len(ranges)} requests for its new chunks by curl, one after another, s", m["gets"])
    rows.note("  the same with an empty page cache, s", m["2 shared, cold pages"])
    rows.note("  the same without sharing, all of it from the registry, s", m["2 cold"])


def state_bytes(state_dir):
    """Disk space of a state directory but for blobs: the database, manifests, bootstraps."""
    total = 0
    for at, _, names in os.walk(state_dir):
        if os.path.basename(at) != "blobs":
            total += sum(os.lstat(os.path.join(at, n)).st_blocks * 512 for n in names)
    return total


def disk(bench, rows):
    for kind in histories.FILE_SYSTEMS:
        disk_of(bench, rows, kind)


def disk_of(bench, rows, kind):
    """Disk space after both images against the first alone; blob data, by the file system's own count."""
    try:
        fs = histories.LoopFs(kind)
    except lab.unittest.SkipTest as e:
        print(f"{kind}: {e}")
        return
    state_dir = os.path.join(fs.dir, "state")
    agent = bench.agent(True, state_dir)
    used = []
    agent.restart()  # its database is there, the file system has its tables
    used.append(fs.used_bytes() - state_bytes(state_dir))
    for image in (FIRST, SECOND):
        bench.read(agent, image)
        agent.restart()  # everything is written down
        used.append(fs.used_bytes() - state_bytes(state_dir))
    rows.row(f"disk after both / {FIRST} alone, bytes, {kind} (new chunks alone: {NEW_ON_DISK})", used[2] - used[0],
             used[1] - used[0], "<= 1.04")
    bench.end(agent)
    fs.close()


def mount_s(agent, bootstrap, origin, wait_joined):
    where = agent.new_dir()
    start = time.perf_counter()
    agent.shoal("mount", "--bootstrap", bootstrap, "--blobs", f"dir:{origin}", where)
    took_s = time.perf_counter() - start
    if wait_joined:
        read_some(where)
    agent.umount(where)
    for name in (i["name"] for i in agent.json("image", "ls")["images"]):
        if not name.startswith("bench.example/"):
            agent.shoal("image", "rm", name)
    return took_s


def read_some(where):
    """None of it is at the origin: it can only come from the blob that has it, once the join has found that."""
    with open(os.path.join(where, "data"), "rb", buffering=0) as f:
        for i in (0, 1, 77777, BIG_CHUNKS - 1):
            if os.pread(f.fileno(), big_image.CHUNK, i * big_image.CHUNK) != big_image.chunk(i):
                raise AssertionError(f"wrong bytes in chunk {i}")


def database(bench, rows):
    """A database of many chunks: its rates and size, and what a mount waits for it."""
    n_blobs = bench.args.database_chunks // BIG_CHUNKS
    state_dir = os.path.join(lab.TMP, "database")
    said = subprocess.run([os.path.join(bench.args.build, "tests", "bench", "bench_cas"), state_dir, str(n_blobs)],
                          check=True, capture_output=True, text=True).stdout.split()
    n = dict(zip(said[::2], map(float, said[1::2])))
    many = f"{n_blobs * BIG_CHUNKS:,}"
    rows.row(f"registering {BIG_CHUNKS:,} chunks into an empty database, rows/s", n["empty_rows_per_s"], None, ">= 100000")
    rows.row(f"registering {BIG_CHUNKS:,} chunks into {many}, rows/s", n["full_rows_per_s"], None, ">= 30000")
    rows.row(f"lookup in {many}, in a batch sorted by key, us", n["lookup_us"], None, "<= 5")
    rows.row("database, all tables, bytes a chunk", n["bytes_a_chunk"], None, "<= 80")
    bootstrap, origin = os.path.join(lab.TMP, "big.boot"), os.path.join(lab.TMP, "nothing")
    os.mkdir(origin)
    with open(bootstrap, "wb") as f:
        f.write(big_image.bootstrap(BIG_CHUNKS))
    subprocess.run(["cat", os.path.join(state_dir, "shoal.db")], stdout=subprocess.DEVNULL, check=True)  # page cache warm
    times = {True: [], False: []}
    for _ in range(bench.args.rounds):
        for dedup in (False, True):
            agent = bench.agent(dedup, state_dir)
            times[dedup].append(1000 * mount_s(agent, bootstrap, origin, dedup))
            bench.end(agent)
    m = {k: statistics.median(v) for k, v in times.items()}
    rows.row(f"mount of {BIG_CHUNKS:,} chunks joined with {many}: ms more", m[True] - m[False], None, "<= 500")
    rows.note("  that mount, ms", m[True])
    rows.note("  that mount with sharing off, ms", m[False])
    shutil.rmtree(state_dir)


PARTS = {"reading": reading, "disk": disk, "database": database}


def run(args, seconds):
    """seconds(*args of bench_reader)"""
    rows, bench = Rows(), Bench(args, seconds)
    for part in args.parts or PARTS:
        PARTS[part](bench, rows)
