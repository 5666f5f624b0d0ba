"""With the registry gone: what a node may have of an image from its neighbours, and what it may not."""
import os
import re
import signal
import subprocess

import lab
from cluster import Cluster, Pki

IMAGE = "edge:v6"


class OriginDown(lab.LabTest):
    def cluster(self, n, **kw):
        """The first node has all of the image, and then the registry is gone."""
        cluster = Cluster(self, [IMAGE], n, pki=Pki(), **kw)
        cluster.wait_for_members()
        return cluster

    def warm(self, agent, reference, *options):
        agent.shoal("prefetch", agent.mount(reference, *options))

    def mount_later(self, agent, reference):
        """A mount that is under way: (process, directory)"""
        where = agent.new_dir()
        process = subprocess.Popen(agent.argv("mount", reference, where), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        lab.adopt_process(process)
        return process, where

    def waits_for_the_registry(self, agent, reference, why):
        """It is not mounted: neighbours are no help, the registry is asked on until somebody gives up."""
        process, where = self.mount_later(agent, reference)
        said = re.compile(why)
        lab.wait_for(lambda: said.search(agent.log()), f"the log to say: {why}")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=lab.DEADLINE_S)
        self.assertNotEqual(process.returncode, 0)
        self.assertIsNone(lab.mount_type(where))

    def nothing_came(self, agent):
        self.assertEqual(os.listdir(os.path.join(agent.state_dir, "images")), [])
        self.assertEqual(agent.metric("shoal_peer_received_bytes_total"), 0)
        self.assertEqual(agent.json("image", "ls")["images"], [])

    def test_by_digest_a_node_that_never_had_the_image_mounts_it(self):
        cluster = self.cluster(3)
        first, second, third = cluster.agents
        self.warm(first, cluster.reference(IMAGE))
        cluster.registry.stop()
        self.assert_tree(second.mount(cluster.by_digest(IMAGE)), IMAGE, "from its neighbour alone")
        self.assertEqual(second.origin_bytes(), 0)
        self.assertIn("bootstrap_from=neighbours", second.log())
        self.assertEqual(second.metric("shoal_stale_tags_total"), 0)
        first.kill()  # who was given a public image gives it on
        self.assert_tree(third.mount(cluster.by_digest(IMAGE)), IMAGE, "from one who had it from another")

    def test_a_tag_means_what_the_registry_told_this_node_or_nothing(self):
        cluster = self.cluster(2)
        first, second = cluster.agents
        where = first.mount(cluster.reference(IMAGE))
        first.umount(where)
        cluster.registry.stop()
        self.waits_for_the_registry(second, cluster.reference(IMAGE), "tag was never known here")
        self.nothing_came(second)
        first.mount(cluster.reference(IMAGE))
        self.assertEqual(first.metric("shoal_stale_tags_total"), 1)
        self.assertIn("taken as it was here last", first.log())

    def private_cluster(self, **kw):
        """(cluster whose registry asks for credentials, the --auth-file that has them)"""
        cluster = self.cluster(2, htpasswd=lab.htpasswd_file("down-htpasswd", "user", "secret"), **kw)
        return cluster, lab.auth_file("down-auth.json", cluster.registry.host, "user", "secret")

    def test_a_private_image_is_withheld_from_who_has_no_credentials(self):
        cluster, auth = self.private_cluster()
        knows, stranger = cluster.agents
        self.warm(knows, cluster.reference(IMAGE), "--auth-file", auth)
        cluster.registry.stop()
        self.waits_for_the_registry(stranger, cluster.by_digest(IMAGE), "a neighbour has it, and may not give it")
        self.nothing_came(stranger)
        self.assertEqual(knows.metric("shoal_peer_sent_bytes_total"), 0)

    def test_a_private_image_of_a_registry_that_is_the_clusters_is_given(self):
        config = {"registries": [{"host": "*", "scheme": "http", "share_metadata": "cluster"}]}
        cluster, auth = self.private_cluster(config=config)
        knows, other = cluster.agents
        self.warm(knows, cluster.reference(IMAGE), "--auth-file", auth)
        # While the registry is there it decides: no credentials, no image.
        done = other.shoal("mount", cluster.by_digest(IMAGE), other.new_dir(), check=False)
        self.assertEqual(done.returncode, 5, done.stderr)
        cluster.registry.stop()
        self.assert_tree(other.mount(cluster.by_digest(IMAGE)), IMAGE, "of a registry that is the cluster's")
        self.assertFalse(lab.files_that_hold(other.state_dir, "dXNlcjpzZWNyZXQ="))

    def test_a_neighbour_that_was_silent_for_a_while_is_asked_again(self):
        cluster = self.cluster(2)
        knows, other = cluster.agents
        self.warm(knows, cluster.reference(IMAGE))
        cluster.registry.stop()
        with lab.stopped(knows.process):
            process, where = self.mount_later(other, cluster.by_digest(IMAGE))
            lab.wait_for(lambda: "neighbours cannot stand in for the registry" in other.log(), "the neighbour to be given up")
        _, stderr = process.communicate(timeout=lab.DEADLINE_S)
        self.assertEqual(process.returncode, 0, stderr)
        self.assert_tree(where, IMAGE, "of who could not answer at first")

    def test_wrong_metadata_is_caught_and_its_giver_named(self):
        cluster = self.cluster(2, hostile={0: "meta"})
        liar, reader = cluster.agents
        liar.mount(cluster.reference(IMAGE))
        cluster.registry.stop()
        process, where = self.mount_later(reader, cluster.by_digest(IMAGE))
        lab.wait_for(lambda: "wrong metadata from a peer" in reader.log(), "the liar to be named")
        self.assertEqual(os.listdir(os.path.join(reader.state_dir, "images")), [])
        cluster.registry.start()  # now there is a better source
        _, stderr = process.communicate(timeout=lab.DEADLINE_S)
        self.assertEqual(process.returncode, 0, stderr)
        self.assert_tree(where, IMAGE, "beside a liar")
        self.assertEqual(reader.metric("shoal_verify_failures_total", source="peer"), 1)
        self.assertEqual(sum(peer["wrong_bytes"] for peer in reader.json("peers")["peers"]), 1)
