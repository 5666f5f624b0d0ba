"""The lab of the end-to-end tests: a real registry, real agents, real mounts, and their clean-up.

Everything lives in one temporary directory, listens on free loopback ports and is taken down when
the process ends, also after a failure. Waits are for conditions, with a deadline that only a
failure reaches.
"""
import atexit
import base64
import contextlib
import ctypes
import functools
import gzip
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import tree_manifest  # noqa: E402

BUILD = os.environ.get("SHOAL_BUILD", os.path.join(REPO, "build", "release"))
SHOAL = os.path.join(BUILD, "agent", "shoal")  # with no agent of ours behind it; else Agent.argv()
# The larger image set: CONTRIBUTING.md says what it is and how it is made.
SHARED_IMAGES = os.path.join(os.environ.get("SHOAL_SHARED", os.path.join(REPO, "..", "shared")), "images")
DATA = os.path.join(REPO, "tests", "data")
DEADLINE_S = float(os.environ.get("SHOAL_TEST_DEADLINE_S", "60"))
PORTS_EACH = 250
LONG = bool(os.environ.get("SHOAL_ALL"))
in_the_long_run = unittest.skipUnless(LONG, "in the long run (SHOAL_ALL=1)")

# image -> the list that its tree must equal
EXPECTED = {
    **{f"edge:{tag}": "edge" for tag in ("v6", "v6-lz4-sha256", "v6-none", "v6-64k", "v6-batch", "v6-encrypted",
                                         "v6-prefetch", "v5", "v5-lz4-sha256", "v5-aligned")},
    "edge:v6-next": "edge-next", "edge:v6-chunk-dict": "edge-next",
    "layers:v6": "layers", "layers:v5": "layers", "layers:v6-batch": "layers", "layers:zran": "layers",
    "pyweb:zran": "pyweb", "app:1-v6": "app-1", "app:2-v6": "app-2",
}
# a zran image reads the original layers: they are pushed first
NEEDS = {"layers:zran": "layers:oci", "pyweb:zran": "pyweb:oci"}


def _layout_images(layout):
    try:
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as f:
            index = json.load(f)
    except OSError:
        return {}
    return {m["annotations"]["org.opencontainers.image.ref.name"]: layout for m in index["manifests"]}


# image -> OCI layout that holds it; the shared set has more images, tests/data is always there
LAYOUTS = {**_layout_images(os.path.join(SHARED_IMAGES, "layout")),
           **_layout_images(os.path.join(DATA, "layout"))}
SMALL = sorted(set(_layout_images(os.path.join(DATA, "layout"))) & set(EXPECTED))
ALL = sorted(set(LAYOUTS) & set(EXPECTED))


def expected_lines(image):
    name = EXPECTED[image]
    path = os.path.join(DATA, "expected", name + ".txt.gz")
    if os.path.exists(path):
        with gzip.open(path, "rt", encoding="utf-8") as f:
            return f.read().splitlines()
    with open(os.path.join(SHARED_IMAGES, "expected", name + ".txt"), encoding="utf-8") as f:
        return f.read().splitlines()


def expected_digest(image, path):
    """SHA-256 of a file's bytes, in hex, as the list has it."""
    return next(line.split(" ")[8] for line in expected_lines(image) if line.endswith(" /" + path))


def layout_blob(image, digest):
    with open(os.path.join(LAYOUTS[image], "blobs", "sha256", digest.split(":")[-1]), "rb") as f:
        return f.read()


def layout_manifest(image):
    """(digest, parsed manifest) of an image of the layouts."""
    with open(os.path.join(LAYOUTS[image], "index.json"), encoding="utf-8") as f:
        index = json.load(f)
    for m in index["manifests"]:
        if m["annotations"]["org.opencontainers.image.ref.name"] == image:
            return m["digest"], json.loads(layout_blob(image, m["digest"]))
    raise KeyError(image)


def require_image(image):
    if image not in LAYOUTS:
        raise unittest.SkipTest(f"{image} is only in the larger image set (CONTRIBUTING.md), which is not here")


TMP = tempfile.mkdtemp(prefix="shoal-e2e-")
_processes = []


@functools.cache
def _own_ports():
    """(what makes them this process's alone while it lives, an endless iterator over them). They lie below the kernel's
    own range: no outgoing connection takes one."""
    for first in random.sample(range(10000, 30000, PORTS_EACH), 20000 // PORTS_EACH):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0shoal-e2e-ports-{first}")
            return lock, itertools.cycle(range(first, first + PORTS_EACH))
        except OSError:
            lock.close()
    raise AssertionError("too many tests run at once: no ports are left")


def free_port():
    """One that nobody has, and that nobody else is given before a test listens there, or while it does not for a while."""
    for port in _own_ports()[1]:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(condition, what, deadline_s=None):
    """Poll condition() until it is true; its value. AssertionError at the deadline. what: words, or what makes
    them then, where they tell how things stand."""
    end = time.monotonic() + (deadline_s or DEADLINE_S)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for: {what() if callable(what) else what}")
        time.sleep(0.005)  # what other processes show (metrics, mounts, /proc) has no one event to wait for


def database(state_dir):
    """An agent's database, to look into; to be used with `with`."""
    return contextlib.closing(sqlite3.connect(f"file:{state_dir}/shoal.db?mode=ro", uri=True))


def table_rows(state_dir):
    """{table of an agent's database: how many rows it has}"""
    with database(state_dir) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {t: db.execute(f'SELECT count(*) FROM "{t}"').fetchone()[0] for t in tables}


def wait_for_removals(state_dir):
    """Until no rows of removed blobs are left: they go behind everything else."""
    with database(state_dir) as db:
        wait_for(lambda: db.execute("SELECT count(*) FROM blob WHERE dying = 1").fetchone()[0] == 0,
                 "rows of removed blobs to go")


def mount_points(pid="self"):
    """Where something is mounted, as that process sees it; the last one last."""
    with open(f"/proc/{pid}/mounts", encoding="utf-8", errors="surrogateescape") as f:
        return [line.split(" ")[1].encode().decode("unicode_escape") for line in f]


def mounts_below(path):
    return [d for d in reversed(mount_points()) if d.startswith(path)]


def unmount_below(path):
    for d in mounts_below(path):
        subprocess.run(["umount", "-l", d], stderr=subprocess.DEVNULL, check=False)


def mount_type(where):
    """The type of the topmost mount on a directory; None: there is none."""
    found = None
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as f:
        for line in f:
            fields = line.split(" ")
            if fields[1] == where:
                found = fields[2]
    return found


def start_process(argv, **kw):
    p = subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL, **kw)
    _processes.append(p)
    return p


def adopt_process(p):
    """Have it killed in the end, whatever happens."""
    _processes.append(p)


def stop_process(p, sig=signal.SIGTERM):
    if p.poll() is None:
        p.send_signal(sig)
    try:
        return p.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
        raise AssertionError(f"{p.args[0]} did not stop on signal {sig}") from None
    finally:
        if p in _processes:
            _processes.remove(p)


@contextlib.contextmanager
def stopped(process):
    """It stands still meanwhile, from the first line on."""
    process.send_signal(signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def frozen_thread(pid, name):
    """One thread of a process stands still meanwhile, as on a disk that does not answer; the others go on."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long

    def ask(request):
        if ptrace(request, tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {name}")

    tasks = f"/proc/{pid}/task"
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/comm", encoding="ascii") as f:
            if f.read().strip() == name:
                tid = int(task)
                break
    else:
        raise AssertionError(f"process {pid} has no thread {name}")
    ask(0x4206)  # PTRACE_SEIZE
    try:
        ask(0x4207)  # PTRACE_INTERRUPT
        os.waitpid(tid, 0x40000000)  # __WALL: until it stands
        yield
    finally:
        try:
            ask(17)  # PTRACE_DETACH
        except ProcessLookupError:
            os.waitpid(tid, 0x40000000)  # it was killed meanwhile, and its process cannot end before that is known


def processes_that_name(text):
    """{pid: arguments} of all whose command line holds text: also of what the processes started here have started."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if text in line:
            found[int(pid)] = line.split("\0")
    return found


@atexit.register
def cleanup():
    unmount_below(TMP)
    for p in list(_processes):
        if p.poll() is None:
            p.kill()
            p.wait()
    for pid in processes_that_name(TMP + "/"):  # keepers and agents that agents started
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if not os.environ.get("SHOAL_KEEP"):
        shutil.rmtree(TMP, ignore_errors=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, also by all that is started


def on_node(node, argv):
    """argv, run on a node of a netlab.Net; here where node is None."""
    return node.command(argv) if node else argv


def open_files(pid):
    """Where a process's descriptors lead; "" for one that is closed meanwhile."""
    fds = f"/proc/{pid}/fd"
    found = []
    for fd in os.listdir(fds):
        try:
            found.append(os.readlink(os.path.join(fds, fd)))
        except FileNotFoundError:
            found.append("")
    return found


def n_fuse_devices(pid):
    """How many of a process's descriptors are /dev/fuse: by the device, as its name depends on who looks (a root below another)."""
    fds = f"/proc/{pid}/fd"
    devices = []
    for fd in os.listdir(fds):
        try:
            devices.append(os.stat(os.path.join(fds, fd)).st_rdev)
        except FileNotFoundError:
            pass
    return devices.count(os.stat("/dev/fuse").st_rdev)


def tcp_table(pid="self"):
    """(inode, own port, the other's port; 0: it listens, bytes that wait to be read) of all in the network namespace of a process."""
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as f:
        for line in list(f)[1:]:
            fields = line.split()
            yield (fields[9], *(int(fields[i].split(":")[1], 16) for i in (1, 2, 4)))


def tcp_sockets(pid):
    """{inode: (own port, the other's port; 0: it listens)} of all in the network namespace of a process."""
    return {inode: (own, other) for inode, own, other, _ in tcp_table(pid)}


def listens(path):
    """Does somebody take connections on this Unix socket?"""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
            return True
        except OSError:
            return False


def call_on_node(node, fn):
    return node.call(fn) if node else fn()


def htpasswd_file(name, user, password):
    """A file that lets nobody but this user in at a Registry; its path. The same name again: it is written anew."""
    path = os.path.join(TMP, name)
    with open(path, "w", encoding="ascii") as f:
        subprocess.run(["htpasswd", "-Bbn", user, password], check=True, stdout=f)
    return path


def auth_file(name, host, user, password):
    """What `shoal mount --auth-file` takes, with the credentials for one host; its path."""
    path = os.path.join(TMP, name)
    with open(path, "w", encoding="ascii") as f:
        json.dump({"auths": {host: {"auth": base64_of(f"{user}:{password}")}}}, f)
    return path


class Registry:
    """docker-registry on a free port, filled by skopeo."""

    def __init__(self, htpasswd=None, root=None, node=None, tls=None, keeps_log=False):
        """node: where it runs, of netlab; else here, on loopback. tls: has .cert and .key, paths. keeps_log: of
        requests, for sent()."""
        self.dir = tempfile.mkdtemp(prefix="registry-", dir=TMP)
        self.root = root or os.path.join(self.dir, "data")
        self.node = node
        self.address = node.address if node else "127.0.0.1"
        self.port = 5000 if node else free_port()
        self.host = f"{self.address}:{self.port}"
        self.images = set()
        auth = ""
        if htpasswd:
            auth = f"auth: {{ htpasswd: {{ realm: lab, path: {htpasswd} }} }}\n"
        tls_words = f", tls: {{ certificate: {tls.cert}, key: {tls.key} }}" if tls else ""
        config = os.path.join(self.dir, "config.yml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: {'false' if keeps_log else 'true'} }} }}\n"
                    f"storage: {{ filesystem: {{ rootdirectory: {self.root} }}, delete: {{ enabled: true }} }}\n"
                    f"http: {{ addr: {self.host}{tls_words} }}\n{auth}")
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.config = config
        self.process = None
        self.start()

    def start(self):
        self.process = start_process(on_node(self.node, ["docker-registry", "serve", self.config]),
                                     stdout=self.log, stderr=self.log)
        wait_for(lambda: call_on_node(self.node, self._answers), "docker-registry to answer")

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"docker-registry ended: see {self.dir}/log")
        try:
            with socket.create_connection((self.address, self.port), timeout=1):
                return True
        except OSError:
            return False

    def stop(self):
        stop_process(self.process)

    def sent(self):
        """{digest of a blob: bytes of it that were sent, by this registry's own log}. A request is in it when it is
        over."""
        found = {}
        with open(self.log.name, encoding="utf-8", errors="replace") as f:
            for digest, n_bytes in re.findall(r'"GET \S+/blobs/(sha256:[0-9a-f]{64}) \S+" 20[06] (\d+) ', f.read()):
                found[digest] = found.get(digest, 0) + int(n_bytes)
        return found

    def push(self, image, as_name=None, creds=None):
        """Push an image of the layouts; its reference."""
        require_image(image)
        name = as_name or image
        if NEEDS.get(image):
            self.push(NEEDS[image], name.split(":")[0] + ":oci", creds)
        if name not in self.images:
            argv = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{LAYOUTS[image]}:{image}",
                    f"docker://{self.host}/{name}"]
            if creds:
                argv[2:2] = ["--dest-creds", creds]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            self.images.add(name)
        return f"{self.host}/{name}"


_registry = None


def registry():
    """The registry that all tests share."""
    global _registry
    if _registry is None:
        _registry = Registry()
    return _registry


class FaultyOrigin:
    """tests/fakes/faulty_origin.py before an upstream registry."""

    def __init__(self, upstream, **faults):
        self.upstream = upstream
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.process = None
        self.start()
        if faults:
            self.set(**faults)

    def start(self):
        self.process = start_process(
            [sys.executable, os.path.join(REPO, "tests", "fakes", "faulty_origin.py"), "--port", str(self.port),
             "--upstream", f"http://{self.upstream}"], stdout=subprocess.DEVNULL)
        wait_for(self._answers, "the faulty origin to answer")

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("the faulty origin ended")
        try:
            self.stats()
            return True
        except OSError:
            return False

    def _call(self, method, path, body=None):
        request = urllib.request.Request(f"http://{self.host}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            data = answer.read()
        return json.loads(data) if data else None

    def set(self, **faults):
        """Replace the faults that are injected."""
        self._call("PUT", "/_faults", faults)

    def stats(self):
        return self._call("GET", "/_stats")

    def log_from(self, first):
        """The requests from the first-th on."""
        return self._call("GET", f"/_stats?log_from={first}")["log"]

    def sums(self):
        """stats() without the log: to be asked for again and again."""
        return self._call("GET", "/_stats?log_from=1000000000")

    def settle(self):
        """Wait until what a client that is gone had asked for is over (and in the log)."""
        wait_for(lambda: self.sums()["connections"] <= 1, "requests to end")

    def reset_stats(self):
        self._call("DELETE", "/_stats")

    def stop(self):
        stop_process(self.process)


class ShoalError(AssertionError):
    def __init__(self, done):
        super().__init__(f"{' '.join(done.args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        self.done = done


def metric_sum(metrics, name, **labels):
    """Of Agent.metrics(): the sum over the series that have these labels."""
    return sum(value for (n, its), value in metrics.items() if n == name and all(pair in its for pair in labels.items()))


class Agent:
    """One shoald with its state directory, and the shoal command that talks to it."""

    def __init__(self, host=None, config=None, state_dir=None, build=None, env=None, node=None, program=None):
        self.node = node
        self.program = program or os.path.join(build or BUILD, "agent", "shoald")
        self.dir = tempfile.mkdtemp(prefix="agent-", dir=TMP)
        self.state_dir = state_dir or os.path.join(self.dir, "state")
        self.socket = os.path.join(self.dir, "api.sock")
        self.http_port = free_port()
        self.build = build or BUILD
        self.env = env or {}
        self.log_path = os.path.join(self.dir, "log")
        self.config_path = os.path.join(self.dir, "shoal.yaml")
        self.config = {
            "state_dir": self.state_dir,
            "api": {"socket": self.socket},
            "http": {"listen": f"127.0.0.1:{self.http_port}"},
            "cache": {"reserve_bytes": 0},
            "registries": [{"host": host or registry().host, "scheme": "http"}],
        }
        for key, value in (config or {}).items():
            self.config[key] = {**self.config[key], **value} if isinstance(self.config.get(key), dict) else value
        self.process = None
        self.start()

    def write_config(self):
        with open(self.config_path, "w", encoding="utf-8") as f:
            json.dump(self.config, f, indent=1)  # JSON is YAML

    def start(self):
        """Start and wait until it says that it is ready."""
        self.write_config()
        notify_path = os.path.join(self.dir, "notify.sock")
        if os.path.exists(notify_path):
            os.unlink(notify_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.log_path, "ab") as log:
            notify.bind(notify_path)
            notify.settimeout(0.05)
            argv = [self.program, "--config", self.config_path]
            self.process = start_process(on_node(self.node, argv), stdout=log, stderr=log,
                                         env={**os.environ, **self.env, "NOTIFY_SOCKET": notify_path})
            end = time.monotonic() + DEADLINE_S
            while True:
                try:
                    if b"READY=1" in notify.recv(4096):
                        return self
                except socket.timeout:
                    pass
                if self.process.poll() is not None:
                    raise AssertionError(f"shoald ended with {self.process.returncode}:\n{self.log()}")
                if time.monotonic() > end:
                    raise AssertionError(f"shoald is not ready:\n{self.log()}")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self):
        """SIGTERM; it must end with status 0."""
        status = stop_process(self.process)
        if status != 0:
            raise AssertionError(f"shoald ended with {status}:\n{self.log()[-6000:]}")

    def kill(self):
        stop_process(self.process, signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def reload(self, **config):
        """Change the configuration, and have it read while it runs."""
        self.config.update(config)
        self.write_config()
        word = "configuration read again"
        n = self.log().count(word)
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log().count(word) > n, "the agent to read its configuration")

    def take_down(self):
        """Whatever state it is in: nothing of it is left but with SHOAL_KEEP."""
        unmount_below(self.dir)
        if self.process.poll() is None:
            self.kill()
        if not os.environ.get("SHOAL_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def argv(self, *args):
        """Of the command that asks this agent."""
        return [os.path.join(self.build, "agent", "shoal"), "--socket", self.socket, *args]

    def shoal(self, *args, check=True, timeout=None, user=None):
        done = subprocess.run(self.argv(*args), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                              timeout=timeout or 4 * DEADLINE_S, env={**os.environ, **self.env}, user=user)
        if check and done.returncode != 0:
            raise ShoalError(done)
        return done

    def start_shoal(self, *args):
        """A command that is under way: its process, stdout and stderr as text to be read."""
        return start_process(self.argv(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **self.env})

    def json(self, *args):
        return json.loads(self.shoal("--json", *args).stdout)

    def new_dir(self):
        return tempfile.mkdtemp(prefix="mnt-", dir=self.dir)

    def mount(self, image, *options, where=None):
        """Mount a reference; the directory."""
        where = where or self.new_dir()
        self.shoal("mount", *options, image, where)
        return where

    def umount(self, where):
        self.shoal("umount", where)

    def umount_when_free(self, where):
        """Where other threads of a test start commands: a file that was open here then is open in what they forked,
        until that executes something."""
        def umounted():
            done = self.shoal("umount", where, check=False)
            if done.returncode != 0 and "in use" not in done.stderr:
                raise ShoalError(done)
            return done.returncode == 0
        wait_for(umounted, f"{where} to be free")

    def settle(self):
        """Until nothing is being fetched any more: not for readahead either."""
        wait_for(lambda: self.metric("shoal_fetches_in_flight") == 0, "fetches to end")

    def wait_for_mounts(self, *wheres):
        """Until these are there again: a new agent mounts what was mounted."""
        wait_for(lambda: set(wheres) <= set(mounts_below(self.dir)), lambda: f"the mounts to come back:\n{self.log()[-3000:]}")

    def _metrics_page(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=DEADLINE_S) as answer:
            return answer.read().decode()

    def metrics(self):
        """{(name, ((label, value), ...)): number}"""
        text = call_on_node(self.node, self._metrics_page)
        values = {}
        for line in text.splitlines():
            m = re.fullmatch(r'([a-z_]+)(?:\{(.*)\})? (\S+)', line)
            if m:
                labels = tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', m[2] or "")))
                values[m[1], labels] = float(m[3])
        return values

    def metric(self, name, **labels):
        return metric_sum(self.metrics(), name, **labels)

    def origin_bytes(self, kind="data"):
        return int(self.metric("shoal_origin_received_bytes_total", kind=kind))


def keeper_socket():
    """Where a keeper of one agent's may listen; its path."""
    return os.path.join(tempfile.mkdtemp(prefix="keeper-", dir=TMP), "keeper.sock")


def keeper_pid(path):
    """Of the keeper that listens at that socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(path)
        return struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def end_keeper(path):
    try:
        os.kill(keeper_pid(path), signal.SIGKILL)
    except OSError:
        pass  # it is gone already


def base64_of(text):
    return base64.b64encode(text.encode()).decode()


def regular_files(where):
    """The paths of all regular files, in the order of the tree."""
    for path, dirs, names in os.walk(where):
        dirs.sort()
        for name in sorted(names):
            full = os.path.join(path, name)
            if stat.S_ISREG(os.lstat(full).st_mode):
                yield full


def files_that_hold(directory, text):
    """Those below directory whose bytes hold text."""
    found = []
    for path in regular_files(directory):
        with open(path, "rb") as f:
            if text.encode() in f.read():
                found.append(path)
    return found


def drop_caches():
    """Empty the page cache, so that reads reach the agent and the disk."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3")


def read_whole(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass


def read_all(where):
    """Read every regular file, in the order of the tree."""
    for path in regular_files(where):
        read_whole(path)


def slowest_read(where):
    """(seconds, path) of the read(2) that took longest, of all regular files in the order of the tree."""
    slowest = (0.0, "")
    for path in regular_files(where):
        with open(path, "rb", buffering=0) as f:
            more = True
            while more:
                start = time.monotonic()
                more = f.read(1 << 20)
                slowest = max(slowest, (time.monotonic() - start, path))
    return slowest


class LabTest(unittest.TestCase):
    maxDiff = 4000

    def agent(self, *args, **kw):
        agent = Agent(*args, **kw)
        self.addCleanup(agent.take_down)
        return agent

    def require_way(self, agent, how):
        """Of its kernel, where images are to be mounted as "erofs", that it can."""
        erofs = agent.json("status")["erofs"]
        if how == "erofs" and not erofs["works"]:
            self.skipTest(erofs["why"])

    def overlay(self, lower, base=None):
        """A container's tree over it: of base's upper and work, at base's merged. @return that one"""
        base = base or tempfile.mkdtemp(prefix="overlay-", dir=TMP)
        upper, work, merged = (os.path.join(base, name) for name in ("upper", "work", "merged"))
        for path in (upper, work, merged):
            os.makedirs(path)
        os.chmod(upper, 0o755)  # the merged root has the upper one's mode
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", merged],
                       check=True)
        self.addCleanup(unmount_below, base)
        return merged

    def faulty_origin(self, upstream=None, **faults):
        origin = FaultyOrigin(upstream or registry().host, **faults)
        self.addCleanup(origin.stop)
        return origin

    def start_waiting_readers(self, agent, path):
        """Start four readers of a file whose origin is silent, and wait until one waits for its bytes. @return a
        function that joins them; what it returns is what each got: bytes, or the OSError."""
        results = []

        def read():
            try:
                with open(path, "rb") as f:
                    results.append(f.read())
            except OSError as e:
                results.append(e)

        def join():
            for r in readers:
                r.join(DEADLINE_S)
                self.assertFalse(r.is_alive())
            return results

        readers = [threading.Thread(target=read) for _ in range(4)]
        for r in readers:
            r.start()
        wait_for(lambda: agent.metric("shoal_readers_waiting") >= 1, "a reader to wait")
        return join

    def assert_tree(self, where, image, when=""):
        """The tree at where equals the image's list, entry by entry."""
        want, got = expected_lines(image), tree_manifest.tree_lines(where)
        if want != got:
            wrong = sorted(set(want) ^ set(got), key=lambda line: line.rsplit(" ", 1)[-1])[:12]
            self.fail(f"{image} {when}: {len(want)} entries expected, {len(got)} seen; first differences:\n"
                      + "\n".join(("want " if line in set(want) else "got  ") + line[:400] for line in wrong))
