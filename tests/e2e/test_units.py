"""Every fetch unit (chunk, batch, zran slice) crosses the registry's line once, and nothing else does.

What the units are comes from the bootstrap and the blobs' indexes by rafs_facts, not from shoal. A unit whose
chunks came with others, too, may be shared instead.
"""
import random
import threading

import lab
import rafs_facts

IMAGES = ("edge:v6", "edge:v6-encrypted", "layers:v6", "layers:v6-batch", "layers:zran", "pyweb:zran", "app:1-v6")
READERS = 6


def is_covered(first, end, ranges):
    for a, b in sorted(ranges):
        if a <= first < b:
            first = b
    return first >= end


class Units(lab.LabTest):
    """One test an image (made below): read by many at once, in random order, while it is prefetched."""

    def read_all(self, where, paths, seed):
        paths = list(paths)
        random.Random(seed).shuffle(paths)
        for path in paths:
            with open(where + path, "rb", buffering=0) as f:
                while f.read(1 << 20):
                    pass

    def check(self, image):
        lab.registry().push(image)
        origin = self.faulty_origin()
        agent = self.agent(host=origin.host)
        where = agent.mount(f"{origin.host}/{image}")
        wheres = [where, agent.mount(f"{origin.host}/{image}")]
        rows = (line.split(" ", 10) for line in lab.expected_lines(image))
        paths = [r[10] for r in rows if r[0] == "f" and "\\" not in r[10]]
        origin.reset_stats()
        readers = [threading.Thread(target=self.read_all, args=(wheres[i % 2], paths, i)) for i in range(READERS)]
        for reader in readers:
            reader.start()
        agent.shoal("prefetch", where)
        for reader in readers:
            reader.join()
        self.assert_tree(where, image)
        self.assert_once(origin.stats()["blobs"], rafs_facts.units(image), agent)

    def assert_once(self, asked, wanted, agent):
        self.assertEqual(set(asked), set(wanted))
        came, shared = set(), []
        for blob, units in wanted.items():
            ranges = [(first, last + 1) for first, last in asked[blob]["ranges"]]
            self.assertEqual(len(ranges), asked[blob]["gets"], "a GET without a range")
            for (offset, size), digests in units.items():
                times = sum(first <= offset and offset + size <= end for first, end in ranges)
                self.assertLessEqual(times, 1, f"unit at {offset} of {blob}")
                # A slice's head may have come with the slice before it, and be kept for it.
                whole = is_covered(offset, offset + size, ranges)
                came |= digests if whole else set()
                shared += [] if whole else [(blob, offset, digests)]
            starts, ends = {offset for offset, _ in units}, {offset + size for offset, size in units}
            for first, end in ranges:
                self.assertIn(first, starts | ends)  # a slice whose head is here begins where the one before it ends
                self.assertIn(end, ends)
                within = sorted(u for u in units if first <= u[0] and u[0] + u[1] <= end)
                for (a, a_size), (b, _) in zip(within, within[1:]):
                    self.assertLessEqual(b, a + a_size, "a gap that nobody needs")
        for blob, offset, digests in shared:
            self.assertFalse(digests - came, f"unit at {offset} of {blob} never came")
        self.assertEqual(agent.origin_bytes(), sum(last + 1 - first for a in asked.values() for first, last in a["ranges"]))
        self.assertEqual(agent.metric("shoal_verify_failures_total"), 0)


def _test_of(image):
    return lambda self: self.check(image)


for _image in IMAGES:
    if _image in lab.ALL:
        setattr(Units, "test_" + _image.replace(":", "_").replace("-", "_"), _test_of(_image))
