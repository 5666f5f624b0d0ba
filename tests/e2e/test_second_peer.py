"""docs/protocol.md is enough to speak with an agent: a second implementation of it, of all that is computed (second_words.py)
and as asker, holder and home (second_peer.py)."""
import functools
import hashlib
import os
import re
import struct

import chunk_facts
import cluster
import lab
import second_home
import second_peer
import second_words as words

ONE = (0, b"\x11" * 32, 100)


def protocol_text():
    with open(os.path.join(lab.REPO, "docs", "protocol.md"), encoding="utf-8") as f:
        return f.read().partition("## Test vectors")[2]


class Vectors(lab.LabTest):
    """Those of docs/protocol.md, as they stand there."""

    def setUp(self):
        self.blocks = re.findall(r"^```\n(.*?)^```", protocol_text(), re.M | re.S)
        self.said = {line[:13].strip(): re.sub(r" *\(.*?\)", "", line[13:]) for line in self.blocks[0].splitlines()}

    def test_names_and_proofs(self):
        name = words.public_name(ONE)
        key, its_list = words.get_key([ONE]), words.list_id([name])
        proof = words.get_proof(key, b"\x22" * 32, "c", [0], of_list=its_list)
        get = words.frame([12, 1, 0, 0, proof, b"", name, its_list, 1, b"\1"]).hex()
        parts = self.said.pop("GET, req 1").replace(" ", "").split("…")
        self.assertRegex(get, ".*".join(parts))
        self.assertEqual(self.said.pop("score").split(), [f"{words.score(name, bytes([b]) * 16):016x}" for b in (1, 2, 3)])
        self.assertEqual(words.home(name, [bytes([b]) * 16 for b in (1, 2, 3)]), b"\2" * 16)
        hashes = [words.members_hash({b"\1" * 16: 7}), words.members_hash({b"\1" * 16: 7, b"\2" * 16: (1 << 64) - 1})]
        self.assertEqual(self.said.pop("members hash").split(", "), [f"{value:016x}" for value in hashes])
        self.assertEqual(self.said, {
            "public name": name.hex(), "list id": its_list.hex(), "key": key.hex(), "proof": proof.hex(),
            "mac": words.grant_mac(key, b"\x22" * 32, "c", proof).hex(),
            "insecure": words.insecure_nonce(b"\1" * 32, b"\2" * 32).hex()})

    def test_segments(self):
        def plain_bytes(i):
            return {720: 9437184, 721: 1}.get(i, 1048576 if i >= 700 else 30000 if i >= 300 else 1000)
        chunks = [(i, (0, hashlib.sha256(struct.pack("<I", i)).digest(), plain_bytes(i))) for i in range(722) if i != 10]
        self.assertEqual([f"{s.first} {len(s.keys)} {s.name.hex()} {s.list.hex()}" for s in words.segments(chunks)],
                         [" ".join(line.split()) for line in self.blocks[1].splitlines()[1:]])


IMAGE = "edge:v6"
RUN_BYTES = 256 << 10


@functools.cache
def image_segments():
    """With .runs: where a row of units of at most 256 KiB packed begins. For an image whose units are its chunks."""
    blobs = {}
    for unit in chunk_facts.units(IMAGE):
        (index, key), = unit.members.items()
        blobs.setdefault(unit.blob_id, {})[index] = (key, unit.end - unit.first)
    found = []
    for chunks in blobs.values():
        members = sorted((index, key) for index, (key, _) in chunks.items())
        for segment in words.segments(members):
            at = [index for index, _ in members].index(segment.first)
            segment.runs, n_bytes = [], 0
            for i, (index, _) in enumerate(members[at:at + len(segment.keys)]):
                if not segment.runs or n_bytes + chunks[index][1] > RUN_BYTES:
                    segment.runs.append(i)
                    n_bytes = 0
                n_bytes += chunks[index][1]
            found.append(segment)
    return found


def id_of(agent):
    with open(os.path.join(agent.state_dir, "node-id"), encoding="ascii") as f:
        return bytes.fromhex(f.read().strip())


class SecondPeer(lab.LabTest):
    alone = True  # of what the registry sees: who is slow is taken for dead

    def neighbours(self, zones, its_zone, suits=lambda its_id, ids: True):
        """Agents of these zones, and a second peer that all of them are connected with. suits(its id, ids of the agents)"""
        image = lab.registry().push(IMAGE)
        agents = [self.agent(config={"peers": peers}) for peers in cluster.loopback_peers(len(zones), zones)]
        cluster.wait_for_members(agents)
        ids = [id_of(agent) for agent in agents]
        its_id = next(its for its in (os.urandom(16) for _ in range(10000)) if suits(its, ids))
        return image, agents, self.neighbour_of(agents, its_id, its_zone)

    def neighbour_of(self, agents, its_id, its_zone):
        node = second_peer.Node(its_id, f"127.0.0.1:{lab.free_port()}", its_zone, image_segments())
        self.addCleanup(self.end, node)
        for agent in agents:
            node.dial(agent.config["peers"]["listen"])
        self.wait_for_hashes(node, agents)
        return node

    def end(self, node):
        node.close()
        self.assertEqual(node.faults, [])

    def wait_for_hashes(self, node, agents):
        """Until all have one list of members: it is hashed alike on both sides."""
        def equal():
            node.ping()
            conns = node.conns
            return all(id_of(agent) in conns and conns[id_of(agent)].hashes.get("PONG") == node.hash() for agent in agents)
        lab.wait_for(equal, lambda: f"equal hashes of members: {node.faults}, {[c.state() for c in node.all]}, "
                     f"{[agent.json('peers')['peers'] for agent in agents]}")

    def prefetch(self, agent, image):
        agent.shoal("prefetch", agent.mount(image))

    def test_as_an_asker(self):
        image, (agent,), node = self.neighbours(["a"], "a", lambda its, ids: any(
            words.home(s.name, [its, *ids]) == ids[0] and len(s.keys) > 40 for s in image_segments()))
        self.prefetch(agent, image)
        conn, its = node.conns[id_of(agent)], id_of(agent)
        segment = next(s for s in image_segments() if node.home_of(s) == its and len(s.keys) > 40)
        everything = list(range(len(segment.keys)))
        *answers, end = conn.ask_known(segment, everything, 1 << 31)  # and a flag that there is not yet
        self.assertEqual((end[0], end[1][0]), ("END", 0))
        items = [item for name, (its_items,), _ in answers for item in its_items]
        self.assertEqual({(item[0], item[3]) for item in items}, {(second_home.HOLDERS, its)})
        self.assertEqual(sorted(i for item in items for i in words.positions_of(item[2])), everything)
        for flags in (second_peer.PLAIN, 0, 1 << 31):  # plain, and as it comes
            chunks, said, status = conn.get(segment, everything, flags)
            self.assertEqual((sorted(chunks), said[0], status), (everything, "GRANT", 0))
        chunks, said, status = conn.get(segment, everything[1::7])
        self.assertEqual((sorted(chunks), status), (everything[1::7], 0))
        chunks, said, status = conn.get(segment, [5, 3, 17], by_names=True)
        self.assertEqual((sorted(chunks), said[0], status), ([3, 5, 17], "GRANT", 0))

    def test_what_is_refused(self):
        image, (agent,), node = self.neighbours(["a"], "a")
        self.prefetch(agent, image)
        conn, segment = node.conns[id_of(agent)], max(image_segments(), key=lambda s: len(s.keys))
        other = words.Segment([(0, bytes([i]) * 32, 100) for i in range(20)], 0)
        self.assertEqual(conn.get(other, [0]), ({}, ["END"], 2))
        mixed = words.Segment([*segment.keys[:2], other.keys[0]], 0)
        self.assertEqual(conn.get(mixed, [0, 1, 2], by_names=True), ({}, ["MISS", "END"], 1))  # all or nothing
        longer = words.Segment(segment.keys, 0)
        longer.part = lambda positions: [segment.name, segment.list, len(segment.keys) - 1, words.bits_of(positions)]
        self.assertEqual(conn.get(longer, [0]), ({}, ["END"], 7))
        for kind in (6, 255, 256, (1 << 32) - 1):
            self.assertEqual(conn.request("META_GET", kind, "k").status(), 1)
        request = conn.request("META_GET", 5, "0" * 32)
        conn.send("CANCEL", conn.last_req, "a field of a later version")
        self.assertIn(request.status(), (1, 5))
        for _ in range(7):
            self.assertEqual(conn.get(segment, [0], wrong=True), ({}, ["END"], 4))
        self.assertEqual(conn.get(segment, [0])[2], 0)  # no more in a row
        for _ in range(8):
            self.assertEqual(conn.get(segment, [0], wrong=True), ({}, ["END"], 4))
        lab.wait_for(conn.is_over.is_set, "the connection to end")
        self.assertEqual(conn.bye[0], 5)

    def test_a_breach_is_told(self):
        segment = image_segments()[0]
        agents = [self.agent(config={"peers": peers}) for peers in cluster.loopback_peers(1)]
        for name, fields in (("HAVE", [[segment.part([])]]), ("META_GET", [1, 1, "k"]), ("BYE", [256, ""]),
                             ("NAMES", [segment.name, segment.list, segment.names[0]]), ("END", [77, 0, 0]),
                             ("ASK", [1, 0, *segment.part([0]), b"", b"", b"\1", 0, 0, b""])):
            with self.subTest(name):
                node = self.neighbour_of(agents, os.urandom(16), "a")
                conn = node.all[0]
                conn.send(name, *fields)
                lab.wait_for(conn.is_over.is_set, "the connection to end")
                node.close()
                self.assertEqual(conn.bye[0], 5)

    def test_the_surplus_connection(self):
        for smaller in (True, False):
            with self.subTest(smaller=smaller):
                _, (agent,), node = self.neighbours(["a"], "a", lambda its, ids, s=smaller: (its < ids[0]) == s)
                first, = node.all
                agent.reload(peers={**agent.config["peers"], "members": [node.address]})
                lab.wait_for(lambda: any(not conn.connected for conn in node.all), "the agent to dial, too")
                lab.wait_for(lambda: any(conn.is_over.is_set() for conn in node.all), "one of the two to be closed")
                second = next(conn for conn in node.all if not conn.connected)
                stays, goes = (first, second) if smaller else (second, first)
                self.assertEqual((goes.is_over.is_set(), stays.is_over.is_set(), goes.bye and goes.bye[0]), (True, False, 4))

    def test_as_an_asker_of_another_zone(self):
        def suits(its, ids):
            far, near = ids
            homes = {(words.home(s.name, [its, near]), words.home(s.name, [its, far, near])) for s in image_segments()}
            return homes == {(near, far), (near, near), (its, far), (its, its)}
        image, (far, near), node = self.neighbours(["a", "b"], "b", suits)
        self.prefetch(far, image)
        sent = far.metric("shoal_peer_sent_bytes_total")
        mine = [s for s in image_segments() if node.home_of(s) == node.id]
        lab.wait_for(lambda: all(node.was_told(id_of(far), s) for s in mine), "HAVE to come")
        for segment in image_segments():
            node.bring(segment)
        self.assertEqual(len(node.store), len(set(node.keys)))
        self.assertEqual({home for home, _, _ in node.leases}, {id_of(near)})
        self.assertGreater(far.metric("shoal_peer_sent_bytes_total"), sent)
        self.assertEqual(near.origin_bytes(), 0)
        # All of it is in the zone now: nothing crosses again.
        sent = far.metric("shoal_peer_sent_bytes_total")
        self.prefetch(near, image)
        self.assertEqual(near.origin_bytes(), 0)
        self.assertEqual(far.metric("shoal_peer_sent_bytes_total"), sent)
        self.assertEqual(set(node.served[id_of(near)]), set(node.store))
        self.assertEqual(far.origin_bytes(), chunk_facts.packed_bytes(IMAGE))

    def test_as_a_home(self):
        image, agents, node = self.neighbours(["a", "a"], "a", lambda its, ids: sum(
            words.home(s.name, [its, *ids]) == its for s in image_segments()) > len(image_segments()) // 4)
        cluster.prefetch_all(agents, cluster.at_once(lambda agent: agent.mount(image), agents))
        self.assertEqual(sum(agent.origin_bytes() for agent in agents), chunk_facts.packed_bytes(IMAGE))
        self.leases_were_ended(node, [s for s in image_segments() if node.home_of(s) == node.id], set(map(id_of, agents)))
        self.assertEqual({crossing for _, _, crossing, _ in node.home.given.values()}, {False})

    def test_as_the_home_of_a_zone(self):
        image, (far, near), node = self.neighbours(["a", "b"], "b", lambda its, ids: sum(
            words.home(s.name, [its, ids[1]]) == its for s in image_segments()) > len(image_segments()) // 3)
        self.prefetch(far, image)
        self.prefetch(near, image)
        self.assertEqual(near.origin_bytes(), 0)
        self.leases_were_ended(node, [s for s in image_segments() if node.home_of(s, "b") == node.id], {id_of(near)})
        self.assertTrue(node.home.progress)

    def leases_were_ended(self, node, segments, holders):
        """Each chunk of these was leased, each lease ended with what it brought, and its home was told who has it."""
        lab.wait_for(lambda: all(node.was_told(its, s) for its in holders for s in segments), "HAVE to come")
        leased = {}
        for _, its_list, crossing, positions in node.home.given.values():
            leased.setdefault((its_list, crossing), []).extend(positions)
        for s in segments:
            self.assertEqual(sorted(leased[s.list, False]), list(range(len(s.keys))))
        lab.wait_for(lambda: set(node.home.ended) == set(node.home.given), "each LEASE_END")
        self.assertEqual({failed for ends in node.home.ended.values() for failed, _ in ends}, {False})
