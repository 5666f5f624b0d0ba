"""The chart's scripts, run as their containers would run them, on directories of a test."""
import os
import shutil
import subprocess
import tempfile
import unittest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILES = os.path.join(REPO, "charts", "shoal", "files")
AGENT = os.path.join(os.environ.get("SHOAL_BUILD", os.path.join(REPO, "build", "release")), "agent")
PLUGIN = '[proxy_plugins.nydus]\n  type = "snapshot"\n  address = "/run/x.sock"\n'


def openssl(*args):
    return subprocess.run(["openssl", *args], capture_output=True, text=True, check=True).stdout


class ScriptTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="shoal-scripts-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.bin = self.new_dir("bin")

    def new_dir(self, name):
        path = os.path.join(self.dir, name)
        os.makedirs(path, exist_ok=True)
        return path

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def read(self, name):
        with open(os.path.join(self.dir, name), encoding="utf-8") as f:
            return f.read()

    def script(self, name, *args, env=None, check=True):
        done = subprocess.run(["dash", os.path.join(FILES, name), *args], capture_output=True, text=True, check=False,
                              env={"PATH": f"{self.bin}:{AGENT}:/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})})
        if check:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done


class Certificate(ScriptTest):
    def setUp(self):
        super().setUp()
        self.ca = os.path.join(self.dir, "ca")
        subprocess.run([os.path.join(AGENT, "shoal"), "pki", "init", self.ca], check=True, capture_output=True)
        self.tls, self.scratch = self.new_dir("tls"), self.new_dir("scratch")

    def make(self, node="node-1"):
        return self.script("certificate.sh", self.ca, self.tls, self.scratch, env={"NODE_NAME": node})

    def key(self):
        return self.read("tls/node.key")

    def test_a_new_node_gets_one_and_keeps_it(self):
        self.make()
        key = self.key()
        openssl("verify", "-CAfile", os.path.join(self.tls, "ca.pem"), os.path.join(self.tls, "node.pem"))
        self.assertIn("CN = node-1", openssl("x509", "-in", os.path.join(self.tls, "node.pem"), "-noout", "-subject"))
        self.assertEqual(os.stat(os.path.join(self.tls, "node.key")).st_mode & 0o777, 0o600)
        self.assertIn("serves", self.make().stdout)
        self.assertEqual(self.key(), key)
        self.assertEqual(sorted(os.listdir(self.tls)), ["ca.pem", "node.key", "node.pem"])
        self.assertEqual(os.listdir(self.scratch), [], "the CA's key is left in memory")

    def test_another_ca_or_a_lost_or_wrong_key_makes_it_anew(self):
        self.make()
        old = self.key()
        shutil.rmtree(self.ca)
        subprocess.run([os.path.join(AGENT, "shoal"), "pki", "init", self.ca], check=True, capture_output=True)
        self.make()
        self.assertNotEqual(self.key(), old)
        for spoil in (lambda: os.unlink(os.path.join(self.tls, "node.key")), lambda: self.write("tls/node.key", old),
                      lambda: self.write("tls/node.pem", "")):
            spoil()
            self.make()
            self.assertIn("serves", self.make().stdout)

    def test_one_that_ends_soon_is_made_anew(self):
        key, cert = os.path.join(self.tls, "node.key"), os.path.join(self.tls, "node.pem")
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        request = os.path.join(self.dir, "request")
        openssl("req", "-new", "-key", key, "-subj", "/CN=x", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", os.path.join(self.ca, "ca.pem"), "-CAkey",
                os.path.join(self.ca, "ca.key"), "-days", "29", "-out", cert)
        old = self.key()
        self.make()
        self.assertNotEqual(self.key(), old)

    def test_a_long_name_of_a_node_is_cut(self):
        self.make("n" * 200)
        self.assertIn("serves", self.make("n" * 200).stdout)


class NodeSetup(ScriptTest):
    def setUp(self):
        super().setUp()
        self.write("bin/nsenter", f'#!/bin/sh\necho "$@" >>{self.dir}/restarts\n', 0o755)

    def setup_node(self, containerd, **env):
        return self.script("node-setup.sh", env={"HOST": os.path.join(self.dir, "host"), "CONTAINERD": containerd, **env})

    def restarts(self):
        return os.path.exists(os.path.join(self.dir, "restarts")) and self.read("restarts")

    def test_a_config_that_names_the_plugin_is_left_alone(self):
        for name, text in (("config.toml", "version = 2\n" + PLUGIN), ("config.toml", "[proxy_plugins]\n  [proxy_plugins.nydus]\n"),
                           ("config.toml", "[ proxy_plugins . 'nydus' ]\n"), ("conf.d/nydus.toml", PLUGIN)):
            shutil.rmtree(os.path.join(self.dir, "host"), ignore_errors=True)
            self.write(f"host/etc/containerd/{name}", text)
            for containerd in ("check", "write"):
                self.assertIn("left as it is", self.setup_node(containerd).stdout)
                self.assertEqual(self.read(f"host/etc/containerd/{name}"), text)
        self.assertFalse(self.restarts())

    def test_check_says_what_is_missing_and_changes_nothing(self):
        text = 'version = 2\n# [proxy_plugins.nydus]\n[proxy_plugins.other]\n'
        self.write("host/etc/containerd/config.toml", text)
        self.assertIn("[proxy_plugins.nydus]\n", self.setup_node("check").stdout)
        self.assertEqual(self.read("host/etc/containerd/config.toml"), text)
        self.assertEqual(os.listdir(os.path.join(self.dir, "host/etc/containerd")), ["config.toml"])
        self.assertFalse(self.restarts())

    def test_write_adds_it_once_and_restarts_once(self):
        for text in ('version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "x"', None):
            shutil.rmtree(os.path.join(self.dir, "host"), ignore_errors=True)
            if text is not None:
                self.write("host/etc/containerd/config.toml", text)
            self.setup_node("write", SNAPSHOTTER_SOCKET="/run/y.sock")
            self.setup_node("write", SNAPSHOTTER_SOCKET="/run/y.sock")
            try:
                import tomllib
            except ImportError:
                self.skipTest("Python 3.11 reads TOML")
            config = tomllib.loads(self.read("host/etc/containerd/config.toml"))
            self.assertEqual(config["version"], 2)
            self.assertEqual(config["proxy_plugins"], {"nydus": {"type": "snapshot", "address": "/run/y.sock"}})
            if text is not None:
                self.assertEqual(config["plugins"]["io.containerd.grpc.v1.cri"]["sandbox_image"], "x")
                self.assertEqual(self.read("host/etc/containerd/config.toml.before-shoal"), text)
        self.assertEqual(self.restarts().splitlines(), ["--target 1 --mount --uts --ipc --net systemctl restart containerd"] * 2)

    def test_installed_programs_run_with_their_own_libraries(self):
        target = os.path.join(self.dir, "opt")
        done = self.script("node-setup.sh", env={"INSTALL": target, "CONTAINERD": "off"})
        self.assertIn("installed:", done.stdout)
        said = subprocess.run([os.path.join(target, "bin", "shoal"), "--version"], capture_output=True, text=True, check=True,
                              env={"PATH": "/nowhere"})
        self.assertTrue(said.stdout.startswith("shoal "))
        lib = os.path.join(target, "lib")
        loader = next(os.path.join(lib, n) for n in os.listdir(lib) if n.startswith("ld-linux"))
        loaded = subprocess.run([loader, "--library-path", lib, "--list", os.path.join(lib, "shoal.bin")],
                                capture_output=True, text=True, check=True).stdout
        self.assertIn("libjansson", loaded)
        for line in loaded.splitlines():
            if "=> /" in line and "ld-linux" not in line:
                self.assertIn(f"=> {lib}/", line)
        # Again, over what is there; and it looks for the agent where that is on this node.
        self.script("node-setup.sh", env={"INSTALL": target, "CONTAINERD": "off", "RUN_DIR": "/elsewhere"})
        for env, path in (({}, "/elsewhere/api.sock"), ({"SHOAL_SOCKET": "/named"}, "/named")):
            said = subprocess.run([os.path.join(target, "bin", "shoal"), "status"], capture_output=True, text=True, check=False,
                                  env={"PATH": "/nowhere", **env})
            self.assertIn(f"no agent at {path}", said.stderr)


class Keep(ScriptTest):
    def setUp(self):
        super().setUp()
        self.write("bin/shoal", f'''#!/bin/sh
echo "$*" >>{self.dir}/said
case $* in *missing*) exit 4 ;; esac
[ "$1" != status ] || [ -e {self.dir}/up ] || {{ : >{self.dir}/up; exit 3; }}
''', 0o755)

    def test_each_image_is_asked_for_once_the_agent_is_there(self):
        images = self.write("images", "r.example/a:1\n\nr.example/b:1\n")
        self.script("keep.sh", images)
        self.assertEqual(self.read("said").splitlines(), ["status", "status", "prefetch r.example/a:1", "prefetch r.example/b:1"])

    def test_one_that_cannot_be_had_does_not_keep_the_others_away(self):
        images = self.write("images", "r.example/missing:1\nr.example/b:1\n")
        done = self.script("keep.sh", images, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("here: r.example/b:1", done.stdout)


if __name__ == "__main__":
    unittest.main()
