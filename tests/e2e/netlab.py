"""Nodes that are machines of their own as far as the network goes: a namespace each, on one switch.

A Net is a bridge in a namespace of its own and nodes joined to it by veth pairs; links can be shaped
(tc tbf, both ways), cut and mended, and count their bytes. Only the network is apart: file system,
mounts and processes are everybody's. All of it goes with the process that made it.
"""
import atexit
import contextlib
import ctypes
import os
import subprocess
import threading
import unittest

import lab

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
NEIGHBOURS = "/proc/sys/net/ipv4/neigh/default/"
FEW_NODES = 20
MANY_NEIGHBOURS = 65536
BRIDGE_FILTERS = "/proc/sys/net/bridge/bridge-nf-call-"
NETNS_DIR = "/run/netns"
_nets = []


def _run(*argv, check=True):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: {done.stderr}")
    return done


def require_namespaces():
    """Skip the test where the kernel lets nobody make networks."""
    name = f"shoal-try-{os.getpid()}"
    done = _run("ip", "netns", "add", name, check=False)
    if done.returncode != 0:
        raise unittest.SkipTest(f"no network namespaces here: {done.stderr.strip()}")
    _run("ip", "netns", "del", name)


def in_namespace(name, fn):
    """What fn() returns, called in a thread whose sockets are the namespace's."""
    result = {}

    def work():
        try:
            fd = os.open(os.path.join(NETNS_DIR, name), os.O_RDONLY)
            try:
                if _libc.setns(fd, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            result["value"] = fn()
        except BaseException as e:  # pylint: disable=broad-except
            result["error"] = e

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in result:
        raise result["error"]
    return result["value"]


@atexit.register
def _clean_up():
    for net in list(_nets):
        net.close()


class Node:
    """One machine of the net: an address and a namespace."""

    def __init__(self, net, idx):
        self.net = net
        self.name = f"{net.prefix}-{idx}"
        self.port = f"p{idx}"  # its end of the cable at the switch
        self.address = f"10.77.{idx // 200}.{idx % 200 + 1}"
        _run("ip", "netns", "add", self.name)
        _run("ip", "-n", self.name, "link", "set", "lo", "up")
        _run("ip", "link", "add", "eth0", "netns", self.name, "type", "veth", "peer", "name", self.port, "netns",
             net.switch)
        _run("ip", "-n", self.name, "addr", "add", f"{self.address}/16", "dev", "eth0")
        _run("ip", "-n", self.name, "link", "set", "eth0", "up")
        _run("ip", "-n", net.switch, "link", "set", self.port, "master", "sw", "up")

    def shape(self, mbit_per_s):
        """Limit the link, each way."""
        tbf = ["root", "tbf", "rate", f"{mbit_per_s}mbit", "burst", "64k", "latency", "100ms"]
        _run("tc", "-n", self.name, "qdisc", "replace", "dev", "eth0", *tbf)
        _run("tc", "-n", self.net.switch, "qdisc", "replace", "dev", self.port, *tbf)

    def cut(self):
        _run("ip", "-n", self.net.switch, "link", "set", self.port, "nomaster")

    def mend(self):
        _run("ip", "-n", self.net.switch, "link", "set", self.port, "master", "sw")

    @contextlib.contextmanager
    def cut_off(self):
        """From all others, meanwhile."""
        self.cut()
        try:
            yield
        finally:
            self.mend()

    def command(self, argv):
        """argv, to be run on this node. Not by `ip netns exec`: that makes a mount namespace too."""
        return ["nsenter", f"--net={NETNS_DIR}/{self.name}", *argv]

    def call(self, fn):
        return in_namespace(self.name, fn)

    def bytes(self):
        """(received, sent) on its link since it was made, headers of all layers included."""
        base = "/sys/class/net/eth0/statistics/"
        done = _run("nsenter", f"--net={NETNS_DIR}/{self.name}", "unshare", "--mount", "sh", "-c",
                    f"mount -t sysfs sysfs /sys && cat {base}rx_bytes {base}tx_bytes")
        received, sent = done.stdout.split()
        return int(received), int(sent)


class Net:
    def __init__(self):
        require_namespaces()
        self.prefix = f"shoal-{os.getpid()}-{len(_nets)}"
        self.switch = f"{self.prefix}-sw"
        self.nodes = []
        self.thresholds = {}
        _nets.append(self)
        _run("ip", "netns", "add", self.switch)
        _run("ip", "-n", self.switch, "link", "add", "sw", "type", "bridge")
        _run("ip", "-n", self.switch, "link", "set", "sw", "up")
        in_namespace(self.switch, self._filter_nothing)

    def node(self):
        self.nodes.append(Node(self, len(self.nodes)))
        if len(self.nodes) == FEW_NODES:
            self._make_room_for_neighbours()
        return self.nodes[-1]

    @staticmethod
    def _filter_nothing():
        """Where br_netfilter is loaded, each frame that a bridge passes on goes through the rules for IP, too."""
        for name in ("iptables", "ip6tables", "arptables"):
            with contextlib.suppress(OSError), open(BRIDGE_FILTERS + name, "w", encoding="ascii") as f:
                f.write("0")

    def _make_room_for_neighbours(self):
        """The kernel has one table of neighbours for all namespaces, of 1024 entries: n nodes want n * n."""
        for name in ("gc_thresh3", "gc_thresh2", "gc_thresh1"):
            with open(NEIGHBOURS + name, "r+", encoding="ascii") as f:
                self.thresholds[name] = f.read()
                f.seek(0)
                f.write(str(max(MANY_NEIGHBOURS, int(self.thresholds[name]))))

    def close(self):
        if self not in _nets:
            return
        _nets.remove(self)
        for name in [node.name for node in self.nodes] + [self.switch]:
            _run("ip", "netns", "del", name, check=False)
        for name, value in reversed(self.thresholds.items()):
            with open(NEIGHBOURS + name, "w", encoding="ascii") as f:
                f.write(value)


def registry_root(*images):
    """Where docker-registry keeps these images, and their names: the directory of the registry that all tests share, so
    that each image is brought there once."""
    shared = lab.registry()
    return shared.root, {image: shared.push(image).split("/", 1)[1] for image in images}
