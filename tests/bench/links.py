"""What each node's link carries over time, and what its agent's process costs: to see who waits for whom.

Counters of the namespaces (/proc/PID/net/dev of a process that lives there) and of the processes, read by a thread
several times a second: nothing is asked of the agents meanwhile.
"""
import threading
import time

EVERY_S = 0.1


def link_bytes(pid):
    """(received, sent) on eth0 of the namespace that a process lives in, headers included."""
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as f:
        for line in f:
            name, _, rest = line.partition(":")
            if name.strip() == "eth0":
                fields = rest.split()
                return int(fields[0]), int(fields[8])
    return 0, 0


def cpu_seconds(pid):
    """Of a process that lives, all its threads. Source: clock_getcpuclockid(3), linux/posix-timers.h."""
    return time.clock_gettime((~pid << 3) | 2)


class Links:
    """Samples while it is open: `with Links({name: pid}, mbit) as links: ...; links.show()`."""

    def __init__(self, pids, mbit):
        self.pids = pids
        self.bytes_per_s = mbit * 125_000
        self.samples = []  # (when, {name: (received, sent, CPU seconds)})
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _sample(self):
        now = time.monotonic()
        found = {}
        for name, pid in self.pids.items():
            try:
                found[name] = (*link_bytes(pid), cpu_seconds(pid))
            except OSError:  # it was killed
                found[name] = self.samples[-1][1][name] if self.samples else (0, 0, 0.0)
        self.samples.append((now, found))

    def _run(self):
        while not self.over.wait(EVERY_S):
            self._sample()

    def __enter__(self):
        self._sample()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self._sample()

    def _steps(self, step_s):
        """Samples at least so far apart."""
        kept = [self.samples[0]]
        for sample in self.samples[1:]:
            if sample[0] - kept[-1][0] >= step_s:
                kept.append(sample)
        return kept

    def show(self, step_s=0.5):
        """Of each step: the share of its link that a node received / sent, and CPUs that all agents used."""
        names = list(self.pids)
        print("    down/up, % of the link" + " " * 3 + "".join(f"{name:>10}" for name in names) + "   CPUs")
        steps = self._steps(step_s)
        for (t0, before), (t1, after) in zip(steps, steps[1:]):
            room = (t1 - t0) * self.bytes_per_s / 100
            cells = []
            for name in names:
                down, up = (after[name][i] - before[name][i] for i in (0, 1))
                cells.append(f"{down / room:.0f}/{up / room:.0f}".rjust(10))
            cpus = sum(after[name][2] - before[name][2] for name in names) / (t1 - t0)
            print(f"    {t1 - self.samples[0][0]:5.1f} s" + " " * 16 + "".join(cells) + f"{cpus:7.2f}")
        first, last = self.samples[0][1], self.samples[-1][1]
        print("    MB in all" + " " * 17 + "".join(
            f"{(last[n][0] - first[n][0]) / 1e6:.0f}/{(last[n][1] - first[n][1]) / 1e6:.0f}".rjust(10) for n in names))
