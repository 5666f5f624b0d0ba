"""`shoal top`: on a terminal (a pseudo-terminal here) and off one."""
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

import lab

IMAGE = "edge:v6"


def set_size(terminal, lines, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class Terminal:
    """A command on a terminal; what it wrote since the last look."""

    def __init__(self, argv, lines=40, columns=120, term="xterm"):
        self.master, slave = pty.openpty()
        set_size(slave, lines, columns)
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                                        start_new_session=True, env={**os.environ, "TERM": term, "LC_ALL": "C.UTF-8"})
        lab.adopt_process(self.process)
        os.close(slave)
        self.text = ""

    def shows(self, word):
        with contextlib.suppress(OSError):  # the command is over, and all it wrote was read
            while select.select([self.master], [], [], 0)[0]:
                self.text += os.read(self.master, 1 << 16).decode(errors="replace")
        return word in self.text

    def resize(self, lines, columns):
        self.text = ""
        set_size(self.master, lines, columns)
        os.kill(self.process.pid, signal.SIGWINCH)  # it is the leader of a session without this terminal

    def press(self, keys):
        self.text = ""
        os.write(self.master, keys)


class Top(lab.LabTest):
    def terminal(self, agent, *words, **size):
        terminal = Terminal(agent.argv(*(words or ["top"])), **size)
        self.addCleanup(os.close, terminal.master)
        self.addCleanup(lab.stop_process, terminal.process)
        return terminal

    def test_on_a_terminal_it_follows_the_agent_until_q(self):
        agent = self.agent()
        terminal = self.terminal(agent)
        lab.wait_for(lambda: terminal.shows("READERS GOT FROM"), "the first screen")
        where = agent.mount(lab.registry().push(IMAGE))
        lab.wait_for(lambda: terminal.shows(where), "the mount to come up by itself")
        terminal.press(b"jjkk")
        agent.stop()
        lab.wait_for(lambda: terminal.shows("agent"), "the loss of the agent to be told")
        terminal.press(b"q")
        self.assertEqual(terminal.process.wait(lab.DEADLINE_S), 0)
        terminal.process.stderr.close()

    def test_while_the_agent_is_silent_q_ends_it(self):
        agent = self.agent()
        terminal = self.terminal(agent)
        lab.wait_for(lambda: terminal.shows("READERS GOT FROM"), "the first screen")
        agent.process.send_signal(signal.SIGSTOP)
        try:
            lab.wait_for(lambda: terminal.shows("did not answer"), "the silence to be told")
            terminal.press(b"q")
            lab.wait_for(lambda: terminal.process.poll() is not None, "the end")
        finally:
            agent.process.send_signal(signal.SIGCONT)
        self.assertEqual(terminal.process.returncode, 0)

    def test_on_a_terminal_that_nobody_knows_it_says_once_what_is_so(self):
        agent = self.agent()
        for term in ("none-such", "dumb"):
            terminal = self.terminal(agent, term=term)
            lab.wait_for(lambda t=terminal: t.process.poll() == 0, f"the end on {term}")
            self.assertTrue(terminal.shows("READERS GOT FROM"))

    def test_a_small_terminal_has_all_of_it_and_a_larger_one_is_used(self):
        agent = self.agent()
        agent.mount(lab.registry().push(IMAGE))
        terminal = self.terminal(agent, lines=15, columns=60)
        lab.wait_for(lambda: terminal.shows("READERS GOT FROM"), "the first screen")
        terminal.press(b"\x1b[6~")  # page down
        lab.wait_for(lambda: terminal.shows(" chunks") and re.search(r"\[\.+\]", terminal.text), "the strip, whole")
        self.assertNotIn("chunks here", terminal.text)
        self.assertNotIn("mounted)", terminal.text)  # behind the name and the directory
        terminal.press(b"l" * 5)
        lab.wait_for(lambda: terminal.shows("mounted)"), "the line's end")
        terminal.press(b"h" * 5)
        terminal.press(b"\x1b[5~" * 3)  # page up
        terminal.resize(50, 160)
        lab.wait_for(lambda: terminal.shows("chunks here"), "the whole line")
        terminal.press(b"q")
        self.assertEqual(terminal.process.wait(lab.DEADLINE_S), 0)
        terminal.process.stderr.close()

    def test_a_whole_image_of_layers_is_whole_here_although_it_names_not_every_chunk(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push("layers:v6"))
        agent.shoal("prefetch", where)
        mount = agent.json("top")["mounts"][0]
        self.assertEqual(mount["chunks_ready"], mount["chunks"])
        self.assertEqual(set(mount["strip"][::2]), {"9"})
        self.assertEqual(mount["chunks"], sum(b["n_chunks"] for b in agent.json("blob", "ls")["blobs"]))

    def test_of_many_mounts_those_in_trouble_are_told_and_the_others_counted(self):
        agent = self.agent()
        image = lab.registry().push(IMAGE)
        wheres = [agent.mount(image) for _ in range(66)]
        agent.stop()
        os.rmdir(wheres[-1])
        agent.start()
        live = agent.json("top")
        self.assertEqual((len(live["mounts"]), live["n_mounts"]), (64, 66))
        self.assertEqual((live["mounts"][0]["dir"], live["mounts"][0]["state"]), (wheres[-1], "down"))
        self.assertIn("\nand 2 more (shoal ls has them all)\n", agent.shoal("top").stdout)

    def test_elsewhere_it_says_once_what_is_so(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        self.assert_tree(where, IMAGE)
        text = agent.shoal("top").stdout
        self.assertIn(where, text)
        self.assertRegex(text, r"\[[#+-]*\] \d+ of \d+ chunks")
        self.assertNotIn("\x1b", text)
        self.assertRegex(text, r"\norigins +\d\S* \w+ +\d\S* \w+\n")  # (once: no rate) the last minutes, in all
        sent, unique = agent.origin_bytes(), agent.metric("shoal_origin_unique_bytes_total")
        self.assertEqual(sent, unique)
        self.assertRegex(text, r"\norigins sent (\S+ MiB) for \1 that was missing: 1\.000\n")
        self.assertRegex(text, r"; readers waited \d+\.\d s in the last 5 min\n")
        live = agent.json("top")
        self.assertEqual(sum(live["read_bytes"].values()), agent.metric("shoal_read_bytes_total"))
        agent.stop()
        self.assertEqual(agent.shoal("top", check=False).returncode, 3)
        agent.start()
