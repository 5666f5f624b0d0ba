"""Data files that somebody deletes, replaces or cuts behind the agent's back: fetched again, never wrong."""
import glob
import os

import lab

IMAGE = "layers:v6"


def delete(path):
    os.unlink(path)


def replace(path):
    """By a file of the same size, full of something else."""
    size = os.path.getsize(path)
    with open(path + ".new", "wb") as f:
        f.write(b"\xaa" * size)
    os.rename(path + ".new", path)


def cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


def cut_and_grow(path):
    size = os.path.getsize(path)
    os.truncate(path, size // 2)
    os.truncate(path, size)


def cut_to_nothing_and_grow(path):
    size = os.path.getsize(path)
    os.truncate(path, 0)
    os.truncate(path, size)


class DataFiles(lab.LabTest):
    """One test a way and moment (made below)."""

    def check(self, harm, while_it_runs):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        self.assert_tree(where, IMAGE)
        lab.wait_for(lambda: agent.shoal("verify").returncode == 0, "all to be kept")
        if not while_it_runs:
            agent.stop()
        files = glob.glob(os.path.join(agent.state_dir, "blobs", "*.blob.data"))
        self.assertEqual(len(files), 3)
        for path in files:
            harm(path)
        if not while_it_runs:
            agent.start()
        lab.drop_caches()
        self.assert_tree(where, IMAGE, harm.__name__)
        agent.restart()
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "after a restart")
        self.assertEqual(agent.shoal("verify").returncode, 0)


def _test_of(harm, while_it_runs):
    return lambda self: self.check(harm, while_it_runs)


for _harm in (delete, replace, cut, cut_and_grow, cut_to_nothing_and_grow):
    for _runs in (False, True):
        setattr(DataFiles, f"test_{_harm.__name__}_{'while_it_runs' if _runs else 'while_it_is_down'}", _test_of(_harm, _runs))
