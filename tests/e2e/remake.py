"""Make an image from another one's chunks: another order, one blob, another compression.

The tree, the digests and the plain bytes stay; the blob, its chunk index, every chunk address and the
tables of the bootstrap are written anew. What comes out is a RAFS v6 image in an OCI layout of its own,
for the tests of sharing: not one range of its blob is as it was.
"""
import ctypes
import gzip
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import tarfile

import chunk_facts
import lab
from chunk_facts import check_state

BLOCK = 4096
NONE, LZ4, ZSTD = 0, 1, 3
COMPRESSOR_FLAGS = {NONE: 0x1, LZ4: 0x2, ZSTD: 0x80}
ALL_COMPRESSOR_FLAGS, INLINED_DIGEST_FLAG = 0x1 | 0x2 | 0x40 | 0x80, 0x100
ALIGNED, CAP_TAR_TOC = 0x1, 0x40000000
COMPRESSED = 1
SUPER, EXTENDED, SLOTS = 1024, 1152, 1408
SLOT_BYTES, BLOB_ENTRY_BYTES, CI_MAGIC = 128, 256, 0xB10BB10B
FLAT_PLAIN, FLAT_INLINE, CHUNK_BASED = 0, 2, 4
S_IFMT, S_IFDIR, S_IFREG = 0o170000, 0o040000, 0o100000
INDEX_8_BYTES = 0x20


def align(n, to):
    return (n + to - 1) // to * to


# ---- the old image ----

def plain_chunks(image):
    """{(blob index, chunk index): record as a dict with its plain bytes}; zstd or uncompressed blobs."""
    boot = chunk_facts.image_files(image)["image.boot"]
    table, size = struct.unpack_from("<QQ", boot, EXTENDED + 24)
    ids = [b.blob_id for b in check_state.read_v6(boot)]
    blobs = [lab.layout_blob(image, i) for i in ids]
    chunks, packed = {}, []
    for at in range(table, table + size, check_state.CHUNK_RECORD.size):
        digest, blob, flags, n_packed, n_plain, place, _, _, index, _ = check_state.CHUNK_RECORD.unpack_from(boot, at)
        data = blobs[blob][place:place + n_packed]
        chunks[blob, index] = {"digest": digest, "size": n_plain, "plain": data}
        if flags & COMPRESSED:
            packed.append((blob, index))
    # frames behind one another are one stream
    stream = subprocess.run(["zstd", "-dc"], input=b"".join(chunks[k]["plain"] for k in packed), check=True,
                            capture_output=True).stdout
    at = 0
    for key in packed:
        chunks[key]["plain"] = stream[at:at + chunks[key]["size"]]
        at += chunks[key]["size"]
    assert at == len(stream)
    return boot, chunks


# ---- the new blob ----

def lz4_block(data):
    lz4 = ctypes.CDLL("liblz4.so.1")
    room = lz4.LZ4_compressBound(len(data))
    out = ctypes.create_string_buffer(room)
    n = lz4.LZ4_compress_default(data, out, len(data), room)
    assert n > 0
    return out.raw[:n]


def pack(data, compressor):
    """The stored form: packed only where that is smaller."""
    packed = lz4_block(data) if compressor == LZ4 else data
    return packed if len(packed) < len(data) else data


def ci_record(c):
    """16 bytes of a v1 chunk index."""
    def size_bits(n):
        return (n - 1 & 0xFFFFF) << 44
    plain = size_bits(c["size"]) | c["offset"] | (c["size"] - 1 >> 20) << 8
    return struct.pack("<QQ", plain, size_bits(c["packed_size"]) | (c["packed_size"] - 1 >> 20) << 40 | c["packed_at"])


def make_blob(chunks, compressor, seed):
    """Lay the chunks out in a random order. @return (blob bytes, chunks in their new order, facts)"""
    unique = list({(c["digest"], c["size"]): c for c in chunks.values()}.values())
    random.Random(seed).shuffle(unique)
    data, offset = io.BytesIO(), 0
    for index, c in enumerate(unique):
        stored = pack(c["plain"], compressor)
        c.update(index=index, offset=offset, packed_at=data.tell(), packed_size=len(stored),
                 flags=COMPRESSED if len(stored) < c["size"] else 0)
        data.write(stored)
        offset = align(offset + c["size"], BLOCK)
    ci_offset = data.tell()
    ci = b"".join(ci_record(c) for c in unique)
    facts = {"ci_offset": ci_offset, "ci_size": len(ci), "plain_size": offset, "features": ALIGNED | CAP_TAR_TOC}
    header = struct.pack("<IIIIQQQ", CI_MAGIC, facts["features"], NONE, len(unique), ci_offset, len(ci), len(ci))
    data.write(ci + header.ljust(BLOCK - 4, b"\0") + struct.pack("<I", CI_MAGIC))
    return data.getvalue(), unique, facts


# ---- the new bootstrap ----

class Inode:
    def __init__(self, boot, at):
        layout, xattrs, self.mode = struct.unpack_from("<HHH", boot, at)
        extended = layout & 1
        self.at, self.layout = at, layout >> 1 & 7
        self.size, = struct.unpack_from("<Q" if extended else "<I", boot, at + 8)
        self.raw, = struct.unpack_from("<I", boot, at + 16)
        self.end = at + (64 if extended else 32) + (12 + 4 * (xattrs - 1) if xattrs else 0)

    def blocks(self, boot):
        """The pieces of a directory, a block each."""
        for first in range(0, self.size, BLOCK):
            last = first + BLOCK >= self.size
            n = self.size - first if last else BLOCK
            inline = last and self.layout == FLAT_INLINE
            start = self.end if inline else self.raw * BLOCK + first
            yield boot[start:start + n]


def regular_inodes(boot):
    """Every regular file's inode, once."""
    meta = struct.unpack_from("<I", boot, SUPER + 40)[0] * BLOCK
    seen, todo = set(), [struct.unpack_from("<H", boot, SUPER + 14)[0]]
    while todo:
        nid = todo.pop()
        if nid in seen:
            continue
        seen.add(nid)
        inode = Inode(boot, meta + nid * 32)
        if inode.mode & S_IFMT == S_IFREG:
            yield inode
        elif inode.mode & S_IFMT == S_IFDIR:
            for block in inode.blocks(boot):
                n_entries = struct.unpack_from("<H", block, 8)[0] // 12
                todo += [struct.unpack_from("<Q", block, 12 * i)[0] for i in range(n_entries)]


def write_addresses(boot, chunks, new_of, chunk_size):
    """chunks: by old (blob, index); new_of: by (digest, size)."""
    for inode in regular_inodes(boot):
        at = align(inode.end, 8)
        for _ in range(-(-inode.size // chunk_size)):
            low, device = struct.unpack_from("<HH", boot, at)
            old = chunks[(device & 0xFF) - 1, low | device >> 8 << 16]
            new = new_of[old["digest"], old["size"]]
            struct.pack_into("<HHI", boot, at, new["index"] & 0xFFFF, 1 | new["index"] >> 16 << 8,
                             new["offset"] // BLOCK)
            at += 8
        # a chunk is no longer in sequence with the next: no larger extents for the kernel
        struct.pack_into("<I", boot, inode.at + 16, INDEX_8_BYTES | chunk_size.bit_length() - 13)


def write_tables(boot, blob_id, blob, order, compressor, facts):
    old_flags, table = struct.unpack_from("<QQ", boot, EXTENDED)
    chunk_size, chunk_table = struct.unpack_from("<IQ", boot, EXTENDED + 20)
    n_old = struct.unpack_from("<H", boot, SUPER + 86)[0]
    blocks = facts["plain_size"] // BLOCK
    flags = old_flags & ~(ALL_COMPRESSOR_FLAGS | INLINED_DIGEST_FLAG) | COMPRESSOR_FLAGS[compressor]
    boot[SLOTS:SLOTS + n_old * SLOT_BYTES] = bytes(n_old * SLOT_BYTES)
    boot[table:table + n_old * BLOB_ENTRY_BYTES] = bytes(n_old * BLOB_ENTRY_BYTES)
    struct.pack_into("<64sII", boot, SLOTS, blob_id, blocks, 256)
    struct.pack_into("<64sIIIIIIQQIIQQQ", boot, table, blob_id, 0, chunk_size, len(order), compressor, 0,
                     facts["features"], len(blob), facts["plain_size"], 0, NONE, facts["ci_offset"],
                     facts["ci_size"], facts["ci_size"])
    struct.pack_into("<I", boot, SUPER + 36, blocks)
    struct.pack_into("<H", boot, SUPER + 86, 1)
    struct.pack_into("<QQI", boot, EXTENDED, flags, table, BLOB_ENTRY_BYTES)
    struct.pack_into("<Q", boot, EXTENDED + 32, len(order) * check_state.CHUNK_RECORD.size)
    for i, c in enumerate(sorted(order, key=lambda c: c["digest"])):
        check_state.CHUNK_RECORD.pack_into(boot, chunk_table + i * check_state.CHUNK_RECORD.size, c["digest"], 0,
                                           c["flags"], c["packed_size"], c["size"], c["packed_at"], c["offset"], 0,
                                           c["index"], 0)


# ---- the layout ----

class Layout:
    def __init__(self, name):
        self.name = name
        self.dir = os.path.join(lab.TMP, "layout-" + name.replace(":", "-"))
        os.makedirs(os.path.join(self.dir, "blobs", "sha256"))

    def put(self, data, media_type, **annotations):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.dir, "blobs", "sha256", digest), "wb") as f:
            f.write(data)
        entry = {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}
        return {**entry, "annotations": annotations} if annotations else entry

    def finish(self, layers, diff_ids, **how_to_run):
        config = self.put(json.dumps({"architecture": "amd64", "os": "linux", "config": how_to_run,
                                      "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode(),
                          "application/vnd.oci.image.config.v1+json")
        manifest = self.put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                        "config": config, "layers": layers}).encode(),
                            "application/vnd.oci.image.manifest.v1+json",
                            **{"org.opencontainers.image.ref.name": self.name})
        for name, document in (("index.json", {"schemaVersion": 2, "manifests": [manifest]}),
                               ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
            with open(os.path.join(self.dir, name), "w", encoding="utf-8") as f:
                json.dump(document, f)


def tar_of(boot):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("image/image.boot")
        member.size = len(boot)
        tar.addfile(member, io.BytesIO(boot))
    return out.getvalue()


def remake(image, compressor, seed=1):
    """Make it and tell the lab of it. @return its name, to be pushed like any other image"""
    name = f"remade:{image.replace(':', '-')}-{compressor}-{seed}"
    if name in lab.LAYOUTS:
        return name
    boot, chunks = plain_chunks(image)
    blob, order, facts = make_blob(chunks, compressor, seed)
    boot = bytearray(boot)
    chunk_size, = struct.unpack_from("<I", boot, EXTENDED + 20)
    write_addresses(boot, chunks, {(c["digest"], c["size"]): c for c in order}, chunk_size)
    blob_id = hashlib.sha256(blob).hexdigest()
    write_tables(boot, blob_id.encode(), blob, order, compressor, facts)
    layout, tar = Layout(name), tar_of(bytes(boot))
    key = "containerd.io/snapshot/nydus-"
    layers = [layout.put(blob, "application/vnd.oci.image.layer.nydus.blob.v1", **{key + "blob": "true"}),
              layout.put(gzip.compress(tar, 1), "application/vnd.oci.image.layer.v1.tar+gzip",
                         **{key + "bootstrap": "true", key + "fs-version": "6"})]
    layout.finish(layers, ["sha256:" + blob_id, "sha256:" + hashlib.sha256(tar).hexdigest()])
    lab.LAYOUTS[name], lab.EXPECTED[name] = layout.dir, lab.EXPECTED[image]
    return name
