"""kill -9 in the middle of a cold read: nothing wrong, and little fetched again.

What is fetched again is counted in two steps. After the restart exactly the chunks that are not ready
cross the line, so the origin's bytes over both lives are the image once, and what the first life had
received of chunks that are not ready after it. And those are younger than 2 s: as many plain bytes are
ready after the restart as were 2 s before the kill (the ready set only grows, and what is kept is the set of
one moment). Bytes of a chunk that had not come whole are young by nature.
"""
import os
import random
import subprocess
import sys
import threading
import time

import lab
import rafs_facts

sys.path.insert(0, os.path.join(lab.REPO, "tests", "checker"))
import check_state  # noqa: E402

IMAGE = "edge:v6"
CHECKER = os.path.join(lab.REPO, "tests", "checker", "check_state.py")
N_KILLS = 50 if lab.LONG else 8
SLOWED_TO_S = 20.0 if lab.LONG else 6.0
AT_ONCE = 4
FLUSH_S = 2.0


class Kill(lab.LabTest):
    alone = True  # what it asserts is about time

    def read_all(self, where):
        try:
            lab.read_all(where)
        except OSError:
            pass  # the agent was killed below us

    def packed_ready(self, state_dir):
        """Packed bytes of the chunks that the database calls ready."""
        sizes = {(blob, index): size for blob, _, size, _, index, _ in rafs_facts.chunk_records(rafs_facts.bootstrap(IMAGE))}
        ids = rafs_facts.blob_ids(IMAGE)
        return sum(sizes[ids.index(blob.blob_id), index] for blob in check_state.entries(state_dir) for index in blob.ready)

    def one(self, moment_s, results):
        total = rafs_facts.packed_bytes(IMAGE)
        slow = lab.FaultyOrigin(lab.registry().host, bytes_per_s=int(total / SLOWED_TO_S))
        agent = lab.Agent(host=slow.host)
        try:
            where = agent.mount(f"{slow.host}/{IMAGE}")
            reader = threading.Thread(target=self.read_all, args=(where,))
            samples = []  # (when it was surely so, plain bytes ready)
            start = time.monotonic()
            reader.start()
            # the moment is a time by design: it is what the kill is random in
            while time.monotonic() - start < moment_s:
                ready = int(agent.metric("shoal_chunk_bytes_total", source="origin"))
                samples.append((time.monotonic(), ready))
                time.sleep(0.05)
            killed = time.monotonic()
            agent.kill()
            reader.join(lab.DEADLINE_S)
            subprocess.run(["umount", "-l", where], check=False, stderr=subprocess.DEVNULL)
            older = max((b for t, b in samples if t <= killed - FLUSH_S), default=0)
            slow.set()
            agent.start()
            kept = sum(b["ready_bytes"] for b in agent.json("blob", "ls")["blobs"])
            kept_packed = self.packed_ready(agent.state_dir)
            verify = agent.shoal("verify", check=False)
            checker = subprocess.run([sys.executable, CHECKER, agent.state_dir], capture_output=True, text=True,
                                     check=False)
            again = agent.origin_bytes()
            agent.wait_for_mounts(where)
            self.assert_tree(where, IMAGE, f"after a kill at {moment_s:.2f} s")
            results.append({"moment_s": moment_s, "verify": verify.returncode, "checker": checker.returncode,
                            "checker_said": checker.stdout[-500:] + checker.stderr[-500:], "verify_moved": again,
                            "moved": agent.origin_bytes(), "missing": total - kept_packed, "kept": kept, "older": older})
            agent.umount_when_free(where)
            agent.stop()
        finally:
            agent.take_down()
            slow.stop()

    def test_every_kill_leaves_right_bytes_and_what_was_ready_2_s_before(self):
        lab.registry().push(IMAGE)
        rng = random.Random(20)
        moments = [rng.uniform(0.1, SLOWED_TO_S) for _ in range(N_KILLS)]
        results, errors = [], []

        def work():
            while moments:
                try:
                    self.one(moments.pop(), results)
                except BaseException as e:  # told below, by the test's own thread
                    errors.append(e)

        workers = [threading.Thread(target=work) for _ in range(AT_ONCE)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        if errors:
            raise errors[0]
        self.assertEqual(len(results), N_KILLS)
        for r in results:
            self.assertEqual(r["verify"], 0, r)
            self.assertEqual(r["checker"], 0, r)
            self.assertEqual(r["verify_moved"], 0, r)
            self.assertEqual(r["moved"], r["missing"], r)
        self.assertGreaterEqual(sum(r["kept"] for r in results), sum(r["older"] for r in results), results)
        late = [r for r in results if r["kept"] < r["older"]]
        self.assertLessEqual(len(late), max(1, N_KILLS // 10), late)  # on a machine that is too busy to flush in a second
