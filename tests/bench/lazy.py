"""tools/bench lazy: what readers of different manners move, and in how many requests. Counts, no times."""
import os
import random
import statistics
import subprocess

import lab
import rafs_facts

SEEDS = range(1, 6)
READ_BYTES = 65536


def read_whole(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 17):
            pass


class Bench:
    def __init__(self, image):
        self.image = image
        self.reference = lab.registry().push(image)
        self.total = rafs_facts.packed_bytes(image)
        rows = (line.split(" ", 10) for line in lab.expected_lines(image))
        self.files = sorted((r[10], int(r[4])) for r in rows if r[0] == "f" and "\\" not in r[10])
        print(f"{image}: {len(self.files)} files, {self.total} packed bytes\n")
        print(f"{'':52} {'of its bytes':>12} {'most':>8} {'blob GETs':>10}")

    def measure(self, what, read, seeds=SEEDS):
        """read(where, random): by a new agent each time, with nothing here."""
        shares, gets = [], []
        for seed in seeds:
            agent = lab.Agent()
            where = agent.mount(self.reference)
            before = agent.metric("shoal_origin_requests_total")
            read(where, random.Random(seed))
            agent.settle()
            shares.append(100 * agent.origin_bytes() / self.total)
            gets.append(agent.metric("shoal_origin_requests_total") - before)
            agent.umount(where)
            agent.stop()
        print(f"{what:52} {statistics.median(shares):10.2f} % {max(shares):6.2f} % {statistics.median(gets):10.0f}", flush=True)

    def sample(self, percent):
        def read(where, rng):
            for path, _ in rng.sample(self.files, max(1, len(self.files) * percent // 100)):
                read_whole(where + path)
        return read

    def one_read(self, where, rng):
        path, size = rng.choice([f for f in self.files if f[1] >= 1 << 20] or self.files[:1])
        with open(where + path, "rb", buffering=0) as f:
            f.seek(rng.randrange(max(1, size - READ_BYTES)))
            f.read(READ_BYTES)

    def random_reads(self, where, rng):
        large = [f for f in self.files if f[1] >= READ_BYTES]
        for _ in range(100):
            path, size = rng.choice(large)
            with open(where + path, "rb", buffering=0) as f:
                f.seek(rng.randrange(size - READ_BYTES + 1))
                f.read(READ_BYTES)

    def in_order(self, order):
        def read(where, rng):
            for path, _ in order(self.files, rng):
                read_whole(where + path)
        return read

    @staticmethod
    def walk(where, _):
        for path, _, names in os.walk(where):
            for name in names:
                full = os.path.join(path, name)
                if os.path.isfile(full) and not os.path.islink(full):
                    read_whole(full)

    @staticmethod
    def start_python(where, _):
        subprocess.run(["chroot", where, "/usr/bin/python3", "-c", "import flask"], check=False, capture_output=True)

    def run(self):
        self.measure("one read of 64 KiB in a large file", self.one_read)
        self.measure("100 reads of 64 KiB at random places", self.random_reads)
        for percent in (1, 5, 20):
            self.measure(f"{percent} % of the files, at random", self.sample(percent))
        if any(path == "/usr/lib/python3/dist-packages/flask/__init__.py" for path, _ in self.files):
            self.measure("python3 -c 'import flask'", self.start_python, (1,))
        self.measure("all, directory by directory (find, tar)", self.walk, (1, 2, 3))
        self.measure("all, by path, upwards", self.in_order(lambda files, rng: files), (1, 2, 3))
        self.measure("all, by path, downwards", self.in_order(lambda files, rng: files[::-1]), (1, 2, 3))
        self.measure("all, in random order", self.in_order(lambda files, rng: rng.sample(files, len(files))), (1, 2, 3))


def run(image):
    Bench(image).run()
