"""Bars on long work: on a terminal with rate and rest time and never wider than it; elsewhere nothing."""
import os
import pty
import re
import subprocess
import threading

import front
import lab
import test_top

IMAGE = "edge:v6"
BAR = re.compile(r"(\d+)% [\d.]+ of [\d.]+ MiB, [\d.]+ MiB/s(, [\d.]+ (?:s|min|h) left)?")


class Progress(lab.LabTest):
    def on_terminal(self, agent, *words, columns=60, meanwhile=None):
        """(exit status, what it drew on stderr)"""
        master, slave = pty.openpty()
        test_top.set_size(slave, 15, columns)
        process = subprocess.Popen(agent.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave)
        lab.adopt_process(process)
        os.close(slave)
        drawn = bytearray()

        def read():
            try:
                while True:
                    more = os.read(master, 1 << 16)
                    if not more:
                        return
                    drawn.extend(more)
            except OSError:  # the other end is closed
                return
        reader = threading.Thread(target=read)
        reader.start()
        if meanwhile:
            meanwhile()
        status = process.wait(4 * lab.DEADLINE_S)
        reader.join()
        os.close(master)
        return status, drawn.decode()

    def assert_bar(self, label, drawn, columns):
        frames = [re.sub(r"\x1b\[K", "", frame) for frame in drawn.split("\r") if "%" in frame]
        self.assertTrue(frames, drawn)
        for frame in frames:
            self.assertRegex(frame, BAR)
            self.assertLess(len(frame), columns, frame)
            self.assertTrue(columns < 80 or frame.startswith(f"{label} ["), frame)
        self.assertTrue(drawn.endswith("\r\x1b[K"), "it is wiped in the end")
        return frames

    def test_each_of_them_draws_one_on_a_terminal_and_none_elsewhere(self):
        ref = lab.registry().push(IMAGE)
        agent = self.agent(config={"limits": {"origin_bytes_per_s": 4 << 20}})
        where = agent.new_dir()
        status, drawn = self.on_terminal(agent, "mount", "--prefetch", ref, where, columns=100)
        self.assertEqual(status, 0, drawn)
        frames = self.assert_bar("prefetch", drawn, 100)
        self.assertTrue(any(" left" in frame for frame in frames), frames)
        for label, words in (("verify", ["verify"]), ("gc", ["gc", "--to", "0"]), ("prefetch", ["prefetch", where]), ("pin", ["pin", ref])):
            status, drawn = self.on_terminal(agent, *words)
            self.assertEqual(status, 0, drawn)
            self.assert_bar(label, drawn, 60)
        for words in (["verify"], ["gc", "--to", "0"], ["prefetch", where], ["pin", ref]):
            done = agent.shoal(*words)
            self.assertEqual(done.stderr, "")
            self.assertNotIn("\r", done.stdout)
            self.assertTrue(agent.json(*words))
        agent.umount(where)
        done = agent.shoal("mount", "--prefetch", ref, where)  # it does not wait
        self.assertEqual((done.stdout, done.stderr), (f"{ref} mounted at {where}\n", ""))

    def test_a_mount_whose_prefetch_fails_is_a_mount(self):
        agent = self.agent()
        nothing_there = ("--bootstrap", front.bootstrap_file(agent.dir, IMAGE), "--blobs", f"dir:{agent.new_dir()}")

        def stop():
            lab.wait_for(lambda: [m for m in agent.json("ls")["mounts"] if m["state"] == "mounted"], "the mount")
            agent.stop()
        status, drawn = self.on_terminal(agent, "mount", "--prefetch", *nothing_there, agent.new_dir(), meanwhile=stop)
        self.assertIn("mounted, but not all of it could be fetched: ", drawn)
        self.assertEqual(status, 0, drawn)

    def test_every_command_speaks_json(self):
        ref = lab.registry().push(IMAGE)
        agent = self.agent()
        where = agent.new_dir()
        path = os.path.join(where, "big", "random")
        agent.json("mount", ref, where)
        blob = agent.json("explain", path)
        seen = {"mount", "explain"}
        for words in (["prefetch", ref], ["verify"], ["gc", "--dry-run"], ["ls"], ["status"], ["top"], ["image", "ls"],
                      ["image", "inspect", ref], ["blob", "ls"], ["peers"], ["drain"],
                      ["chunk", "find", blob["digest"]], ["pin", ref], ["unpin", ref], ["umount", where], ["image", "rm", ref],
                      ["pki", "init", os.path.join(agent.dir, "ca")], ["pki", "node", os.path.join(agent.dir, "ca"), "n"]):
            self.assertIsInstance(agent.json(*words), dict, words)
            seen |= {words[0], " ".join(words[:2])}
        table = agent.shoal("--print-docs", "words").stdout
        commands = {line.split("\t")[0] for line in table.splitlines() if line.count("\t") == 2}
        self.assertGreater(len(commands), 15)
        self.assertEqual(commands - seen, set())
        for words in (["umount", where], ["image", "inspect", "no.such/thing:1"], ["nonsense"], ["gc", "--to", "x"]):
            done = agent.shoal("--json", *words, check=False)
            self.assertEqual(lab.json.loads(done.stdout)["error"]["exit"], done.returncode)
            self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    lab.unittest.main()
