"""The keeper by itself: it takes its memory at the start, and nothing afterwards."""
import errno
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import unittest

import lab

KEEPER = os.path.join(lab.BUILD, "agent", "shoal-keeper")
MESSAGE = struct.Struct("<IIiII32s1024s")  # struct keeper_message
MAGIC, KEEP, DROP, GET = 0x3150454B, 1, 2, 3
ITEMS_MAX = 4096
ALLOCATES = re.compile(r"\b(malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|strn?dup|v?asprintf|getline|getdelim|mmap|brk|sbrk|"
                       r"fopen|fdopen|open_memstream|pthread_create|alloca)\b")


class Keeper(lab.LabTest):
    def setUp(self):
        self.path = lab.keeper_socket()
        self.process = self.start()
        self.caller = self.call()

    def start(self, *argv):
        p = lab.start_process([KEEPER, "--socket", self.path, *argv], stdout=subprocess.PIPE)
        self.addCleanup(lambda: p.poll() is None and lab.stop_process(p, 9))
        self.addCleanup(p.stdout.close)
        self.assertEqual(b"\n", p.stdout.read(1), "it is ready")
        return p

    def call(self):
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(caller.close)
        caller.connect(self.path)  # blocking: with a time limit a full backlog is an error at once
        caller.settimeout(lab.DEADLINE_S)
        return caller

    def say(self, verb, key=b"", idx=0, note=b"", fd=None):
        message = MESSAGE.pack(MAGIC, verb, 0, idx, len(note), key, note)
        socket.send_fds(self.caller, [message], [fd] if fd is not None else [])

    def hear(self):
        """(result, key, how many descriptors came)"""
        answer, fds, _, _ = socket.recv_fds(self.caller, 4096, 4)
        for came in fds:
            os.close(came)
        fields = MESSAGE.unpack(answer)
        return fields[2], fields[5].rstrip(b"\0"), len(fds)

    def ask(self, *args, **kw):
        self.say(*args, **kw)
        return self.hear()

    def memory(self):
        """What the kernel has given it, in kB: all its memory that can be written, and its locked and mapped sizes."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            found = dict(re.findall(r"(Vm(?:Size|Data|Stk)):\s*(\d+) kB", f.read()))
        self.assertEqual(3, len(found))
        return found

    def n_fds(self):
        return len(lab.open_files(self.process.pid))

    def test_what_it_holds_and_whoever_calls_costs_no_more_memory(self):
        self.assertEqual(0, self.ask(KEEP, b"first", fd=0)[0])
        self.assertEqual(0, self.ask(DROP, b"first")[0])
        before, n_fds = self.memory(), self.n_fds()
        for i in range(ITEMS_MAX):
            self.assertEqual(0, self.ask(KEEP, b"k%d" % i, note=b"n" * 1024, fd=0)[0])
        self.assertEqual(-errno.ENOSPC, self.ask(KEEP, b"one more", fd=0)[0])
        self.assertEqual(0, self.ask(KEEP, b"k7", fd=0)[0], "one in place of another fits")
        self.assertEqual(-errno.EBADF, self.ask(KEEP, b"none")[0])
        self.assertEqual((0, b"k0", 1), self.ask(GET, idx=0))
        self.assertEqual(-errno.ENOENT, self.ask(GET, idx=ITEMS_MAX)[0])
        self.assertEqual(-errno.ENOENT, self.ask(DROP, b"unknown")[0])
        self.assertEqual(n_fds + ITEMS_MAX, self.n_fds())
        callers = [self.call() for _ in range(60)]  # more than it has room for
        callers[0].send(b"nonsense")
        self.assertEqual(b"", callers[0].recv(10))
        for caller in callers:
            caller.close()
        for i in range(ITEMS_MAX):
            self.assertEqual(0, self.ask(DROP, b"k%d" % i)[0])
        lab.wait_for(lambda: self.n_fds() == n_fds, lambda: f"descriptors to be closed: {self.n_fds()} of {n_fds}")
        self.assertEqual(before, self.memory())

    def n_rests(self):
        """How often it has waited for something, so far."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", f.read(), re.MULTILINE)[1])

    def rests(self):
        """It waits for something again and again, and does not turn without a pause."""
        before = self.n_rests()
        lab.wait_for(lambda: self.n_rests() >= before + 5, lambda: f"it to rest: {self.n_rests()}, it was {before}")

    def test_without_a_descriptor_for_a_caller_it_rests_and_takes_him_later(self):
        most = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        limit = 64  # poll() takes no more entries than that
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (limit, most[1]))
        while self.n_fds() < limit:
            self.assertEqual(0, self.ask(KEEP, b"k%d" % self.n_fds(), fd=0)[0])
        other = self.call()
        self.rests()
        self.assertEqual(-errno.ENOENT, self.ask(DROP, b"unknown")[0], "who is there already is served")
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, most)
        self.caller = other
        self.assertEqual(-errno.ENOENT, self.ask(DROP, b"unknown")[0])

    def test_while_poll_fails_it_rests_and_serves_once_it_works(self):
        most = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (16, most[1]))  # poll() has more entries: EINVAL
        self.say(DROP, b"unknown")  # if it waits with the old limit still, it wakes up
        self.rests()
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, most)
        self.assertEqual(-errno.ENOENT, self.hear()[0])

    def pass_by(self, say=b""):
        """Somebody else calls, and is gone again."""
        code = ("import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]);"
                " m = sys.stdin.buffer.read(); m and (s.send(m), s.recv(4096))")
        subprocess.run([sys.executable, "-c", code, self.path], input=say, check=True)

    def test_one_that_is_to_leave_stays_for_who_started_it_whoever_passes_by_before(self):
        self.path = lab.keeper_socket()
        keeper = self.start("--leave")
        self.pass_by()
        self.call().close()  # which is what it was started for: it is there, and leaves
        self.assertEqual(0, keeper.wait(lab.DEADLINE_S))

    def test_one_that_is_to_leave_does_so_when_the_next_agent_goes(self):
        self.path = lab.keeper_socket()
        keeper = self.start("--leave")
        self.pass_by(MESSAGE.pack(MAGIC, GET, 0, 0, 0, b"", b""))
        self.assertEqual(0, keeper.wait(lab.DEADLINE_S))

    def test_its_one_file_takes_memory_in_one_place(self):
        texts = []
        for path in ("agent/keeper_main.c", "include/mount/keeper_protocol.h"):
            with open(os.path.join(lab.REPO, path), encoding="utf-8") as f:
                texts.append(f.read())
        self.assertEqual(['"keeper_protocol.h"'], re.findall(r'#include (".*")', texts[0]), "nothing else of ours is in it")
        code = re.sub(r'/\*.*?\*/|//[^\n]*|"[^"\n]*"', "", "".join(texts), flags=re.DOTALL)
        self.assertEqual(["calloc"], ALLOCATES.findall(code))


if __name__ == "__main__":
    unittest.main()
