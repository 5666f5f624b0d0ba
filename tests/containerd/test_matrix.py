"""Each way of having images on a node, with each kind of image: both daemon modes, both mount paths."""
import contextlib
import os
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chunk_facts  # noqa: E402
import lab  # noqa: E402
import rights  # noqa: E402
import tree_manifest  # noqa: E402
from test_containers import APP, NEXT, REASON, WAYS, ZRAN, ContainerTest  # noqa: E402

NOBODY = 65534


def as_nobody(work):
    """What work() says, an errno or a value that can be printed, when somebody without rights does it."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.write(writable, repr(outcome(work)).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as f:
        said = f.read()
    os.waitpid(pid, 0)
    return said


def outcome(work):
    try:
        return work()
    except OSError as e:
        return f"errno {e.errno}"


def read_some(path, flags=os.O_RDONLY):
    fd = os.open(path, flags | os.O_NONBLOCK)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def write_some(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    try:
        return os.write(fd, b"more")
    finally:
        os.close(fd)


def entries(where):
    return {name: os.path.join(path, name) for path, dirs, files in os.walk(where) for name in dirs + files}


def comparable(lines):
    """Without times, and of a group of hard links only that it is one: which name stands for it is the walk's doing."""
    found = []
    for line in lines:
        words = line.split(" ")
        words[5], words[6] = "", "-" if words[6] == "-" else "linked"
        found.append(" ".join(words))
    return sorted(found)


class Overlay:
    """A writable tree over one that is not, as a container has it; and what its upper layer holds then."""

    def __init__(self, where, upper):
        self.where, self.upper = where, upper

    def path(self, *parts):
        return os.path.join(self.where, *parts)

    def looks(self):
        """What everybody and nobody may do with what is there."""
        said = {}
        for directory in ("modes", "dev", "xattr", "links"):
            for path, _, files in os.walk(self.path(directory)):
                for name in sorted(files):
                    full = os.path.join(path, name)
                    if not stat.S_ISBLK(os.lstat(full).st_mode) and name != "big":
                        said[full[len(self.where):]] = (outcome(lambda f=full: read_some(f)),
                                                        as_nobody(lambda f=full: read_some(f)),
                                                        as_nobody(lambda f=full: write_some(f)),
                                                        tree_manifest.xattrs(os.fsencode(full)))
        said["null"] = outcome(lambda: write_some(self.path("dev", "null")))
        return said

    def changes(self):
        """Write, rename, link, chmod, remove; whiteouts and a directory that hides the one below."""
        p = self.path
        said = [outcome(work) for work in (
            lambda: write_some(p("small", "28")), lambda: os.truncate(p("big", "v"), 5000),
            lambda: os.unlink(p("small", "27")), lambda: os.chmod(p("modes", "4755"), 0o755),
            lambda: os.chmod(p("modes", "2755"), 0o2750), lambda: os.chown(p("modes", "6711"), 1, 1),
            lambda: os.chmod(p("xattr", "cap"), 0o700), lambda: os.rename(p("small", "26"), p("small", "renamed")),
            lambda: os.link(p("small", "25"), p("small", "linked")), lambda: os.rename(p("sizes"), p("sizes-2")),
            lambda: os.mkdir(p("new")), lambda: os.mknod(p("new", "null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3)),
            lambda: os.unlink(p("dev", "fifo")), lambda: os.setxattr(p("small", "24"), "user.x", b"y"))]
        subprocess.run(["rm", "-r", p("links")], check=True)
        os.mkdir(p("links"))
        with open(p("links", "alone"), "w", encoding="ascii") as f:
            f.write("x")
        return said

    def state(self):
        raw = {path[len(self.upper):]: (stat.S_IFMT(os.lstat(path).st_mode), os.lstat(path).st_rdev,
                                        [x for x in os.listxattr(path, follow_symlinks=False) if "opaque" in x])
               for path in entries(self.upper).values()}
        return raw, comparable(tree_manifest.tree_lines(self.where))


@unittest.skipIf(REASON, REASON or "")
class Matrix(ContainerTest):
    @contextlib.contextmanager
    def snapshot(self, n, image):
        """The image's tree as a container would have it: (where, upper directory)."""
        reference = lab.registry().push(image)
        others = n.top_snapshots()
        n.pull(reference)
        (top,) = n.top_snapshots() - others
        key, where = image.replace(":", "-"), n.path(image.replace(":", "-"))
        os.mkdir(where)
        n.ctr("snapshot", "--snapshotter", "nydus", "prepare", key, top)
        words = n.ctr("snapshot", "--snapshotter", "nydus", "mounts", where, key).stdout.split()
        subprocess.run(words, check=True)
        (options,) = [w for w in words if "upperdir=" in w]
        try:
            yield where, next(o[len("upperdir="):] for o in options.split(",") if o.startswith("upperdir="))
        finally:
            subprocess.run(["umount", where], check=True)
        n.ctr("snapshot", "--snapshotter", "nydus", "rm", key)
        n.ctr("image", "rm", "--sync", reference)

    def an_overlay_is_as_over_an_ordinary_image(self, n):
        with self.snapshot(n, "edge:v6") as (where, upper):
            self.assert_tree(where, "edge:v6", "in a container")
            lower = n.path("plain", "lower")
            os.makedirs(lower)
            subprocess.run(["cp", "-a", where + "/.", lower], check=True)
            merged = self.overlay(lower, n.path("plain"))
            ours, theirs = Overlay(where, upper), Overlay(merged, n.path("plain", "upper"))
            try:
                self.assertEqual(theirs.looks(), ours.looks())
                self.assertEqual(theirs.changes(), ours.changes())
                for want, got in zip(theirs.state(), ours.state()):
                    self.assertEqual(want, got)
            finally:
                subprocess.run(["umount", merged], check=True)

    def programs_have_their_rights(self, n):
        """Run by a user without any, in a container that lets programs have more than that."""
        reference = lab.registry().push(rights.image())
        n.pull(reference)
        said = {name: n.run(reference, "rights-" + name, "/bin/" + name, options=["--allow-new-privs"]).stdout.split()
                for name in ("plain", "cap", "setuid")}
        nobody = [str(rights.NOBODY)] * 4
        self.assertEqual([*nobody, "0", "-"], said["plain"])
        self.assertEqual([*nobody, "2000", "raw"], said["cap"])
        self.assertEqual([nobody[0], "0"], said["setuid"][:2])
        n.ctr("image", "rm", "--sync", reference)

    def only_what_is_new_is_fetched(self, n, agent):
        """The life of the next version of an image that is here whole. @return its reference"""
        (mounted,) = agent.json("ls")["mounts"]
        agent.shoal("prefetch", mounted["dir"])
        agent.settle()
        before = agent.origin_bytes()
        reference = self.life(n, NEXT)
        (second,) = [m["dir"] for m in agent.json("ls")["mounts"] if m["dir"] != mounted["dir"]]
        agent.shoal("prefetch", second)
        agent.settle()
        self.assertEqual(chunk_facts.missing_bytes(NEXT, chunk_facts.keys(APP)), agent.origin_bytes() - before)
        return reference

    def all_images(self, mode, how):
        agent = self.lab_agent(mount=how)
        self.require_way(agent, WAYS[how])
        n = self.node(agent, mode=mode)
        alive = {APP: self.life(n, APP)}
        alive[NEXT] = self.only_what_is_new_is_fetched(n, agent)
        with self.snapshot(n, ZRAN) as (where, _):
            self.assert_tree(where, ZRAN, "in a container")
        alive[ZRAN] = self.life(n, ZRAN)
        self.assertEqual([WAYS[how]] * len(alive), [m["as"] for m in agent.json("ls")["mounts"]], "zran has the same layout")
        self.an_overlay_is_as_over_an_ordinary_image(n)
        if mode == "shared":
            self.programs_have_their_rights(n)
        for image, reference in alive.items():
            self.end(n, agent, image, reference)
        self.assertEqual([], agent.json("ls")["mounts"])
        n.stop()
        self.assertEqual({}, n.nydusds())
        self.frees_all(agent)
        self.assertEqual([], [d for d in lab.mounts_below(n.dir) if "/nydus" in d])

    def test_dedicated_by_trees(self):
        self.all_images("dedicated", "tree")

    def test_dedicated_by_the_kernels_erofs(self):
        self.all_images("dedicated", "auto")

    def test_shared_by_trees(self):
        self.all_images("shared", "tree")

    def test_shared_by_the_kernels_erofs(self):
        self.all_images("shared", "auto")


if __name__ == "__main__":
    unittest.main()
