"""A few facts straight from a RAFS v6 bootstrap, read independently of shoal's own parser."""
import io
import json
import struct
import tarfile

import lab


def bootstrap(image):
    """The bootstrap's bytes, out of the image's last layer."""
    _, manifest = lab.layout_manifest(image)
    layer = lab.layout_blob(image, manifest["layers"][-1]["digest"])
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        name = next(n for n in tar.getnames() if n.endswith("image.boot"))
        return tar.extractfile(name).read()


def chunks(boot):
    """[(blob index, packed offset, packed size, plain size)] of a v6 chunk table."""
    if struct.unpack_from("<I", boot, 1024)[0] != 0xE0F5E1E2:
        raise ValueError("not RAFS v6")
    offset, size = struct.unpack_from("<QQ", boot, 1152 + 24)
    records = []
    for at in range(offset, offset + size, 80):
        blob, _flags, packed, plain, packed_offset = struct.unpack_from("<IIIIQ", boot, at + 32)
        records.append((blob, packed_offset, packed, plain))
    return records


def packed_bytes(image):
    """Bytes of all chunks as the origin packs them (images without batches and zran)."""
    return sum(c[2] for c in chunks(bootstrap(image)))


def blob_ids(image):
    boot = bootstrap(image)
    offset, size = struct.unpack_from("<QI", boot, 1152 + 8)
    return [boot[at:at + 64].rstrip(b"\0").decode() for at in range(offset, offset + size, 256)]


if __name__ == "__main__":
    import sys
    for name in sys.argv[1:]:
        print(json.dumps({"image": name, "packed_bytes": packed_bytes(name), "blobs": blob_ids(name)}))
