"""A small RAFS v6 image, written from nothing: what no builder's image here has, such as programs with capabilities.

One uncompressed blob, SHA-256, 64-byte inodes. Every directory and symlink has blocks of its own; extended attributes
stand behind the inode. Facts: docs/rafs.md; Linux fs/erofs/erofs_fs.h.
"""
import gzip
import hashlib
import os
import stat
import struct

import lab
import remake
from remake import ALIGNED, BLOB_ENTRY_BYTES, BLOCK, CAP_TAR_TOC, CI_MAGIC, EXTENDED, INDEX_8_BYTES, SLOTS, SUPER, align

CHUNK = 1 << 20
FLAGS = 0x1 | 0x8 | 0x10 | 0x20 | 0x01000000  # uncompressed, SHA-256, owners, extended attributes, no encryption
BLOB_TABLE, META = 4096, 8192
FLAT, CHUNKED = 0, 4
TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5, stat.S_IFSOCK: 6, stat.S_IFLNK: 7}
PREFIXES = {"user.": 1, "trusted.": 4, "security.": 6}


class Node:
    """mode: with the type. data: of a file, or where a symlink leads."""

    def __init__(self, mode, data=b"", owner=(0, 0), device=0, xattrs=None):
        self.mode, self.data, self.owner, self.device, self.xattrs = mode, data, owner, device, xattrs or {}
        self.children = {}

    def xattr_bytes(self):
        if not self.xattrs:
            return b""
        out = bytes(12)
        for name, value in sorted(self.xattrs.items()):
            prefix = next(p for p in PREFIXES if name.startswith(p))
            rest = name[len(prefix):].encode()
            entry = struct.pack("<BBH", len(rest), PREFIXES[prefix], len(value)) + rest + value
            out += entry.ljust(align(len(entry), 4), b"\0")
        return out


def capability(*numbers):
    """The value of security.capability: these are permitted and effective. Source: linux/capability.h, revision 2."""
    low = sum(1 << n for n in numbers)
    return struct.pack("<IIIII", 0x02000001, low, 0, 0, 0)


def tree_of(entries):
    """{path: Node} with every directory in it but the root, as the root's node."""
    root = Node(0o40755)
    for path, node in sorted(entries.items()):
        *above, name = path.strip("/").split("/")
        at = root
        for part in above:
            at = at.children[part]
        at.children[name] = node
    return root


def walk(node, parent=None):
    yield node, parent or node
    for child in node.children.values():
        yield from walk(child, node)


def directory(node, parent):
    names = sorted([(b".", node), (b"..", parent)] + [(n.encode(), c) for n, c in node.children.items()])
    at, entries, text = 12 * len(names), b"", b""
    for name, child in names:
        entries += struct.pack("<QHBB", child.nid, at + len(text), TYPES[stat.S_IFMT(child.mode)], 0)
        text += name
    assert len(entries + text) <= BLOCK
    return entries + text


class Writer:
    def __init__(self, root):
        self.nodes, self.chunks, self.blob = list(walk(root)), [], b""
        for node, _ in self.nodes:
            if stat.S_ISREG(node.mode):
                node.chunks = [self.add_chunk(node.data[i:i + CHUNK], i) for i in range(0, len(node.data), CHUNK)]
        self.plain_size = len(self.blob)
        ci = b"".join(remake.ci_record(c) for c in self.chunks)
        header = struct.pack("<IIIIQQQ", CI_MAGIC, ALIGNED | CAP_TAR_TOC, 0, len(self.chunks), self.plain_size, len(ci), len(ci))
        self.ci_size = len(ci)
        self.blob += ci + header.ljust(BLOCK - 4, b"\0") + struct.pack("<I", CI_MAGIC)
        self.blob_id = hashlib.sha256(self.blob).hexdigest()

    def add_chunk(self, data, file_offset):
        digest = hashlib.sha256(data).digest()
        for c in self.chunks:
            if c["digest"] == digest:
                return c
        c = {"digest": digest, "size": len(data), "packed_size": len(data), "offset": len(self.blob), "packed_at": len(self.blob),
             "file_offset": file_offset, "index": len(self.chunks)}
        self.chunks.append(c)
        self.blob += data.ljust(align(len(data), BLOCK), b"\0")
        return c

    def place(self):
        """Where each inode stands, and the blocks of directories and symlinks behind them."""
        at = META + BLOCK  # the root's number must not be 0
        for node, _ in self.nodes:
            node.nid = (at - META) // 32
            node.size = 64 + len(node.xattr_bytes())
            at = align(at + align(node.size, 8) + 8 * len(getattr(node, "chunks", [])), 32)
        at = align(at, BLOCK)
        for node, _ in self.nodes:
            if stat.S_ISDIR(node.mode) or stat.S_ISLNK(node.mode):
                node.block, at = at // BLOCK, at + BLOCK
        return at

    def write_inode(self, out, node, parent):
        layout, size, raw = FLAT, 0, 0
        if stat.S_ISREG(node.mode):
            layout, size, raw = CHUNKED, len(node.data), INDEX_8_BYTES | CHUNK.bit_length() - 13
        elif stat.S_ISDIR(node.mode) or stat.S_ISLNK(node.mode):
            data = directory(node, parent) if stat.S_ISDIR(node.mode) else node.data
            out[node.block * BLOCK:node.block * BLOCK + len(data)] = data
            size, raw = len(data), node.block
        elif node.device:  # as the kernel keeps it on disk: new_encode_dev()
            major, minor = os.major(node.device), os.minor(node.device)
            raw = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
        xattrs = node.xattr_bytes()
        links = 2 + sum(stat.S_ISDIR(c.mode) for c in node.children.values()) if stat.S_ISDIR(node.mode) else 1
        at = META + node.nid * 32
        struct.pack_into("<HHHHQIIIIQII16x", out, at, 1 | layout << 1, (len(xattrs) - 12) // 4 + 1 if xattrs else 0, node.mode, 0, size,
                         raw, node.nid, *node.owner, 1700000000, 0, links)
        out[at + 64:at + 64 + len(xattrs)] = xattrs
        for i, c in enumerate(getattr(node, "chunks", [])):
            struct.pack_into("<HHI", out, at + align(node.size, 8) + 8 * i, c["index"], 1, c["offset"] // BLOCK)

    def bootstrap(self):
        table_at = self.place()
        record = remake.check_state.CHUNK_RECORD
        out = bytearray(align(table_at + record.size * len(self.chunks), BLOCK))
        struct.pack_into("<IIIBBHQQIIII", out, SUPER, 0xE0F5E1E2, 0, 0x40000000, 12, 0, self.nodes[0][0].nid, len(self.nodes), 0, 0,
                         self.plain_size // BLOCK, META // BLOCK, 0)
        struct.pack_into("<IHHH", out, SUPER + 80, 0xC, 0, 1, SLOTS // 128)
        struct.pack_into("<QQIIQQ", out, EXTENDED, FLAGS, BLOB_TABLE, BLOB_ENTRY_BYTES, CHUNK, table_at, record.size * len(self.chunks))
        name = self.blob_id.encode()
        struct.pack_into("<64sII", out, SLOTS, name, self.plain_size // BLOCK, 256)
        struct.pack_into("<64sIIIIIIQQIIQQQ", out, BLOB_TABLE, name, 0, CHUNK, len(self.chunks), 0, 1, ALIGNED | CAP_TAR_TOC, len(self.blob),
                         self.plain_size, 0, 0, self.plain_size, self.ci_size, self.ci_size)
        for node, parent in self.nodes:
            self.write_inode(out, node, parent)
        for i, c in enumerate(sorted(self.chunks, key=lambda c: c["digest"])):
            record.pack_into(out, table_at + i * record.size, c["digest"], 0, 0, c["size"], c["size"], c["packed_at"], c["offset"],
                             c["file_offset"], c["index"], 0)
        return bytes(out)


def make(name, entries, **how_to_run):
    """Write {path: Node} as an image of that name, and tell the lab of it: it can be pushed. how_to_run: of its
    config, as User="UID:GID". @return the name"""
    if name in lab.LAYOUTS:
        return name
    writer = Writer(tree_of(entries))
    tar = remake.tar_of(writer.bootstrap())
    layout, key = remake.Layout(name), "containerd.io/snapshot/nydus-"
    layers = [layout.put(writer.blob, "application/vnd.oci.image.layer.nydus.blob.v1", **{key + "blob": "true"}),
              layout.put(gzip.compress(tar, 1), "application/vnd.oci.image.layer.v1.tar+gzip",
                         **{key + "bootstrap": "true", key + "fs-version": "6"})]
    layout.finish(layers, ["sha256:" + writer.blob_id, "sha256:" + hashlib.sha256(tar).hexdigest()], **how_to_run)
    lab.LAYOUTS[name] = layout.dir
    return name
