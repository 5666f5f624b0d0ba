"""The chart, rendered by helm: valid for three versions of Kubernetes, and its configs accepted by shoald."""
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
CHART = os.path.join(REPO, "charts", "shoal")
SHOALD = os.path.join(os.environ.get("SHOAL_BUILD", os.path.join(REPO, "build", "release")), "agent", "shoald")
HELM = os.environ.get("HELM") or shutil.which("helm", path=os.path.join(REPO, "build", "charts") + ":" + os.environ["PATH"])
KUBERNETES = ["1.25", "1.31", "1.37"]

try:
    import kubernetes_validate
    import yaml
except ImportError:
    kubernetes_validate = None

CASES = {
    "default": {},
    "seeds": {"seeds": {"enabled": True, "images": ["registry.example/app:1", "registry.example/base@sha256:" + "0" * 64],
                        "storage": {"className": "fast"}, "config": {"cache": {"quota_bytes": 50 << 30}}}},
    "cert-manager": {"certificates": {"mode": "cert-manager"}, "seeds": {"enabled": True}},
    "no-tls": {"certificates": {"mode": "none"}, "networkPolicy": {"enabled": False}},
    "ipv6-only": {"ipFamily": "IPv6"},
    "private-registry": {"registries": [
        {"host": "registry.example", "dockerConfigSecret": "pull-secret", "share_metadata": "cluster"},
        {"host": "other.example:5000", "username": "robot", "passwordSecret": {"name": "robot", "key": "password"},
         "ca": {"configMap": "company-ca", "key": "ca.pem"}, "mirrors": ["mirror.example"], "requests_per_s": 50},
        {"host": "10.0.0.5:5000", "scheme": "http"}]},
    "zones": {"zones": ["eu-1a", "eu-1b"], "config": {"limits": {"upload_bytes_per_s": 1000000}}},
    "everything": {"runtimeClass": {"create": True}, "serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True},
                   "dashboard": {"enabled": True}, "node": {"containerd": "write"}, "ipFamily": "DualStack",
                   "imagePullSecrets": [{"name": "x"}], "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"},
                   "networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}]}},
    "alone": {"peers": {"enabled": False}, "keeper": {"enabled": False}, "node": {"install": "", "containerd": "off"}},
    "own-certificates": {"certificates": {"mode": "host"}, "hostPaths": {"state": "/var/lib/shoal"}},
}
# They come with operators, and Kubernetes' own schemas do not know them.
FOREIGN = {"cert-manager.io/v1", "monitoring.coreos.com/v1"}


def helm(*args, values=None, check=True):
    with tempfile.TemporaryDirectory() as home:
        argv = [HELM, *args]
        if values is not None:
            path = os.path.join(home, "values.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump(values, f)
            argv += ["--values", path]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "HOME": home})
    if check and done.returncode != 0:
        raise AssertionError(f"helm {args[0]}: {done.stdout}{done.stderr}")
    return done


def check_config(text):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(text)
        f.flush()
        return subprocess.run([SHOALD, "--check-config", f.name], capture_output=True, text=True, check=False)


class Checks(unittest.TestCase):
    def test_defaults_that_are_repeated_are_those_of_the_settings(self):
        """A template cannot read the schema: helm keeps it from the chart's files."""
        with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as f:
            settings = json.load(f)["properties"]["config"]["properties"]
        with open(os.path.join(CHART, "templates", "checks.yaml"), encoding="utf-8") as f:
            repeated = re.findall(r"default (\d+) \$(\w+)\.(\w+)", f.read())
        self.assertEqual([name for _, _, name in repeated], ["low_watermark_percent", "high_watermark_percent"])
        for value, section, name in repeated:
            self.assertEqual(int(value), settings[section]["properties"][name]["default"], name)


@unittest.skipUnless(HELM, "no helm: tests/charts/setup builds it where there is a Go")
@unittest.skipUnless(kubernetes_validate, "no Kubernetes schemas: tests/charts/setup installs them")
class Chart(unittest.TestCase):
    rendered = {}

    @classmethod
    def render(cls, name):
        """The documents of a case, by (kind, name)."""
        if name not in cls.rendered:
            text = helm("template", "it", CHART, "--namespace", "shoal-system", "--kube-version", "1.31.0",
                        values=CASES[name]).stdout
            cls.rendered[name] = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(text) if d}
        return cls.rendered[name]

    def config(self, name, of="it"):
        return yaml.safe_load(self.render(name)["ConfigMap", of]["data"]["shoal.yaml"])

    def pod(self, name, kind="DaemonSet", of="it"):
        return self.render(name)[kind, of]["spec"]["template"]["spec"]

    def test_lint_finds_nothing(self):
        for name, values in CASES.items():
            with self.subTest(name):
                said = helm("lint", "--strict", CHART, values=values).stdout
                self.assertNotIn("[WARNING]", said)

    def test_every_document_is_valid_for_three_versions(self):
        for name in CASES:
            for document in self.render(name).values():
                if document["apiVersion"] in FOREIGN:
                    continue
                for version in KUBERNETES:
                    with self.subTest(name, kind=document["kind"], name=document["metadata"]["name"], version=version):
                        kubernetes_validate.validate(document, version, strict=True)

    def test_every_config_is_accepted_by_shoald(self):
        n = 0
        for name in CASES:
            for (kind, of), document in self.render(name).items():
                text = document.get("data", {}).get("shoal.yaml") if kind == "ConfigMap" else None
                if text is not None:
                    n += 1
                    with self.subTest(name, of=of):
                        done = check_config(text)
                        self.assertEqual(done.returncode, 0, done.stderr + text)
        self.assertGreaterEqual(n, len(CASES) + 3)

    def test_what_a_pod_mounts_is_there(self):
        for name in CASES:
            for (kind, of), document in self.render(name).items():
                if kind not in ("DaemonSet", "StatefulSet"):
                    continue
                spec = document["spec"]["template"]["spec"]
                volumes = {v["name"] for v in spec["volumes"]} | {
                    c["metadata"]["name"] for c in document["spec"].get("volumeClaimTemplates", [])}
                used = {m["name"] for c in spec["containers"] + spec.get("initContainers", []) for m in c["volumeMounts"]}
                with self.subTest(name, of=of):
                    self.assertEqual(used, volumes)

    def test_files_that_a_config_names_are_mounted(self):
        for name in CASES:
            for (kind, of), document in self.render(name).items():
                if kind not in ("DaemonSet", "StatefulSet") or of.endswith("-keeper"):
                    continue
                agent = document["spec"]["template"]["spec"]["containers"][0]
                mounted = [m["mountPath"] for m in agent["volumeMounts"]]
                config = self.config(name, of)
                files = list(config.get("peers", {}).get("tls", {}).values())
                for entry in config.get("registries", []):
                    files += [entry[k] for k in ("ca_file", "docker_config", "password_file") if k in entry]
                files += [config["state_dir"] + "/x", config["api"]["socket"]]
                for path in files:
                    with self.subTest(name, of=of, path=path):
                        self.assertTrue(any(path.startswith(m + "/") for m in mounted), mounted)

    def test_default(self):
        config = self.config("default")
        self.assertEqual(config["peers"], {"listen": "0.0.0.0:9465", "dns": "it-peers.shoal-system.svc:9465",
                                           "tls": {k: f"/etc/shoal/tls/{v}" for k, v in
                                                   (("ca", "ca.pem"), ("cert", "node.pem"), ("key", "node.key"))}})
        self.assertEqual(config["keeper"], {"socket": "/run/shoal/keeper.sock", "start": False})
        service = self.render("default")["Service", "it-peers"]["spec"]
        self.assertEqual((service["clusterIP"], service["publishNotReadyAddresses"]), ("None", True))
        agent = self.pod("default")["containers"][0]
        propagation = {m["mountPath"]: m.get("mountPropagation") for m in agent["volumeMounts"]}
        self.assertEqual(propagation[self.root_of_the_guide()], "Bidirectional")
        self.assertTrue(config["state_dir"].startswith(self.root_of_the_guide() + "/"))
        self.assertNotIn(config["state_dir"], propagation)  # no mount of its own: hard links must reach the cache
        self.assertIn("/var/lib/shoal", [m["mountPath"] for m in self.pod("own-certificates")["containers"][0]["volumeMounts"]])
        keeper = self.render("default")["DaemonSet", "it-keeper"]["spec"]
        self.assertEqual(keeper["updateStrategy"], {"type": "OnDelete"})
        self.assertNotIn("privileged", keeper["template"]["spec"]["containers"][0]["securityContext"])

    @staticmethod
    def root_of_the_guide():
        """Where docs/containerd.md puts the snapshotter: chart and guide meet."""
        with open(os.path.join(REPO, "docs", "containerd.md"), encoding="utf-8") as f:
            return re.search(r'^root = "(.*)"$', f.read(), re.M)[1]

    def test_node_setup_sees_the_config_of_the_snapshotter_and_where_images_are_mounted(self):
        setup = next(c for c in self.pod("default")["initContainers"] if c["name"] == "node-setup")
        env = {e["name"]: e["value"] for e in setup["env"]}
        self.assertEqual(env["MOUNTS"], self.root_of_the_guide())
        mounted = [m["mountPath"] for m in setup["volumeMounts"]]
        self.assertIn("/host" + os.path.dirname(env["SNAPSHOTTER_CONFIG"]), mounted)
        self.assertEqual(len(mounted), len(set(mounted)))

    def test_the_ca_key_is_seen_by_the_init_container_alone(self):
        for kind, of in (("DaemonSet", "it"), ("StatefulSet", "it-seed")):
            spec = self.pod("seeds", kind, of)
            seers = [c["name"] for c in spec["initContainers"] + spec["containers"]
                     if any(m["name"] == "ca" for m in c["volumeMounts"])]
            self.assertEqual(seers, ["certificate"], of)

    def test_seeds(self):
        seed = self.render("seeds")["StatefulSet", "it-seed"]["spec"]
        pod = seed["template"]["spec"]
        self.assertEqual(seed["volumeClaimTemplates"][0]["spec"]["storageClassName"], "fast")
        for container in pod["containers"]:
            self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
        data = self.render("seeds")["ConfigMap", "it-seed"]["data"]
        self.assertEqual(data["images"].split(), CASES["seeds"]["seeds"]["images"])
        config = yaml.safe_load(data["shoal.yaml"])
        self.assertEqual((config["mount"], config["cache"]["quota_bytes"]), ("tree", 50 << 30))
        self.assertNotIn("keeper", config)
        labels = seed["template"]["metadata"]["labels"]
        self.assertTrue(self.render("seeds")["Service", "it-peers"]["spec"]["selector"].items() <= labels.items())
        agents = self.render("seeds")["DaemonSet", "it"]["spec"]["selector"]["matchLabels"]
        self.assertFalse(agents.items() <= labels.items())  # no set takes the other's pods

    def test_cert_manager(self):
        spec = self.pod("cert-manager")
        volume = next(v for v in spec["volumes"] if v["name"] == "tls")["csi"]
        self.assertEqual(volume["driver"], "csi.cert-manager.io")
        issuer = volume["volumeAttributes"]["csi.cert-manager.io/issuer-name"]
        documents = self.render("cert-manager")
        ca = documents["Issuer", issuer]["spec"]["ca"]["secretName"]
        self.assertTrue(any(k == "Certificate" and d["spec"]["secretName"] == ca and d["spec"]["isCA"]
                            for (k, _), d in documents.items()))
        for kind, of in (("DaemonSet", "it"), ("StatefulSet", "it-seed")):
            pod = self.pod("cert-manager", kind, of)
            self.assertFalse(any("secret" in v for v in pod["volumes"]), "no node sees a CA's key")
            self.assertNotIn("certificate", [c["name"] for c in pod.get("initContainers", [])])

    def test_no_tls(self):
        self.assertTrue(self.config("no-tls")["peers"]["insecure"])
        self.assertFalse(any(v["name"] in ("tls", "ca") for v in self.pod("no-tls")["volumes"]))
        self.assertNotIn(("NetworkPolicy", "it"), self.render("no-tls"))

    @staticmethod
    def notes(name):
        """NOTES.txt, which helm renders for a cluster alone: here as a member of a document."""
        with tempfile.TemporaryDirectory() as home:
            chart = shutil.copytree(CHART, os.path.join(home, "shoal"))
            with open(os.path.join(chart, "templates", "NOTES.txt"), encoding="utf-8") as f:
                text = "".join(f"    {line}" if line.strip() else line for line in f)
            with open(os.path.join(chart, "templates", "notes.yaml"), "w", encoding="utf-8") as f:
                f.write("kind: Notes\ntext: |\n" + text)
            said = helm("template", "it", chart, "--namespace", "shoal-system", "--kube-version", "1.31.0", "--show-only",
                        "templates/notes.yaml", values=CASES[name]).stdout
            return " ".join(yaml.safe_load(said)["text"].split())

    def test_who_reaches_the_page(self):
        def of(name):
            rules = self.render(name)["NetworkPolicy", "it"]["spec"]["ingress"]
            return next(r for r in rules if r["ports"][0]["port"] == "http").get("from")

        self.assertEqual(of("default"), [{"podSelector": {}}])  # no namespaceSelector: those of the policy's own
        self.assertEqual(of("everything"), [{"namespaceSelector": {}}])
        for name, words in (("default", "namespace shoal-system"), ("no-tls", "WARNING: without networkPolicy.enabled")):
            self.assertIn(words, self.notes(name))

    def test_the_kernel_parses_images_only_where_that_is_asked_for(self):
        self.assertEqual(self.config("default")["mount"], "tree")

    def test_ipv6_only(self):
        config = self.config("ipv6-only")
        self.assertEqual((config["http"]["listen"], config["peers"]["listen"]), ("[::]:9464", "[::]:9465"))
        service = self.render("ipv6-only")["Service", "it-peers"]["spec"]
        self.assertEqual((service["ipFamilyPolicy"], service["ipFamilies"]), ("SingleStack", ["IPv6"]))

    def test_private_registry(self):
        entries = self.config("private-registry")["registries"]
        self.assertEqual(entries[0], {"host": "registry.example", "share_metadata": "cluster",
                                      "docker_config": "/etc/shoal/registries/0/docker/config.json"})
        self.assertEqual(entries[1]["password_file"], "/etc/shoal/registries/1/password/password")
        self.assertEqual(entries[2], {"host": "10.0.0.5:5000", "scheme": "http"})
        volumes = {v["name"]: v for v in self.pod("private-registry")["volumes"]}
        self.assertEqual(volumes["registry-0-docker"]["secret"]["items"],
                         [{"key": ".dockerconfigjson", "path": "config.json"}])

    def test_zones(self):
        for zone in CASES["zones"]["zones"]:
            of = f"it-{zone}"
            self.assertEqual(self.config("zones", of)["peers"]["zone"], zone)
            self.assertEqual(self.pod("zones", of=of)["nodeSelector"],
                             {"kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone})
        self.assertNotIn(("DaemonSet", "it"), self.render("zones"))

    def test_everything(self):
        documents = self.render("everything")
        rules = documents["PrometheusRule", "it"]["spec"]["groups"][0]["rules"]
        self.assertIn("{{ $labels.instance }}", json.dumps(rules))
        monitor = documents["ServiceMonitor", "it"]["spec"]
        service = documents["Service", "it-peers"]
        self.assertTrue(monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items())
        self.assertIn(monitor["endpoints"][0]["port"], [p["name"] for p in service["spec"]["ports"]])
        json.loads(documents["ConfigMap", "it-dashboard"]["data"]["shoal.json"])
        self.assertEqual(documents["RuntimeClass", "shoal"]["handler"], "shoal")

    def test_wrong_values_are_refused_with_their_name(self):
        for values, word in (({"config": {"cache": {"qouta_bytes": 1}}}, "qouta_bytes"),
                             ({"config": {"log": {"level": "loud"}}}, "level"),
                             ({"config": {"state_dir": "/x"}}, "state_dir"),
                             ({"seeds": {"config": {"cache": {"qouta_bytes": 1}}}}, "qouta_bytes"),
                             ({"registries": [{"scheme": "http"}]}, "host"),
                             ({"certificates": {"mode": "magic"}}, "mode"),
                             ({"ipFamily": "IPv5"}, "ipFamily"),
                             ({"seeds": {"enabled": True}, "certificates": {"mode": "host"}}, "seeds"),
                             ({"seeds": {"enabled": True}, "peers": {"enabled": False}}, "peers"),
                             ({"registries": [{"host": "h", "username": "u"}]}, "registries[0] (h): username needs"),
                             ({"registries": [{"host": "h", "passwordSecret": {"name": "s", "key": "k"}}]}, "needs username"),
                             ({"registries": [{"host": "h", "ca": {"key": "k"}}]}, "ca needs"),
                             ({"ports": {"http": 9465}}, "ports.http"),
                             ({"registries": [{"host": "h"}, {"host": "h"}]}, "two entries for h"),
                             ({"registries": [{"host": ""}]}, "no host"),
                             ({"hostPaths": {"mounts": ["/a", "/a"]}}, "hostPaths.mounts"),
                             ({"config": {"cache": {"low_watermark_percent": 99}}}, "low_watermark_percent (99)"),
                             ({"seeds": {"config": {"cache": {"high_watermark_percent": 3}}}}, "seeds.config.cache: low"),
                             ({"zones": ["a", "keeper"]}, "called keeper"),
                             ({"certificates": {"mode": "cert-manager", "issuer": {"create": False}}}, "issuer")):
            with self.subTest(word):
                done = helm("template", "it", CHART, "--kube-version", "1.31.0", values=values, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(word, done.stderr)

    def test_a_secret_of_somebody_else_that_is_gone_does_not_keep_agents_away(self):
        """Their certificates are on the nodes, or in the seeds' volumes; and what runs has its files from them."""
        seen = set()
        for name in CASES:
            for (kind, of), document in self.render(name).items():
                if kind not in ("DaemonSet", "StatefulSet"):
                    continue
                for volume in document["spec"]["template"]["spec"]["volumes"]:
                    for source, key, made in (("secret", "secretName", "Secret"), ("configMap", "name", "ConfigMap")):
                        if source in volume and (made, volume[source][key]) not in self.render(name):
                            seen.add(volume["name"])
                            with self.subTest(name, of=of, volume=volume["name"]):
                                self.assertIs(volume[source].get("optional"), True)
        self.assertEqual(seen, {"ca", "registry-0-docker", "registry-1-password", "registry-1-ca"})

    def test_commands_of_the_readme_are_shell_that_helm_and_kubernetes_accept(self):
        with open(os.path.join(CHART, "README.md"), encoding="utf-8") as f:
            blocks = re.findall(r"^```sh\n(.*?)^```$", f.read(), re.M | re.S)
        n_helm = n_manifests = 0
        for block in blocks:
            with self.subTest(block):
                done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
            for manifest in re.findall(r"<<EOF\n(.*?)^EOF$", block, re.M | re.S):
                for version in KUBERNETES:
                    with self.subTest(manifest, version=version):
                        kubernetes_validate.validate(yaml.safe_load(manifest), version, strict=True)
                n_manifests += 1
            for command in re.findall(r"^helm .*$", block.replace("\\\n", " "), re.M):
                words = shlex.split(command, comments=True)
                with self.subTest(command):
                    self.assertIn("charts/shoal", words)
                    helm("template", "it", CHART, "--kube-version", "1.31.0",
                         *[word for i in range(len(words)) if words[i] == "--set" for word in words[i:i + 2]])
                n_helm += 1
        self.assertGreaterEqual(n_helm, 5)
        self.assertGreaterEqual(n_manifests, 1)


if __name__ == "__main__":
    unittest.main()
