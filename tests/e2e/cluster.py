"""A cluster for the tests: nodes on a net of their own, an agent each, one registry; see netlab.py."""
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import lab
import netlab

PEER_PORT = 9465


def at_once(fn, *lists):
    """fn, with an element of each list, on all of them at once; the results in their order."""
    with ThreadPoolExecutor(len(lists[0])) as pool:
        return list(pool.map(fn, *lists))


def peers_settings(members, zones=None, tls=None):
    """The `peers` setting of each of these: addresses, where they listen."""
    n = len(members)
    return [{"listen": member, "advertise": member, "members": members, "zone": zone,
             **({"tls": its_tls} if its_tls else {"insecure": True})}
            for member, zone, its_tls in zip(members, zones or ["a"] * n, tls or [None] * n)]


def loopback_peers(n, zones=None, tls=None):
    """The `peers` settings of n agents that are neighbours on this machine's loopback."""
    return peers_settings([f"127.0.0.1:{lab.free_port()}" for _ in range(n)], zones, tls)


def wait_for_members(agents):
    """Until each of them sees all the others."""
    for agent in agents:
        lab.wait_for(lambda a=agent: a.metric("shoal_peers", state="up") == len(agents) - 1, "all peers to be up")


def prefetch_all(agents, wheres):
    """What each has mounted, at once."""
    at_once(lambda agent, where: agent.shoal("prefetch", where), agents, wheres)


class Pki:
    """A cluster's CA, by `shoal pki`."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="pki-", dir=lab.TMP)
        self._shoal("init", self.dir)

    def _shoal(self, *words):
        subprocess.run([lab.SHOAL, "pki", *words], check=True, capture_output=True, text=True)

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
        self.registry = lab.Registry(htpasswd=htpasswd, root=root, node=self.registry_node, keeps_log=True)
        test.addCleanup(self._stop_registry)
        self.nodes = [self.net.node() for _ in range(n)]
        self.peers = peers_settings([f"{node.address}:{PEER_PORT}" for node in self.nodes], zones,
                                    [pki.node(f"node{i}") for i in range(n)] if pki else None)
        self.extra = config or {}
        self.agents = [self._agent(i) for i in range(n)]

    def _stop_registry(self):
        if self.registry.process.poll() is None:
            self.registry.stop()

    def _agent(self, i):
        more = dict(self.special.get(i, {}))
        if i in self.hostile:
            more = {"program": os.path.join(lab.BUILD, "tests", "fakes", "hostile_shoald"),
                    "env": {"SHOAL_HOSTILE": self.hostile[i]}}
        config = {"peers": self.peers[i], **self.extra, **more.pop("config", {})}
        return self.test.agent(host=self.registry.host, node=self.nodes[i], config=config, **more)

    def reference(self, image):
        return f"{self.registry.host}/{self.names[image]}"

    def by_digest(self, image):
        return f"{self.reference(image).rsplit(':', 1)[0]}@{lab.layout_manifest(image)[0]}"

    def wait_for_members(self):
        wait_for_members(self.agents)

    def mount_all(self, image):
        """On all at once; the directories."""
        return at_once(lambda agent: agent.mount(self.reference(image)), self.agents)

    def prefetch_all(self, wheres):
        prefetch_all(self.agents, wheres)

    def total(self, name, agents=None, **labels):
        return int(sum(agent.metric(name, **labels) for agent in agents or self.agents))

    def origin_bytes(self, agents=None):
        return self.total("shoal_origin_received_bytes_total", agents, kind="data")

    def registry_sent(self):
        """Bytes of data blobs that left the registry, by its own log; see lab.Registry.sent()."""
        bootstraps = {lab.layout_manifest(image)[1]["layers"][-1]["digest"] for image in self.names}
        return sum(n for digest, n in self.registry.sent().items() if digest not in bootstraps)

    def payload_bytes(self):
        return self.total("shoal_peer_received_bytes_total")

    def control_bytes(self):
        return self.total("shoal_peer_control_bytes_total", direction="out")


class LoopbackTest(lab.LabTest):
    """Agents that are neighbours on this machine's loopback."""

    def cluster(self, n, tls=None, zones=None, **config):
        """n agents that know each other's addresses; waits until all are up."""
        agents = [self.agent(config={"peers": peers, **config}) for peers in loopback_peers(n, zones, tls)]
        wait_for_members(agents)
        return agents
