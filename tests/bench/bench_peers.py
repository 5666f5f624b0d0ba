"""tools/bench peers: a cluster in namespaces against what its links can carry. Ratios in one run.

Each part makes its own cluster (tests/e2e/cluster.py) and takes it down. The links are unshaped but
where a row says otherwise; the machine's cores are shared by all nodes, the registry included.
"""
import contextlib
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import holdings
import lab
import rafs_facts
import tree_manifest
from cluster import Cluster, Pki, at_once
from links import Links, cpu_seconds
from lists import list_of
from stage import Stage
from streams import one_stream, wire

MBIT = 100
SLOW_MBIT = 20
MANY = 64
REST_NODES = 100
REST_SETTLE_S = 10
REST_S = 30
SMALL_READS = 300


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def timed(fn, *args):
    start = time.perf_counter()
    fn(*args)
    return time.perf_counter() - start


def prefetch_all(cluster, wheres):
    """All at once; the seconds of each."""
    return at_once(lambda agent, where: timed(agent.shoal, "prefetch", where), cluster.agents, wheres)


class Reader:
    """Reads all files of an image, one after the other, by a program in C: eight that are written in Python take a sixth
    of the CPU that eight nodes on one machine have together."""

    def __init__(self, args, image):
        self.argv = [os.path.join(args.build, "tests", "bench", "bench_reader"), "read", list_of(image)]

    def seconds(self, where):
        return float(subprocess.run([*self.argv, where, "1"], check=True, capture_output=True, text=True).stdout)


def processes(n):
    """A pool of n processes that are there already. Threads would take turns under the interpreter's one lock."""
    pool = ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("fork"))
    list(pool.map(os.path.exists, ["/"] * n))
    return pool


@contextlib.contextmanager
def watched(cluster, show_links):
    """What the links carry meanwhile, shown where that is wanted."""
    if not show_links:
        yield
        return
    pids = {f"node{i}": agent.process.pid for i, agent in enumerate(cluster.agents)}
    with Links({"registry": cluster.registry.process.pid, **pids}, MBIT) as links:
        yield
    links.show()


def curl_blobs(cluster, node, image):
    """Seconds that curl takes for the image's blobs from the cluster's registry, on one node."""
    prefix = f"http://{cluster.registry.host}/v2/{image.split(':')[0]}/blobs/sha256:"
    argv = ["curl", "-sSf"]
    for blob in rafs_facts.blob_ids(image):
        argv += ["-o", "/dev/null", prefix + blob]
    return timed(lambda: subprocess.run(node.command(argv), check=True))


# ---- latency ----

def read_latency(row, image, size, goals):
    """Reads of whole chunks at places that the reader's node has not seen, from the node beside it."""
    with Stage() as stage:
        cluster = Cluster(stage, [image], 2, pki=Pki())
        cluster.wait_for_members()
        holder, asker = cluster.agents
        holder.shoal("prefetch", holder.mount(cluster.reference(image)))
        where = asker.mount(cluster.reference(image))
        times = []
        files = sorted((os.path.getsize(path), path) for path in lab.regular_files(where))
        for n_bytes, path in reversed(files):
            with open(path, "rb", buffering=0) as f:
                # every second chunk, backwards: nothing was read ahead
                for at in range(n_bytes // size * size - size, -1, -2 * size):
                    start = time.perf_counter()
                    os.pread(f.fileno(), size, at)
                    times.append(1000 * (time.perf_counter() - start))
            if len(times) >= SMALL_READS:
                break
        for share, goal in goals:
            row(f"{size >> 10} KiB chunk from a neighbour, p{int(share * 100)}, ms (of {len(times)})",
                percentile(times, share), None, f"<= {goal}")
        row("  registry bytes meanwhile", asker.origin_bytes(), None, "<= 0")


def overtake(row):
    """Reads while the same node's prefetch fills its neighbour's link."""
    image = "app:1-v6"
    with Stage() as stage:
        cluster = Cluster(stage, [image], 2)
        cluster.wait_for_members()
        holder, asker = cluster.agents
        holder.shoal("prefetch", holder.mount(cluster.reference(image)))
        where = asker.mount(cluster.reference(image))
        small = [f for f in lab.regular_files(where) if 2000 < os.path.getsize(f) < 20000]
        cluster.nodes[0].shape(SLOW_MBIT)
        prefetch = threading.Thread(target=asker.shoal, args=("prefetch", where))
        prefetch.start()
        lab.wait_for(lambda: asker.metric("shoal_peer_received_bytes_total") > 200_000, "the prefetch to begin")
        times = []
        for path in small[::max(1, len(small) // 40)]:
            if not prefetch.is_alive():
                break
            with open(path, "rb") as f:
                times.append(timed(f.read))
        prefetch.join()
        row(f"reads beside the own prefetch at {SLOW_MBIT} Mbit/s, longest, s (of {len(times)})", max(times), None,
            "<= 0.5")


# ---- storms ----

def storm(row, show_links):
    image = "app:1-v6"
    with Stage() as stage:
        cluster = Cluster(stage, [image, "app:2-v6"], 8)
        for node in cluster.net.nodes:
            node.shape(MBIT)
        cluster.wait_for_members()
        alone = curl_blobs(cluster, cluster.net.nodes[1], image)
        wheres = cluster.mount_all(image)
        with watched(cluster, show_links):
            seconds = prefetch_all(cluster, wheres)
        row(f"8 nodes, {MBIT} Mbit/s, prefetch: slowest, s / curl", max(seconds), alone, "<= 1.25")
        packed = rafs_facts.packed_bytes(image)
        row("  registry bytes / packed chunks", cluster.origin_bytes(), packed, "<= 1.0")
        row("  control bytes / payload", cluster.control_bytes(), cluster.payload_bytes(), "<= 0.01")
        before = cluster.origin_bytes()
        wheres = cluster.mount_all("app:2-v6")
        prefetch_all(cluster, wheres)
        row("  app:2-v6 then: registry bytes / new chunks", cluster.origin_bytes() - before, 1055756, "<= 1.0")


def on_demand(row, args):
    image = "app:1-v6"
    reader = Reader(args, image)
    with Stage() as stage:
        cluster = Cluster(stage, [image], 9)
        for node in cluster.net.nodes:
            node.shape(MBIT)
        single = cluster.agents.pop()
        single_where = single.mount(cluster.reference(image))
        single.stop()  # alone: its neighbours must not help
        del single.config["peers"]
        single.start()
        single.wait_for_mounts(single_where)
        alone = reader.seconds(single_where)
        cluster.wait_for_members()
        before = cluster.origin_bytes()
        wheres = cluster.mount_all(image)
        with watched(cluster, args.links):
            seconds = at_once(reader.seconds, wheres)
        row(f"8 nodes, {MBIT} Mbit/s, all read: slowest, s / one node", max(seconds), alone, "<= 1.5")
        row("  registry bytes / packed chunks", cluster.origin_bytes() - before, rafs_facts.packed_bytes(image),
            "<= 1.0")
        row("  control bytes / payload", cluster.control_bytes(), cluster.payload_bytes(), "<= 0.03")


def killed(row):
    """One of eight dies in the middle of a storm: each in its turn, as none may cost more than another."""
    for i in range(8):
        kill_one(row, i)


def kill_one(row, i):
    image = "app:1-v6"
    with Stage() as stage:
        cluster = Cluster(stage, [image], 8)
        for node in cluster.net.nodes:
            node.shape(MBIT)
        cluster.wait_for_members()
        wheres = cluster.mount_all(image)
        victim = cluster.agents[i]
        threads = [threading.Thread(target=agent.shoal, args=("prefetch", where), kwargs={"check": False})
                   for agent, where in zip(cluster.agents, wheres)]
        for thread in threads:
            thread.start()
        packed = rafs_facts.packed_bytes(image)
        lab.wait_for(lambda: cluster.origin_bytes() > packed // 2, "half of the storm")
        death = holdings.Death(cluster, image, victim)
        for thread in threads:
            thread.join()
        only, leased = death.only_its_bytes, death.in_flight_bytes
        row(f"8 nodes, node {i} killed: registry bytes / packed chunks", death.fetched(), packed, "<= 1.05")
        row("  without what only it held and its leases in flight", death.fetched() - only - leased, packed, "<= 1.0")
        row("  what only it held / packed chunks", only, packed, "<= 1.0")
        row("  its leases in flight / packed chunks", leased, packed, "<= 1.0")


def longest_read(where, agent, n_bytes, then):
    """Seconds of the read that took longest; then() is called once n_bytes came from neighbours."""
    acting = threading.Thread(target=lambda: (lab.wait_for(
        lambda: agent.metric("shoal_peer_received_bytes_total") >= n_bytes, "the reading"), then()))
    acting.start()
    seconds, _ = lab.slowest_read(where)
    acting.join()
    return seconds


def one_that_fails(row, what, n, n_warm, act):
    """What a reader, the last of n nodes, waits for at most, while this happens to the first one."""
    image = "app:1-v6"
    with Stage() as stage:
        cluster = Cluster(stage, [image], n)
        cluster.wait_for_members()
        for agent in cluster.agents[n - 1 - n_warm:n - 1]:
            agent.shoal("prefetch", agent.mount(cluster.reference(image)))
        reader, first = cluster.agents[-1], cluster.agents[0]
        where = reader.mount(cluster.reference(image))
        seconds = longest_read(where, reader, 4 << 20, lambda: act(first))
        row(f"{what}: longest read, s", seconds, None, "<= 1.0")
        first.process.send_signal(signal.SIGCONT)


def stop(agent):
    agent.process.send_signal(signal.SIGSTOP)


def lease_holder_stopped(row):
    """It has leases, and gets nothing from the registry until it is stopped; then somebody reads."""
    image = "app:1-v6"
    with Stage() as stage:
        cluster = Cluster(stage, [image], 3)
        cluster.wait_for_members()
        holder, _, reader = cluster.agents
        wheres = [agent.mount(cluster.reference(image)) for agent in (holder, reader)]
        with cluster.registry_node.cut_off():
            holder.start_shoal("prefetch", wheres[0])
            lab.wait_for(lambda: any(q["source"] == "origin" for q in holder.json("top")["questions"]), "leases")
            stop(holder)
        row("a lease holder stopped: longest read, s", lab.slowest_read(wheres[1])[0], None, "<= 1.0")
        holder.process.send_signal(signal.SIGCONT)


def stopped(row):
    """A party is stopped or killed while another node reads."""
    one_that_fails(row, "a holder stopped, another there", 3, 2, stop)
    one_that_fails(row, "a holder killed, another there", 3, 2, lab.Agent.kill)
    one_that_fails(row, "a home stopped", 4, 1, stop)
    lease_holder_stopped(row)


def units_of_many(row):
    for image in ("layers:v6-batch", "pyweb:zran"):
        with Stage() as stage:
            alone = stage.agent(config={"registries": [{"host": "*", "scheme": "http"}]})
            where = alone.mount(lab.registry().push(image))
            alone.shoal("prefetch", where)
            cluster = Cluster(stage, [image], 8)
            cluster.wait_for_members()
            prefetch_all(cluster, cluster.mount_all(image))
            row(f"{image}, 8 nodes: registry bytes / one node's", cluster.origin_bytes(), alone.origin_bytes(),
                "<= 1.0")


# ---- at rest ----

def resident_mb(agent):
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) / 1024


def look_at(nodes):
    """[(control bytes, bytes on its link, CPU seconds)] of each since its start."""
    return [(agent.metric("shoal_peer_control_bytes_total"), sum(node.bytes()), cpu_seconds(agent.process.pid)) for agent, node in nodes]


def watch_rest(row, cluster, what):
    """What all do when nobody asks anything of them."""
    time.sleep(REST_SETTLE_S)  # what the work before left behind is over: told, expired, given back
    nodes = list(zip(cluster.agents, cluster.nodes))
    n, start = len(nodes), time.perf_counter()
    before = look_at(nodes)
    middle = time.perf_counter()
    time.sleep(REST_S)  # what is measured is what happens meanwhile
    end = time.perf_counter()
    after = look_at(nodes)
    seconds = (end - start + time.perf_counter() - middle) / 2  # from each one's first look to its second
    control, link, cpu = ([(a[i] - b[i]) / seconds for a, b in zip(after, before)] for i in range(3))
    row(f"{n} agents at rest, {what}: control, sent and received, B/s a node", statistics.mean(control), None, "<= 10000")
    row("  on its link each way, with TLS, TCP, IP and Ethernet, B/s", statistics.mean(link) / 2, None, "<= 10000")
    row("  CPU of an agent, % of a core", 100 * statistics.mean(cpu), None, "<= 0.2" if n < REST_NODES else "<= 1")
    rss = [resident_mb(agent) for agent in cluster.agents]
    row("  RSS, median, MB", statistics.median(rss), None, "<= 41")
    row("  RSS, the largest, MB", max(rss), None, "<= 41")
    return statistics.median(rss)


def rest(row):
    image = "app:1-v6"
    rss = {}
    for n in (2, REST_NODES):
        with Stage() as stage:
            cluster = Cluster(stage, [image], n, pki=Pki())
            cluster.wait_for_members()
            rss[n] = watch_rest(row, cluster, "no mount")
            wheres = cluster.mount_all(image)
            watch_rest(row, cluster, "one mount each, nothing read")
            prefetch_all(cluster, wheres)
            watch_rest(row, cluster, "all of it here")
    row("RSS of each connection (TLS), KB", 1024 * (rss[REST_NODES] - rss[2]) / (REST_NODES - 2), None, "<= 64")


def is_right(where, image):
    return tree_manifest.tree_lines(where) == lab.expected_lines(image)


def many(row):
    image = "app:1-v6"
    with Stage() as stage:
        cluster = Cluster(stage, [image], MANY)
        cluster.wait_for_members()
        wheres = cluster.mount_all(image)
        prefetch_all(cluster, wheres)
        row(f"{MANY} agents: registry bytes / packed chunks", cluster.origin_bytes(), rafs_facts.packed_bytes(image),
            "<= 1.0")
        rss = [resident_mb(agent) for agent in cluster.agents]
        row("  RSS, median, MB", statistics.median(rss), None, "<= 41")
        row("  RSS, the largest, MB", max(rss), None, "<= 41")
        with processes(os.cpu_count()) as readers:
            right = list(readers.map(is_right, wheres, [image] * MANY))
        row("  trees that are not right", right.count(False), None, "<= 0")


PARTS = {"stream": one_stream,
         "wire": wire,
         "latency": lambda row, args: (read_latency(row, "edge:v6-64k", 64 << 10, [(0.5, 0.5), (0.99, 3)]),
                                       read_latency(row, "edge:v6", 1 << 20, [(0.5, 3), (0.99, 8)])),
         "overtake": lambda row, args: overtake(row),
         "storm": lambda row, args: storm(row, args.links),
         "demand": on_demand,
         "killed": lambda row, args: killed(row),
         "stopped": lambda row, args: stopped(row),
         "units": lambda row, args: units_of_many(row),
         "many": lambda row, args: many(row),
         "rest": lambda row, args: rest(row)}


def run(row, args):
    for name, part in PARTS.items():
        if not args.parts or name in args.parts:
            part(row, args)
