"""Random histories on ext4, XFS and btrfs: right bytes, nothing fetched that is here, nothing left over.

A fixed list of seeds; SHOAL_ALL=1 runs all of it, otherwise a sample. SHOAL_SEEDS="3 14" runs these.
"""
import os
import threading

import histories
import lab

DEDUP = [True, False] if lab.LONG else [True]
ALL_SEEDS = range(1, 71)      # on each file system: 210 histories
SAMPLE_SEEDS = range(1, 5)
AT_ONCE = 2
N_STEPS = (4, 14)


def seeds():
    if os.environ.get("SHOAL_SEEDS"):
        return [int(s) for s in os.environ["SHOAL_SEEDS"].split()]
    return ALL_SEEDS if lab.LONG else SAMPLE_SEEDS


class Histories(lab.LabTest):
    def run_all(self, kind, dedup):
        fs = [histories.LoopFs(kind) for _ in range(AT_ONCE)]
        for f in fs:
            self.addCleanup(f.close)
        self.addCleanup(histories.TRUTH.close)
        for name in histories.PUSHED:
            lab.registry().push(name)
        for name, image in histories.TWICE.items():
            lab.registry().push(image, as_name=name)
        todo, done, faults = list(seeds()), [], []
        n_seeds = len(todo)
        todo.reverse()

        def work(place, origin):
            while todo and len(faults) < 3:
                try:
                    seed = todo.pop()
                except IndexError:
                    return
                try:
                    history = histories.History(seed, place, origin, dedup)
                    faults.extend(history.run(history.rng.randint(*N_STEPS)))
                except Exception as e:  # pylint: disable=broad-except
                    faults.append(f"seed {seed}: {type(e).__name__}: {e}")
                done.append(seed)

        workers = [threading.Thread(target=work, args=(f, self.faulty_origin())) for f in fs]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        if faults:
            self.fail("\n".join(faults))
        self.assertEqual(len(done), n_seeds)


def _test_of(kind, dedup):
    return lambda self: self.run_all(kind, dedup)


for _kind in histories.FILE_SYSTEMS:
    for _dedup in DEDUP:
        setattr(Histories, f"test_{_kind}_{'sharing' if _dedup else 'without_sharing'}", _test_of(_kind, _dedup))
