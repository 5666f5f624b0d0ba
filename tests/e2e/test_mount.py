"""Mounting, as people and scripts meet it: what moves, what is said, which status comes back."""
import json
import os
import re
import subprocess
import threading

import front
import lab
import tree_manifest

IMAGE = "layers:v6"


class SecondMount(lab.LabTest):
    def requests(self, origin):
        return origin.stats()["requests"]

    def test_by_digest_makes_no_request(self):
        lab.registry().push(IMAGE)
        origin = self.faulty_origin()
        agent = self.agent(host=origin.host)
        digest, _ = lab.layout_manifest(IMAGE)
        reference = f"{origin.host}/layers@{digest}"
        first = agent.mount(reference)
        self.assert_tree(first, IMAGE)
        agent.umount(first)
        before = self.requests(origin)
        second = agent.mount(reference)
        self.assert_tree(second, IMAGE)
        self.assertEqual(self.requests(origin), before)

    def test_by_tag_makes_one_manifest_head(self):
        lab.registry().push(IMAGE)
        origin = self.faulty_origin()
        agent = self.agent(host=origin.host)
        reference = f"{origin.host}/{IMAGE}"
        first = agent.mount(reference)
        self.assert_tree(first, IMAGE)
        before = len(origin.stats()["log"])
        second = agent.mount(reference)
        self.assert_tree(second, IMAGE)
        new = origin.stats()["log"][before:]
        self.assertEqual([(r["method"], r["path"]) for r in new], [("HEAD", "/v2/layers/manifests/v6")])

    def test_a_tag_that_moved_gives_the_new_image(self):
        registry = lab.registry()
        registry.push("layers:v6", "moving:tag")
        agent = self.agent()
        reference = f"{registry.host}/moving:tag"
        first = agent.mount(reference)
        self.assert_tree(first, "layers:v6")
        registry.push("edge:v6", "edge:moved")
        registry.images.discard("moving:tag")
        registry.push("edge:v6", "moving:tag")
        self.assert_tree(agent.mount(reference), "edge:v6")
        self.assert_tree(first, "layers:v6", "the older mount stays as it was")


class Status(lab.LabTest):
    def fails(self, agent, status, *args):
        done = agent.shoal(*args, check=False)
        self.assertEqual(done.returncode, status, f"{args}: {done.stderr}")
        self.assertRegex(done.stderr, r"^shoal: .+: .+ \(.+\)\n$")  # what, why, what to do
        as_json = agent.shoal("--json", *args, check=False)
        self.assertEqual(as_json.returncode, status)
        json.loads(as_json.stdout)
        return done.stderr

    def test_what_is_wrong_has_its_exit_status(self):
        registry = lab.registry()
        reference = registry.push(IMAGE)
        agent = self.agent()
        where = agent.mount(reference)
        said = self.fails(agent, 4, "mount", f"{registry.host}/layers:nosuch", agent.new_dir())
        self.assertIn("check the name", said)
        self.fails(agent, 2, "mount", "--bootstrap", "/boot", "--blobs", "registry:nowhere", agent.new_dir())
        self.fails(agent, 4, "mount", f"{registry.host}/no/such:image", agent.new_dir())
        self.fails(agent, 2, "mount", "not a reference", agent.new_dir())
        self.fails(agent, 4, "umount", agent.new_dir())
        self.fails(agent, 2, "no-such-command")
        self.fails(agent, 4, "image", "inspect", f"{registry.host}/layers:nosuch")
        self.fails(agent, 1, "image", "rm", reference)
        self.fails(agent, 4, "chunk", "find", "0" * 64)
        self.fails(agent, 4, "explain", os.path.join(agent.dir, "config"))
        agent.shoal("mount", reference, where)
        other = registry.push("edge:v6")
        self.fails(agent, 1, "mount", other, where)

    def test_an_ordinary_image_is_refused_with_what_it_is(self):
        reference = lab.registry().push("layers:oci")
        said = self.fails(self.agent(), 1, "mount", reference, self.agent().new_dir())
        self.assertIn("nydus", said)

    def test_no_agent_is_3(self):
        agent = self.agent()
        agent.stop()
        done = agent.shoal("status", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r"^shoal: .+: .+\n$")

    def test_a_socket_whose_path_is_too_long_is_3_and_says_so(self):
        done = subprocess.run([lab.SHOAL, "--socket", "/" + "s" * 107, "status"], capture_output=True, text=True,
                              timeout=lab.DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r"^shoal: status: no agent at .*107 bytes .*\n$")

    def test_certificates_that_cannot_be_made_are_told_with_what_to_do(self):
        """No agent takes part: what it would say is said here."""
        for words, status in ((("init", "/proc/none"), 4), (("init", "/proc/version"), 1), (("node", "/proc/none", "a"), 4),
                              (("node", "/proc/none", "a b"), 2)):
            done = subprocess.run([lab.SHOAL, "pki", *words], capture_output=True, text=True, timeout=lab.DEADLINE_S, check=False)
            self.assertEqual(done.returncode, status, done)
            self.assertRegex(done.stderr, r"^shoal: pki .+: .+ \(.+\)\n$")

    def test_names_that_json_cannot_hold_are_refused_as_such(self):
        agent = self.agent()
        reference = lab.registry().push(IMAGE)
        where = agent.new_dir()
        odd = os.fsdecode(os.fsencode(agent.dir) + b"/odd-\xff")
        os.mkdir(odd)
        for command in (("mount", reference, odd), ("mount", "--auth-file", odd, reference, where),
                        ("mount", "--how", "\udcff", reference, where), ("prefetch", odd)):
            done = subprocess.run(agent.argv(*command), capture_output=True, timeout=lab.DEADLINE_S, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, rb"^shoal: .+: .*UTF-8 .*\n$")
        self.assertEqual(agent.json("ls")["mounts"], [])

    def test_what_could_not_be_written_is_1(self):
        agent = self.agent()
        for command in (["ls"], ["--json", "status"], ["--help"]):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run(agent.argv(*command), stdout=full, stderr=subprocess.PIPE, text=True,
                                      timeout=lab.DEADLINE_S, check=False)
            self.assertEqual(done.returncode, 1, command)
            self.assertRegex(done.stderr, r"^shoal: .+: .*No space left on device .*\n$")

    def test_a_second_agent_on_the_state_directory_says_who_has_it(self):
        agent = self.agent()
        config = os.path.join(agent.dir, "second.yaml")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({**agent.config, "api": {"socket": agent.socket + "2"}, "http": {"listen": "off"}}, f)
        done = subprocess.run([os.path.join(agent.build, "agent", "shoald"), "--config", config],
                              capture_output=True, text=True, timeout=lab.DEADLINE_S, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(str(agent.process.pid), done.stderr)

    def test_lists_show_what_is_there(self):
        reference = lab.registry().push(IMAGE)
        agent = self.agent()
        where = agent.mount(reference)
        mounts = agent.json("ls")
        self.assertIn(where, json.dumps(mounts))
        self.assertIn("layers", agent.shoal("ls").stdout)
        self.assertIn(reference, agent.shoal("image", "ls").stdout)
        self.assertIn("layers", agent.shoal("status").stdout + agent.shoal("image", "inspect", reference).stdout)
        blobs = agent.shoal("blob", "ls").stdout
        self.assertIn(f"registry:{lab.registry().host}/layers", blobs + json.dumps(agent.json("blob", "ls")))
        agent.umount(where)
        self.assertNotIn(where, json.dumps(agent.json("ls")))
        agent.shoal("image", "rm", reference)
        self.assertNotIn(reference, agent.shoal("image", "ls").stdout)

    def test_explain_finds_names_that_are_no_utf_8(self):
        agent = self.agent()
        where = os.fsencode(agent.mount(lab.registry().push("edge:v6")))
        for name, status in ((b"latin1-\xe9\xff", 0), (b"latin1-\xe9\xfe", 4)):
            done = subprocess.run(agent.argv("--json", "explain", where + b"/names/" + name), capture_output=True,
                                  timeout=lab.DEADLINE_S, check=False)
            self.assertEqual(done.returncode, status, done)
            self.assertEqual("error" in json.loads(done.stdout), status != 0)

    def test_explain_tells_where_a_byte_came_from(self):
        reference = lab.registry().push("edge:v6")
        agent = self.agent()
        where = agent.mount(reference)
        path = os.path.join(where, "sizes", "4096")
        with open(path, "rb") as f:
            f.read()
        self.assertRegex(agent.shoal("explain", path).stdout, "^why +.*the origin.* ms", "the reason comes first")
        said = agent.shoal("explain", path).stdout
        self.assertIn("origin", said)
        self.assertIn(f"registry:{lab.registry().host}/edge", said + json.dumps(agent.json("explain", path)))
        digest = agent.json("explain", path)["digest"].split(":")[-1]
        self.assertIn(digest, json.dumps(agent.json("chunk", "find", digest)) + digest)
        self.assertEqual(agent.shoal("chunk", "find", digest).returncode, 0)

    def test_explain_says_that_wrong_bytes_were_fetched_again(self):
        lab.registry().push("edge:v6")
        origin = self.faulty_origin()
        agent = self.agent(host=origin.host)
        where = agent.mount(f"{origin.host}/edge:v6")
        origin.set(flip=1.0, count=1)
        path = os.path.join(where, "big", "random")
        with open(path, "rb") as f:
            size_bytes = len(f.read())
        whys = [agent.json("explain", path, "--offset", str(at))["why"] for at in range(0, size_bytes, 65536)]
        self.assertTrue(any("wrong digest, and it was fetched again" in why for why in whys), whys)

    def test_health_and_readiness(self):
        agent = self.agent()
        for path in ("healthz", "readyz", "metrics"):
            with lab.urllib.request.urlopen(f"http://127.0.0.1:{agent.http_port}/{path}") as answer:
                self.assertEqual(answer.status, 200)


class Prefetch(lab.LabTest):
    def test_all_of_it_is_here_when_it_returns(self):
        reference = lab.registry().push(IMAGE)
        agent = self.agent()
        where = agent.mount(reference)
        agent.shoal("prefetch", reference)
        before = agent.origin_bytes()
        self.assert_tree(where, IMAGE)
        self.assertEqual(agent.origin_bytes(), before)

    def test_an_image_that_is_not_mounted_can_be_prefetched(self):
        reference = lab.registry().push("edge:v6")
        agent = self.agent()
        agent.shoal("prefetch", reference)
        before = agent.origin_bytes()
        self.assertGreater(before, 0)
        self.assert_tree(agent.mount(reference), "edge:v6")
        self.assertEqual(agent.origin_bytes(), before)

    def test_mount_with_prefetch_brings_all_in_the_background(self):
        reference = lab.registry().push("edge:v6")
        agent = self.agent()
        where = agent.mount(reference, "--prefetch")
        lab.wait_for(lambda: all(b["n_ready"] == b["n_chunks"] for b in agent.json("blob", "ls")["blobs"]),
                     "the prefetch to end")
        before = agent.origin_bytes()
        self.assert_tree(where, "edge:v6")
        self.assertEqual(agent.origin_bytes(), before)


    def test_what_is_wished_of_a_mount_that_was_there_is_done_or_said(self):
        reference = lab.registry().push("edge:v6")
        agent = self.agent()
        where = agent.mount(reference)
        auth = os.path.join(agent.dir, "auth.json")
        with open(auth, "w", encoding="utf-8") as f:
            f.write("{}")
        done = agent.shoal("mount", "--prefetch", "--how", "erofs", "--auth-file", auth, reference, where)
        self.assertIn("was mounted already", done.stdout)
        self.assertRegex(done.stderr, r"\Ashoal: mount .*: it was mounted already, as tree \(umount it, .*--how says\)\n\Z")
        self.assertEqual([m["auth_file"] for m in agent.json("ls")["mounts"]], [auth])
        lab.wait_for(lambda: all(b["n_ready"] == b["n_chunks"] for b in agent.json("blob", "ls")["blobs"]),
                     "the prefetch to end")
        again = agent.json("mount", "--how", "tree", reference, where)
        self.assertEqual((again["was_there"], again["not_applied"], again["prefetch"]), (True, [], True))
        wish = {"dir": where, "image": reference}
        unsaid = dict.fromkeys(("how", "auth_file", "scheme", "proxy"))  # a text that is null is not said
        status, answer, _ = front.ask(agent.socket, "POST", "/v1/mounts", {**wish, **unsaid})
        self.assertEqual((200, []), (status, json.loads(answer).get("not_applied")), answer)
        for timeout, status in (("1", 200), ("9999999", 200), ("0", 400), ("", 400), ("-1", 400), ("1s", 400), ("99999999", 400)):
            self.assertEqual(status, front.ask(agent.socket, "POST", f"/v1/mounts?timeout_ms={timeout}", wish)[0], timeout)


class OtherOrigins(lab.LabTest):
    def test_a_bootstrap_with_its_blobs_in_a_directory(self):
        agent = self.agent()
        where = agent.new_dir()
        blobs = os.path.join(lab.LAYOUTS["edge:v6"], "blobs", "sha256")
        agent.shoal("mount", "--bootstrap", front.bootstrap_file(agent.dir, "edge:v6"), "--blobs", f"dir:{os.path.abspath(blobs)}", where)
        self.assert_tree(where, "edge:v6")

    def test_a_bootstrap_with_its_blobs_at_a_registry(self):
        registry = lab.registry()
        registry.push("edge:v6")
        agent = self.agent()
        where = agent.new_dir()
        agent.shoal("mount", "--bootstrap", front.bootstrap_file(agent.dir, "edge:v6"), "--blobs",
                    f"registry:{registry.host}/edge", where)
        self.assert_tree(where, "edge:v6")

    def test_a_bootstrap_with_its_blobs_at_a_web_server(self):
        import functools
        import http.server
        blobs = os.path.join(lab.LAYOUTS["edge:v6"], "blobs", "sha256")
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=blobs)
        handler.log_message = lambda *a: None
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)  # it ignores Range: whole bodies
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        agent = self.agent()
        where = agent.new_dir()
        agent.shoal("mount", "--bootstrap", front.bootstrap_file(agent.dir, "layers:v6"), "--blobs",
                    f"http://127.0.0.1:{server.server_port}/", where)
        self.assert_tree(where, "layers:v6")


class FileSystem(lab.LabTest):
    def test_it_works_as_a_lower_directory_of_overlayfs(self):
        reference = lab.registry().push("edge:v6")
        agent = self.agent()
        lower = agent.mount(reference)
        merged = self.overlay(lower)
        want = tree_manifest.tree_lines(lower)
        strip = lambda lines: [" ".join(f for i, f in enumerate(l.split(" ")) if i not in (6, 9)) for l in lines]
        self.assertEqual(strip(tree_manifest.tree_lines(merged)), strip(want))
        with open(os.path.join(merged, "new"), "wb") as f:
            f.write(b"written above")
        os.unlink(os.path.join(merged, "sizes", "4096"))
        self.assertTrue(os.path.exists(os.path.join(lower, "sizes", "4096")))
        subprocess.run(["umount", merged], check=True)

    def test_it_is_read_only(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        with self.assertRaisesRegex(OSError, "Read-only"):
            open(os.path.join(where, "new"), "wb")

    def test_an_unmount_from_outside_is_noticed(self):
        agent = self.agent()
        where = agent.mount(lab.registry().push(IMAGE))
        subprocess.run(["umount", where], check=True)
        lab.wait_for(lambda: where not in json.dumps([m for m in agent.json("ls")["mounts"] if m.get("state") == "mounted"]),
                     "the agent to notice")
        agent.shoal("status")

    def test_unmounting_with_readers_in_flight_does_not_hang(self):
        lab.registry().push("edge:v6")
        origin = self.faulty_origin()
        agent = self.agent(host=origin.host)
        where = agent.mount(f"{origin.host}/edge:v6")
        origin.set(stall=True)
        join_readers = self.start_waiting_readers(agent, os.path.join(where, "sizes", "4096"))
        done = agent.shoal("umount", where, check=False)
        self.assertIn(done.returncode, (0, 1))
        agent.stop()  # a busy mount is detached
        results = join_readers()
        self.assertTrue(all(isinstance(r, OSError) for r in results), results)
