"""An image whose programs have rights of their own: set-user-id, set-group-id, capabilities, device nodes."""
import os
import stat

import lab
import made_image
from made_image import Node, capability

ASK = os.path.join(lab.BUILD, "tests", "fakes", "ask_rights")
NOBODY = 65534
NET_RAW, SYS_TIME = 13, 25


def image():
    """Pushed like any other. Its /bin has ask_rights by many names; its containers run as nobody."""
    with open(ASK, "rb") as f:
        ask = f.read()

    def program(mode=0o755, **kw):
        return Node(stat.S_IFREG | mode, ask, **kw)
    raw = {"security.capability": capability(NET_RAW)}
    directories = {path: Node(stat.S_IFDIR | mode) for path, mode in (("/bin", 0o755), ("/dev", 0o755), ("/proc", 0o555), ("/sys", 0o555),
                                                                      ("/etc", 0o755), ("/tmp", 0o1777))}
    return made_image.make("rights:1", {
        **directories,
        "/bin/plain": program(), "/bin/cap": program(xattrs=raw), "/bin/two": program(xattrs={"security.capability": capability(NET_RAW, SYS_TIME)}),
        "/bin/setuid": program(0o4755), "/bin/setgid": program(0o2755, owner=(0, 7)), "/bin/both": program(0o6755, owner=(3, 4)),
        "/bin/setuid-cap": program(0o4755, owner=(5, 5), xattrs=raw), "/bin/closed": program(0o4700),
        "/bin/group": program(0o2710, owner=(0, NOBODY)), "/bin/link": Node(stat.S_IFLNK | 0o777, b"cap"),
        "/dev/zero-too": Node(stat.S_IFCHR | 0o666, device=os.makedev(1, 5)), "/dev/of-root": Node(stat.S_IFCHR | 0o600, device=os.makedev(1, 3)),
        "/etc/fifo": Node(stat.S_IFIFO | 0o666)}, User=f"{NOBODY}:{NOBODY}")


PROGRAMS = ("plain", "cap", "two", "setuid", "setgid", "both", "setuid-cap", "closed", "group", "link")
