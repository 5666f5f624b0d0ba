"""A cluster for the tests: nodes on a net of their own, an agent each, one registry; see netlab.py."""
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import lab
import netlab

PEER_PORT = 9465


class Pki:
    """A cluster's CA, by `shoal pki`."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="pki-", dir=lab.TMP)
        self._shoal("init", self.dir)

    def _shoal(self, *words):
        subprocess.run([os.path.join(lab.BUILD, "agent", "shoal"), "pki", *words], check=True, capture_output=True,
                       text=True)

    def node(self, name):
        """The `tls` setting of a node."""
        self._shoal("node", self.dir, name)
        return {"ca": os.path.join(self.dir, "ca.pem"), "cert": os.path.join(self.dir, f"{name}.pem"),
                "key": os.path.join(self.dir, f"{name}.key")}


class Cluster:
    """n agents and a registry, each on a node of its own."""

    def __init__(self, test, images, n, pki=None, zones=None, htpasswd=None, config=None, hostile=None, special=None):
        """hostile: {node index: what it does wrong}, of tests/fakes/hostile_shoald.c. special: {node index:
        further arguments of lab.Agent}."""
        self.hostile = hostile or {}
        self.special = special or {}
        self.test = test
        self.net = netlab.Net()
        test.addCleanup(self.net.close)
        root, self.names = netlab.registry_root(*images)
        self.registry_node = self.net.node()
        self.registry = lab.Registry(htpasswd=htpasswd, root=root, node=self.registry_node)
        test.addCleanup(self._stop_registry)
        self.nodes = [self.net.node() for _ in range(n)]
        self.pki = pki
        self.zones = zones or ["a"] * n
        self.extra = config or {}
        self.agents = [self._agent(i) for i in range(n)]

    def _stop_registry(self):
        if self.registry.process.poll() is None:
            self.registry.stop()

    def peers_config(self, i):
        config = {"listen": f"{self.nodes[i].address}:{PEER_PORT}", "advertise": f"{self.nodes[i].address}:{PEER_PORT}",
                  "members": [f"{node.address}:{PEER_PORT}" for node in self.nodes], "zone": self.zones[i]}
        if self.pki:
            config["tls"] = self.pki.node(f"node{i}")
        else:
            config["insecure"] = True
        return config

    def _agent(self, i):
        more = dict(self.special.get(i, {}))
        if i in self.hostile:
            more = {"program": os.path.join(lab.BUILD, "tests", "fakes", "hostile_shoald"),
                    "env": {"SHOAL_HOSTILE": self.hostile[i]}}
        return self.test.agent(host=self.registry.host, node=self.nodes[i], **more,
                               config={"peers": self.peers_config(i), **self.extra})

    def reference(self, image):
        return f"{self.registry.host}/{self.names[image]}"

    def wait_for_members(self, agents=None):
        """Until each of them sees all the others."""
        agents = agents or self.agents
        for agent in agents:
            lab.wait_for(lambda a=agent: a.metric("shoal_peers", state="up") >= len(agents) - 1, "all peers to be up")

    def on_all(self, fn, agents=None):
        """fn(agent) on all at once; the results in their order."""
        agents = agents or self.agents
        with ThreadPoolExecutor(len(agents)) as pool:
            return list(pool.map(fn, agents))

    def mount_all(self, image, agents=None):
        return self.on_all(lambda agent: agent.mount(self.reference(image)), agents)

    def total(self, name, agents=None, **labels):
        return int(sum(agent.metric(name, **labels) for agent in agents or self.agents))

    def origin_bytes(self, agents=None):
        return self.total("shoal_origin_received_bytes_total", agents, kind="data")

    def payload_bytes(self):
        return self.total("shoal_peer_received_bytes_total")

    def control_bytes(self):
        return self.total("shoal_peer_control_bytes_total", direction="out")


class LoopbackTest(lab.LabTest):
    """Agents that are neighbours on this machine's loopback."""

    def cluster(self, n, tls=None, zones=None, **config):
        """n agents that know each other's addresses; waits until all are up."""
        ports = [lab.free_port() for _ in range(n)]
        members = [f"127.0.0.1:{p}" for p in ports]
        agents = []
        for i in range(n):
            peers = {"listen": members[i], "advertise": members[i], "members": members,
                     "zone": zones[i] if zones else "a"}
            peers.update({"tls": tls[i]} if tls else {"insecure": True})
            agents.append(self.agent(config={"peers": peers, **config}))
        for agent in agents:
            lab.wait_for(lambda a=agent: a.metric("shoal_peers", state="up") == n - 1, "all peers to be up")
        return agents

    def both(self, fn, items):
        with ThreadPoolExecutor(len(items)) as pool:
            return list(pool.map(fn, items))
