#!/usr/bin/env python3
"""Readers of mounts in a process of their own, so that whoever starts an agent holds no file of a mount.

    takeover_readers.py IMAGE N_READERS DIR...

Threads read the files of IMAGE in the directories over and over, each in an order of its own, and hold them
against the image's list. A line on stdout for each file; when stdin ends, all stop, and the last line is JSON:
{"errors": [...], "read_s": [seconds of the longest call for each file, the longest of them]}.
"""
import hashlib
import json
import os
import sys
import threading
import time

import lab


def files_of(image):
    """[(path, SHA-256)] of the regular files, from the image's list."""
    found = []
    for line in lab.expected_lines(image):
        fields = line.split(" ")
        if fields[0] == "f" and "\\" not in fields[-1]:
            found.append((fields[-1].lstrip("/"), fields[8]))
    return found


class Reader(threading.Thread):
    stopping = False
    errors = []

    def __init__(self, number, where, files):
        super().__init__()
        self.number, self.where, self.files = number, where, files
        self.seconds = []
        self.longest_s = 0.0  # of the calls for this file

    def read(self, path, digest):
        seen = hashlib.sha256()
        fd = self.call(os.open, os.path.join(self.where, path), os.O_RDONLY)
        try:
            while block := self.call(os.read, fd, 1 << 20):
                seen.update(block)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        if seen.hexdigest() != digest:
            self.errors.append(f"{path}: wrong bytes")

    def call(self, function, *args):
        begin = time.monotonic()
        value = function(*args)
        self.longest_s = max(self.longest_s, time.monotonic() - begin)
        return value

    def run(self):
        at = self.number * 131
        while not Reader.stopping:
            path, digest = self.files[at % len(self.files)]
            at += 1
            self.longest_s = 0.0
            try:
                self.read(path, digest)
            except OSError as e:
                self.errors.append(f"{path}: {e}")
            self.seconds.append(self.longest_s)
            os.write(1, b".\n")


def main():
    image, n_readers, wheres = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    files = files_of(image)
    held = [os.open(where, os.O_RDONLY | os.O_DIRECTORY) for where in wheres]  # in use, also between two files
    readers = [Reader(i, wheres[i % len(wheres)], files) for i in range(n_readers)]
    for r in readers:
        r.start()
    sys.stdin.read()
    Reader.stopping = True
    for r in readers:
        r.join()
    for fd in held:
        os.close(fd)
    longest = sorted((s for r in readers for s in r.seconds), reverse=True)
    print(json.dumps({"errors": Reader.errors[:20], "n": len(longest), "read_s": longest[:max(100, len(longest) // 50)]}), flush=True)


if __name__ == "__main__":
    main()
