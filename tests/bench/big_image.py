"""A RAFS v6 bootstrap of one file with very many chunks, written from nothing (for tools/bench dedup).

Chunk i is 4096 bytes: i (8 bytes, little-endian), then zeros; its digest is their SHA-256. bench_cas
makes a blob of the same chunks.
"""
import hashlib
import struct

BLOCK, CHUNK = 4096, 4096
SUPER, EXTENDED, SLOTS = 1024, 1152, 1408
FLAGS = 0x1 | 0x8 | 0x10 | 0x01000000  # uncompressed, SHA-256, uid and gid, no encryption
ALIGNED, CAP_TAR_TOC = 0x1, 0x40000000
ROOT_NID, FILE_NID = 128, 256
BLOB_TABLE, META = 4096, 8192
RECORD = struct.Struct("<32sIIIIQQQII")


def chunk(i):
    return struct.pack("<Q", i).ljust(CHUNK, b"\0")


def align(n):
    return (n + BLOCK - 1) // BLOCK * BLOCK


def inode(mode, size, raw, n_links, layout):
    return struct.pack("<HHHHQIIIIQII16x", 1 | layout << 1, 0, mode, 0, size, raw, 0, 0, 0, 1, 0, n_links)


def directory():
    names = [(b".", ROOT_NID, 2), (b"..", ROOT_NID, 2), (b"data", FILE_NID, 1)]
    at, entries, text = 12 * len(names), b"", b""
    for name, nid, kind in names:
        entries += struct.pack("<QHBB", nid, at + len(text), kind, 0)
        text += name
    return entries + text


def bootstrap(n_chunks):
    """The bytes of image.boot."""
    blob_id = hashlib.sha256(b"big image").hexdigest().encode()
    size = n_chunks * CHUNK
    root_dir = directory()
    dir_at = align(META + FILE_NID * 32 + 64 + 8 * n_chunks)
    table_at = dir_at + BLOCK
    out = bytearray(align(table_at + RECORD.size * n_chunks))
    struct.pack_into("<IIIBBHQQIIII", out, SUPER, 0xE0F5E1E2, 0, 0x40000000, 12, 0, ROOT_NID, 2, 0, 0, size // BLOCK,
                     META // BLOCK, 0)
    struct.pack_into("<IHHH", out, SUPER + 80, 0xC, 0, 1, 11)
    struct.pack_into("<QQIIQQ", out, EXTENDED, FLAGS, BLOB_TABLE, 256, CHUNK, table_at, RECORD.size * n_chunks)
    struct.pack_into("<64sII", out, SLOTS, blob_id, size // BLOCK, 256)
    struct.pack_into("<64sIIIIIIQQIIQQQ", out, BLOB_TABLE, blob_id, 0, CHUNK, n_chunks, 0, 1, ALIGNED | CAP_TAR_TOC,
                     size + 16 * n_chunks + BLOCK, size, 0, 0, size, 16 * n_chunks, 16 * n_chunks)
    out[META + ROOT_NID * 32:META + ROOT_NID * 32 + 64] = inode(0o40755, len(root_dir), dir_at // BLOCK, 2, 0)
    out[META + FILE_NID * 32:META + FILE_NID * 32 + 64] = inode(0o100644, size, 0x20, 1, 4)
    out[dir_at:dir_at + len(root_dir)] = root_dir
    records = []
    for i in range(n_chunks):
        struct.pack_into("<HHI", out, META + FILE_NID * 32 + 64 + 8 * i, i & 0xFFFF, 1 | i >> 16 << 8, i)
        digest = hashlib.sha256(chunk(i)).digest()
        records.append(RECORD.pack(digest, 0, 0, CHUNK, CHUNK, i * CHUNK, i * CHUNK, i * CHUNK, i, 0))
    out[table_at:table_at + RECORD.size * n_chunks] = b"".join(sorted(records))
    return bytes(out)
