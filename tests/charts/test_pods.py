"""Mounts of an agent in a pod: seen by the node, and kept by a keeper in another pod while the agent's is replaced.

A pod's container has a mount namespace of its own, which shares with the node's what is mounted below a
host path with Bidirectional propagation. So has every shoald and every keeper here.
"""
import os
import subprocess
import sys
import tempfile

import lab
import test_takeover

IMAGE = "edge:v6"


class Pod:
    """What lab.Agent takes for a node: the command is run in a mount namespace of its own."""

    @staticmethod
    def command(argv):
        return ["unshare", "--mount", "--propagation", "unchanged", *argv]

    @staticmethod
    def call(function):
        return function()


class Pods(lab.LabTest):
    def setUp(self):
        self.host_path = tempfile.mkdtemp(prefix="hostpath-", dir=lab.TMP)
        subprocess.run(["mount", "--bind", self.host_path, self.host_path], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.host_path], check=False)
        subprocess.run(["mount", "--make-shared", self.host_path], check=True)
        self.keeper_socket = os.path.join(self.host_path, "keeper.sock")
        self.keeper = self.keeper_pod()

    def keeper_pod(self):
        argv = [os.path.join(lab.BUILD, "agent", "shoal-keeper"), "--socket", self.keeper_socket]
        keeper = lab.start_process(["unshare", "--mount", "--propagation", "private", *argv], stdout=subprocess.DEVNULL)
        self.addCleanup(lambda: keeper.poll() is None and lab.stop_process(keeper, lab.signal.SIGKILL))
        lab.wait_for(lambda: os.path.exists(self.keeper_socket), "the keeper to listen")
        return keeper

    def n_kept(self):
        return lab.n_fuse_devices(self.keeper.pid)

    def namespaces(self, agent):
        return {os.readlink(f"/proc/{pid}/ns/mnt") for pid in (agent.process.pid, self.keeper.pid, "self")}

    def pod(self):
        return self.agent(node=Pod(), config={"keeper": {"socket": self.keeper_socket, "start": False}})

    def kept_mount(self):
        """(agent, where it has mounted an image that the keeper holds)"""
        agent = self.pod()
        where = agent.mount(lab.registry().push(IMAGE), where=os.path.join(self.host_path, self.directories()[0]))
        lab.wait_for(lambda: self.n_kept() == 1, "the keeper to hold it")
        return agent, where

    def test_readers_on_the_node_outlive_the_agents_pods(self):
        agent = self.pod()
        reference = lab.registry().push(IMAGE)
        wheres = [agent.mount(reference, where=os.path.join(self.host_path, name)) for name in self.directories()]
        self.assertEqual(len(self.namespaces(agent)), 3)
        for where in wheres:
            self.assert_tree(where, IMAGE, "as the node sees it")
        lab.wait_for(lambda: self.n_kept() == len(wheres), "the keeper to hold what is mounted")
        readers = test_takeover.Readers(wheres)
        for strike in (agent.kill, agent.stop, agent.kill):  # a crash, an upgrade
            readers.go_on()
            strike()
            for where in wheres:
                self.assertEqual(lab.mount_type(where), "fuse.shoal")
            agent.start()
            lab.drop_caches()
        readers.go_on()
        self.assertEqual(readers.stop()["errors"], [])
        for where in wheres:
            agent.umount(where)
            self.assertIsNone(lab.mount_type(where), "on the node, too")
        lab.wait_for(lambda: self.n_kept() == 0, "the keeper to let go")
        agent.stop()

    def test_a_new_keeper_pod_gets_everything(self):
        agent, where = self.kept_mount()
        lab.stop_process(self.keeper, lab.signal.SIGKILL)
        os.unlink(self.keeper_socket)
        self.keeper = self.keeper_pod()
        test_takeover.touch(where)
        lab.wait_for(lambda: self.n_kept() == 1, "the new keeper to hold it")
        with open(os.path.join(where, "sizes", "4096"), "rb") as f:
            agent.kill()
            agent.start()
            self.assertEqual(len(f.read()), 4096)

    def test_an_overlay_that_only_the_node_sees_outlives_the_agents_pods(self):
        """A container's: its root is mounted outside what the pods share with the node."""
        agent, where = self.kept_mount()
        root = self.private_overlay(where)
        self.assertNotIn(root, lab.mount_points(agent.process.pid))
        if root not in lab.mount_points(1):
            self.skipTest("the first process has other mounts than this one")
        agent.stop()
        self.assertEqual(lab.mount_type(where), "fuse.shoal")
        agent.start()
        lab.drop_caches()
        with open(os.path.join(root, "sizes", "4096"), "rb") as f:
            self.assertEqual(len(f.read()), 4096)
        self.assertEqual(agent.shoal("umount", where, check=False).returncode, 1, "it is in use")

    def private_overlay(self, lower):
        top = tempfile.mkdtemp(prefix="container-", dir=lab.TMP)
        subprocess.run(["mount", "-t", "tmpfs", "none", top], check=True)
        self.addCleanup(lab.unmount_below, top)
        subprocess.run(["mount", "--make-private", top], check=True)
        root = self.overlay(lower, top)
        self.addCleanup(subprocess.run, ["umount", root], check=True)
        return root

    def directories(self):
        names = ["a", "b"]
        for name in names:
            os.makedirs(os.path.join(self.host_path, name), exist_ok=True)
        return names


if __name__ == "__main__":
    sys.exit("run it by tests/charts/run")
