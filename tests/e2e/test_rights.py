"""What programs of an image may do: as from an ordinary image's, over an overlay; nothing more than others in the mount itself."""
import http.client
import os
import stat
import subprocess
import unittest

import lab
import rights

RAW = f"{1 << rights.NET_RAW:x}"


def as_nobody(root, *argv):
    """What a program below root says, started by somebody without rights; the errno where it cannot be started."""
    def enter():
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setgid(rights.NOBODY)
        os.setuid(rights.NOBODY)
    try:
        return subprocess.run(argv, preexec_fn=enter, capture_output=True, text=True, check=True).stdout.strip()
    except OSError as e:
        return f"errno {e.errno}"


def all_of(root):
    said = {name: as_nobody(root, "/bin/" + name) for name in rights.PROGRAMS}
    return {**said, **{path: as_nobody(root, "/bin/plain", path) for path in ("/dev/zero-too", "/dev/of-root", "/etc/fifo")}}


class Doors(lab.LabTest):
    def test_the_socket_is_the_owners_alone_and_over_tcp_nothing_can_be_changed(self):
        agent = self.agent()
        self.assertEqual(0o600, stat.S_IMODE(os.stat(agent.socket).st_mode))
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for path in ("/", "/events", "/v1/mounts", "/v1/drain"):
                page = http.client.HTTPConnection("127.0.0.1", agent.http_port, timeout=lab.DEADLINE_S)
                page.request(method, path, "{}")
                self.assertIn(page.getresponse().status, (404, 405, 501), (method, path))
                page.close()
        done = agent.shoal("ls", user=rights.NOBODY, check=False)
        self.assertEqual((3, f"shoal: ls: {agent.socket} is not for this user (run shoal as root)\n"), (done.returncode, done.stderr))
        page = http.client.HTTPConnection("127.0.0.1", agent.http_port, timeout=lab.DEADLINE_S)
        page.request("GET", "/v1/status")
        self.assertEqual(404, page.getresponse().status)
        page.close()


class Rights(lab.LabTest):
    def copied(self, where):
        """An ordinary image's tree."""
        copy = lab.tempfile.mkdtemp(prefix="copy-", dir=lab.TMP)
        subprocess.run(["cp", "-a", where + "/.", copy], check=True)
        return copy

    @staticmethod
    def change(merged):
        """What takes rights from a file, and what does not."""
        def path(name):
            return os.path.join(merged, "bin", name)
        os.chmod(path("cap"), 0o711)
        with open(path("two"), "ab") as f:
            f.write(b"x")
        os.chown(path("setuid"), 8, 8)
        os.rename(path("both"), path("setgid"))
        os.setxattr(path("plain"), "security.capability", os.getxattr(path("setuid-cap"), "security.capability"))

    def in_and_out_of_a_container(self, how):
        agent = self.agent(config={"mount": how})
        self.require_way(agent, how)
        where = agent.mount(lab.registry().push(rights.image()))
        self.assertEqual([how], [m["as"] for m in agent.json("ls")["mounts"]])
        said = all_of(where)
        nobody = f"{rights.NOBODY} {rights.NOBODY} {rights.NOBODY} {rights.NOBODY} 0 -"
        for name in ("plain", "cap", "two", "setuid", "setgid", "both", "setuid-cap", "group", "link"):
            with self.subTest("in the mount itself they give nothing: " + name):
                self.assertEqual(nobody, said[name])
        self.assertEqual("13", said["/dev/zero-too"], "EACCES: nodev")
        ours, theirs = self.overlay(where), self.overlay(self.copied(where))
        said = all_of(ours)
        self.assertEqual(all_of(theirs), said)
        self.assertEqual(f"{rights.NOBODY} {rights.NOBODY} {rights.NOBODY} {rights.NOBODY} {RAW} raw", said["cap"])
        self.assertEqual(f"{rights.NOBODY} 0", " ".join(said["setuid"].split()[:2]))
        self.assertEqual(("0", "13", "errno 13"), (said["/dev/zero-too"], said["/dev/of-root"], said["closed"]))
        with self.subTest("changed in the container"):
            self.change(ours)
            self.change(theirs)
            changed = all_of(ours)
            self.assertEqual(all_of(theirs), changed)
            self.assertEqual((RAW, "0"), (changed["cap"].split()[4], changed["two"].split()[4]))
        with self.subTest("and what is not changed goes on"):
            agent.restart() if how == "tree" else agent.settle()
            self.assertEqual(said["setuid-cap"], as_nobody(self.overlay(where), "/bin/setuid-cap"))

    def test_of_a_tree(self):
        self.in_and_out_of_a_container("tree")

    def test_of_the_kernels_erofs(self):
        self.in_and_out_of_a_container("erofs")


if __name__ == "__main__":
    unittest.main()
