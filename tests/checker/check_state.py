#!/usr/bin/env python3
"""Check a state directory of shoal from outside: check_state.py STATE_DIR [BOOTSTRAP...]

For every chunk that the database calls ready: does its data file hold, at the place that the
bootstrap's chunk table gives, bytes with the digest that it gives? For every chunk that stands in another
blob's file (the dedup map): do the bytes there have the digest that this chunk's bootstrap gives? Shares no code with shoal and
reads no layout that shoal wrote: only bootstraps (by default images/*/image.boot), the data files and
the ready maps, in the forms that docs/on-disk.md and docs/rafs.md fix. BLAKE3 comes from b3sum.

Prints the faults and a summary. Exit status: 0 no fault; 1 faults; 2 it could not check.
"""
import glob
import hashlib
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile

BLAKE3, SHA256 = 0, 1
BATCH_FILES, BATCH_BYTES = 2000, 256 << 20
SLICE_BITS, PART_BITS, REFER_CHUNKS = 32768, 12, 4096
CHUNK_RECORD = struct.Struct("<32sIIIIQQQII")  # digest blob flags packed plain packed@ plain@ file@ index crc
V6_MAGIC, V5_MAGIC = 0xE0F5E1E2, 0x52414653
V6_SUPER, V6_EXTENDED = 1024, 1152
V6_BLOB_ENTRY, V5_HEAD, V5_INODE = 256, 8192, 128
S_IFMT, S_IFREG, S_IFLNK = 0o170000, 0o100000, 0o120000
V5_HOLE, V5_XATTR, V5_SYMLINK = 2, 4, 1


class Blob:
    """What bootstraps say of one blob id, one entry a bootstrap that speaks of it."""

    def __init__(self, blob_id, alg):
        self.blob_id, self.alg = blob_id, alg
        self.chunks = {}  # index -> (plain offset, plain size, digest)
        self.packed = {}  # index -> (packed offset, packed size), where the record says so


def add_record(blobs, data, at):
    digest, blob, flags, packed, plain, packed_at, offset, _, index, _ = CHUNK_RECORD.unpack_from(data, at)
    if not flags & V5_HOLE and blob < len(blobs):
        blobs[blob].chunks[index] = (offset, plain, digest)
        blobs[blob].packed[index] = (packed_at, packed)


def read_v6(data):
    table, size = struct.unpack_from("<QI", data, V6_EXTENDED + 8)
    chunks, chunks_size = struct.unpack_from("<QQ", data, V6_EXTENDED + 24)
    blobs = []
    for at in range(table, table + size, V6_BLOB_ENTRY):
        blob_id = data[at:at + 64].rstrip(b"\0").decode()
        blobs.append(Blob(blob_id, struct.unpack_from("<I", data, at + 80)[0]))
    for at in range(chunks, chunks + chunks_size, CHUNK_RECORD.size):
        add_record(blobs, data, at)
    return blobs


def align8(n):
    return (n + 7) & ~7


def v5_inode_chunks(blobs, data, at):
    mode, = struct.unpack_from("<I", data, at + 60)
    flags, = struct.unpack_from("<Q", data, at + 80)
    n_chunks, name_size, link_size = struct.unpack_from("<IHH", data, at + 96)
    if mode & S_IFMT != S_IFREG:
        return
    at += V5_INODE + align8(name_size) + (align8(link_size) if flags & V5_SYMLINK else 0)
    if flags & V5_XATTR:
        at += 8 + align8(struct.unpack_from("<Q", data, at)[0])
    for i in range(n_chunks):
        add_record(blobs, data, at + i * CHUNK_RECORD.size)


def read_v5(data):
    flags, _, inodes, _, blob_table = struct.unpack_from("<QQQQQ", data, 16)
    n_inodes, _, blob_bytes = struct.unpack_from("<III", data, 56)
    alg = BLAKE3 if flags & 4 else SHA256
    blobs, at, end = [], blob_table, blob_table + blob_bytes
    while at < end:
        at += 8
        stop = data.find(b"\0", at, end)
        stop = end if stop < 0 else stop
        if stop > at:
            blobs.append(Blob(data[at:stop].decode(), alg))
        at = stop + 1
    for i in range(n_inodes):
        place = struct.unpack_from("<I", data, inodes + 4 * i)[0] * 8
        if place:
            v5_inode_chunks(blobs, data, place)
    return blobs


def read_bootstrap(path):
    with open(path, "rb") as f:
        data = f.read()
    if struct.unpack_from("<I", data, V6_SUPER)[0] == V6_MAGIC:
        return read_v6(data)
    if struct.unpack_from("<I", data, 0)[0] == V5_MAGIC:
        return read_v5(data)
    raise ValueError(f"{path}: neither RAFS v5 nor v6")


class Entry:
    """What the database says of one blob."""

    def __init__(self, row, key, blob_id, alg, size):
        self.row, self.key, self.blob_id, self.alg, self.size = row, key, blob_id, alg, size
        self.ready = []   # indices
        self.ready_set = set()
        self.views = []   # bootstraps' words on this file
        self.refers = {}  # index -> (row of the owner, index there)


def ready_indices(part, bits):
    first = (part & ((1 << PART_BITS) - 1)) * SLICE_BITS
    return [first + 8 * i + b for i, byte in enumerate(bits) for b in range(8) if byte >> b & 1]


def varints(data):
    value, shift = 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value, shift = 0, 0


def references(part, runs):
    """[(index, owner row, index there)] of one row of a dedup map."""
    at = (part & ((1 << PART_BITS) - 1)) * REFER_CHUNKS
    numbers = list(varints(runs))
    for gap, n, owner, first in zip(*(numbers[i::4] for i in range(4)), strict=True):
        at += gap
        for i in range(n):
            yield at + i, owner, first + i
        at += n


def entries(state_dir):
    db = sqlite3.connect(f"file:{state_dir}/shoal.db?mode=ro", uri=True, timeout=30)
    db.execute("BEGIN")
    version, = db.execute("PRAGMA user_version").fetchone()
    found = [Entry(*row) for row in
             db.execute("SELECT id, key, blob_id, digest_alg, plain_size FROM blob WHERE dying = 0")]
    for e in found:
        bounds = (e.row << PART_BITS, (e.row + 1) << PART_BITS)
        for part, bits in db.execute("SELECT id, bits FROM ready WHERE id >= ? AND id < ? ORDER BY id", bounds):
            e.ready += ready_indices(part, bits)
        if version >= 2:
            for part, runs in db.execute("SELECT id, runs FROM refer WHERE id >= ? AND id < ? ORDER BY id", bounds):
                e.refers.update({i: (owner, there) for i, owner, there in references(part, runs)})
    db.close()
    return found


class Hasher:
    """Digests in batches: one b3sum a batch, over files in memory where there is a place."""

    def __init__(self):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.dir = tempfile.mkdtemp(prefix="check_state-", dir=base)
        self.waiting, self.n_bytes = [], 0
        self.n_checked, self.faults = 0, []

    def add(self, key, index, alg, digest, data):
        if alg == SHA256:
            self.judge(key, index, digest.hex(), hashlib.sha256(data).hexdigest())
            return
        path = os.path.join(self.dir, str(len(self.waiting)))
        with open(path, "wb") as f:
            f.write(data)
        self.waiting.append((key, index, digest.hex(), path))
        self.n_bytes += len(data)
        if len(self.waiting) >= BATCH_FILES or self.n_bytes >= BATCH_BYTES:
            self.flush()

    def flush(self):
        if self.waiting:
            said = subprocess.run(["b3sum", "--no-names", *(w[3] for w in self.waiting)], check=True,
                                  capture_output=True, text=True).stdout.split()
            for (key, index, wanted, path), got in zip(self.waiting, said, strict=True):
                self.judge(key, index, wanted, got)
                os.unlink(path)
        self.waiting, self.n_bytes = [], 0

    def judge(self, key, index, wanted, got):
        self.n_checked += 1
        if wanted != got:
            self.faults.append(f"blob {key} chunk {index}: digest {got}, the bootstrap says {wanted}")

    def close(self):
        shutil.rmtree(self.dir)


def views_of(key, blob_id, alg, size, known):
    """The bootstraps' views of this file. A key with a hash at its end is one of several layouts of an
    id: only bootstraps that place its chunks inside it, with its algorithm, can be meant."""
    return [b for b in known.get(blob_id, [])
            if b.alg == alg and all(o + n <= size for o, n, _ in b.chunks.values())]


def place_of(entry, index):
    """(plain offset, plain size, digest), or None: by no bootstrap, or by some that contradict each other."""
    places = {b.chunks[index] for b in entry.views if index in b.chunks}
    return places.pop() if len(places) == 1 and (entry.key == entry.blob_id or len(entry.views) == 1) else None


def check_file(state_dir, entry, hasher):
    """@return how many ready chunks no bootstrap describes"""
    undescribed = 0
    if not entry.ready:
        return 0
    path = os.path.join(state_dir, "blobs", entry.key + ".blob.data")
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        hasher.faults.append(f"blob {entry.key}: {len(entry.ready)} chunks are ready, and {path} is missing")
        return 0
    for index in entry.ready:
        place = place_of(entry, index)
        if place is None:
            undescribed += 1
            continue
        offset, plain, digest = place
        hasher.add(entry.key, index, entry.alg, digest, os.pread(fd, plain, offset))
    os.close(fd)
    return undescribed


def check_references(state_dir, entry, by_row, hasher):
    """@return how many references cannot be followed by bootstraps. One to a chunk that is not ready is no
    fault: it means that the chunk is not here."""
    undescribed = 0
    for index, (row, there) in entry.refers.items():
        owner = by_row.get(row)
        if owner is None or there not in owner.ready_set:
            continue
        mine, place = place_of(entry, index), place_of(owner, there)
        if mine is None or place is None:
            undescribed += 1
            continue
        if entry.alg != owner.alg or mine[1] != place[1]:
            hasher.faults.append(f"blob {entry.key} chunk {index}: refers to one of another size or kind of digest")
            continue
        with open(os.path.join(state_dir, "blobs", owner.key + ".blob.data"), "rb") as f:
            hasher.add(entry.key, index, entry.alg, mine[2], os.pread(f.fileno(), place[1], place[0]))
    return undescribed


def main(argv):
    if len(argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    state_dir = argv[1]
    known = {}
    for path in argv[2:] or sorted(glob.glob(os.path.join(state_dir, "images", "*", "image.boot"))):
        for blob in read_bootstrap(path):
            known.setdefault(blob.blob_id, []).append(blob)
    hasher = Hasher()
    try:
        found = entries(state_dir)
        by_row = {e.row: e for e in found}
        for e in found:
            e.ready_set = set(e.ready)
            e.views = views_of(e.key, e.blob_id, e.alg, e.size, known)
        undescribed = sum(check_file(state_dir, e, hasher) + check_references(state_dir, e, by_row, hasher)
                          for e in found)
        hasher.flush()
    finally:
        hasher.close()
    for fault in hasher.faults:
        print(fault)
    print(f"{hasher.n_checked} chunks checked, {len(hasher.faults)} faults, "
          f"{undescribed} ready chunks in no bootstrap's chunk table")
    return 1 if hasher.faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except (OSError, ValueError, struct.error, sqlite3.Error, subprocess.CalledProcessError) as e:
        print(f"check_state: {e}", file=sys.stderr)
        sys.exit(2)
