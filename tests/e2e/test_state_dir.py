"""The state directory when it is not what it should be: a clear word, and never a wrong byte."""
import contextlib
import os
import sqlite3
import subprocess
import tempfile

import lab

IMAGE = "edge:v6"


class StateDir(lab.LabTest):
    def warm(self):
        """A stopped agent whose cache holds an image that is listed; (agent, directory)."""
        ref = lab.registry().push(IMAGE)
        agent = self.agent()
        where = agent.mount(ref)
        self.assert_tree(where, IMAGE, "cold")
        agent.stop()
        return agent, where

    def starts_cold(self, agent, where):
        agent.start()
        agent.wait_for_mounts(where)
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "after the database was moved aside")
        self.assertGreater(agent.origin_bytes(), 0)
        self.assertIn("moved aside", agent.log())
        self.assertTrue([n for n in os.listdir(agent.state_dir) if n.startswith("shoal.db.bad-")])
        self.assertEqual(agent.shoal("verify").returncode, 0)

    def refused(self, agent, *words):
        with self.assertRaises(AssertionError) as caught:
            agent.start()
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_a_corrupt_database_is_moved_aside(self):
        agent, where = self.warm()
        with open(os.path.join(agent.state_dir, "shoal.db"), "r+b") as f:
            f.write(b"\xa5" * 8192)
        self.starts_cold(agent, where)

    def test_a_foreign_database_is_moved_aside(self):
        agent, where = self.warm()
        path = os.path.join(agent.state_dir, "shoal.db")
        os.unlink(path)
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.executescript("CREATE TABLE somebody_elses(x); PRAGMA application_id=42")
        self.starts_cold(agent, where)

    def test_a_newer_database_is_refused_and_left_alone(self):
        agent, where = self.warm()
        path = os.path.join(agent.state_dir, "shoal.db")
        with contextlib.closing(sqlite3.connect(path)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            db.execute(f"PRAGMA user_version={version + 1}")
        self.refused(agent, "newer shoal")
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version={version}")
        agent.start()
        agent.wait_for_mounts(where)
        lab.drop_caches()
        self.assert_tree(where, IMAGE, "by the version that it belongs to")
        self.assertEqual(agent.origin_bytes(), 0)

    def test_a_read_only_state_directory_is_refused(self):
        agent, _ = self.warm()
        disk = tempfile.mkdtemp(prefix="ro-", dir=lab.TMP)
        subprocess.run(["mount", "--bind", agent.state_dir, disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=False)
        subprocess.run(["mount", "-o", "remount,ro,bind", disk], check=True)
        agent.config["state_dir"] = disk
        self.refused(agent, "Read-only file system", disk)

    def test_the_second_agent_on_a_directory_is_refused(self):
        agent, _ = self.warm()
        agent.start()
        with self.assertRaises(AssertionError) as caught:
            self.agent(state_dir=agent.state_dir)
        self.assertIn(f"pid {agent.process.pid}", str(caught.exception))
        self.assertEqual(agent.shoal("verify").returncode, 0)
