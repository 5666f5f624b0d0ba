"""Two nodes with containerd that are peers, each with a network of its own, and a registry at a distance."""
import os
import socket
import sys

import cluster
import lab
import netlab
import node as nodes

DISTANCE_MS = 20
DISTANT_PORT = 5001
DISTANT = os.path.join(lab.REPO, "tests", "fakes", "distant.py")


class Pair:
    def __init__(self, image, mode="shared", how="tree"):
        self.net = netlab.Net()
        machines = [self.net.node() for _ in range(3)]
        root, names = netlab.registry_root(image)
        self.registry = lab.Registry(root=root, node=machines[2])
        host = f"{machines[2].address}:{DISTANT_PORT}"
        self.distance = lab.start_process(machines[2].command([sys.executable, DISTANT, host, self.registry.host, str(DISTANCE_MS)]))
        lab.wait_for(lambda: machines[2].call(lambda: self._answers(machines[2].address)), "the distance to be there")
        self.reference = f"{host}/{names[image]}"
        self.nodes = []
        settings = cluster.peers_settings([f"{m.address}:{cluster.PEER_PORT}" for m in machines[:2]])
        self.agents = [lab.Agent(node=m, config=nodes.agent_config(mount=how, peers=peers)) for m, peers in zip(machines, settings)]
        cluster.wait_for_members(self.agents)
        self.nodes = [nodes.Node(agent, mode=mode) for agent in self.agents]

    @staticmethod
    def _answers(address):
        with socket.socket() as s:
            return s.connect_ex((address, DISTANT_PORT)) == 0

    def fill_first(self):
        """The first node has the image, whole; neither has it mounted."""
        first = self.nodes[0]
        first.pull(self.reference)
        first.run(self.reference, "fill", "true")
        (mounted,) = self.agents[0].json("ls")["mounts"]
        self.agents[0].shoal("prefetch", mounted["dir"])
        self.agents[0].settle()

    def take_down(self):
        for n in self.nodes:
            n.take_down()
        for agent in self.agents:
            agent.take_down()
        lab.stop_process(self.distance, 9)
        self.registry.stop()
        self.net.close()
