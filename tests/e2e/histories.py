"""Random histories of one agent: mounts, reads, removals, restarts and kills, from a seed.

A history knows what every byte must be (expected/) and, by the model, what may cross the line to the
origin. It fails with its seed and the steps that it took.
"""
import contextlib
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import chunk_facts
import lab
import model

CHECKER = os.path.join(lab.REPO, "tests", "checker", "check_state.py")
# image of the layouts -> where it is pushed; the same image under a second name is a second repository
PUSHED = {
    "app:1-v6": "app:1-v6", "app:2-v6": "app:2-v6", "edge:v6": "edge:v6", "edge:v6-next": "edge:v6-next",
    "edge:v6-64k": "edge:v6-64k", "edge:v6-none": "edge:v6-none", "edge:v6-lz4-sha256": "edge:v6-lz4-sha256",
    "edge:v5": "edge:v5", "edge:v6-chunk-dict": "edge:v6-chunk-dict", "layers:v6": "layers:v6",
    "layers:zran": "layers:zran", "pyweb:zran": "pyweb:zran",
}
TWICE = {"other/pyweb:zran": "pyweb:zran", "other/edge:v6": "edge:v6"}
GROUPS = [["app:1-v6", "app:2-v6"], ["edge:v6", "edge:v6-next", "edge:v6-chunk-dict"],
          ["edge:v6", "edge:v6-64k", "edge:v6-none", "edge:v6-lz4-sha256"], ["edge:v5", "edge:v6", "other/edge:v6"],
          ["pyweb:zran", "other/pyweb:zran"], ["layers:zran", "layers:v6"]]
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
LOOP_BYTES = 1 << 30
LEFTOVER_BYTES = 12 << 20  # what the database and the file system's own tables may keep


QUOTA_SHARE = 0.15  # of the histories
KILL_WITHIN_S = 20


def quota_for(names):
    """About half of what one of them takes."""
    return sum(size for _, size, _ in TRUTH.files(source_of(names[0]))) // 2


def source_of(name):
    return TWICE.get(name, name)


class LoopFs:
    """A file system of its own, in a file; the place of state directories."""

    def __init__(self, kind, size_bytes=LOOP_BYTES, *mkfs_options):
        self.kind = kind
        self.image = os.path.join(lab.TMP, f"{kind}-{os.urandom(4).hex()}.img")
        self.dir = self.image + ".mnt"
        os.mkdir(self.dir)
        with open(self.image, "wb") as f:
            f.truncate(size_bytes)
        for argv in ([f"mkfs.{kind}", "-q", *mkfs_options, self.image], ["mount", "-o", "loop", self.image, self.dir]):
            try:
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                raise lab.unittest.SkipTest(f"{argv[0]} is not installed") from None
            if done.returncode != 0:
                os.unlink(self.image)
                raise lab.unittest.SkipTest(f"{kind} cannot be had here: {' '.join(argv)}: {done.stderr.strip()}")

    def used_bytes(self):
        fd = os.open(self.dir, os.O_RDONLY)
        try:
            subprocess.run(["sync", "-f", self.dir], check=True)
            st = os.fstatvfs(fd)
        finally:
            os.close(fd)
        return (st.f_blocks - st.f_bfree) * st.f_frsize

    def close(self):
        subprocess.run(["umount", "-l", self.dir], check=False, stderr=subprocess.DEVNULL)
        if os.path.exists(self.image):
            os.unlink(self.image)


def unescape(path):
    """The path that tree_manifest.escape() wrote so."""
    text = path.encode().decode("unicode_escape")
    return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(0xDC00 + int(m[1], 16)), text)


class Truth:
    """The images' files, and the bytes that they must have."""

    def __init__(self):
        self.lock = threading.Lock()
        self.kept = set()  # files
        self.agent = None
        self.mounts = {}   # image -> where
        self.lists = {}

    def files(self, image):
        """[(path, size, sha256)] of the regular files."""
        if image not in self.lists:
            rows = (line.split(" ", 10) for line in lab.expected_lines(image))
            self.lists[image] = [(unescape(r[10]), int(r[4]), r[8]) for r in rows if r[0] == "f"]
        return self.lists[image]

    def file(self, image, path, digest):
        """Where the bytes are that a file must have, held against its digest: brought by an agent of its own, when first wanted."""
        with self.lock:
            to = os.path.join(lab.TMP, "truth-" + lab.EXPECTED[image]) + path
            if to not in self.kept:
                with open(self.mounted(image) + path, "rb") as f:
                    data = f.read()
                if hashlib.sha256(data).hexdigest() != digest:
                    raise AssertionError(f"{image}{path} is wrong before anything was done")
                os.makedirs(os.path.dirname(to), exist_ok=True)
                with open(to, "wb") as f:
                    f.write(data)
                self.kept.add(to)
        return to

    def mounted(self, image):
        if self.agent is None:
            self.agent = lab.Agent()
        if image not in self.mounts:
            self.mounts[image] = self.agent.mount(lab.registry().push(image))
        return self.mounts[image]

    def close(self):
        """What was brought is kept."""
        if self.agent is None:
            return
        for where in self.mounts.values():
            self.agent.umount_when_free(where)
        self.agent.stop()
        self.agent.take_down()
        self.agent, self.mounts = None, {}


TRUTH = Truth()


def open_fresh(path):
    """Open a file so that reads reach the agent: what the kernel has of it is dropped."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return fd


def read_digest(path):
    fd = open_fresh(path)
    digest = hashlib.sha256()
    try:
        while block := os.read(fd, 1 << 20):
            digest.update(block)
    finally:
        os.close(fd)
    return digest.hexdigest()


def wrong_files(where, image):
    """@return paths whose content is wrong"""
    return [path for path, _, digest in TRUTH.files(image) if read_digest(where + path) != digest]


class History:
    def __init__(self, seed, fs, origin, dedup):
        self.seed, self.fs, self.origin = seed, fs, origin
        self.rng = random.Random(seed)
        self.model = model.Model(dedup)
        self.steps, self.faults = [], []
        self.mounts = {}  # directory -> name
        self.log_at = len(origin.stats()["log"])
        self.state_dir = tempfile.mkdtemp(prefix=f"state-{seed}-", dir=fs.dir)
        self.used_at_start = fs.used_bytes()
        group = self.rng.choice(GROUPS)
        group = self.rng.sample(group, len(group))
        self.quota = quota_for(group) if self.rng.random() < QUOTA_SHARE else 0
        self.agent = lab.Agent(host=origin.host, state_dir=self.state_dir,
                               config={"cache": {"dedup": dedup, "quota_bytes": self.quota}})
        self.names = group + self.rng.sample(sorted(set(PUSHED) | set(TWICE)), self.rng.randrange(2))
        self.counted_bytes = 0  # in this life of the agent

    def fault(self, what):
        self.faults.append(what)

    # ---- what the origin saw ----

    def settle(self):
        self.agent.settle()
        self.observe()

    def observe(self):
        log = self.origin.log_from(self.log_at)
        self.log_at += len(log)
        before = self.model.crossed_bytes
        if self.quota:
            self.model.evicted()  # at any time
        for what in self.model.watch(log, time.monotonic()):
            self.fault(what)
        self.counted_bytes += self.model.crossed_bytes - before

    # ---- steps ----

    def mount(self, name=None):
        name = name or self.rng.choice(self.names)
        where = self.agent.mount(f"{self.origin.host}/{name}")
        self.mounts[where] = name
        self.model.register(source_of(name))

    def pick(self):
        if not self.mounts:
            self.mount()
        return self.rng.choice(sorted(self.mounts.items()))

    def read_files(self, where, name, files):
        for path, _, digest in files:
            got = read_digest(where + path)
            if got != digest:
                self.fault(f"{name}{path}: content is {got}")

    def pair(self):
        """The first of the group in full, then something of the second."""
        self.mount(self.names[0])
        self.read_all(*max(m for m in self.mounts.items() if m[1] == self.names[0]))
        self.mount(self.names[1])
        self.rng.choice((self.read_all, self.read_some, self.prefetch))()

    def read_all(self, where=None, name=None):
        where, name = (where, name) if where else self.pick()
        files = list(TRUTH.files(source_of(name)))
        if self.rng.random() < 0.3:
            self.rng.shuffle(files)
        self.read_files(where, name, files)
        self.settle()
        for what in self.model.whole(source_of(name), time.monotonic()):
            self.fault(what)

    def read_some(self):
        where, name = self.pick()
        files = TRUTH.files(source_of(name))
        self.read_files(where, name, self.rng.sample(files, max(1, len(files) // self.rng.choice((3, 20, 200)))))

    def read_ranges(self):
        where, name = self.pick()
        files = [f for f in TRUTH.files(source_of(name)) if f[1] > 0]
        for path, size, digest in self.rng.choices(files, weights=[f[1] for f in files], k=self.rng.randrange(1, 60)):
            offset = self.rng.randrange(size)
            n_bytes = self.rng.choice((1, 4096, 65536, 1 << 20))
            fd = open_fresh(where + path)
            got = os.pread(fd, n_bytes, offset)
            os.close(fd)
            with open(TRUTH.file(source_of(name), path, digest), "rb") as f:
                f.seek(offset)
                if f.read(n_bytes) != got:
                    self.fault(f"{name}{path}: wrong bytes at {offset}")

    def read_together(self):
        """Several readers on several mounts at once."""
        jobs = [self.pick() for _ in range(self.rng.randrange(2, 5))]
        jobs = [(w, n, self.rng.sample(TRUTH.files(source_of(n)), len(TRUTH.files(source_of(n))) // 2)) for w, n in jobs]
        threads = [threading.Thread(target=self.read_quietly, args=job) for job in jobs]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def read_quietly(self, where, name, files):
        try:
            self.read_files(where, name, files)
        except OSError as e:
            self.fault(f"{name}: {e}")

    def prefetch(self):
        _, name = self.pick()
        done = self.agent.shoal("prefetch", f"{self.origin.host}/{name}", check=not self.quota)
        self.settle()
        if done.returncode != 0:  # more than the quota
            return
        for what in self.model.whole(source_of(name), time.monotonic()):
            self.fault(what)

    def gc(self):
        to = self.rng.choice((0, self.rng.randrange(64) << 20))
        done = self.agent.json("gc", "--to", str(to))
        # What a kill left half written, and nothing is ready of, stays until the blob is removed.
        if done["after_bytes"] > to and "kill" not in self.steps:
            self.fault(f"gc to {to} left {done['after_bytes']}")
        self.model.evicted()

    def umount(self):
        where, _ = self.pick()
        self.agent.umount_when_free(where)
        del self.mounts[where]

    def remove(self):
        """Remove an image; one that is mounted must be refused."""
        name = self.rng.choice(self.names)
        if source_of(name) not in self.model.images:
            return
        reference = f"{self.origin.host}/{name}"
        listed = reference in {i["name"] for i in self.agent.json("image", "ls")["images"]}
        mounted = source_of(name) in {source_of(n) for n in self.mounts.values()}
        done = self.agent.shoal("image", "rm", reference, check=False)
        want = 4 if not listed else 1 if mounted else 0
        if done.returncode != want:
            self.fault(f"image rm of {name}: exit {done.returncode}, not {want}: {done.stderr}")
        if done.returncode == 0:
            self.model.removed(source_of(name))  # an image goes with all its names

    def restart(self):
        self.end_life()
        self.agent.stop()
        self.model.flushed()
        self.begin_life()

    def kill(self):
        """kill -9, now and then in the middle of a read."""
        reader = None
        if self.rng.random() < 0.7:
            where, name = self.pick()
            files = list(TRUTH.files(source_of(name)))
            self.rng.shuffle(files)
            reader = threading.Thread(target=self.read_until_killed, args=(where, name, files))
            n_bytes = self.rng.randrange(1, chunk_facts.packed_bytes(source_of(name)))
            start = self.origin.sums()["body_bytes"]
            reader.start()
            with contextlib.suppress(AssertionError):  # on a busy machine it comes sooner: any moment is one
                lab.wait_for(lambda: not reader.is_alive() or self.origin.sums()["body_bytes"] - start >= n_bytes,
                             "the moment of the kill", deadline_s=KILL_WITHIN_S)
        self.agent.kill()
        killed = time.monotonic()
        for where in self.mounts:
            subprocess.run(["umount", "-l", where], check=False, stderr=subprocess.DEVNULL)
        if reader:
            reader.join()
        self.origin.settle()
        self.observe()
        self.model.killed(killed)
        self.begin_life()
        self.verify()

    def read_until_killed(self, where, name, files):
        try:
            self.read_files(where, name, files)
        except OSError:
            pass

    def begin_life(self):
        self.counted_bytes = 0
        self.agent.start()
        self.agent.wait_for_mounts(*self.mounts)

    def end_life(self):
        """The agent's own count and the origin's must be the same."""
        self.settle()
        said = self.agent.origin_bytes()
        if said != self.counted_bytes:
            self.fault(f"the agent says that {said} bytes came, the origin {self.counted_bytes}")
        wrong = self.agent.metric("shoal_verify_failures_total")
        if wrong:
            self.fault(f"{wrong} wrong digests were seen")

    def verify(self):
        done = self.agent.shoal("verify", check=False)
        if done.returncode != 0:
            self.fault(f"shoal verify: {done.stdout[-500:]}{done.stderr[-500:]}")
        # What the database says at a moment holds for that moment's files: eviction must not go on meanwhile.
        with lab.stopped(self.agent.process):
            checker = subprocess.run([sys.executable, CHECKER, self.state_dir], capture_output=True, text=True, check=False)
        if checker.returncode != 0:
            self.fault(f"the checker: {checker.stdout[-500:]}{checker.stderr[-500:]}")

    # ---- a whole history ----

    STEPS = [(mount, 5), (read_all, 4), (read_some, 4), (read_ranges, 3), (read_together, 2), (prefetch, 1),
             (umount, 3), (remove, 3), (restart, 1), (kill, 3), (gc, 1)]

    def run(self, n_steps):
        """@return faults with what led to them; [] all was right"""
        try:
            for i in range(n_steps):
                step = self.rng.choices([s for s, _ in self.STEPS], weights=[w for _, w in self.STEPS])[0]
                if i == 0 and self.rng.random() < 0.5:
                    step = History.pair
                self.steps.append(step.__name__)
                step(self)
                self.settle()
                if self.faults:
                    break
            if not self.faults:
                self.steps.append("end")
                self.end()
        except Exception as e:  # pylint: disable=broad-except
            self.fault(f"{type(e).__name__}: {e}")
        finally:
            self.take_down()
        return [f"seed {self.seed} on {self.fs.kind}, images {self.names}, steps {' '.join(self.steps)}: {what}"
                for what in self.faults[:5]]

    def end(self):
        """Read everything that is mounted once more; then nothing must be left of anything."""
        for where, name in sorted(self.mounts.items()):
            self.read_files(where, name, TRUTH.files(source_of(name)))
        self.verify()
        self.end_life()
        for where in sorted(self.mounts):
            self.agent.umount_when_free(where)
        self.mounts.clear()
        while names := [i["name"] for i in self.agent.json("image", "ls")["images"]]:
            self.agent.shoal("image", "rm", self.rng.choice(names))
        self.nothing_left()

    def nothing_left(self):
        left = self.agent.json("blob", "ls")["blobs"]
        if left:
            self.fault(f"blobs are left: {[b['key'][:12] for b in left]}")
        blobs = os.path.join(self.state_dir, "blobs")  # what was just unmounted is let go a moment later
        lab.wait_for(lambda: not os.listdir(blobs), lambda: f"files to go: {os.listdir(blobs)}")
        if os.listdir(os.path.join(self.state_dir, "images")):
            self.fault(f"images are left: {os.listdir(os.path.join(self.state_dir, 'images'))}")
        lab.wait_for_removals(self.state_dir)
        self.agent.stop()
        rows = leftover_rows(self.state_dir)
        if rows:
            self.fault(f"rows are left: {rows}")
        grown = self.fs.used_bytes() - self.used_at_start
        if grown > LEFTOVER_BYTES:
            self.fault(f"{grown} bytes of the file system are not given back")

    def take_down(self):
        if self.faults:
            self.faults[0] += "\n" + self.agent.log()[-3000:]
        self.agent.take_down()
        if not os.environ.get("SHOAL_KEEP"):
            shutil.rmtree(self.state_dir, ignore_errors=True)


def leftover_rows(state_dir):
    """{table: rows} of what belongs to images and blobs, after all of them were removed."""
    return {t: n for t, n in lab.table_rows(state_dir).items() if n and not t.startswith("sqlite_") and t != "origin"}
