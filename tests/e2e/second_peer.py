"""A node that speaks docs/protocol.md and has no line of shoal's code: it asks, holds, and is a home (second_home.py).

Without TLS, because Python gives nobody the exporter that proofs need. It never asks an origin. What an agent says is
held against the text: each fault is in Node.faults.
"""
import os
import queue
import random
import socket
import subprocess
import threading
import time
import traceback

import lab
import second_words as words
from chunk_facts import check_state
from second_home import CROSSING, HOLDERS, LEASE, WAITS, Home

TYPES = {1: ("HELLO", "HHiQssx?s"), 2: ("HELLO_ACK", "HHiQssx?sM"), 3: ("PING", "QQ"), 4: ("PONG", "QQ"), 5: ("MEMBERS", "M"),
         6: ("ASK", "IIiiNbbbbIIbbbI"), 7: ("ANSWER", "IA"), 8: ("WANT_NAMES", "ii"), 9: ("NAMES", "iib"), 10: ("HAVE", "P"),
         11: ("GONE", "P"), 12: ("GET", "IIIxb"), 13: ("GRANT", "Ix"), 14: ("CHUNK", "IIT"), 15: ("MISS", "INb"),
         16: ("REDIRECT", "INbb"), 17: ("END", "IBI"), 18: ("CANCEL", "I"), 19: ("LEASE_PROGRESS", "QQ"),
         20: ("LEASE_END", "QQ?iiNb"), 21: ("META_GET", "IIs"), 22: ("META", "IQQ?"), 23: ("DRAIN", ""), 24: ("BYE", "Bs"),
         25: ("COMING", "P")}
NUMBERS = {name: number for number, (name, _) in TYPES.items()}
SIZES = {"B": 1 << 8, "H": 1 << 16, "I": 1 << 32, "Q": 1 << 64}
ARRAYS = {"M": ("iQss", 128), "A": ("BNbbQIQ", 64), "P": ("iiNb", 64)}
ANSWERS = {"ANSWER": "ASK", "GRANT": "GET", "CHUNK": "GET", "MISS": "GET", "REDIRECT": "GET", "META": "META_GET"}
FRAME_BYTES, PING_S = 65536, 5
WAIT, PLAIN = 2, 8  # flags of GET


def is_field(kind, value):
    if kind in SIZES:
        return type(value) is int and value < SIZES[kind]  # pylint: disable=unidiomatic-typecheck
    if kind in ARRAYS:
        shape, most = ARRAYS[kind]
        return isinstance(value, list) and len(value) <= most and all(fits(shape, item) for item in value)
    return {"?": lambda: isinstance(value, bool), "s": lambda: isinstance(value, str), "b": lambda: isinstance(value, bytes),
            "i": lambda: isinstance(value, bytes) and len(value) == 16, "x": lambda: isinstance(value, bytes) and len(value) == 32,
            "N": lambda: isinstance(value, int) and 1 <= value <= 256,
            "T": lambda: isinstance(value, list) and value and len(value) % 3 == 0}[kind]()


def fits(shape, fields):
    return len(fields) >= len(shape) and all(map(is_field, shape, fields))


class Request:
    """One of ours: its answers in order, END last."""

    def __init__(self, kind):
        self.kind, self.queue = kind, queue.Queue()

    def answers(self):
        """(name, fields behind req, payload) until the END, that one too."""
        while True:
            answer = self.queue.get(timeout=lab.DEADLINE_S)
            yield answer
            if answer[0] == "END":
                return

    def status(self):
        return list(self.answers())[-1][1][0]


class Connection(threading.Thread):
    def __init__(self, node, sock, connected):
        super().__init__(daemon=True)
        self.node, self.sock, self.connected = node, sock, connected
        self.role = "c" if connected else "a"  # of our GETs
        self.nonce = os.urandom(32)
        self.hello, self.id, self.zone, self.bye = None, None, None, None
        self.requests, self.last_req, self.told_members = {}, 0, set()
        self.lock, self.is_open, self.is_over = threading.Lock(), threading.Event(), threading.Event()
        self.hashes = {}  # name of the message: the last one in it
        self.why_over = ""
        self.start()

    def state(self):
        """For the message of a test that fails."""
        return f"{'to' if self.connected else 'from'} {self.hello}: open {self.is_open.is_set()}, bye {self.bye}, {self.why_over}"

    # ---- bytes ----

    def send(self, name, *fields, payload=b""):
        try:
            with self.lock:
                self.sock.sendall(words.frame([NUMBERS[name], *fields], payload))
        except OSError:
            pass  # it is over: who reads from it sees that

    def _receive(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _next(self):
        prefix = self._receive(8)
        n_header, n_payload = int.from_bytes(prefix[:4], "big"), int.from_bytes(prefix[4:], "big")
        assert 1 <= n_header <= FRAME_BYTES and n_payload <= FRAME_BYTES, prefix
        number, *fields = words.unpack(self._receive(n_header))
        name, shape = TYPES[number]
        shape += "iiNb" if name == "GET" and not fields[4] else ""
        assert fits(shape, fields), (name, fields)
        assert n_payload == 0 or name in ("CHUNK", "META"), name
        return name, fields, self._receive(n_payload)

    def run(self):
        try:
            self._greet()
            while True:
                self._take(*self._next())
        except (EOFError, OSError) as e:
            self.why_over = repr(e)
        except Exception:  # pylint: disable=broad-except
            self.node.faults.append(traceback.format_exc())
        self.is_over.set()
        self.sock.close()
        self.node.closed(self)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # ---- hellos ----

    def _greet(self):
        node, own = self.node, [1, 2, *self.node.member(), self.nonce, False, "second 1"]
        if self.connected:
            self.send("HELLO", *own)
        name, fields, _ = self._next()
        if name == "BYE":
            self.bye = fields
            raise EOFError
        assert name == ("HELLO_ACK" if self.connected else "HELLO"), name
        low, high, self.id, generation, address, self.zone, nonce = fields[:7]
        assert (low, high) == ((2, 2) if self.connected else (1, 2)), fields
        self.hello = [self.id, generation, address, self.zone]
        if not self.connected:
            self.send("HELLO_ACK", 2, 2, *own[2:], node.members())
        self.nonce = words.insecure_nonce(*((self.nonce, nonce) if self.connected else (nonce, self.nonce)))
        node.opened(self)
        self.is_open.set()

    # ---- messages ----

    def _take(self, name, fields, payload):
        if name == "END" or name in ANSWERS:
            request = self.requests[fields[0]]
            assert name == "END" or ANSWERS[name] == request.kind, (name, request.kind)
            if name == "END":
                assert fields[1] <= 7 and fields[2] <= 60000, fields
                del self.requests[fields[0]]
            request.queue.put((name, fields[1:], payload))
        elif name == "BYE":
            self.bye = fields
        elif name == "PING":
            self.send("PONG", fields[0], self.node.hash())
            self._compare(name, fields[1])
        elif name == "PONG":
            self._compare(name, fields[1])
        else:
            self.node.take(self, name, fields)

    def _compare(self, name, its_hash):
        ours = self.node.hash()
        self.hashes[name] = its_hash
        if its_hash != ours and (ours, its_hash) not in self.told_members:
            self.told_members.add((ours, its_hash))
            self.send("MEMBERS", [self.node.member(), *self.node.members()])

    def request(self, name, *fields):
        request = Request(name)
        self.last_req += 1
        self.requests[self.last_req] = request
        self.send(name, self.last_req, *fields)
        return request

    # ---- as an asker ----

    def ask(self, segment, positions, flags=0, have=()):
        part = segment.part(positions)
        units = range(len(segment.keys))
        return self.request("ASK", flags, *part, words.bits_of(have), words.bits_of(units), words.bits_of(segment.runs),
                            20000, 1000, b"", b"", b"", 0)

    def ask_known(self, segment, positions, flags=0):
        """Where the home does not know the list, it is given it and asked again: the answers up to the END."""
        for name, fields, _ in self.ask(segment, positions, flags).answers():
            if name == "END" and fields[0] == 2:
                self.send("NAMES", segment.name, segment.list, b"".join(segment.names))
                yield from self.ask(segment, positions, flags).answers()
            else:
                yield name, fields, _

    def get(self, segment, positions, flags=PLAIN, by_names=False, wrong=False):
        """({position: plain bytes}, names of the answers, status of the END)"""
        keys = [segment.keys[i] for i in positions]
        key = words.get_key(keys)
        names = [segment.names[i] for i in positions] if by_names else []
        asked = range(len(names)) if by_names else positions
        proof = words.get_proof(key, self.nonce, self.role, asked, of_list=bytes(16) if by_names else segment.list, names=names)
        what = [b"".join(names)] if by_names else [b"", *segment.part(positions)]
        request = self.request("GET", flags, 20000, bytes(32) if wrong else proof, *what)
        mac = words.grant_mac(key, self.nonce, self.role, proof)
        chunks, said, status = self._collect(request, dict(zip(asked, keys)), mac, flags)
        return ({positions[i]: data for i, data in chunks.items()} if by_names else chunks), said, status

    def _collect(self, request, wanted, mac, flags):
        packed, forms, said, fields = {}, {}, [], None
        left = dict(wanted)
        for name, fields, payload in request.answers():
            said.append(name)
            if name == "GRANT":
                assert fields[0] == mac, "the mac of a GRANT"
            elif name == "CHUNK":
                assert "GRANT" in said
                self._pieces(fields, payload, left, packed, forms)
            elif name in ("MISS", "REDIRECT"):
                for i in words.positions_of(fields[1]):
                    del left[i]
        assert all(len(packed[i]) == size for i, (_, size) in forms.items() if fields[0] == 0)
        assert not flags & PLAIN or all(form == 0 for form, _ in forms.values())
        chunks = {i: packed[i] if forms[i][0] == 0 else subprocess.run(["zstd", "-dcq"], input=packed[i], capture_output=True,
                                                                      check=True).stdout for i in forms}
        self.node.judge({i: (wanted[i], data) for i, data in chunks.items()})
        return chunks, said, fields[0]

    @staticmethod
    def _pieces(fields, payload, left, packed, forms):
        offset, triples = fields
        for pos, form, size in zip(*(triples[i::3] for i in range(3))):
            assert left[pos][2] >= size and form in (0, 3) and (form != 0 or left[pos][2] == size), triples
            piece = payload[:size] if len(triples) > 3 else payload
            payload = payload[len(piece):]
            have = packed.setdefault(pos, b"")
            assert len(have) == offset and forms.setdefault(pos, (form, size)) == (form, size), triples
            packed[pos] = have + piece
        assert payload == b""


class Node:
    """segments: those of the images that it knows. address: where it listens."""

    def __init__(self, node_id, address, zone, segments):
        self.id, self.address, self.zone = node_id, address, zone
        self.generation = random.getrandbits(64)
        self.segments = {s.list: s for s in segments}
        self.keys = {name: key for s in segments for name, key in zip(s.names, s.keys)}
        self.store, self.served = {}, {}  # name: plain bytes; id: names that it was sent
        self.leases = []  # (home, list, positions) that it had
        self.faults, self.heard = [], []
        self.open, self.all = [], []  # connections, in the order in which they were opened; all that ever were
        self.lock = threading.RLock()
        self.home = Home(self)
        host, port = address.rsplit(":", 1)
        self.listener = socket.create_server((host, int(port)))
        self.over = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._ping_on)]
        for thread in self.threads:
            thread.start()

    def _listen(self):
        while not self.over.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.all.append(Connection(self, sock, False))

    def _ping_on(self):
        while not self.over.wait(PING_S):
            self.ping()

    def ping(self):
        for conn in list(self.open):
            conn.send("PING", time.monotonic_ns(), self.hash())

    def dial(self, address):
        host, port = address.rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=lab.DEADLINE_S)
        sock.settimeout(None)
        conn = Connection(self, sock, True)
        self.all.append(conn)
        lab.wait_for(lambda: conn.is_open.is_set() or conn.is_over.is_set(), "an agent to say hello")
        return conn

    def close(self):
        if self.over.is_set():
            return
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)  # else accept() would go on
        for thread in self.threads:
            thread.join()
        self.listener.close()
        for conn in self.all:
            conn.send("BYE", 1, "")
            conn.close()
        for conn in self.all:
            conn.join(lab.DEADLINE_S)

    # ---- members ----

    def member(self):
        return [self.id, self.generation, self.address, self.zone]

    def members(self):
        with self.lock:
            return [conn.hello for conn in self.conns.values()]

    def hash(self):
        return words.members_hash({its[0]: its[1] for its in [self.member(), *self.members()]})

    @property
    def conns(self):
        """{id: connection for what is new}: that which the smaller id dialled; of two of one side the newer."""
        with self.lock:
            return {conn.id: conn for conn in sorted(self.open, key=lambda c: c.connected == (self.id < c.id))}

    def opened(self, conn):
        with self.lock:
            self.open.append(conn)

    def closed(self, conn):
        with self.lock:
            if conn in self.open:
                self.open.remove(conn)
            self.home.closed(conn)

    def home_of(self, segment, zone=None):
        ids = [its[0] for its in [self.member(), *self.members()] if zone in (None, its[3])]
        return words.home(segment.name, ids)

    # ---- what comes ----

    def take(self, conn, name, fields):
        with self.lock:
            self.heard.append((conn.id, name, fields))
            if name == "GET":
                self._serve(conn, *fields)
            elif name == "META_GET":
                conn.send("END", fields[0], 1, 0)
            elif name == "WANT_NAMES":
                segment = self.segments[fields[1]]
                conn.send("NAMES", segment.name, segment.list, b"".join(segment.names))
                self.tell([conn.id], segment)
            elif name not in ("MEMBERS", "DRAIN"):
                self.home.take(conn, name, fields)

    def was_told(self, node_id, segment):
        """By HAVE, that the node has all of it: not only by what it says of leases."""
        with self.lock:
            parts = [part for its, name, fields in self.heard if (its, name) == (node_id, "HAVE") for part in fields[0]]
        return {i for part in parts if part[1] == segment.list for i in words.positions_of(part[3])} == set(range(len(segment.keys)))

    # ---- as an asker ----

    def bring(self, segment):
        """All of it, by the zone's home, and with its lease by the cluster's; then both are told."""
        left = sorted(set(range(len(segment.keys))) - set(self.here(segment)))
        zone_home = self.home_of(segment, self.zone)
        if zone_home == self.id:
            self._beyond(segment, left)
        else:
            for name, fields, _ in self.conns[zone_home].ask_known(segment, left):
                for item in fields[0] if name == "ANSWER" else []:
                    self._follow(segment, item, zone_home, False)
        self.tell([zone_home, self.home_of(segment)], segment)

    def _follow(self, segment, item, home, crossing):
        """@return bytes that came"""
        kind, n, bits, nodes, token, _, _ = item
        assert n == len(segment.keys)
        positions = words.positions_of(bits)
        if kind == LEASE and not crossing and len({its[3] for its in [self.member(), *self.members()]}) > 1:
            self.leases.append((home, segment.list, positions))
            n_bytes = self._beyond(segment, positions, lambda so_far: self.conns[home].send("LEASE_PROGRESS", token, so_far))
            self.conns[home].send("LEASE_END", token, n_bytes, False, *segment.part(set(positions) & set(self.here(segment))))
            return n_bytes
        if kind == WAITS and not nodes:
            return 0  # in the queue: news follow
        assert kind in (HOLDERS, WAITS), item
        return self._get_from(nodes[:16], segment, positions, WAIT if kind == WAITS else 0)

    def _beyond(self, segment, positions, progress=lambda so_far: None):
        """From another zone, with the zone's lease."""
        home, n_bytes = self.home_of(segment), 0
        if home == self.id:
            holder = next(iter(self.home.holders[segment.names[positions[0]]] - {self.id}))
            n_bytes += self._get_from(holder, segment, positions)
            progress(n_bytes)
            return n_bytes
        for name, fields, _ in self.conns[home].ask_known(segment, positions, CROSSING):
            for item in fields[0] if name == "ANSWER" else []:
                n_bytes += self._follow(segment, item, home, True)
                progress(n_bytes)
        return n_bytes

    def _get_from(self, holder, segment, positions, flags=0):
        chunks, _, status = self.conns[holder].get(segment, positions, flags | PLAIN)
        assert status == 0 and sorted(chunks) == sorted(positions), (status, positions)
        self.keep(segment, chunks)
        return sum(map(len, chunks.values()))

    # ---- as a holder ----

    def judge(self, chunks):
        """{any: (key, bytes)}: have they these digests? Before a byte of them is used."""
        hasher = check_state.Hasher()
        try:
            for i, ((algorithm, digest, plain), data) in chunks.items():
                assert len(data) == plain, (i, plain, len(data))
                hasher.add("of a peer", i, algorithm, digest, data)
            hasher.flush()
            self.faults += hasher.faults
        finally:
            hasher.close()

    def keep(self, segment, chunks):
        with self.lock:
            self.store.update({segment.names[i]: data for i, data in chunks.items()})

    def here(self, segment):
        return [i for i, name in enumerate(segment.names) if name in self.store]

    def tell(self, ids, segment):
        """HAVE of what is here, to homes; itself may be one."""
        part = segment.part(self.here(segment))
        for its in sorted(set(ids)) if part[3] else []:
            if its == self.id:
                self.home.have(self.id, part)
            else:
                self.conns[its].send("HAVE", [part])

    def _serve(self, conn, req, flags, deadline, proof, names, *part):
        role = "a" if conn.connected else "c"
        if names:
            wanted = [names[i:i + 16] for i in range(0, len(names), 16)]
            asked, its_list = list(range(len(wanted))), bytes(16)
            missing = [i for i in asked if wanted[i] not in self.store]
            if missing:
                conn.send("MISS", req, len(wanted), words.bits_of(missing))
                conn.send("END", req, 1, 0)
                return
        elif part[1] not in self.segments:
            conn.send("END", req, 2, 0)
            return
        else:
            wanted, asked, its_list = self.segments[part[1]].names, words.positions_of(part[3]), part[1]
        key = words.get_key([self.keys[wanted[i]] for i in asked])
        right = words.get_proof(key, conn.nonce, role, asked, of_list=its_list, names=[names])
        if proof != right:
            self.faults.append(f"a GET with a wrong proof: flags {flags}, deadline {deadline}")
            conn.send("END", req, 4, 0)
            return
        conn.send("GRANT", req, words.grant_mac(key, conn.nonce, role, proof))
        here = [i for i in asked if wanted[i] in self.store]
        missing = [i for i in asked if wanted[i] not in self.store]
        self._send_chunks(conn, req, [(i, self.store[wanted[i]]) for i in here])
        self.served.setdefault(conn.id, []).extend(wanted[i] for i in here)
        if missing:
            conn.send("MISS", req, len(wanted), words.bits_of(missing))
        conn.send("END", req, 1 if missing else 0, 0)

    @staticmethod
    def _send_chunks(conn, req, chunks):
        """Small ones whole, several a frame; large ones in fragments."""
        few, n_bytes = [], 0
        for pos, data in [*chunks, (None, bytes(FRAME_BYTES))]:
            if few and n_bytes + len(data) > FRAME_BYTES:
                triples = [number for i, its in few for number in (i, 0, len(its))]
                conn.send("CHUNK", req, 0, triples, payload=b"".join(its for _, its in few))
                few, n_bytes = [], 0
            if pos is None:
                return
            if len(data) <= FRAME_BYTES:
                few.append((pos, data))
                n_bytes += len(data)
                continue
            for at in range(0, len(data), FRAME_BYTES):
                conn.send("CHUNK", req, at, [pos, 0, len(data)], payload=data[at:at + FRAME_BYTES])
