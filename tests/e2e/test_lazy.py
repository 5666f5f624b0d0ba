"""Lazy means lazy: what a few reads move, and how many requests the whole takes."""
import os
import random
import subprocess

import lab
import rafs_facts


def files_by_size(image):
    """[(size, path)] of the image's regular files, largest first."""
    rows = (line.split(" ", 10) for line in lab.expected_lines(image))
    return sorted(((int(r[4]), r[10]) for r in rows if r[0] == "f" and "\\" not in r[10]), reverse=True)


class Lazy(lab.LabTest):
    def test_mounting_and_listing_moves_no_chunk(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push("edge:v6"))
        for path, _, names in os.walk(where):
            for name in names:
                os.lstat(os.path.join(path, name))
        self.assertEqual(agent.origin_bytes(), 0)

    def test_one_small_read_in_a_large_file_moves_its_chunk_and_at_most_1_mib(self):
        image = "edge:v6"
        agent = self.agent()
        where = agent.mount(lab.registry().push(image))
        size, path = files_by_size(image)[0]
        largest_chunk = max(c[2] for c in rafs_facts.chunks(rafs_facts.bootstrap(image)))
        with open(where + path, "rb", buffering=0) as f:
            f.seek(size // 2)
            self.assertEqual(len(f.read(65536)), 65536)
        agent.settle()
        # 64 KiB may touch two chunks where they meet
        self.assertLessEqual(agent.origin_bytes(), 2 * largest_chunk + (1 << 20))

    def test_one_percent_of_the_files_moves_at_most_5_percent_of_the_bytes(self):
        image = "app:1-v6"
        reference = lab.registry().push(image)
        total = rafs_facts.packed_bytes(image)
        files = sorted(path for _, path in files_by_size(image))
        for seed in (1, 2, 3):
            with self.subTest(seed=seed):
                agent = self.agent()
                where = agent.mount(reference)
                for path in random.Random(seed).sample(files, len(files) // 100):
                    with open(where + path, "rb") as f:
                        while f.read(1 << 20):
                            pass
                agent.settle()
                self.assertLessEqual(agent.origin_bytes(), total * 5 // 100)
                agent.stop()

    def test_all_of_it_takes_few_requests(self):
        image = "app:1-v6"
        agent = self.agent()
        where = agent.mount(lab.registry().push(image))
        before = agent.metric("shoal_origin_requests_total")
        lab.read_all(where)
        self.assertLessEqual(agent.metric("shoal_origin_requests_total") - before, 80)
        self.assertLessEqual(agent.origin_bytes(), rafs_facts.packed_bytes(image))
        self.assertGreaterEqual(agent.origin_bytes(), rafs_facts.unique_packed_bytes(image))

    def test_the_first_start_of_a_program_takes_few_requests(self):
        image = "app:1-v6"
        agent = self.agent()
        where = agent.mount(lab.registry().push(image))
        before = agent.metric("shoal_origin_requests_total")
        subprocess.run(["chroot", where, "/usr/bin/python3", "-c", "import flask"], check=True, stdin=subprocess.DEVNULL)
        agent.settle()
        self.assertLessEqual(agent.metric("shoal_origin_requests_total") - before, 65)
        self.assertLessEqual(agent.origin_bytes(), rafs_facts.packed_bytes(image) * 35 // 100)
