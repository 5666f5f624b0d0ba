"""Registries as they are met in the field: TLS with a CA of one's own, proxies, mirrors."""
import hashlib
import http.client
import http.server
import itertools
import json
import os
import socket
import ssl
import subprocess
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import lab

IMAGE = "layers:v6"


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Certificates:
    """A CA, and a server's key and certificate for 127.0.0.1 from it."""

    def __init__(self):
        self.dir = lab.tempfile.mkdtemp(prefix="ca-", dir=lab.TMP)
        self.ca, self.cert, self.key = (os.path.join(self.dir, n) for n in ("ca.pem", "cert.pem", "key.pem"))
        ca_key, request, extra = (os.path.join(self.dir, n) for n in ("ca.key", "request", "extra"))
        with open(extra, "w", encoding="ascii") as f:
            f.write("subjectAltName=IP:127.0.0.1\n")
        new = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run(*new, "-x509", "-subj", "/CN=a CA of one's own", "-days", "2", "-keyout", ca_key, "-out", self.ca)
        run(*new, "-subj", "/CN=registry", "-keyout", self.key, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
            "-extfile", extra, "-out", self.cert)


class Proxy(http.server.BaseHTTPRequestHandler):
    """A forward proxy: whole URLs are fetched, CONNECT opens a tunnel. Counts both. server.user: "NAME:PASSWORD" that
    opens it; None: anybody may pass."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def may_pass(self):
        want = self.server.user and f"Basic {lab.base64_of(self.server.user)}"
        if not want or self.headers.get("Proxy-Authorization") == want:
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_GET(self):
        if not self.may_pass():
            return
        url = urllib.parse.urlsplit(self.path)
        self.server.seen.append((self.command, url.netloc))
        upstream = http.client.HTTPConnection(url.netloc, timeout=lab.DEADLINE_S)
        headers = {k: v for k, v in self.headers.items()
                   if k.lower() not in ("proxy-connection", "connection", "proxy-authorization")}
        upstream.request(self.command, url.path, headers=headers)
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        upstream.close()

    do_HEAD = do_GET

    def do_CONNECT(self):
        if not self.may_pass():
            return
        self.server.seen.append((self.command, self.path))
        host, _, port = self.path.partition(":")
        upstream = socket.create_connection((host, int(port)))
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        back = threading.Thread(target=self.copy, args=(upstream, self.connection), daemon=True)
        back.start()
        self.copy(self.connection, upstream)
        back.join()
        upstream.close()
        self.close_connection = True

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def serve_locally(test, handler, context=None):
    """A server on a free port, until the test ends. context: it speaks TLS."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    test.addCleanup(server.server_close)
    test.addCleanup(server.shutdown)
    return server


def start_proxy(test, user=None):
    server = serve_locally(test, Proxy)
    server.seen = []
    server.user = user
    return server


class Nothing(http.server.BaseHTTPRequestHandler):
    """A registry that has nothing."""

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def do_GET(self):
        self.send_error(404)

    do_HEAD = do_GET


def start_tls_registry(test):
    """(the registry, its Certificates). It has the same images as the other one, and speaks HTTP/2."""
    certificates = Certificates()
    registry = lab.Registry(root=lab.registry().root, tls=certificates)
    test.addCleanup(registry.stop)
    lab.registry().push(IMAGE)
    spoken = subprocess.run(["curl", "-sS", "--cacert", certificates.ca, "-o", "/dev/null", "-w", "%{http_version}", f"https://{registry.host}/v2/"],
                            check=True, capture_output=True, text=True).stdout
    test.assertEqual(spoken, "2")
    return registry, certificates


class OriginTest(lab.LabTest):
    def agent_for(self, *entries, **config):
        return self.agent(config={"registries": list(entries), **config})

    def proxy(self):
        return start_proxy(self)

    def tls_registry(self):
        return start_tls_registry(self)


class Tls(OriginTest):
    def test_a_ca_of_ones_own(self):
        registry, certificates = self.tls_registry()
        agent = self.agent_for({"host": registry.host, "scheme": "https", "ca_file": certificates.ca})
        self.assert_tree(agent.mount(f"{registry.host}/{IMAGE}"), IMAGE)

    def test_a_certificate_that_nobody_vouches_for_is_refused(self):
        registry, _ = self.tls_registry()
        agent = self.agent_for({"host": registry.host, "scheme": "https"})
        done = agent.shoal("mount", f"{registry.host}/{IMAGE}", agent.new_dir(), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("certificate", done.stderr)

    def test_the_machine_says_the_lowest_version(self):
        """What OpenSSL's own configuration refuses nobody here allows. It is said at once: to try again cures nothing."""
        server, certificates = self.tls_1_2_server()
        strict = os.path.join(certificates.dir, "openssl.cnf")
        with open(strict, "w", encoding="ascii") as f:
            f.write("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nMinProtocol = TLSv1.3\n")
        host = f"127.0.0.1:{server.server_port}"
        for env, says in (({}, "404"), ({"OPENSSL_CONF": strict}, "protocol version")):
            agent = self.agent(config={"registries": [{"host": host, "scheme": "https", "ca_file": certificates.ca}]}, env=env)
            done = agent.shoal("mount", f"{host}/{IMAGE}", agent.new_dir(), check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(says, done.stderr)
        self.assertEqual(lab.metric_sum(agent.metrics(), "shoal_origin_requests_total", code="0"), 1)

    def tls_1_2_server(self):
        """(a server that speaks nothing newer, and has nothing, its Certificates)"""
        certificates = Certificates()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificates.cert, certificates.key)
        return serve_locally(self, Nothing, context), certificates

    def test_through_a_proxy(self):
        registry, certificates = self.tls_registry()
        proxy = self.proxy()
        agent = self.agent_for({"host": registry.host, "scheme": "https", "ca_file": certificates.ca,
                                "proxy": f"http://127.0.0.1:{proxy.server_port}"})
        self.assert_tree(agent.mount(f"{registry.host}/{IMAGE}"), IMAGE)
        self.assertEqual(set(proxy.seen), {("CONNECT", registry.host)})

    def test_answers_that_share_a_connection(self):
        """By HTTP/2 some end while others still come: what is asked for next is none the worse for that."""
        registry, certificates = self.tls_registry()
        agent = self.agent_for({"host": registry.host, "scheme": "https", "ca_file": certificates.ca})
        images = (IMAGE, "edge:v6", "edge:v5-lz4-sha256", "layers:v6-batch")
        for image in images:
            lab.registry().push(image)
        with ThreadPoolExecutor(16) as pool:
            wheres = list(pool.map(lambda image: agent.mount(f"{registry.host}/{image}"), images))
            paths = [list(lab.regular_files(where)) for where in wheres]
            list(pool.map(lab.read_whole, [path for turn in itertools.zip_longest(*paths) for path in turn if path]))
        for where, image in zip(wheres, images):
            self.assert_tree(where, image)


class Plain(OriginTest):
    def test_through_a_proxy(self):
        registry, proxy = lab.registry(), self.proxy()
        reference = registry.push(IMAGE)
        agent = self.agent_for({"host": registry.host, "scheme": "http", "proxy": f"http://127.0.0.1:{proxy.server_port}"})
        self.assert_tree(agent.mount(reference), IMAGE)
        self.assertIn(("GET", registry.host), proxy.seen)
        self.assertEqual({host for _, host in proxy.seen}, {registry.host})


class Mirrors(OriginTest):
    def world(self):
        """(mirror, registry, agent): both count what they are asked, and both have the image."""
        lab.registry().push(IMAGE)
        mirror, registry = self.faulty_origin(), self.faulty_origin()
        agent = self.agent_for({"host": registry.host, "scheme": "http", "mirrors": [mirror.host]},
                               {"host": mirror.host, "scheme": "http"})
        return mirror, registry, agent

    def test_the_mirror_is_asked_first(self):
        mirror, registry, agent = self.world()
        self.assert_tree(agent.mount(f"{registry.host}/{IMAGE}"), IMAGE)
        self.assertGreater(mirror.stats()["requests"], 0)
        self.assertEqual(registry.stats()["requests"], 0)

    def test_the_registry_has_what_the_mirror_has_not(self):
        mirror, registry, agent = self.world()
        mirror.set(status=404, match=".")
        self.assert_tree(agent.mount(f"{registry.host}/{IMAGE}"), IMAGE)
        self.assertGreater(registry.stats()["requests"], 0)

    def test_a_mirror_that_dies_is_passed_over(self):
        mirror, registry, agent = self.world()
        where = agent.mount(f"{registry.host}/{IMAGE}")
        mirror.stop()
        self.assert_tree(where, IMAGE)
        self.assertGreater(registry.stats()["requests"], 0)
        mirror.start()

    def test_a_mirror_that_lies_is_found_out(self):
        mirror, registry, agent = self.world()
        where = agent.mount(f"{registry.host}/{IMAGE}")
        mirror.set(flip=1)
        self.assert_tree(where, IMAGE)
        self.assertGreater(agent.metric("shoal_verify_failures_total"), 0)
        self.assertGreater(registry.stats()["requests"], 0)


class Manifests(OriginTest):
    """The forms in which a registry may hold the same image."""

    OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
    KINDS = {"manifest": (OCI + "manifest.v1+json", DOCKER + "distribution.manifest.v2+json"),
             "index": (OCI + "index.v1+json", DOCKER + "distribution.manifest.list.v2+json"),
             "config": (OCI + "config.v1+json", DOCKER + "container.image.v1+json"),
             "layer": (OCI + "layer.v1.tar+gzip", DOCKER + "image.rootfs.diff.tar.gzip")}

    def put(self, tag, document):
        """Into the registry's repository "layers". @return a descriptor of it"""
        body = json.dumps(document).encode()
        request = lab.urllib.request.Request(f"http://{lab.registry().host}/v2/layers/manifests/{tag}", method="PUT",
                                             data=body, headers={"Content-Type": document["mediaType"]})
        with lab.urllib.request.urlopen(request) as answer:
            self.assertEqual(answer.status, 201)
        return {"mediaType": document["mediaType"], "digest": "sha256:" + hashlib.sha256(body).hexdigest(),
                "size": len(body)}

    def manifest(self, image, docker=False):
        lab.registry().push(image)
        _, manifest = lab.layout_manifest(image)
        if docker:
            manifest["mediaType"] = self.KINDS["manifest"][1]
            manifest["config"]["mediaType"] = self.KINDS["config"][1]
            for layer in manifest["layers"]:
                layer["mediaType"] = self.KINDS["layer"][1]
        return manifest

    def assert_mounts(self, tag):
        agent = self.agent()
        self.assert_tree(agent.mount(f"{lab.registry().host}/layers:{tag}"), IMAGE)

    def test_docker_media_types(self):
        self.put("docker", self.manifest(IMAGE, docker=True))
        self.assert_mounts("docker")

    def test_an_index_with_other_machines_and_a_nydus_variant(self):
        """The ordinary image of this machine comes first; the nydus variant is what can be mounted."""
        arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        other = {"amd64": "arm64", "arm64": "amd64"}[arch]
        for docker in (False, True):
            with self.subTest(docker=docker):
                ordinary = self.put(f"ordinary{docker}", self.manifest("layers:oci", docker))
                nydus = self.put(f"nydus{docker}", self.manifest(IMAGE, docker))
                entries = [{**ordinary, "platform": {"os": "linux", "architecture": other}},
                           {**ordinary, "platform": {"os": "linux", "architecture": arch}},
                           {**nydus, "platform": {"os": "linux", "architecture": arch,
                                                  "os.features": ["nydus.remoteimage.v1"]}}]
                self.put(f"index{docker}", {"schemaVersion": 2, "mediaType": self.KINDS["index"][docker],
                                            "manifests": entries})
                self.assert_mounts(f"index{docker}")

    def test_an_index_without_this_machine_is_refused_with_what_there_is(self):
        entry = {**self.put("alone", self.manifest(IMAGE)), "platform": {"os": "linux", "architecture": "s390x"}}
        self.put("foreign", {"schemaVersion": 2, "mediaType": self.KINDS["index"][0], "manifests": [entry]})
        agent = self.agent()
        done = agent.shoal("mount", f"{lab.registry().host}/layers:foreign", agent.new_dir(), check=False)
        self.assertIn(done.returncode, (1, 4))
        self.assertIn("s390x", done.stderr)
