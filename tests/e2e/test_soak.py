"""Eight nodes that mount, read, unmount, forget, restart and die at random, for as long as SHOAL_SOAK_S says.

With the sanitizers' build (tools/soak) every end of an agent is a check for leaks, too.
"""
import hashlib
import os
import random
import threading
import time
import unittest

import histories
import lab
from cluster import Cluster, Pki

SECONDS = float(os.environ.get("SHOAL_SOAK_S", "0"))
N_NODES = 8
IMAGES = [image for image in ("edge:v6", "edge:v6-next", "edge:v6-64k", "edge:v6-lz4-sha256", "layers:v6", "layers:v6-batch",
                              "layers:zran") if image in lab.LAYOUTS]
FILES_A_STEP = 40
FDS_SPARE = 6  # a connection that is being made, a file that is being closed


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


def open_fds(agent):
    """What the agent's descriptors are, as far as they stay open while this looks."""
    return sorted(found for found in lab.open_files(agent.process.pid) if found)


@unittest.skipUnless(SECONDS, "for SHOAL_SOAK_S seconds: tools/soak")
class Soak(lab.LabTest):
    def assert_lets_go(self, agent, most):
        try:
            lab.wait_for(lambda: len(open_fds(agent)) <= most, f"{most} descriptors or fewer to be open")
        except AssertionError as e:
            raise AssertionError(f"{e}: " + "\n".join(open_fds(agent)) + "\n" + agent.log()[-3000:]) from None

    def test_no_wrong_byte_no_leak_no_descriptor_left_open(self):
        seed = int(os.environ.get("SHOAL_SEED", random.randrange(1 << 32)))
        print(f"      seed {seed}", flush=True)
        cluster = Cluster(self, IMAGES, N_NODES, pki=Pki())
        cluster.wait_for_members()
        most = max(len(open_fds(agent)) for agent in cluster.agents) + FDS_SPARE
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
            self.assert_lets_go(agent, most)
        for agent in cluster.agents:
            agent.stop()  # a leak makes it end with another status than 0
