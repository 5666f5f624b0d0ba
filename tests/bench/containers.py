"""tools/bench containers: how long a container takes to start, with containerd and nydus-snapshotter as they are.

Against the same tree as an ordinary image on ext4 (containerd's overlayfs snapshotter), by turns; and on a second node,
while the first has the image and the registry is 20 ms away, against the first's own.
"""
import os
import statistics
import sys
import time

import lab

sys.path.insert(0, os.path.join(lab.REPO, "tests", "containerd"))
import node as nodes  # noqa: E402
import ordinary  # noqa: E402
import pair  # noqa: E402
from dedup import Rows  # noqa: E402

COMMAND = ["python3", "-c", "import flask"]
PLAIN = "docker.io/library/plain:1"


def start_s(node, snapshotter, reference, name):
    start = time.monotonic()
    node.ctr("run", "--rm", "--snapshotter", snapshotter, reference, name, *COMMAND)
    return time.monotonic() - start


class Round:
    """A node from nothing, with the image's names pulled and none of its data."""

    def __init__(self, reference, mode, how):
        self.agent = lab.Agent(config=nodes.agent_config(mount=how))
        self.node = nodes.Node(self.agent, mode=mode)
        self.reference = reference
        self.n_runs = 0
        self.node.pull(reference)

    def run(self, snapshotter, reference):
        self.n_runs += 1
        return start_s(self.node, snapshotter, reference, f"r{self.n_runs}")

    def end(self):
        self.node.ctr("image", "rm", "--sync", self.reference)
        self.node.take_down()
        self.agent.stop()


def second_node(args):
    """(first node's starts with all of it here, the second's first start)"""
    warm, second = [], []
    for _ in range(args.rounds):
        p = pair.Pair(args.image, how=args.mount)
        p.fill_first()
        warm += [start_s(p.nodes[0], "nydus", p.reference, f"warm{i}") for i in range(4)][1:]
        p.nodes[1].pull(p.reference)
        lab.drop_caches()
        p.nodes[0].run(p.reference, "again", *COMMAND)  # what both nodes share of the machine's page cache
        second.append(start_s(p.nodes[1], "nydus", p.reference, "second"))
        p.take_down()
    return warm, second


def run(args):
    why = nodes.missing()
    if why:
        sys.exit(f"bench: {why}")
    reference = lab.registry().push(args.image)
    source = lab.Agent()
    plain = ordinary.image(source.mount(reference, "--prefetch"), os.path.join(lab.TMP, "plain.tar"), PLAIN)
    source.stop()
    cold, on_disk, hot, plain_on_disk, plain_hot = [], [], [], [], []
    for _ in range(args.rounds):
        r = Round(reference, "shared", args.mount)
        r.node.ctr("image", "import", "--snapshotter", "overlayfs", plain)
        r.run("overlayfs", PLAIN)
        os.sync()  # what the import still writes is no part of a start
        cold.append(r.run("nydus", reference))
        for many, few, snapshotter, image in ((hot, on_disk, "nydus", reference),
                                              (plain_hot, plain_on_disk, "overlayfs", PLAIN)) * 3:
            lab.drop_caches()
            few.append(r.run(snapshotter, image))
            many.append(r.run(snapshotter, image))
        r.end()
    rows = Rows()
    rows.row(f"start of {' '.join(COMMAND)!r}, s: image cached, page cache full", statistics.median(hot),
             statistics.median(plain_hot), "<= 1.05")
    rows.row("the same, page cache empty", statistics.median(on_disk), statistics.median(plain_on_disk), "<= 1.05")
    rows.row("the same, cold: first start on the node, nydusd and mount with it", statistics.median(cold),
             statistics.median(plain_hot), "<= 1.6")
    warm, second = second_node(args)
    rows.row("first start on a second node / warm on the first", statistics.median(second), statistics.median(warm), "<= 1.3")
