"""What two agents compute alike, made from docs/protocol.md alone: BLAKE3, msgpack, names, segments, homes, proofs.

Shares nothing with shoal's code; second_peer.py speaks with it. (b3sum computes the longer ones of BLAKE3.)
"""
import struct
import subprocess

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
BLOCK = 64
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
START, END, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 8, 16, 32, 64
COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))

BY_ITSELF_BYTES = 1024  # more would take too long here: b3sum does it
LIST_MAX, SEGMENT_BYTES, SEGMENT_MIN_CHUNKS, SEGMENT_MIN_BYTES, MODULUS = 256, 8 << 20, 16, 1 << 20, 64


def _turn(x, n):
    return (x >> n | x << (32 - n)) & M32


def _compress(chaining, block, flags):
    m = struct.unpack("<16I", block.ljust(BLOCK, b"\0"))
    v = [*chaining, *IV[:4], 0, 0, len(block), flags]
    for left in range(7, 0, -1):
        for i, (a, b, c, d) in enumerate(COLUMNS):
            v[a] = (v[a] + v[b] + m[2 * i]) & M32
            v[d] = _turn(v[d] ^ v[a], 16)
            v[c] = (v[c] + v[d]) & M32
            v[b] = _turn(v[b] ^ v[c], 12)
            v[a] = (v[a] + v[b] + m[2 * i + 1]) & M32
            v[d] = _turn(v[d] ^ v[a], 8)
            v[c] = (v[c] + v[d]) & M32
            v[b] = _turn(v[b] ^ v[c], 7)
        if left > 1:
            m = [m[i] for i in ORDER]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _blake3(key, flags, data):
    """Of at most one chunk (1024 bytes)."""
    chaining = key
    blocks = [data[i:i + BLOCK] for i in range(0, len(data), BLOCK)] or [b""]
    for i, block in enumerate(blocks):
        its = flags | (START if i == 0 else 0) | (END | ROOT if i == len(blocks) - 1 else 0)
        chaining = _compress(chaining, block, its)
    return struct.pack("<8I", *chaining)

_contexts = {}


def derive(context, data):
    """BLAKE3(context; data)"""
    if len(data) > BY_ITSELF_BYTES:
        said = subprocess.run(["b3sum", "--no-names", "--derive-key", context], input=data, capture_output=True, check=True).stdout
        return bytes.fromhex(said.decode().strip())
    if context not in _contexts:
        _contexts[context] = struct.unpack("<8I", _blake3(IV, CONTEXT, context.encode()))
    return _blake3(_contexts[context], MATERIAL, data)


def keyed(key, data):
    """BLAKE3[key](data)"""
    return _blake3(struct.unpack("<8I", key), KEYED, data)


def pack(value):
    """msgpack: arrays, unsigned integers, booleans, strings and binaries."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        for limit, head, form in ((128, b"", ">B"), (1 << 8, b"\xcc", ">B"), (1 << 16, b"\xcd", ">H"), (1 << 32, b"\xce", ">I")):
            if value < limit:
                return head + struct.pack(form, value)
        return b"\xcf" + struct.pack(">Q", value)
    n = len(value)
    if isinstance(value, bytes):
        return (b"\xc4" + struct.pack(">B", n) if n < 1 << 8 else b"\xc5" + struct.pack(">H", n)) + value
    if isinstance(value, str):
        return (bytes([0xA0 | n]) if n < 32 else b"\xd9" + struct.pack(">B", n)) + value.encode("ascii")
    return (bytes([0x90 | n]) if n < 16 else b"\xdc" + struct.pack(">H", n)) + b"".join(map(pack, value))


def _take(data, at):
    head, at = data[at], at + 1
    if head < 0x80:
        return head, at
    if head in (0xC2, 0xC3):
        return head == 0xC3, at
    if 0xCC <= head <= 0xCF:
        n = 1 << (head - 0xCC)
        return int.from_bytes(data[at:at + n], "big"), at + n
    fixed = 0xA0 <= head < 0xC0 or 0x90 <= head < 0xA0
    size = 0 if fixed else {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4}[head]
    n = (head & 0x1F if head >= 0xA0 else head & 0x0F) if fixed else int.from_bytes(data[at:at + size], "big")
    at += size
    if 0x90 <= head < 0xA0 or head >= 0xDC:
        items = []
        for _ in range(n):
            item, at = _take(data, at)
            items.append(item)
        return items, at
    piece = data[at:at + n]
    if len(piece) != n:
        raise ValueError("cut short")
    return (piece.decode("ascii") if 0xA0 <= head < 0xC0 or head >= 0xD9 else piece), at + n


def unpack(data):
    value, end = _take(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes behind the array")
    return value


def frame(header, payload=b""):
    packed = pack(header)
    return struct.pack(">II", len(packed), len(payload)) + packed + payload


def bits_of(positions):
    """A set's bits, the zero bytes at its end left out."""
    number = sum(1 << i for i in set(positions))
    return number.to_bytes((number.bit_length() + 7) // 8, "little")


def positions_of(bits):
    number = int.from_bytes(bits, "little")
    return [i for i in range(8 * len(bits)) if number >> i & 1]


def chunk_record(key):
    algorithm, digest, plain_bytes = key
    return struct.pack("<B32sI", algorithm, digest, plain_bytes)


def public_name(key):
    return derive("shoal public name v1", chunk_record(key))[:16]


def list_id(names):
    return derive("shoal list v1", b"".join(names))[:16]


class Segment:
    """keys: (algorithm, digest, plain size) of its chunks, in order."""

    def __init__(self, keys, first):
        self.keys, self.first = keys, first
        self.names = [public_name(key) for key in keys]
        self.name = self.names[min(range(len(keys)), key=lambda i: keys[i][1])]
        self.list = list_id(self.names)

    def part(self, positions):
        return [self.name, self.list, len(self.keys), bits_of(positions)]


def segments(members):
    """Of a blob: [Segment]. members: [(index, key)] of the chunks with a digest, in blob order."""
    found, n_bytes = [], 0
    for index, key in members:
        marked = int.from_bytes(key[1][:8], "big") % MODULUS == 0
        full = found and (len(found[-1]) == LIST_MAX or n_bytes + key[2] > SEGMENT_BYTES)
        if not found or full or (marked and len(found[-1]) >= SEGMENT_MIN_CHUNKS and n_bytes >= SEGMENT_MIN_BYTES):
            found.append([])
            n_bytes = 0
        found[-1].append((index, key))
        n_bytes += key[2]
    return [Segment([key for _, key in run], run[0][0]) for run in found]


def mix(x):
    """The finalizer of splitmix64."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & M64
    return x ^ x >> 31


def score(name, node_id):
    (n0, n1), (i0, i1) = struct.unpack("<QQ", name), struct.unpack("<QQ", node_id)
    return mix((mix(n0 ^ i0) + (n1 ^ i1)) & M64)


def home(name, ids):
    """The greatest score; of equal ones the smaller id."""
    return max(sorted(ids), key=lambda node_id: score(name, node_id))


def members_hash(nodes):
    """nodes: {id: generation}"""
    value = 0
    for node_id, generation in nodes.items():
        i0, i1 = struct.unpack("<QQ", node_id)
        value ^= mix(i0 ^ mix((i1 + generation) & M64))
    return value


def get_key(keys):
    return derive("shoal get key v1", b"".join(map(chunk_record, keys)))


def get_proof(key, nonce, role, positions, *, of_list=bytes(16), names=()):
    """role: "c" where who sends the GET connected, "a" where it accepted."""
    return keyed(key, nonce + role.encode() + b"G" + of_list + bits_of(positions).ljust(LIST_MAX // 8, b"\0") + b"".join(names))


def grant_mac(key, nonce, role, proof):
    return keyed(key, nonce + role.encode() + b"R" + proof)


def insecure_nonce(of_hello, of_hello_ack):
    return derive("shoal insecure nonce v1", of_hello + of_hello_ack)
