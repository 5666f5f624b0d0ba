"""tools/bench peers stream, wire: one connection, against curl of as many bytes from nginx.

Both sides by turns in one run, with TLS 1.3 and the same cipher, and after a round of each that does not count. Beside the
rates stands what they cost, in seconds of CPU a GB: who sends, who receives.
"""
import os
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

import front
import lab
from cluster import Cluster, Pki
from links import cpu_seconds
from stage import Stage

CIPHER = "TLS_AES_128_GCM_SHA256"  # the one that agents prefer (peer/tls.c)
WIRE_MIB = 1024
PLAIN = 0.995  # of the bytes of chunks: the first ones by a line that nobody has measured may be packed


class Side:
    """What was measured of one way to move bytes: bytes a second, and CPU seconds a byte of sender and receiver."""

    def __init__(self, name):
        self.name = name
        self.rates, self.sender, self.receiver = [], [], []

    def add(self, n_bytes, seconds, sender_s, receiver_s):
        self.rates.append(n_bytes / seconds)
        self.sender.append(sender_s / n_bytes)
        self.receiver.append(receiver_s / n_bytes)

    def rate(self):
        return statistics.median(self.rates)

    def show(self):
        rates = [round(rate / 1e6) for rate in self.rates]
        sender, receiver = (1e9 * statistics.median(values) for values in (self.sender, self.receiver))
        print(f"  {self.name:24} {self.rate() / 1e6:5.0f} MB/s ({min(rates)} .. {max(rates)}); CPU: sender {sender:.2f} s,"
              f" receiver {receiver:.2f} s a GB", flush=True)


def children_seconds():
    """CPU seconds of the commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Nginx:
    """nginx with TLS on a node, or here on loopback where that is None, and a file of random bytes."""

    def __init__(self, stage, node, tls, n_bytes):
        self.node = node
        self.n_bytes = n_bytes
        address = f"{node.address}:8443" if node else f"127.0.0.1:{lab.free_port()}"
        self.url = f"https://{address}/file"
        at = tempfile.mkdtemp(prefix="nginx-", dir=lab.TMP)
        with open(os.path.join(at, "file"), "wb") as f:
            for begin in range(0, n_bytes, 1 << 20):
                f.write(os.urandom(min(1 << 20, n_bytes - begin)))
        conf = os.path.join(at, "conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"daemon off; master_process off; error_log {at}/error; pid {at}/pid; user root;\n"
                    "events { worker_connections 64; }\n"
                    f"http {{ access_log off; sendfile on; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n"
                    f"fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n"
                    f"server {{ listen {address} ssl; ssl_certificate {tls['cert']};\n"
                    f"ssl_certificate_key {tls['key']}; ssl_protocols TLSv1.3; root {at}; }} }}\n")
        self.process = lab.start_process(lab.on_node(node, ["nginx", "-c", conf, "-e", os.path.join(at, "error")]))
        stage.callback(lab.stop_process, self.process)

    def curl(self, side, node, to):
        """The time is that of the bytes alone: agents have their connection already, too."""
        argv = ["curl", "-sSf", "--insecure", "--tls13-ciphers", CIPHER, "--retry", "20", "--retry-connrefused", "--retry-delay", "0",
                "-w", "%{time_pretransfer} %{time_total}", "-o", to, self.url]
        sender, receiver = cpu_seconds(self.process.pid), children_seconds()
        done = subprocess.run(lab.on_node(node, argv), check=True, capture_output=True, text=True)
        began, ended = map(float, done.stdout.split())
        side.add(self.n_bytes, ended - began, cpu_seconds(self.process.pid) - sender, children_seconds() - receiver)


def bench_wire(side, args, pki, how):
    argv = [os.path.join(args.build, "tests", "bench", "bench_wire"), pki, str(WIRE_MIB), "1024", how]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    rate, receiver, sender = map(float, re.search(r"wall +(\d+) MiB/s, CPU: asker ([\d.]+) s, server ([\d.]+) s", said).groups())
    n_bytes = WIRE_MIB << 20
    side.add(n_bytes, WIRE_MIB / rate, sender * WIRE_MIB / 1024, receiver * WIRE_MIB / 1024)


def wire(row, args):
    """Chunks from one process's memory to another's by the wire's own code, against curl from nginx's page cache to
    nowhere: both on loopback."""
    sides = {how: Side(name) for how, name in (("tls", "wire"), ("verified", "wire, digests on loop"), ("nginx", "nginx, curl"))}
    pki = os.path.join(tempfile.mkdtemp(prefix="wire-", dir=lab.TMP), "pki")
    with Stage() as stage:
        bench_wire(Side("warm"), args, pki, "tls")
        server = Nginx(stage, None, {word: os.path.join(pki, f"a.{end}") for word, end in (("cert", "pem"), ("key", "key"))},
                       WIRE_MIB << 20)
        server.curl(Side("warm"), None, "/dev/null")
        for _ in range(args.rounds):
            for how in ("tls", "verified"):
                bench_wire(sides[how], args, pki, how)
                server.curl(sides["nginx"], None, "/dev/null")
    for side in sides.values():
        side.show()
    for how, name, goal in (("tls", "the wire alone, TLS, MB/s / nginx, curl", ">= 0.9"),
                            ("verified", "  with each digest computed on the loop", ">= 0.7")):
        row(name, sides[how].rate() / 1e6, sides["nginx"].rate() / 1e6, goal)


def start_empty(asker):
    """An agent that never had anything."""
    asker.stop()
    shutil.rmtree(asker.state_dir)
    asker.start()


def came(agent):
    """Bytes of chunks that neighbours gave, and what those took on the line."""
    metrics = agent.metrics()
    return lab.metric_sum(metrics, "shoal_chunk_bytes_total", source="peer"), lab.metric_sum(metrics, "shoal_peer_received_bytes_total")


def prefetch(side, cluster, image):
    """All of the image from the neighbour, into the cache: the time is that of the agents, as curl's is without its start,
    the bytes are those on the line, so what a round has packed all the same does not make it faster.

    Returns the chunks' bytes, and how many of them the line carried."""
    holder, asker = cluster.agents
    start_empty(asker)
    cluster.wait_for_members()
    where = asker.mount(cluster.reference(image))
    lab.wait_for(lambda: asker.metric("shoal_fetches_in_flight") == 0, "what the mount reads")
    before = came(asker)
    sender, receiver = cpu_seconds(holder.process.pid), cpu_seconds(asker.process.pid)
    start = time.perf_counter()
    _, said, _ = front.ask(asker.socket, "POST", "/v1/prefetch", {"dir": where})
    seconds = time.perf_counter() - start
    if b'"error"' in said.splitlines()[-1]:
        raise RuntimeError(f"prefetch: {said.decode()}")
    sender, receiver = cpu_seconds(holder.process.pid) - sender, cpu_seconds(asker.process.pid) - receiver
    n_bytes, on_line = (int(after - b) for after, b in zip(came(asker), before))
    side.add(on_line, seconds, sender, receiver)
    asker.umount(where)
    return n_bytes, on_line


def warm_up(cluster, image):
    """For some seconds after its own fetch the holder passes on what its origin packed: a part of the chunks would come
    from its memory, and smaller. What is compared with nginx is what it has in its cache. Returns the chunks' bytes."""
    def is_plain():
        nonlocal n_bytes
        n_bytes, on_line = prefetch(Side("warm"), cluster, image)
        return on_line >= PLAIN * n_bytes

    n_bytes = 0
    lab.wait_for(is_plain, "chunks that come as they are in the cache")
    return n_bytes


def one_stream(row, args):
    """An agent's prefetch from its neighbour, and curl of as many bytes from nginx to a new file."""
    shoal, nginx = Side("shoal"), Side("nginx, curl")
    with Stage() as stage:
        pki = Pki()
        cluster = Cluster(stage, [args.image], 2, pki=pki)
        cluster.wait_for_members()
        holder = cluster.agents[0]
        holder.shoal("prefetch", holder.mount(cluster.reference(args.image)))
        n_bytes = warm_up(cluster, args.image)
        server = Nginx(stage, cluster.nodes[0], pki.node("web"), n_bytes)
        to = os.path.join(lab.TMP, "got")
        server.curl(Side("warm"), cluster.nodes[1], to)
        for _ in range(args.rounds):
            prefetch(shoal, cluster, args.image)
            os.unlink(to)
            server.curl(nginx, cluster.nodes[1], to)
    shoal.show()
    nginx.show()
    row("one stream, TLS, verified, MB/s / nginx, curl", shoal.rate() / 1e6, nginx.rate() / 1e6, ">= 0.7")
