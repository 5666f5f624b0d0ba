"""What a cluster of tests/e2e/cluster.py wants of a test, for those that only measure."""
import contextlib

import lab


class Stage(contextlib.ExitStack):
    """Agents, and what is to be done at the end."""

    def addCleanup(self, fn, *args):  # pylint: disable=invalid-name
        self.callback(fn, *args)

    def agent(self, *args, **kw):
        agent = lab.Agent(*args, **kw)
        self.callback(agent.take_down)
        return agent
