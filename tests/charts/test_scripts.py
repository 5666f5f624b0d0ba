"""The chart's scripts, run as their containers would run them, on directories of a test."""
import os
import shutil
import subprocess
import tempfile
import unittest

try:
    import tomllib
except ImportError:  # before Python 3.11
    tomllib = None

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
        self.ca = self.new_ca("ca")
        self.tls, self.scratch = self.new_dir("tls"), self.new_dir("scratch")

    def new_ca(self, name):
        path = os.path.join(self.dir, name)
        subprocess.run([os.path.join(AGENT, "shoal"), "pki", "init", path], check=True, capture_output=True)
        return path

    def make(self, node="node-1", tls=None, **how):
        return self.script("certificate.sh", self.ca, tls or self.tls, self.scratch, env={"NODE_NAME": node}, **how)

    def secret(self, cas, key_of):
        """What the Secret has from now on: the certificates of these CAs, and the key of one."""
        self.ca = self.new_dir("secret")
        self.write("secret/ca.pem", "".join(self.read(f"{ca}/ca.pem") for ca in cas))
        self.write("secret/ca.key", self.read(f"{key_of}/ca.key"))

    def replace_ca(self):
        self.new_ca("other")
        self.secret(["other"], "other")

    def key(self):
        return self.read("tls/node.key")

    def files(self, tls="tls"):
        return {name: self.read(f"{tls}/{name}") for name in os.listdir(os.path.join(self.dir, tls))}

    def assert_trusts(self, a, b):
        openssl("verify", "-CAfile", os.path.join(a, "ca.pem"), os.path.join(b, "node.pem"))

    def test_a_new_node_gets_one_and_keeps_it(self):
        self.make()
        key = self.key()
        self.assert_trusts(self.tls, self.tls)
        self.assertIn("CN = node-1", openssl("x509", "-in", os.path.join(self.tls, "node.pem"), "-noout", "-subject"))
        self.assertEqual(os.stat(os.path.join(self.tls, "node.key")).st_mode & 0o777, 0o600)
        self.assertIn("serves", self.make().stdout)
        self.assertEqual(self.key(), key)
        self.assertEqual(sorted(os.listdir(self.tls)), ["ca.pem", "node.key", "node.pem"])
        self.assertEqual(os.listdir(self.scratch), [], "the CA's key is left in memory")

    def test_another_ca_or_a_lost_or_wrong_certificate_makes_it_anew_for_the_same_key(self):
        self.make()
        key = self.key()
        first = self.read("tls/node.pem")
        for spoil in (self.replace_ca, lambda: self.write("tls/node.pem", first),
                      lambda: self.write("tls/node.pem", ""), lambda: os.unlink(os.path.join(self.tls, "node.pem"))):
            spoil()
            self.assertIn("a new certificate", self.make().stdout)
            self.assert_trusts(self.ca, self.tls)
            self.assertIn("serves", self.make().stdout)
            self.assertEqual(self.key(), key, "it would be another node")

    def test_a_lost_or_broken_key_makes_it_anew(self):
        self.make()
        old = self.key()
        for spoil in (lambda: os.unlink(os.path.join(self.tls, "node.key")), lambda: self.write("tls/node.key", old[:60])):
            spoil()
            self.make()
            self.assertNotEqual(self.key(), old)
            self.assertIn("serves", self.make().stdout)

    def test_nodes_trust_each_other_at_every_moment_while_the_ca_is_replaced(self):
        nodes = [self.new_dir(f"node-{i}") for i in range(3)]
        self.new_ca("new")
        self.secret(["ca"], "ca")
        for node in nodes:
            self.make(tls=node)
        keys = [self.read(f"{node}/node.key") for node in nodes]
        for cas, key_of in ((["ca", "new"], "ca"), (["ca", "new"], "new"), (["new"], "new")):
            self.secret(cas, key_of)
            for node in nodes:  # the rollout
                self.make(tls=node)
                for a in nodes:
                    for b in nodes:
                        self.assert_trusts(a, b)
        for node in nodes:
            self.assert_trusts(os.path.join(self.dir, "new"), node)
        self.assertEqual([self.read(f"{node}/node.key") for node in nodes], keys)
        joined = self.new_dir("joined")
        self.make(tls=joined)
        self.assert_trusts(nodes[0], joined)

    def test_what_fails_leaves_a_node_with_a_certificate_as_it_is_and_the_agent_starts(self):
        self.new_ca("other")
        for how in ("a disk that is full", "a renewal on a disk that is full", "a Secret that does not fit", "no Secret"):
            for node_has_one in (True, False):
                with self.subTest(how, node_has_one=node_has_one):
                    self.secret(["ca"], "ca")
                    shutil.rmtree(self.tls)
                    self.new_dir("tls")
                    if node_has_one:
                        self.make()
                    before = self.files()
                    if how == "a Secret that does not fit":
                        self.secret(["other"], "ca")
                    elif how == "no Secret":
                        self.ca = self.new_dir("empty")
                    else:
                        # What fits into the last block is there, and then the disk is full.
                        self.write("bin/cp", f'''#!/bin/sh
for to; do :; done
case $to in {self.tls}/*) echo half >"$to"; echo "cp: no space left on device" >&2; exit 1 ;; esac
exec /bin/cp "$@"
''', 0o755)
                        if "renewal" in how:
                            self.secret(["ca", "other"], "other")
                    done = self.make(check=False)
                    self.assertEqual(done.returncode == 0, node_has_one, done.stdout + done.stderr)
                    self.assertEqual("stays" in done.stderr, node_has_one)
                    self.assertEqual(self.files(), before)
                    self.assertEqual(os.listdir(self.scratch), [], "the CA's key is left in memory")
                    if how == "no Secret":
                        self.assertIn("no Secret", done.stderr)
                    elif how != "a Secret that does not fit":
                        os.unlink(os.path.join(self.bin, "cp"))
                        self.make()
                        self.assert_trusts(self.ca, self.tls)

    def test_one_that_ends_soon_is_renewed_for_the_same_key(self):
        key, cert = os.path.join(self.tls, "node.key"), os.path.join(self.tls, "node.pem")
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        request = os.path.join(self.dir, "request")
        openssl("req", "-new", "-key", key, "-subj", "/CN=x", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", os.path.join(self.ca, "ca.pem"), "-CAkey",
                os.path.join(self.ca, "ca.key"), "-days", "29", "-out", cert)
        old = openssl("pkey", "-in", key, "-pubout")
        self.make()
        self.assertEqual(openssl("pkey", "-in", key, "-pubout"), old)
        self.assertEqual(openssl("x509", "-in", cert, "-noout", "-pubkey"), old)
        self.assertIn("serves", self.make().stdout)

    def test_a_long_name_of_a_node_is_cut(self):
        self.make("n" * 200)
        self.assertIn("serves", self.make("n" * 200).stdout)

    def test_a_node_may_have_the_name_of_the_files(self):
        self.make("node")
        self.assertIn("serves", self.make("node").stdout)


# containerd, as far as the script asks it: `containerd --config FILE config dump`.
FAKE_CONTAINERD = '''#!/usr/bin/env python3
import glob, os, sys, tomllib
assert sys.argv[1] == "--config" and sys.argv[3:] == ["config", "dump"], sys.argv
plugins, todo = {}, [os.environ.get("NODE_ROOT", "") + sys.argv[2]]
for path in todo:
    try:
        with open(path, "rb") as f:
            config = tomllib.load(f)
    except (OSError, ValueError) as e:
        sys.exit(f"containerd: failed to load TOML: {path}: {e}")
    plugins.update(config.get("proxy_plugins", {}))
    for pattern in config.get("imports", []):
        todo += glob.glob(os.path.join(os.path.dirname(path), pattern))
q = os.environ.get("QUOTE", '"')  # of 1.6 and 1.7; 2.0 has the other
print("version = 2\\n\\n[proxy_plugins]")
for name, plugin in plugins.items():
    print(f"\\n  [proxy_plugins.{name}]" if q == '"' else f"\\n[proxy_plugins.{q}{name}{q}]")
    for key, value in plugin.items():
        print(f'    {key} = {q}{value}{q}')
print('\\n[stream_processors]\\n  [stream_processors."x"]\\n    address = "/none"')
'''
# What runs on the node itself: containerd, and a systemctl that notes what it is told.
FAKE_NSENTER = '''#!/bin/sh
echo "$*" | grep -q "^--target 1 --mount --uts --ipc --net -- " || exit 9
shift 7
[ "$1" = systemctl ] || exec "$@"
echo "$*" >>{dir}/told
[ ! -e {dir}/refuses ] || ! grep -q nydus {config}
'''
# Forms in which a config may name the plugin nydus.
NAMED = (
    "version = 2\n" + PLUGIN,
    "version = 3\n" + PLUGIN,
    '[proxy_plugins]\n  [proxy_plugins.nydus]\n    type = "snapshot"\n    address = "/run/x.sock"\n[grpc]\n',
    '[ proxy_plugins . \'nydus\' ] # snapshots\ntype = "snapshot"\naddress = "/run/x.sock"\n',
    '[proxy_plugins."nydus"]\ntype = "snapshot"\naddress = "/run/x.sock"\n',
    '[proxy_plugins]\nnydus = { type = "snapshot", address = "/run/x.sock" }\n',
    '[proxy_plugins]\nnydus.type = "snapshot"\n"nydus".address = "/run/x.sock"\n',
    'proxy_plugins.nydus = { type = "snapshot", address = "/run/x.sock" }\n',
    'proxy_plugins = { other = { type = "snapshot", address = "/o" }, nydus = { type = "snapshot", address = "/run/x.sock" } }\n',
)
# Forms in which it does not.
OTHERS = (
    'version = 2\n# [proxy_plugins.nydus]\n[proxy_plugins.other]\n  type = "snapshot"\n  address = "/o"\n',
    '[proxy_plugins.nydus-two]\n  type = "snapshot"\n  address = "/run/x.sock"\n',
    '[plugins."io.containerd.grpc.v1.cri".containerd]\n  snapshotter = "nydus"\n',
    '[plugins.x.proxy_plugins.nydus]\n  address = "/run/x.sock"\n',
)


@unittest.skipUnless(tomllib, "needs Python's tomllib")
class NodeSetup(ScriptTest):
    def setUp(self):
        super().setUp()
        self.config = os.path.join(self.dir, "etc/containerd/config.toml")
        self.write("bin/nsenter", FAKE_NSENTER.format(dir=self.dir, config=self.config), 0o755)
        self.programs = {"fake": FAKE_CONTAINERD}
        if os.path.exists("/usr/bin/containerd"):
            self.programs["containerd"] = '#!/bin/sh\nexec /usr/bin/containerd "$@"\n'

    def begin(self, program, text):
        shutil.rmtree(os.path.join(self.dir, "etc"), ignore_errors=True)
        self.new_dir("etc/containerd")
        self.write("bin/containerd", self.programs[program], 0o755)
        self.write("told", "")
        if text is not None:
            self.write(self.config, text)

    def setup_node(self, containerd, **env):
        return self.script("node-setup.sh", env={"CONTAINERD": containerd, "CONTAINERD_CONFIG": self.config,
                                                 "SNAPSHOTTER_SOCKET": "/run/x.sock", **env})

    def told(self):
        return self.read("told").splitlines()

    def files(self):
        return sorted(os.listdir(os.path.dirname(self.config)))

    def assert_left_alone(self, text):
        self.assertEqual(self.read(self.config), text)
        self.assertEqual(self.told(), [])

    def test_a_config_that_names_the_plugin_is_left_alone(self):
        for text in NAMED:
            for program in self.programs:
                with self.subTest(f"{program}: {text}"):
                    self.begin(program, text)
                    for how in ("check", "write"):
                        self.assertIn("left as it is", self.setup_node(how).stdout)
                    self.assert_left_alone(text)
                    self.assertEqual(self.files(), ["config.toml"])

    def test_what_is_imported_counts(self):
        for imports in ('imports = ["DIR/conf.d/*.toml"]\n', 'imports = [\n  "DIR/none*.toml", # not there\n  "DIR/conf.d/n.toml",\n]\n'):
            text = imports.replace("DIR", os.path.dirname(self.config)) + OTHERS[0].replace("version = 2\n", "")
            for program in self.programs:
                with self.subTest(f"{program}: {imports}"):
                    self.begin(program, text)
                    self.write("etc/containerd/conf.d/n.toml", PLUGIN)
                    for how in ("check", "write"):
                        self.assertIn("left as it is", self.setup_node(how).stdout)
                    self.assert_left_alone(text)
        with self.subTest("and what is only there does not"):
            self.begin("fake", OTHERS[0])
            self.write("etc/containerd/conf.d/n.toml", PLUGIN)
            self.assertIn("does not name", self.setup_node("check").stdout)

    def test_either_quote_of_containerds_answer_is_read(self):
        for quote in ('"', "'"):
            self.begin("fake", OTHERS[0])
            self.setup_node("write", QUOTE=quote)
            self.assertEqual(len(self.told()), 2)
            done = self.setup_node("write", QUOTE=quote)
            self.assertIn("left as it is", done.stdout)
            self.assertEqual(done.stderr, "")

    def test_a_step_that_fails_is_the_last_and_the_agent_starts(self):
        for step in ("cp", "mv", "mktemp"):
            self.begin("fake", OTHERS[0])
            self.write(f"bin/{step}", "#!/bin/sh\nexit 1\n", 0o755)
            self.assertIn("that failed", self.setup_node("write").stderr)
            os.unlink(os.path.join(self.bin, step))
            self.assert_left_alone(OTHERS[0])
            self.setup_node("write")
            self.assertEqual(len(self.told()), 2)

    def test_who_is_killed_while_it_goes_back_leaves_a_config(self):
        for step in ("cp", "mv"):
            self.begin("fake", OTHERS[0])
            self.write("refuses", "")
            # The step fails from where containerd was restarted on.
            self.write(f"bin/{step}", f"#!/bin/sh\n[ ! -s {self.dir}/told ] || exit 1\nexec /bin/{step} \"$@\"\n", 0o755)
            self.setup_node("write")
            self.assertIn(self.read(self.config), (OTHERS[0], OTHERS[0] + "\n" + PLUGIN))
            os.unlink(os.path.join(self.bin, step))
            self.setup_node("write")
            self.assert_config_is_old()
        self.begin("fake", None)
        self.write(self.config + ".shoal-pending", "")
        self.write(self.config + ".shoal-refused", "version = 2\n\n" + PLUGIN)
        self.setup_node("write")
        self.assertEqual(self.told(), ["systemctl restart containerd"])

    def assert_config_is_old(self):
        self.assertEqual(self.read(self.config), OTHERS[0])
        self.assertEqual(self.told()[-1], "systemctl restart containerd")

    def test_another_address_is_said(self):
        self.begin("fake", NAMED[0])
        self.assertIn("/run/y.sock", self.setup_node("write", SNAPSHOTTER_SOCKET="/run/y.sock").stderr)
        self.assert_left_alone(NAMED[0])

    def test_a_root_of_the_snapshotter_that_the_agent_does_not_see_is_said(self):
        self.begin("fake", NAMED[0])
        path = os.path.join(self.dir, "etc/nydus/config.toml")
        default = "/var/lib/containerd/io.containerd.snapshotter.v1.nydus"
        for text, root in ((None, default), ("version = 1\n", default), ('root = "/data/nydus" # big\n[x]\nroot = "/no"\n', "/data/nydus"),
                           ("[daemon]\nroot = '/no'\n", default), ("  root='/data/nydus'\n", "/data/nydus")):
            if text is not None:
                self.write(path, text)
            for mounts, seen in ((root, True), (f"/elsewhere {os.path.dirname(root)}/", True), ("/", True), (root + "x", False),
                                 (root + "/below", False), ("/elsewhere", False)):
                with self.subTest(text, mounts=mounts):
                    done = self.setup_node("check", SNAPSHOTTER_CONFIG=path, MOUNTS=mounts)
                    self.assertIn(f"the snapshotter's root is {root} (", done.stdout if seen else done.stderr)
                    self.assertEqual("the agent sees it" in done.stdout, seen)
        self.assertNotIn("root", self.setup_node("off", SNAPSHOTTER_CONFIG=path, MOUNTS="/elsewhere").stderr)

    def test_check_says_what_is_missing_and_changes_nothing(self):
        for text in OTHERS:
            with self.subTest(text):
                self.begin("fake", text)
                self.assertIn("[proxy_plugins.nydus]\n", self.setup_node("check").stdout)
                self.assert_left_alone(text)
                self.assertEqual(self.files(), ["config.toml"])

    def test_write_adds_it_once_and_restarts_once(self):
        for program in self.programs:
            for text in (*OTHERS, OTHERS[0].rstrip("\n"), None):
                with self.subTest(f"{program}: {text}"):
                    self.begin(program, text)
                    self.setup_node("write")
                    self.assertIn("left as it is", self.setup_node("write").stdout)
                    with open(self.config, "rb") as f:
                        config = tomllib.load(f)
                    self.assertEqual(config["proxy_plugins"].pop("nydus"), {"type": "snapshot", "address": "/run/x.sock"})
                    self.assertEqual(self.told(), ["systemctl restart containerd", "systemctl is-active --quiet containerd"])
                    self.assertEqual(self.files(), ["config.toml"] + (["config.toml.before-shoal"] if text is not None else []))
                    if text is not None:
                        self.assertEqual(self.read(self.config + ".before-shoal"), text)
                        before = tomllib.loads(text)
                        self.assertEqual(config, {**before, "proxy_plugins": before.get("proxy_plugins", {})})

    def test_what_containerd_does_not_understand_is_not_written(self):
        for program in self.programs:
            for text in ('proxy_plugins = { other = { type = "snapshot", address = "/o" } }\n', "version = \n"):
                with self.subTest(f"{program}: {text}"):
                    self.begin(program, text)
                    done = self.setup_node("write")
                    self.assertIn("failed to load TOML", done.stderr)
                    self.assertIn("[proxy_plugins.nydus]\n", done.stderr)
                    self.assert_left_alone(text)
                    self.assertEqual(self.files(), ["config.toml"])
        with self.subTest("a node without containerd in its PATH"):
            self.begin("fake", OTHERS[0])
            self.write("bin/containerd", "#!/bin/sh\nexit 127\n", 0o755)
            self.assertIn("does not tell", self.setup_node("write").stderr)
            self.assert_left_alone(OTHERS[0])

    def test_a_containerd_that_does_not_come_up_has_its_old_config_again(self):
        for text in (OTHERS[0], None):
            with self.subTest(text):
                self.begin("fake", text)
                self.write("refuses", "")
                self.assertIn("did not come up", self.setup_node("write").stderr)
                self.assertEqual(self.told(), ["systemctl restart containerd"] * 2)
                self.assertEqual(os.path.exists(self.config) and self.read(self.config), text or False)
                self.write("told", "")
                self.assertIn("did not come up with it before", self.setup_node("write").stderr)
                self.assertEqual(self.told(), [], "not again and again")
                os.unlink(self.config + ".shoal-refused")
                os.unlink(os.path.join(self.dir, "refuses"))
                self.setup_node("write")
                self.assertEqual(len(self.told()), 2)
                self.assertIn("nydus", self.read(self.config))

    def test_the_nodes_files_may_be_elsewhere_in_the_container(self):
        self.begin("fake", OTHERS[0])
        env = {"HOST": self.dir, "NODE_ROOT": self.dir, "CONTAINERD_CONFIG": "/etc/containerd/config.toml"}
        self.assertIn("does not name", self.setup_node("check", **env).stdout)
        self.setup_node("write", **env)
        self.assertEqual(len(self.told()), 2)
        for how in ("check", "write"):
            self.assertIn("left as it is", self.setup_node(how, **env).stdout)

    def test_a_restart_that_was_cut_off_is_made_up_for(self):
        self.begin("fake", OTHERS[0] + PLUGIN)
        self.write(self.config + ".before-shoal", OTHERS[0])
        self.write(self.config + ".shoal-pending", "")
        self.setup_node("write")
        self.assertEqual(len(self.told()), 2)
        self.assertEqual(self.files(), ["config.toml", "config.toml.before-shoal"])
        self.setup_node("write")
        self.assertEqual(len(self.told()), 2)

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
        with open(os.path.join(target, "bin", "shoal"), encoding="utf-8") as f:
            self.assertIn("SHOAL_OWN_AGENT=no", f.read(), "nydusd starts no other agent beside it")

    def test_programs_that_find_no_room_leave_the_old_ones_and_the_agent_starts(self):
        target, setup = os.path.join(self.dir, "opt"), {"INSTALL": os.path.join(self.dir, "opt"), "CONTAINERD": "check"}

        def installed():
            return {name: os.stat(os.path.join(target, at, name)).st_ino for at in ("bin", "lib")
                    for name in os.listdir(os.path.join(target, at))}
        self.script("node-setup.sh", env=setup)
        before = installed()
        # The disk is full from its n-th file on; 999: the program itself.
        for n in (1, 3, 999):
            with self.subTest(n):
                self.write("room", "x" * (n - 1))
                self.write("bin/cp", f'''#!/bin/sh
for to; do :; done
[ "$(wc -c <{self.dir}/room)" != 0 ] || {{ echo half >"$to"; exit 1; }}
case $to in *bin.new) echo half >"$to"; exit 1 ;; esac
truncate -s -1 {self.dir}/room
exec /bin/cp "$@"
''', 0o755)
                done = self.script("node-setup.sh", env=setup)
                self.assertIn("were not installed", done.stderr)
                self.assertNotIn("installed:", done.stdout)
                self.assertIn("containerd's config", done.stdout, "the other steps are taken")
                self.assertEqual(installed(), before, "an old program with new libraries")
        os.unlink(os.path.join(self.bin, "cp"))
        self.assertEqual(self.script("node-setup.sh", env=setup).stdout.count("installed:"), self.n_programs())
        self.assertEqual(installed().keys(), before.keys())

    def n_programs(self):
        path = f"{self.bin}:{AGENT}:/usr/sbin:/usr/bin:/sbin:/bin"
        return sum(shutil.which(name, path=path) is not None for name in ("shoal", "nydusd"))


class Keep(ScriptTest):
    def setUp(self):
        super().setUp()
        self.write("bin/shoal", f'''#!/bin/sh
echo "$*" >>{self.dir}/said
case $* in *missing*) exit 4 ;; esac
[ "$1" != status ] || [ -e {self.dir}/up ] || {{ : >{self.dir}/up; exit 3; }}
''', 0o755)

    def test_the_list_is_pinned_once_the_agent_is_there(self):
        images = self.write("images", "r.example/a:1\n\nr.example/b:1\n")
        self.script("keep.sh", images)
        self.assertEqual(self.read("said").splitlines(), ["status", "status", f"pin --list {images}"])

    def test_it_tells_whether_all_of_them_are_whole(self):
        done = self.script("keep.sh", self.write("missing", "r.example/a:1\n"), check=False)
        self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    unittest.main()
