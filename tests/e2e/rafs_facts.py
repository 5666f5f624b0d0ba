"""A few facts straight from a RAFS v6 bootstrap, read independently of shoal's own parser."""
import io
import json
import os
import struct
import tarfile

import lab


def last_layer(image):
    """The one with the bootstrap, open."""
    _, manifest = lab.layout_manifest(image)
    return tarfile.open(fileobj=io.BytesIO(lab.layout_blob(image, manifest["layers"][-1]["digest"])))


def bootstrap(image):
    """The bootstrap's bytes, out of the image's last layer."""
    with last_layer(image) as tar:
        name = next(n for n in tar.getnames() if n.endswith("image.boot"))
        return tar.extractfile(name).read()


def chunk_records(boot):
    """[(blob index, packed offset, packed size, plain size, index in its blob, digest)] of a v6 chunk table."""
    if struct.unpack_from("<I", boot, 1024)[0] != 0xE0F5E1E2:
        raise ValueError("not RAFS v6")
    offset, size = struct.unpack_from("<QQ", boot, 1152 + 24)
    records = []
    for at in range(offset, offset + size, 80):
        blob, _flags, packed, plain, packed_offset = struct.unpack_from("<IIIIQ", boot, at + 32)
        index, = struct.unpack_from("<I", boot, at + 72)
        records.append((blob, packed_offset, packed, plain, index, boot[at:at + 32]))
    return records


def chunks(boot):
    """[(blob index, packed offset, packed size, plain size)]"""
    return [record[:4] for record in chunk_records(boot)]


def packed_bytes(image):
    """Bytes of all chunks as the origin packs them (images without batches and zran)."""
    return sum(c[2] for c in chunks(bootstrap(image)))


def unique_packed_bytes(image):
    """As packed_bytes(), with a chunk that stands at several places counted once: that can be shared."""
    return sum({(digest, plain): packed for _, _, packed, plain, _, digest in chunk_records(bootstrap(image))}.values())


def blob_ids(image):
    boot = bootstrap(image)
    offset, size = struct.unpack_from("<QI", boot, 1152 + 8)
    return [boot[at:at + 64].rstrip(b"\0").decode() for at in range(offset, offset + size, 256)]


def write_blobs(image, directory):
    """The image's blobs as files, named by their ids, in a directory that is made. @return it"""
    os.makedirs(directory)
    for blob_id in blob_ids(image):
        with open(os.path.join(directory, blob_id), "wb") as f:
            f.write(lab.layout_blob(image, blob_id))
    return directory


def blob_metas(image):
    """{name: chunk index in the local form}, as far as converters put them beside the bootstrap."""
    with last_layer(image) as tar:
        return {name.split("/")[-1].split(".")[0]: tar.extractfile(name).read()
                for name in tar.getnames() if name.endswith(".blob.meta")}


def packed_units(meta):
    """([(packed offset, packed size) of each batch or zran slice], {chunk index: which of them}). Chunks
    that are packed by themselves are not in it."""
    features, _, n_chunks = struct.unpack_from("<III", meta, len(meta) - 4096 + 4)
    at, _, n_contexts = struct.unpack_from("<QQI", meta, len(meta) - 4096 + 40)
    records = [struct.unpack_from("<QQQ", meta, 24 * i) for i in range(n_chunks)]
    flag, zran = (2 << 56, True) if features & 8 else (4 << 56, False)
    unit_of = {i: r[2] >> 32 for i, r in enumerate(records) if r[0] & flag}
    if zran:
        contexts = [struct.unpack_from("<QQQI", meta, at + 40 * i) for i in range(n_contexts)]
        return [(c[0], c[3]) for c in contexts], unit_of
    sizes = [struct.unpack_from("<I", meta, at + 40 * i)[0] for i in range(n_contexts)]
    starts = {context: records[i][1] & ((1 << 40) - 1) for i, context in unit_of.items()}
    return [(starts.get(i, 0), size) for i, size in enumerate(sizes)], unit_of


def units(image):
    """{blob id: {(packed offset, packed size): {digests}}}: what has to cross the line so that all can be read."""
    boot, ids, metas = bootstrap(image), blob_ids(image), blob_metas(image)
    names = [index_name(boot, i) for i in range(len(ids))]
    tables = {ids[i]: packed_units(metas[name]) for i, name in enumerate(names) if name in metas}
    wanted = {}
    for blob, offset, size, _, index, digest in chunk_records(boot):
        packed, unit_of = tables.get(ids[blob], ([], {}))
        unit = packed[unit_of[index]] if index in unit_of else (offset, size)
        wanted.setdefault(ids[blob], {}).setdefault(unit, set()).add(digest)
    return wanted


def object_bytes(image):
    """Bytes of its objects that the image needs, each once: slices of a gzip stream overlap."""
    total = 0
    for wanted in units(image).values():
        end = 0
        for first, size in sorted(wanted):
            total += max(0, first + size - max(first, end))
            end = max(end, first + size)
    return total


def index_name(boot, blob):
    """Of a blob's index where it is of batches or zran slices: the name of the object that holds it."""
    table, = struct.unpack_from("<Q", boot, 1152 + 8)
    entry = boot[table + 256 * blob:table + 256 * (blob + 1)]
    features, = struct.unpack_from("<I", entry, 84)
    if not features & (8 | 0x80):
        return None
    return entry[168:200].hex() if features & 0x10 else entry[:64].rstrip(b"\0").decode()


if __name__ == "__main__":
    import sys
    for name in sys.argv[1:]:
        print(json.dumps({"image": name, "packed_bytes": packed_bytes(name), "blobs": blob_ids(name)}))
