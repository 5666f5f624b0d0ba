"""What an image's chunks are and which bytes of which blob bring them, read without shoal's parsers.

A unit is what can be fetched by itself: a chunk, or a slice of a gzip stream with all chunks in it. A
chunk's key is (digest algorithm, digest, plain size): two chunks with one key are the same bytes.
"""
import os
import struct
import sys

import lab
import rafs_facts

sys.path.insert(0, os.path.join(lab.REPO, "tests", "checker"))
import check_state  # noqa: E402

V6_BLOB_TABLE_AT = 1152 + 8
FEATURE_ZRAN, FEATURE_BATCH = 0x8, 0x80
CI_HEADER_BYTES, CI_RECORD, CONTEXT = 4096, struct.Struct("<QQII"), struct.Struct("<QQQIII")


class Unit:
    """[first, end) of the blob as it is stored; members: {chunk index: key}"""

    def __init__(self, blob_id, first, end):
        self.blob_id, self.first, self.end = blob_id, first, end
        self.members = {}


def image_files(image):
    """{name: bytes} of the image's last layer."""
    with rafs_facts.last_layer(image) as tar:
        return {os.path.basename(m.name): tar.extractfile(m).read() for m in tar if m.isfile()}


def contexts(meta):
    """(records, [(first, end) of each gzip slice]) of a blob meta in its cache form."""
    header = meta[-CI_HEADER_BYTES:]
    n_records, = struct.unpack_from("<I", header, 12)
    at, _, n = struct.unpack_from("<QQI", header, 40)
    slices = [CONTEXT.unpack_from(meta, at + 40 * i) for i in range(n)]
    return ([CI_RECORD.unpack_from(meta, 24 * i) for i in range(n_records)],
            [(s[0], s[0] + s[3]) for s in slices])


def blob_features(boot):
    """[(features, meta blob id)] of a v6 bootstrap, in order of its blobs."""
    table, size = struct.unpack_from("<QI", boot, V6_BLOB_TABLE_AT)
    return [(struct.unpack_from("<I", boot, at + 84)[0], boot[at + 168:at + 200].hex())
            for at in range(table, table + size, 256)]


def zran_units(blob, meta):
    records, slices = contexts(meta)
    units = [Unit(blob.blob_id, first, end) for first, end in slices]
    for index, (_, plain, digest) in blob.chunks.items():
        units[records[index][3]].members[index] = (blob.alg, digest, plain)
    return [u for u in units if u.members]


def chunk_units(blob):
    units = []
    for index, (_, plain, digest) in blob.chunks.items():
        at, size = blob.packed[index]
        units.append(Unit(blob.blob_id, at, at + size))
        units[-1].members[index] = (blob.alg, digest, plain)
    return units


_units = {}


def units(image):
    """All units of an image, by blob and place. Not for images with batches."""
    if image not in _units:
        files = image_files(image)
        boot = files["image.boot"]
        v6 = struct.unpack_from("<I", boot, check_state.V6_SUPER)[0] == check_state.V6_MAGIC
        blobs = check_state.read_v6(boot) if v6 else check_state.read_v5(boot)
        found = []
        for blob, (features, meta_id) in zip(blobs, blob_features(boot) if v6 else [(0, "")] * len(blobs)):
            if features & FEATURE_BATCH:
                raise ValueError(f"{image}: batches are not read here")
            found += zran_units(blob, files[meta_id + ".blob.meta"]) if features & FEATURE_ZRAN else chunk_units(blob)
        _units[image] = sorted(found, key=lambda u: (u.blob_id, u.first, u.end))
    return _units[image]


def keys(image):
    return {key for u in units(image) for key in u.members.values()}


def packed_bytes(image):
    return sum(u.end - u.first for u in units(image))


def missing_bytes(image, present):
    """What must cross the line for all of the image, where the keys in `present` are here."""
    return sum(u.end - u.first for u in units(image) if any(k not in present for k in u.members.values()))
