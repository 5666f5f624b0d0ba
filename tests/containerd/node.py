"""A node with containerd, nydus-snapshotter and shoal, in a directory of its own: no service of the machine is used."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import front  # noqa: E402
import lab  # noqa: E402

TOOLS = os.path.join(os.environ.get("SHOAL_CONTAINERD_TOOLS", os.path.join(lab.REPO, "build", "containerd")))
DEADLINE_S = 120


def missing():
    """Why the tests cannot run here; None: they can."""
    for program in ("containerd", "ctr", "runc", "busybox"):
        if not shutil.which(program):
            return f"{program} is not installed (tools/setup containerd)"
    done = subprocess.run([os.path.join(HERE, "build"), TOOLS], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"nydus-snapshotter cannot be built: {done.stderr.strip().splitlines()[-1:]}"
    return None


def agent_config(**more):
    """Of an agent as on a node: with a keeper, and without a word on registries."""
    return {"registries": [], "keeper": {"socket": lab.keeper_socket()}, **more}


# A kubelet asks the snapshotter about images, which asks containerd, and keeps the credentials that it hears.
CRI_SNAPSHOTTER = """
[remote.auth]
enable_cri_keychain = true
image_service_address = "{address}"
"""
CRI_CONTAINERD = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  stream_server_port = "0"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "nydus"
  disable_snapshot_annotations = false
"""


class Node:
    """mode: dedicated or shared. policy: none, restart or failover. sandbox: an image; with it containerd has its CRI
    service, as for a kubelet, all of whose containers are in one namespace. Its network is the agent's."""

    def __init__(self, agent, mode="dedicated", policy="failover", prefetch=False, nydusd=front.NYDUSD, sandbox=None):
        self.agent, self.mode, self.policy, self.prefetch, self.nydusd = agent, mode, policy, prefetch, nydusd
        self.sandbox = sandbox
        self.dir = tempfile.mkdtemp(prefix="n-", dir=lab.TMP)
        self.address = self.path("containerd.sock")
        self.namespace = "k8s.io" if sandbox else "n" + os.urandom(6).hex()  # runc keeps all of a machine's containers in one place
        self.containerd = self.snapshotter = None
        self._write_configs()
        self.start_snapshotter()
        self.start_containerd()

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def _write_configs(self):
        with open(self.path("containerd.toml"), "w", encoding="utf-8") as f:
            f.write(f"""version = 2
root = "{self.path('containerd')}"
state = "{self.path('state')}"
disabled_plugins = [{'' if self.sandbox else '"io.containerd.grpc.v1.cri"'}]
[grpc]
  address = "{self.address}"
[proxy_plugins.nydus]
  type = "snapshot"
  address = "{self.path('grpc.sock')}"
{CRI_CONTAINERD.format(sandbox=self.sandbox) if self.sandbox else ""}""")
        with open(self.path("snapshotter.toml"), "w", encoding="utf-8") as f:
            f.write(f"""version = 1
root = "{self.path('nydus')}"
address = "{self.path('grpc.sock')}"
daemon_mode = "{self.mode}"
[system]
enable = true
address = "{self.path('system.sock')}"
[daemon]
nydusd_config = "{self.path('nydusd.json')}"
nydusd_path = "{self.nydusd}"
fs_driver = "fusedev"
recover_policy = "{self.policy}"
threads_number = 4
log_rotation_size = 100
failover_policy = "resend"
[cgroup]
enable = false
[log]
log_to_stdout = true
level = "info"
[metrics]
address = ""
[snapshot]
sync_remove = false
[cache_manager]
disable = false
{CRI_SNAPSHOTTER.format(address=self.address) if self.sandbox else ""}""")
        with open(self.path("nydusd.json"), "w", encoding="utf-8") as f:
            json.dump({"device": {"backend": {"type": "registry", "config": {
                "scheme": "http", "timeout": 5, "connect_timeout": 5, "retry_limit": 2}},
                "cache": {"type": "blobcache"}},
                "mode": "direct", "digest_validate": False, "enable_xattr": True, "amplify_io": 1048576,
                "fs_prefetch": {"enable": self.prefetch, "threads_count": 8, "merging_size": 1048576,
                                "prefetch_all": self.prefetch}}, f)

    def start_snapshotter(self):
        with open(self.path("snapshotter.log"), "ab") as log:
            self.snapshotter = lab.start_process(
                self._on_its_network(os.path.join(TOOLS, "containerd-nydus-grpc"), "--config", self.path("snapshotter.toml")),
                stdout=log, stderr=log, env={**os.environ, "SHOAL_SOCKET": self.agent.socket})
        lab.wait_for(lambda: self._listens(self.path("grpc.sock"), self.snapshotter, "snapshotter.log"),
                     "the snapshotter to listen", DEADLINE_S)

    def start_containerd(self):
        with open(self.path("containerd.log"), "ab") as log:
            self.containerd = lab.start_process(self._on_its_network("containerd", "--config", self.path("containerd.toml")),
                                                stdout=log, stderr=log)
        lab.wait_for(lambda: self.ctr("version", check=False).returncode == 0, "containerd to answer", DEADLINE_S)

    def _on_its_network(self, *argv):
        return lab.on_node(self.agent.node, list(argv))

    def _listens(self, path, process, log):
        if process.poll() is not None:
            raise AssertionError(f"it ended:\n{self.log(log)}")
        return lab.listens(path)

    def log(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as f:
            return f.read()[-6000:]

    def ctr(self, *args, check=True, output=None):
        """output: a file that has what the container's process says, in place of ctr's own output."""
        done = subprocess.run(["ctr", "--address", self.address, "--namespace", self.namespace, *args], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=DEADLINE_S)
        if output and os.path.exists(output):
            with open(output, encoding="utf-8") as f:
                done.stdout = f.read()
        if check and done.returncode != 0:
            raise AssertionError(f"ctr {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}\n"
                                 f"{self.log('snapshotter.log')}")
        return done

    def pull(self, reference):
        argv = self._on_its_network(os.path.join(TOOLS, "pull"), self.address, self.namespace, reference,
                                    *(["http"] if self.agent.node else []))
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
        if done.returncode != 0:
            raise AssertionError(f"pull {reference}: {done.stderr}\n{self.log('snapshotter.log')}")

    def cri(self, *words, images=False, check=True):
        """What containerd's CRI service says, or the snapshotter's, of images."""
        done = subprocess.run([os.path.join(TOOLS, "cri"), self.path("grpc.sock") if images else self.address, *words],
                              capture_output=True, text=True, check=False, timeout=2 * DEADLINE_S)
        if check and done.returncode != 0:
            raise AssertionError(f"cri {words}: {done.stderr}\n{self.log('containerd.log')}\n{self.log('snapshotter.log')}")
        return done.stdout.strip()

    def run(self, reference, name, *argv, options=(), check=True):
        """One command in a container of its own; its output."""
        return self._in_container(["run", "--rm", "--snapshotter", "nydus"], *options, reference, name, *argv, check=check)

    def execute(self, name, *argv, check=True):
        """One more command in a container that runs."""
        return self._in_container(["task", "exec", "--exec-id", "x" + os.urandom(4).hex()], name, *argv, check=check)

    def _in_container(self, command, *args, check):
        """The output goes from the shim to a file. By way of ctr's fifo that of a short command is lost now and then, with status 0
        and no word: containerd 1.6, also without a snapshotter."""
        output = self.path("out-" + os.urandom(4).hex())
        return self.ctr(*command, "--log-uri", "file://" + output, *args, check=check, output=output)

    def status(self, name):
        """Of a container's task, as containerd says it; "": there is none."""
        rows = [line.split() for line in self.ctr("task", "ls").stdout.splitlines()[1:]]
        return next((row[2] for row in rows if row[0] == name), "")

    def tools(self):
        """Options of a container that has busybox for programs, whatever is in its image."""
        where = self.path("tools")
        if not os.path.exists(where):
            os.mkdir(where)
            shutil.copy(shutil.which("busybox"), where)
            for name in ("sh", "cat", "ls", "rm", "sha256sum", "sleep"):
                os.link(os.path.join(where, "busybox"), os.path.join(where, name))
        return ["--mount", f"type=bind,src={where},dst=/tools,options=rbind:ro", "--env", "PATH=/tools"]

    def top_snapshots(self):
        """The committed snapshots that are nobody's parent."""
        rows = [line.split() for line in self.ctr("snapshot", "--snapshotter", "nydus", "ls").stdout.splitlines()[1:]]
        parents = {row[1] for row in rows if len(row) == 3}
        return {row[0] for row in rows if row[-1] == "Committed" and row[0] not in parents}

    def nydusds(self):
        """The processes of our nydusd for this node: {pid: command line}."""
        return {pid: argv for pid, argv in lab.processes_that_name(self.dir).items()
                if os.path.basename(argv[0]) == "nydusd"}

    def _shims(self):
        return [pid for pid, argv in lab.processes_that_name(self.dir).items() if "containerd-shim" in argv[0]]

    def upgrade(self, nydusd):
        """Live upgrade of all nydusds, by the snapshotter's own API."""
        status, words, _ = front.ask(self.path("system.sock"), "PUT", "/api/v1/daemons/upgrade",
                                     {"nydusd_path": nydusd, "version": "next", "policy": "rolling"})
        if status != 200:
            raise AssertionError(f"upgrade: {status} {words}\n{self.log('snapshotter.log')}")

    def stop(self):
        for process in (self.containerd, self.snapshotter):
            if process and process.poll() is None:
                lab.stop_process(process)

    def take_down(self):
        for process in (self.containerd, self.snapshotter):
            if process and process.poll() is None:
                lab.stop_process(process, 9)
        runc = ["runc", "--root", f"/run/containerd/runc/{self.namespace}"]
        listed = subprocess.run([*runc, "list", "-f", "json"], capture_output=True, text=True, check=False).stdout
        for container in json.loads(listed or "null") or []:
            if container["bundle"].startswith(self.dir):
                subprocess.run([*runc, "delete", "--force", container["id"]], stderr=subprocess.DEVNULL, check=False)
        for pid in [*self.nydusds(), *self._shims()]:
            os.kill(pid, 9)
        lab.unmount_below(self.dir)
