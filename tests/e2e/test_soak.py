"""Eight nodes that mount, read, unmount, forget, restart and die at random, for as long as SHOAL_SOAK_S says.

With the sanitizers' build (tools/soak) every end of an agent is a check for leaks, too. What is open in the end is
counted by kind: what is kept for later use has a bound of its own, and of the rest nothing is left.
"""
import collections
import os
import random
import signal
import threading
import time
import unittest

import histories
import lab
from cluster import PEER_PORT, Cluster, Pki, at_once

SECONDS = float(os.environ.get("SHOAL_SOAK_S", "0"))
N_NODES = 8
IMAGES = [image for image in ("edge:v6", "edge:v6-next", "edge:v6-64k", "edge:v6-lz4-sha256", "layers:v6", "layers:v6-batch",
                              "layers:zran") if image in lab.LAYOUTS]
FILES_A_STEP = 40
AWAY_S = 2       # for which a node is cut off or stopped, at most
QUOTA_BYTES = 16 << 20  # of two nodes: half of an image
SCARCE = {"config": {"cache": {"quota_bytes": QUOTA_BYTES}}}
FLAVOURS = {N_NODES - 2: SCARCE, N_NODES - 1: SCARCE}
ZONES = ["a"] * (N_NODES - 3) + ["b"] * 3
# What an agent may keep open with nothing mounted; "other" may be what it was before.
KEPT = {
    "chunks and images": 0,
    "peers": N_NODES - 1,  # one connection each
    "registry": 8,         # idle ones, to be used again (include/fetch/http.h)
    "database": 13,        # two a connection, of the writer and at most four readers; two of their shared memory, one of the log (cas/db_open.c)
}


class Walker(threading.Thread):
    """One node and what is done on it."""

    def __init__(self, cluster, agent, seed, end):
        super().__init__()
        self.cluster, self.agent, self.end = cluster, agent, end
        self.random = random.Random(seed)
        self.mounts = {}  # image -> directory
        self.steps = []
        self.why = None
        self.others = []  # walkers

    def run(self):
        weights = {self.mount: 6, self.read: 10, self.read_together: 4, self.prefetch: 2, self.umount: 3, self.forget: 3,
                   self.collect: 1, self.verify: 1, self.all_at_once: 3, self.be_cut_off: 1, self.hang: 1, self.restart: 1, self.die: 1}
        try:
            while time.monotonic() < self.end:
                step = self.random.choices(list(weights), weights=list(weights.values()))[0]
                self.steps.append(step.__name__)
                step()
        except BaseException as e:  # pylint: disable=broad-except
            self.why = e

    def pick(self):
        """(image, directory) of one that is mounted; (None, None)"""
        return self.random.choice(sorted(self.mounts.items()) or [(None, None)])

    def mount(self):
        image = self.random.choice(IMAGES)
        if image not in self.mounts:
            how = self.random.choice(("tree", "erofs"))
            self.mounts[image] = self.agent.mount(self.cluster.reference(image), "--how", how)

    def check_some(self, image, where, first):
        for path, _size, digest in histories.TRUTH.files(image)[first:first + FILES_A_STEP]:
            if histories.read_digest(where + path) != digest:
                raise AssertionError(f"{image}{path}: wrong bytes, after {self.steps[-20:]}")

    def readers(self, n):
        """As many of one image as are asked for, about to read: each some of its files, in order."""
        image, where = self.pick()
        if image is None:
            return []
        n_files = len(histories.TRUTH.files(image))
        firsts = [self.random.randrange(n_files) for _ in range(n)]
        return [lambda first=first: self.check_some(image, where, first) for first in firsts]

    def read(self):
        for reader in self.readers(1):
            reader()

    def read_together(self):
        readers = self.readers(4)
        if readers:
            at_once(lambda reader: reader(), readers)

    def prefetch(self, must=True):
        """must: nobody removes anything meanwhile. Where there is no room for all of it, that is said."""
        image, where = self.pick()
        if image:
            self.agent.shoal("prefetch", where, check=must and "quota_bytes" not in self.agent.config["cache"])

    def umount(self):
        image, where = self.pick()
        if image:
            self.agent.umount_when_free(where)
            del self.mounts[image]
        return image

    def forget(self):
        image = self.umount()
        if image:
            self.agent.shoal("image", "rm", self.cluster.reference(image))

    def collect(self):
        self.agent.shoal("gc", "--to", str(self.random.randrange(QUOTA_BYTES)))

    def verify(self):
        self.agent.shoal("verify")

    def mount_for_a_moment(self):
        where = self.agent.mount(self.cluster.reference(self.random.choice(IMAGES)))
        self.agent.json("ls")
        self.agent.umount_when_free(where)

    def look(self):
        image, where = self.pick()
        if image:
            path = self.random.choice(histories.TRUTH.files(image))[0]
            self.agent.shoal("explain", where + path)
        for words in (("image", "ls"), ("blob", "ls"), ("ls",), ("peers",), ("status",)):
            self.agent.json(*words)
        self.agent.process.send_signal(signal.SIGHUP)

    def all_at_once(self):
        acts = [self.verify, self.collect, lambda: self.prefetch(must=False), self.mount_for_a_moment, self.mount_for_a_moment, self.look]
        at_once(lambda act: act(), self.random.sample(acts, 3) + self.readers(2))

    def while_away(self, trouble):
        """Something is wrong with the node (within trouble's `with`) until others have done a few steps."""
        before = sum(len(w.steps) for w in self.others)
        end = time.monotonic() + AWAY_S
        reading = [threading.Thread(target=self.try_to, args=(reader,)) for reader in self.readers(2)]
        with trouble:
            for thread in reading:
                thread.start()
            lab.wait_for(lambda: sum(len(w.steps) for w in self.others) >= before + N_NODES or time.monotonic() > end,
                         "other nodes to go on")
        for thread in reading:
            thread.join()
        if self.why is not None:
            raise self.why

    def try_to(self, do):
        try:
            do()
        except BaseException as e:  # pylint: disable=broad-except
            self.why = e

    def be_cut_off(self):
        self.while_away(self.agent.node.cut_off())

    def hang(self):
        self.while_away(lab.stopped(self.agent.process))

    def restart(self):
        self.agent.restart()  # what is mounted comes back

    def die(self):
        self.agent.kill()
        self.agent.start()

    def rest(self):
        while self.mounts:
            self.forget()


def kind_of(found, agent, tcp):
    """Of what kind is what a descriptor leads to?"""
    ports = tcp.get(found[len("socket:["):-1]) if found.startswith("socket:[") else None
    if found.startswith((f"{agent.state_dir}/blobs/", f"{agent.state_dir}/images/", "/dev/fuse")):
        return "chunks and images"
    if found.startswith(f"{agent.state_dir}/shoal.db"):
        return "database"
    if ports and ports[1] and PEER_PORT in ports:
        return "peers"
    if ports and ports[1] == agent.registry_port:
        return "registry"
    return "other"


def descriptors(agent):
    """{kind: what its descriptors are}, as far as they stay open while this looks."""
    pid = agent.process.pid
    kinds = collections.defaultdict(list)
    found = lab.open_files(pid)
    tcp = lab.tcp_sockets(pid)
    for what in filter(None, found):
        kinds[kind_of(what, agent, tcp)].append(what)
    return kinds


def too_many(agent):
    """What an agent has open and should not."""
    return {kind: whats for kind, whats in descriptors(agent).items() if len(whats) > agent.may_keep[kind]}


@unittest.skipUnless(SECONDS, "for SHOAL_SOAK_S seconds: tools/soak")
class Soak(lab.LabTest):
    def assert_lets_go(self, agent):
        try:
            lab.wait_for(lambda: not too_many(agent), lambda: f"descriptors to be closed: {too_many(agent)}")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{agent.log()[-3000:]}") from None

    def test_no_wrong_byte_no_leak_no_descriptor_left_open(self):
        seed = int(os.environ.get("SHOAL_SEED", random.randrange(1 << 32)))
        print(f"      seed {seed}", flush=True)
        cluster = Cluster(self, IMAGES, N_NODES, pki=Pki(), zones=ZONES, special=FLAVOURS)
        cluster.wait_for_members()
        for agent in cluster.agents:
            agent.registry_port = cluster.registry.port
            agent.may_keep = {**KEPT, "other": len(descriptors(agent)["other"])}
        end = time.monotonic() + SECONDS
        walkers = [Walker(cluster, agent, seed + i, end) for i, agent in enumerate(cluster.agents)]
        for walker in walkers:
            walker.others = [other for other in walkers if other is not walker]
            walker.start()
        for walker in walkers:
            walker.join()
        for walker in walkers:
            if walker.why is not None:
                raise AssertionError(f"seed {seed}, {walker.steps[-20:]}: {walker.why}\n"
                                     f"{walker.agent.log()[-1500:]}") from walker.why
        print(f"      {sum(len(w.steps) for w in walkers)} steps: "
              f"{dict(collections.Counter(s for w in walkers for s in w.steps))}", flush=True)
        for walker in walkers:
            walker.rest()
        cluster.wait_for_members()
        for agent in cluster.agents:
            self.assert_lets_go(agent)
        for agent in cluster.agents:
            agent.stop()  # a leak makes it end with another status than 0
