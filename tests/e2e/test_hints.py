"""What goes wrong under a user's hands is told in one line: what, why, and what to do. With --json the same, as JSON."""
import contextlib
import http.client
import itertools
import json
import os
import re
import subprocess

import front
import lab

IMAGE = "edge:v6"
LINE = re.compile(r"shoal: ([^:]+(?::\S+)*): (.+) \((.+)\)(: [^()]+)?\n")  # (of errno the text comes last)


class Hints(lab.LabTest):
    def assert_hint(self, agent, exit_status, *words):
        with self.subTest(words=words):
            done = agent.shoal(*words, check=False)
            self.assertEqual((done.returncode, done.stdout), (exit_status, ""), done.stderr)
            self.assertRegex(done.stderr, LINE)
            line = LINE.fullmatch(done.stderr)
            self.assertIsNotNone(line, done.stderr)
            as_json = agent.shoal("--json", *words, check=False)
            error = json.loads(as_json.stdout)["error"]
            self.assertEqual((as_json.returncode, as_json.stderr, error["exit"]), (exit_status, "", exit_status))
            self.assertEqual(f"shoal: {error['what']}: {error['message']}\n", done.stderr)

    def test_each_error_says_what_to_do(self):
        agent = self.agent()
        image = lab.registry().push(IMAGE)
        host = lab.registry().host
        where = agent.mount(image)
        empty = agent.new_dir()
        file = next(lab.regular_files(where))
        text = os.path.join(empty, "text")
        with open(text, "w", encoding="ascii") as f:
            f.write("it is no bootstrap\n")
        digest = "0" * 64
        for exit_status, words in (
                (2, ()), (2, ("frob",)), (2, ("--frob",)), (2, ("ls", "much")), (2, ("mount", image)), (2, ("umount",)),
                (2, ("ls", "--offset", "3")), (2, ("mount", "--bootstrap", text, empty)), (2, ("mount", "--blobs", "dir:/", image, empty)),
                (2, ("mount", "--bootstrap", text, "--blobs", "dir:/", image, empty)), (2, ("mount", "--how", "fast", image, empty)),
                (2, ("explain", file, "--offset", "x")), (2, ("explain", file, "--offset", "9" * 19)), (2, ("gc", "--to", "10G")),
                (2, ("drain", "--timeout", "soon")), (2, ("chunk", "find", "abc")), (2, ("pin",)), (2, ("pin", "--list", text, image)),
                (2, ("drain", "--timeout", "0")), (2, ("mount", "no reference", empty)),
                (4, ("image", "rm", "no reference")), (4, ("umount", empty)), (4, ("explain", text)), (4, ("explain", "/")),
                (4, ("explain", os.path.join(where, "none"))), (4, ("explain", os.path.join(file, "none"))), (4, ("prefetch", empty)),
                (4, ("image", "rm", f"{host}/none:1")), (4, ("image", "inspect", f"{host}/none:1")), (4, ("unpin", image)),
                (4, ("mount", f"{host}/none:1", empty)), (4, ("mount", image, os.path.join(empty, "none"))),
                (4, ("chunk", "find", digest)), (2, ("pin", "--list", os.path.join(empty, "none"))), (4, ("image", "rm", digest)),
                (4, ("mount", "--auth-file", os.path.join(empty, "none"), image, empty)),
                (1, ("explain", where)), (1, ("explain", file, "--offset", "9" * 15)), (1, ("image", "rm", image)),
                (1, ("mount", image, text)), (1, ("image", "inspect", text)), (1, ("mount", "--bootstrap", text, "--blobs", "dir:/", empty)),
                (1, ("mount", lab.registry().push("layers:v6"), where)),
                (4, ("pki", "node", os.path.join(empty, "none"), "x"))):
            self.assert_hint(agent, exit_status, *words)

    def test_words_without_letters_are_refused(self):
        """As of a script's "$UNSET": that is not the directory that we are in, nor an agent somewhere else."""
        agent = self.agent()
        image, here = lab.registry().push(IMAGE), agent.new_dir()
        for words in (("mount", image, ""), ("umount", ""), ("mount", "--auth-file", "", image, here), ("--socket", "", "ls"), ("pin", "--list", ""),
                      ("pki", "init", ""), ("image", "rm", ""), ("mount", "", here), ("image", "inspect", "")):
            with self.subTest(words=words):
                done = subprocess.run(agent.argv(*words), cwd=here, capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
                self.assertRegex(done.stderr, LINE)
        self.assertEqual([], agent.json("ls")["mounts"])

    def test_methods_that_mean_nothing_are_refused_as_everything_else(self):
        agent = self.agent()
        for method, path, status in (("PATCH", "/v1/status", 405), ("OPTIONS", "/v1/mounts", 405), ("TRACE", "/v1/status", 405),
                                     ("OPTIONS", "*", 404), ("DELETE", "/v1/status", 405)):
            answered, answer, _ = front.ask(agent.socket, method, path)
            self.assertEqual((answered, json.loads(answer)["error"]["exit"]), (status, 1), (method, path, answer))
        self.assertEqual([], agent.json("ls")["mounts"])

    def test_an_answer_to_head_ends_where_the_next_one_begins(self):
        agent = self.agent()
        f = front.Front(agent)
        self.addCleanup(f.take_down)
        page = http.client.HTTPConnection("127.0.0.1", agent.http_port, timeout=lab.DEADLINE_S)
        for connection, paths in ((page, ("/healthz", "/metrics", "/", "/none")), (front.UnixConnection(agent.socket), ("/v1/status", "/none")),
                                  (front.UnixConnection(f.sock), ("/api/v1/daemon", "/none"))):
            with contextlib.closing(connection):
                for method, path in itertools.product(("HEAD", "GET"), paths):
                    connection.request(method, path)
                    answer = connection.getresponse()
                    self.assertEqual(method == "HEAD", not answer.read(), (method, path))

    def test_members_of_a_body_that_mean_nothing_are_refused(self):
        agent = self.agent()
        for method, path in (("POST", "mounts"), ("PUT", "mounts/credentials"), ("POST", "prefetch"), ("PUT", "pins"),
                             ("POST", "verify"), ("POST", "gc"), ("POST", "drain")):
            status, answer, _ = front.ask(agent.socket, method, f"/v1/{path}", {"image": "h/r:t", "frob": 1} if method != "POST" else {"frob": 1})
            self.assertEqual((status, json.loads(answer)["error"]["exit"]), (400, 2), (method, path, answer))

    def test_a_request_that_names_nothing_is_a_wrong_one(self):
        agent = self.agent()
        given = {"credentials": {"token": "t"}}
        mount = {"image": "h/r:t", "dir": "/mnt"}
        wrong = [{**mount, "credentials": c} for c in (
            {}, [], {"username": "u"}, {"password": "p"}, {"username": "u", "password": "p", "token": "t"}, {"proxy_username": "u"},
            {"token": "t", "proxy_password": "p"}, {"username": "u", "proxy_username": "u", "proxy_password": "p"})]
        for method, path, body in (*(("POST", "mounts", body) for body in wrong), ("PUT", "mounts/credentials", given), ("PUT", "mounts/credentials", {**given, "dir": 5}),
                                   ("DELETE", "mounts", None), ("GET", "images/inspect", None), ("DELETE", "images?image=", None),
                                   ("DELETE", "pins", None), ("GET", "explain", None), ("POST", "prefetch", {})):
            status, answer, _ = front.ask(agent.socket, method, f"/v1/{path}", body)
            self.assertEqual((status, json.loads(answer)["error"]["exit"]), (400, 2), (method, path, answer))

    def test_so_does_who_is_refused_by_the_registry_or_finds_no_agent(self):
        registry = lab.Registry(htpasswd=lab.htpasswd_file("hints", "user", "secret"))
        self.addCleanup(registry.stop)
        agent = self.agent(host=registry.host, config={"read": {"timeout_ms": 1000}})
        self.assert_hint(agent, 5, "mount", f"{registry.host}/any:1", agent.new_dir())
        agent.stop()
        for words in (("ls",), ("status",), ("top",), ("prefetch", "a/b:1"), ("drain",), ("verify",), ("pin", "a/b:1")):
            self.assert_hint(agent, 3, *words)
        agent.start()
