"""Eight nodes that mount, read, unmount, forget, restart and die at random, for as long as SHOAL_SOAK_S says.

With the sanitizers' build (tools/soak) every end of an agent is a check for leaks, too. What is open in the end is
counted by kind: what is kept for later use has a bound of its own, and of the rest nothing is left.
"""
import collections
import hashlib
import os
import random
import threading
import time
import unittest

import histories
import lab
from cluster import PEER_PORT, Cluster, Pki

SECONDS = float(os.environ.get("SHOAL_SOAK_S", "0"))
N_NODES = 8
IMAGES = [image for image in ("edge:v6", "edge:v6-next", "edge:v6-64k", "edge:v6-lz4-sha256", "layers:v6", "layers:v6-batch",
                              "layers:zran") if image in lab.LAYOUTS]
FILES_A_STEP = 40
# What an agent may keep open with nothing mounted; "other" may be what it was before.
KEPT = {
    "chunks and images": 0,
    "peers": N_NODES - 1,  # one connection each
    "registry": 8,         # idle ones, to be used again (include/fetch/http.h)
    "database": 11,        # two a connection, of the writer and at most four readers (cas/db.h), and their shared memory
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

    def run(self):
        try:
            while time.monotonic() < self.end:
                self.step()
        except BaseException as e:  # pylint: disable=broad-except
            self.why = e

    def step(self):
        what = self.random.choices([self.mount, self.read, self.umount, self.forget, self.restart, self.die],
                                   weights=[6, 14, 3, 3, 1, 1])[0]
        self.steps.append(what.__name__)
        what()

    def mount(self):
        image = self.random.choice(IMAGES)
        if image not in self.mounts:
            self.mounts[image] = self.agent.mount(self.cluster.reference(image))

    def read(self):
        if not self.mounts:
            return
        image = self.random.choice(sorted(self.mounts))
        files = histories.TRUTH.files(image)
        first = self.random.randrange(len(files))
        for path, size, digest in files[first:first + FILES_A_STEP]:
            with open(self.mounts[image] + path, "rb", buffering=0) as f:
                got = hashlib.sha256()
                n_bytes = 0
                while piece := f.read(1 << 20):
                    got.update(piece)
                    n_bytes += len(piece)
            if (n_bytes, got.hexdigest()) != (size, digest):
                raise AssertionError(f"{image}{path}: wrong bytes, after {self.steps[-20:]}")

    def umount(self):
        if self.mounts:
            image = self.random.choice(sorted(self.mounts))
            where = self.mounts.pop(image)
            # A file that was read is open in what another thread forks, until that executes something.
            lab.wait_for(lambda: self.agent.shoal("umount", where, check=False).returncode == 0, f"{where} to be free")
            return image
        return None

    def forget(self):
        image = self.umount()
        if image:
            self.agent.shoal("image", "rm", self.cluster.reference(image))

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
        cluster = Cluster(self, IMAGES, N_NODES, pki=Pki())
        cluster.wait_for_members()
        for agent in cluster.agents:
            agent.registry_port = cluster.registry.port
            agent.may_keep = {**KEPT, "other": len(descriptors(agent)["other"])}
        end = time.monotonic() + SECONDS
        walkers = [Walker(cluster, agent, seed + i, end) for i, agent in enumerate(cluster.agents)]
        for walker in walkers:
            walker.start()
        for walker in walkers:
            walker.join()
        for walker in walkers:
            if walker.why is not None:
                raise AssertionError(f"seed {seed}, {walker.steps[-20:]}: {walker.why}\n"
                                     f"{walker.agent.log()[-1500:]}") from walker.why
        print(f"      {sum(len(w.steps) for w in walkers)} steps", flush=True)
        for walker in walkers:
            walker.rest()
        cluster.wait_for_members()
        for agent in cluster.agents:
            self.assert_lets_go(agent)
        for agent in cluster.agents:
            agent.stop()  # a leak makes it end with another status than 0
