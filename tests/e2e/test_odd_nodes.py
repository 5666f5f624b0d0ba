"""Clusters with a node that is odd and no liar: its clock, its disk, its wish to listen; and very many nodes."""
import os
import socket
import subprocess
import tempfile
import threading

import chunk_facts
import lab
import rafs_facts
from cluster import PEER_PORT, Cluster, Pki, prefetch_all

IMAGE = "edge:v6"
SMALL = "layers:v6"
MANY = 64
DISK_BYTES = 1 << 20
ETH_P_IP = 0x0800
SO_RCVBUFFORCE = 33  # socket(7); Python has no name for it


class OddNodes(lab.LabTest):
    alone = True  # of what the registry sees: slow nodes are taken for dead ones

    def test_clocks_that_are_an_hour_off_hinder_nobody(self):
        library = os.path.join(lab.BUILD, "tests", "fakes", "libclock_shift.so")
        off = {i: {"env": {"LD_PRELOAD": library, "SHOAL_CLOCK_SHIFT_S": str(s)}} for i, s in ((0, 3600), (1, -3600))}
        cluster = Cluster(self, [IMAGE], 3, pki=Pki(), special=off)
        cluster.wait_for_members()
        wheres = cluster.mount_all(IMAGE)
        cluster.prefetch_all(wheres)
        for where in wheres:
            self.assert_tree(where, IMAGE, "with clocks that are off")
        self.assertEqual(cluster.origin_bytes(), rafs_facts.packed_bytes(IMAGE))
        hours = {agent.log().split("ts=", 1)[1][11:13] for agent in cluster.agents}
        self.assertEqual(len(hours), 3)  # the clocks were off

    def test_a_full_disk_at_a_lease_holder(self):
        disk = tempfile.mkdtemp(prefix="disk-", dir=lab.TMP)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=False)
        cluster = Cluster(self, [SMALL], 3, special={0: {"state_dir": os.path.join(disk, "state")}})
        cluster.wait_for_members()
        full = cluster.agents[0]
        wheres = cluster.mount_all(SMALL)
        reading = threading.Thread(target=lab.read_all, args=(wheres[0],))
        reading.start()  # it gets leases, and can keep few of the chunks
        prefetch_all(cluster.agents[1:], wheres[1:])
        reading.join()
        for where in wheres:
            self.assert_tree(where, SMALL, "with one disk full")
        self.assertLess(full.metric("shoal_cache_bytes"), DISK_BYTES)
        self.assertGreater(full.metric("shoal_read_bytes_total", source="peer"), 0)
        # What the one could not keep came to others, once more at most.
        self.assertLessEqual(cluster.origin_bytes(cluster.agents[1:]), rafs_facts.packed_bytes(SMALL))

    @lab.in_the_long_run
    def test_sixty_four_agents_ask_the_registry_once(self):
        cluster = Cluster(self, [IMAGE], MANY)
        cluster.wait_for_members()
        wheres = cluster.mount_all(IMAGE)
        cluster.prefetch_all(wheres)
        for where in wheres[::16]:
            self.assert_tree(where, IMAGE, "among very many")
        self.assertEqual(cluster.origin_bytes(), rafs_facts.packed_bytes(IMAGE))


class Wire(threading.Thread):
    """All that goes over a node's link to and from a port, as a stream a direction."""

    def __init__(self, node, port):
        super().__init__(daemon=True)
        self.port, self.streams, self.over = port, {}, threading.Event()
        self.socket = node.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(ETH_P_IP)))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)  # nothing is to be dropped
        self.socket.bind(("eth0", 0))
        self.socket.settimeout(0.1)

    def run(self):
        while True:
            try:
                frame = self.socket.recv(1 << 17)
            except socket.timeout:
                if self.over.is_set():
                    return  # and nothing is left to be heard
                continue
            ip = frame[14:]
            tcp = ip[(ip[0] & 15) * 4:int.from_bytes(ip[2:4], "big") or None]
            if ip[9] == socket.IPPROTO_TCP and self.port in (int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")):
                self.streams.setdefault(ip[12:20] + tcp[:4], []).append(tcp[(tcp[12] >> 4) * 4:])

    def heard(self):
        self.over.set()
        self.join()
        self.socket.close()
        return [b"".join(pieces) for pieces in self.streams.values()]


class Listener(lab.LabTest):
    """Who hears all that a node says and hears, and does not know the digests."""

    alone = True  # all of it comes from the neighbour: slow nodes are taken for dead ones

    def heard(self, pki):
        cluster = Cluster(self, [IMAGE], 2, pki=pki)
        wire = Wire(cluster.nodes[1], PEER_PORT)
        wire.start()
        cluster.wait_for_members()
        holder, asker = cluster.agents
        holder.shoal("prefetch", holder.mount(cluster.reference(IMAGE)))
        where = asker.mount(cluster.reference(IMAGE))
        asker.shoal("prefetch", where)
        self.assertEqual(asker.origin_bytes(), 0)
        received = asker.metric("shoal_peer_received_bytes_total")
        with open(max(lab.regular_files(where), key=os.path.getsize), "rb") as f:
            plain = f.read()
        streams = wire.heard()
        self.assertGreaterEqual(sum(map(len, streams)), received)  # it did hear
        pieces = [plain[at:at + 64] for at in range(0, len(plain) - 64, len(plain) // 20)]
        for unit in chunk_facts.units(IMAGE):
            packed = lab.layout_blob(IMAGE, f"sha256:{unit.blob_id}")[unit.first:unit.end]
            pieces += [packed[-64:]] if len(packed) >= 64 else []
        return streams, pieces

    def test_no_digest_is_heard_not_even_in_plain_text(self):
        streams, pieces = self.heard(None)
        digests = [digest for _, digest, _ in sorted(chunk_facts.keys(IMAGE))][::50]
        self.assertGreater(len(digests), 50)
        for stream in streams:
            for digest in digests:
                for part in (digest[:12], digest[-12:], digest.hex().encode()[:24]):
                    self.assertNotIn(part, stream)
        # So digests would have been found.
        self.assertTrue(any(piece in stream for piece in pieces for stream in streams))

    def test_nothing_is_heard_through_tls(self):
        streams, pieces = self.heard(Pki())
        for stream in streams:
            for piece in pieces:
                self.assertNotIn(piece, stream)
