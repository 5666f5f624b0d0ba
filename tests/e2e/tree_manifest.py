"""What a file tree holds, one line an entry, in the form of tests/data/expected.

    type mode uid gid size mtime_ns hard-link-group rdev sha256(content or link target) xattrs path

"-" stands where there is none. The group is the first path (in the order of the walk) with the same
inode; the root's time is not compared, because the image builder sets it.
"""
import hashlib
import os
import stat
import sys

TYPES = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c",
         stat.S_IFBLK: "b", stat.S_IFIFO: "p", stat.S_IFSOCK: "s"}


def escape(raw):
    if raw.isascii() and not any(c < 33 or c == 92 for c in raw):
        return raw.decode()
    return raw.decode("utf-8", "backslashreplace").encode("unicode_escape").decode()


def file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
        pairs = sorted((os.fsencode(n), os.getxattr(path, n, follow_symlinks=False)) for n in names)
    except OSError:
        return "-"
    return ",".join(f"{escape(n)}={v.hex()}" for n, v in pairs) or "-"


class Manifest:
    def __init__(self, content=True):
        self.content = content
        self.groups = {}
        self.rows = []

    def entry(self, path, rel):
        st = os.lstat(path)
        kind = TYPES[stat.S_IFMT(st.st_mode)]
        group, what = "-", "-"
        if kind != "d" and st.st_nlink > 1:
            group = self.groups.setdefault(st.st_ino, escape(rel))
        if kind == "f" and self.content:
            what = file_digest(path)
        elif kind == "l":
            what = hashlib.sha256(os.readlink(path)).hexdigest()
        rdev = f"{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}" if kind in "cb" else "-"
        mtime = st.st_mtime_ns if rel != b"/" else "-"
        size = st.st_size if kind in "fl" else "-"
        self.rows.append((rel, f"{kind} {stat.S_IMODE(st.st_mode):04o} {st.st_uid} {st.st_gid} {size} "
                               f"{mtime} {group} {rdev} {what} {xattrs(path)} {escape(rel)}"))

    def walk(self, path, rel):
        for name in sorted(os.listdir(path)):
            child, child_rel = os.path.join(path, name), rel + b"/" + name
            self.entry(child, child_rel)
            if stat.S_ISDIR(os.lstat(child).st_mode):
                self.walk(child, child_rel)


def tree_lines(root):
    """The sorted lines of the tree at root."""
    manifest = Manifest()
    root = os.fsencode(root)
    manifest.entry(root, b"/")
    manifest.walk(root, b"")
    return [line for _, line in sorted(manifest.rows, key=lambda row: row[0])]


if __name__ == "__main__":
    print("\n".join(tree_lines(sys.argv[1])))
