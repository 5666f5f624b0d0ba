"""What an agent may still ask an origin for: a model that watches the origin and knows only the rule.

The rule: a chunk that is here under its key never crosses the line again. With dedup the key is
(digest algorithm, digest, plain size), whatever blob or image brought it; without, it is the chunk's
place in its blob. "Here" ends with a kill for what had no time to reach the disk, and with the removal
of the image for what no other image is known to hold, and with eviction: such chunks may cross again, or not.
"""
import bisect
import re

import chunk_facts

FLUSH_S = 5.0  # what is ready reaches the disk within 1 s; more where the machine has much to do


class Places:
    """The units of a blob by where they lie, so that a request is not held against each of them."""

    def __init__(self, units):
        self.ranges = sorted(units)  # [(first, end)]
        self.firsts = [a for a, _ in self.ranges]
        self.ending = {}             # end -> the first byte of the longest unit that ends there
        for a, b in self.ranges:
            self.ending.setdefault(b, a)

    def beginning_in(self, first, end):
        """[(first, end)] of those whose first byte is in [first, end)."""
        return self.ranges[bisect.bisect_left(self.firsts, first):bisect.bisect_left(self.firsts, end)]


class Model:
    def __init__(self, dedup):
        self.dedup = dedup
        self.images = {}    # registered image -> its units
        self.units = {}     # blob id -> {(first, end): unit}
        self.places = {}    # blob id -> Places of its units
        self.holders = {}   # key -> {(blob id, index): when it came there}
        self.ever = set()   # keys that crossed at all
        self.crossed_bytes = 0
        self.together_bytes = 0  # crossed twice within one step: both on their way at once

    def key(self, blob_id, index, digest_key):
        return digest_key if self.dedup else (blob_id, index)

    def register(self, image):
        """The image was mounted, or prefetched."""
        self.images[image] = chunk_facts.units(image)
        for u in self.images[image]:
            known = self.units.setdefault(u.blob_id, {}).setdefault((u.first, u.end), u)
            known.members.update(u.members)
        for blob_id in {u.blob_id for u in self.images[image]}:
            self.places[blob_id] = Places(self.units[blob_id])

    def is_here(self, key):
        return bool(self.holders.get(key))

    def hold(self, unit, now):
        for index, digest_key in unit.members.items():
            key = self.key(unit.blob_id, index, digest_key)
            self.holders.setdefault(key, {}).setdefault((unit.blob_id, index), now)
            self.ever.add(key)

    def crossings(self, log):
        """The units that a log of requests moved, in order, and faults: ranges that are no whole units."""
        moved, faults = [], []
        for entry in log:
            m = re.search(r"/blobs/sha256:([0-9a-f]{64})$", entry["path"])
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", entry["range"] or "")
            known = self.units.get(m[1]) if m else None
            if entry["method"] != "GET" or known is None:
                continue
            if not asked:
                faults.append(f"the whole of blob {m[1][:12]} was asked for")
                continue
            first, end = int(asked[1]), int(asked[2]) + 1
            # What a slice has in common with the one before need not be asked for again.
            places = self.places[m[1]]
            before = places.ending.get(first, first)
            begins = {first} | {c for c, d in places.beginning_in(before, first) if d > first}
            inside = [known[a, b] for a, b in places.beginning_in(min(begins), end) if first < b <= end]
            if not inside or min(u.first for u in inside) not in begins or max(u.end for u in inside) != end:
                faults.append(f"blob {m[1][:12]}: [{first}, {end}) is no run of units")
            self.crossed_bytes += end - first
            moved += inside
        return moved, faults

    def watch(self, log, now):
        """Judge what crossed the line during one step. @return faults, as sentences"""
        moved, faults = self.crossings(log)
        here_before = {k for k, holders in self.holders.items() if holders}
        in_this_step = set()
        for u in moved:
            keys = [self.key(u.blob_id, i, k) for i, k in u.members.items()]
            if all(k in here_before for k in keys):
                faults.append(f"blob {u.blob_id[:12]} [{u.first}, {u.end}): all of it was here, and crossed again")
            elif all(k in here_before or k in in_this_step for k in keys):
                self.together_bytes += u.end - u.first
            in_this_step.update(keys)
        for u in moved:
            self.hold(u, now)
        return faults

    def whole(self, image, now):
        """All of the image was read. @return faults: chunks that cannot have come from anywhere"""
        faults = []
        for u in self.images[image]:
            if not all(self.key(u.blob_id, i, k) in self.ever for i, k in u.members.items()):
                faults.append(f"{image}: blob {u.blob_id[:12]} [{u.first}, {u.end}) never crossed the line")
            self.hold(u, now)
        return faults

    def killed(self, now):
        for holders in self.holders.values():
            for place in [p for p, when in holders.items() if when > now - FLUSH_S]:
                del holders[place]

    def flushed(self):
        for holders in self.holders.values():
            for place in holders:
                holders[place] = float("-inf")

    def evicted(self):
        """Which chunks went is the agent's choice: any may cross again."""
        self.holders.clear()

    def removed(self, image):
        self.images.pop(image, None)
        used = {u.blob_id for units in self.images.values() for u in units}
        for holders in self.holders.values():
            for place in [p for p in holders if p[0] not in used]:
                del holders[place]
