"""Many readers on many mounts: each fetch unit crosses the registry's line once."""
import hashlib
import os
import random
import threading

import lab
import rafs_facts


class Parallel(lab.LabTest):
    def test_32_readers_on_8_mounts_of_2_images(self):
        images = ("edge:v6", "layers:v6")
        agent = self.agent()
        mounts = [(image, agent.mount(lab.registry().push(image))) for image in images for _ in range(4)]
        want = {}
        for image in images:
            for row in (line.split(" ", 10) for line in lab.expected_lines(image)):
                if row[0] == "f" and "\\" not in row[10]:
                    want.setdefault(image, []).append((row[10], row[8]))
        wrong = []

        def read(seed):
            image, where = mounts[seed % len(mounts)]
            files = list(want[image])
            random.Random(seed).shuffle(files)
            for path, digest in files:
                try:
                    with open(where + path, "rb", buffering=0) as f:
                        got = hashlib.file_digest(f, "sha256").hexdigest()
                except OSError as e:
                    got = e
                if got != digest:
                    wrong.append((image, path))

        readers = [threading.Thread(target=read, args=(i,)) for i in range(32)]
        for r in readers:
            r.start()
        for r in readers:
            r.join()
        self.assertEqual(wrong, [])
        self.assertEqual(agent.origin_bytes(), sum(rafs_facts.packed_bytes(i) for i in images))
        threads = os.listdir(f"/proc/{agent.process.pid}/task")
        names = [open(f"/proc/{agent.process.pid}/task/{t}/comm", encoding="ascii").read() for t in threads]
        self.assertLessEqual(sum(n.startswith("fuse") for n in names), 16)
        agent.stop()
        self.assertNotRegex(agent.log(), "ERROR: (Address|Thread|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:")
