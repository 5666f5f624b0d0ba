"""An ordinary image of one layer, in the form of docker save."""
import hashlib
import io
import json
import os
import tarfile

ENV = ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]


def image(tree, path, name, command=()):
    """Of the files below tree, as path, which is returned."""
    layer = path + ".layer"
    with tarfile.open(layer, "w") as tar:
        tar.add(tree, arcname=".")
    with open(layer, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ENV, "Cmd": list(command)},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for member, document in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(document).encode()
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer, arcname="layer.tar")
    os.unlink(layer)
    return path
