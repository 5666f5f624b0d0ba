"""As Kubernetes does it: containerd's CRI service with snapshot annotations, and the snapshotter as image service."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import node as nodes  # noqa: E402
import ordinary  # noqa: E402
from test_containers import APP, ContainerTest, REASON  # noqa: E402

PASSWORD = "sesame-2024"


@unittest.skipIf(REASON, REASON or "")
class Cri(ContainerTest):
    def pods(self, mode, credentials=()):
        """(agent, node, reference of an image at a registry of its own)"""
        htpasswd = lab.htpasswd_file("cri-htpasswd", *credentials) if credentials else None
        registry = lab.Registry(htpasswd=htpasswd)
        self.addCleanup(registry.stop)
        tree = lab.tempfile.mkdtemp(prefix="pause-", dir=lab.TMP)
        os.link(os.path.join(nodes.TOOLS, "pause"), os.path.join(tree, "pause"))
        archive = ordinary.image(tree, os.path.join(lab.TMP, f"pause-{registry.port}.tar"), "pause:1", ["/pause"])
        subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", *(["--dest-creds", ":".join(credentials)] if credentials else []),
                        f"docker-archive:{archive}", f"docker://{registry.host}/pause:1"], check=True)
        reference = registry.push(APP, creds=":".join(credentials) or None)
        agent = self.lab_agent()
        n = self.node(agent, mode=mode, sandbox=f"{registry.host}/pause:1")
        n.cri("pull", n.sandbox, *credentials, images=True)
        return agent, n, reference

    def from_pull_to_nothing(self, mode, credentials=()):
        agent, n, reference = self.pods(mode, credentials)
        n.cri("pull", reference, *credentials, images=True)
        pod = n.cri("pod", "web")
        container = n.cri("container", pod, reference, "sleep", "1000")
        self.assertEqual(1, len(agent.json("ls")["mounts"]), "an ordinary image is no mount")
        self.assertEqual("flask", n.cri("exec", container, "python3", "-c", "import flask; print(flask.__name__)"))
        n.cri("exec", container, "sh", "-c", "echo hello > /usr/bin/hello; rm /usr/bin/sha1sum")
        self.assertEqual("hello", n.cri("exec", container, "cat", "/usr/bin/hello"))
        lab.wait_for(lambda: int(n.cri("used")) > 1 << 20, "the kubelet to be told of the cache's size", nodes.DEADLINE_S)
        agent.kill()
        agent.start()
        lab.drop_caches()
        n.cri("exec", container, "sh", "-c", "find /usr -type f | xargs cat > /dev/null")
        for where in (agent.dir, n.path("nydus", "cache")):
            self.assertEqual([], lab.files_that_hold(where, PASSWORD))
        n.cri("remove-pod", pod)
        n.cri("remove-image", reference)
        lab.wait_for(lambda: agent.json("ls")["mounts"] == [], "the agent's mounts to end", nodes.DEADLINE_S)
        self.frees_all(agent)

    def test_pods_dedicated(self):
        self.from_pull_to_nothing("dedicated")

    def test_pods_shared_with_a_pull_secret(self):
        self.from_pull_to_nothing("shared", ("kubelet", PASSWORD))


if __name__ == "__main__":
    unittest.main()
