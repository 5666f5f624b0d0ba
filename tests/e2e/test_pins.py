"""Pinned images: whole, whatever the quota says and whatever is removed."""
import http.server
import json
import os
import socketserver
import subprocess
import tempfile
import threading

import histories
import lab

IMAGE, OTHER = "edge:v6", "edge:v5"
TIGHT = {"high_watermark_percent": 90, "low_watermark_percent": 80}


def here(agent, ref):
    """(chunks that are here, all chunks) of an image's blobs."""
    ids = {b["blob_id"] for b in agent.json("image", "inspect", ref)["blobs"]}
    blobs = [b for b in agent.json("blob", "ls")["blobs"] if b["blob_id"] in ids]
    return sum(b["n_ready"] for b in blobs), sum(b["n_chunks"] for b in blobs)


def names(document):
    return sorted(i["name"] for i in document["images"] if i["pinned"])


class Pins(lab.LabTest):
    def size_of(self, image):
        agent = self.agent()
        agent.shoal("prefetch", lab.registry().push(image))
        size = agent.metric("shoal_cache_bytes")
        agent.stop()
        return int(size)

    def test_under_pressure_the_pinned_image_stays_and_the_other_one_goes(self):
        quota = self.size_of(IMAGE) * 3 // 2
        pinned, other = lab.registry().push(IMAGE), lab.registry().push(OTHER)
        # what both hold would be shared: here each has its own
        agent = self.agent(config={"cache": {"quota_bytes": quota, "dedup": False, **TIGHT}})
        self.assertIn("pinned, here and verified", agent.shoal("pin", pinned).stdout)
        n, n_all = here(agent, pinned)
        self.assertEqual(n, n_all)
        where = agent.mount(other)
        self.assert_tree(where, OTHER, "beside a pinned image")
        self.assertGreater(agent.metric("shoal_cache_evicted_bytes_total"), 0)
        self.assertEqual(here(agent, pinned), (n_all, n_all))
        self.assertEqual(agent.metric("shoal_cache_pinned_bytes"), agent.json("status")["cache"]["pinned_bytes"])
        self.assertGreater(agent.metric("shoal_cache_pinned_bytes"), quota // 3)
        agent.umount(where)
        done = agent.shoal("gc", "--to", "0").stdout
        self.assertIn("are pinned", done)
        self.assertEqual(here(agent, pinned), (n_all, n_all))
        refused = agent.shoal("image", "rm", pinned, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("pinned (shoal unpin it first)", refused.stderr)
        agent.restart()
        asked = agent.metric("shoal_origin_received_bytes_total")
        self.assertEqual(agent.json("gc", "--to", "0")["n_chunks"], 0)
        agent.shoal("pin", pinned)  # all of it is here: no byte moves
        self.assertEqual(agent.metric("shoal_origin_received_bytes_total"), asked)
        agent.shoal("unpin", pinned)
        self.assertEqual(agent.json("gc", "--to", "0")["after_bytes"], 0)
        agent.shoal("image", "rm", pinned)

    def test_eviction_that_runs_when_an_image_is_pinned_takes_none_of_it(self):
        refs = [lab.registry().push(IMAGE), lab.registry().push(OTHER)]
        agent = self.agent(config={"cache": {"dedup": False}})
        agent.shoal("prefetch", refs[1])
        stop = threading.Event()

        def collect():
            while not stop.is_set():
                agent.shoal("gc", "--to", "0", check=False)
        gc = threading.Thread(target=collect)
        gc.start()
        try:
            agent.shoal("pin", refs[0])
            n, n_all = here(agent, refs[0])
        finally:
            stop.set()
            gc.join()
        self.assertEqual((n, n_all), (n_all, n_all))
        self.assertEqual(here(agent, refs[0]), (n_all, n_all))

    def test_a_cache_that_pinned_images_fill_says_so(self):
        ref = lab.registry().push(IMAGE)
        agent = self.agent(config={"cache": {"quota_bytes": self.size_of(IMAGE) // 2, **TIGHT}})
        done = agent.shoal("pin", ref, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"no room for all of it: blobs take \d+ bytes, \d+ of them pinned \(raise cache.quota_bytes")
        self.assertEqual(json.loads(agent.shoal("--json", "pin", ref, check=False).stdout)["error"]["exit"], 1)
        lab.wait_for(lambda: "the cache takes no more chunks: pinned images take what it may" in agent.log(), "the log to say so")
        self.assertEqual(agent.metric("shoal_cache_full"), 1)
        self.assertRegex(agent.shoal("status").stdout, r"of it pinned +\d")
        where = agent.mount(ref)
        for path, _, digest in histories.TRUTH.files(IMAGE)[::40]:  # each a request to the registry
            self.assertEqual(histories.read_digest(where + path), digest, path)

    def test_a_list_says_which_images_are_pinned_and_no_others(self):
        refs = [lab.registry().push(IMAGE), lab.registry().push(OTHER)]
        agent = self.agent()
        with tempfile.NamedTemporaryFile("w", dir=lab.TMP, delete=False) as f:
            f.write(f"# what this node keeps\n\n  {refs[0]}  # the base\n{refs[1]}\n")
        done = agent.json("pin", "--list", f.name)
        self.assertEqual(sorted(p["name"] for p in done["pinned"]), sorted(refs))
        self.assertEqual(names(agent.json("image", "ls")), sorted(refs))
        with open(f.name, "w", encoding="utf-8") as out:
            out.write(f"{refs[1]}\n{lab.registry().host}/no/such:1\nNOT AN IMAGE\n")
        done = agent.shoal("pin", "--list", f.name, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"{refs[0]}: unpinned", done.stdout)
        self.assertIn(f"{refs[1]}: ", done.stdout)
        self.assertEqual(len([line for line in done.stderr.splitlines() if line.startswith("shoal: pin ")]), 2)
        # what is not there yet is on the list all the same
        self.assertEqual(names(agent.json("image", "ls")), sorted([refs[1], f"{lab.registry().host}/no/such:1"]))
        self.assertRegex(agent.shoal("image", "ls").stdout, r"no/such:1 .*yes")
        here, not_here = sorted((i for i in agent.json("image", "ls")["images"] if i["pinned"]), key=lambda i: i["digest"] == "")
        self.assertEqual(set(not_here), set(here))
        self.assertEqual([not_here[m] for m in ("digest", "anonymous", "added_s", "used_s")], ["", False, 0, 0])
        os.unlink(f.name)
        self.assertEqual(agent.shoal("pin", "--list", f.name, check=False).returncode, 2)

    def test_a_list_that_cannot_be_read_unpins_nothing(self):
        agent = self.agent()
        ref = lab.registry().push(IMAGE)
        agent.shoal("pin", ref)
        done = agent.shoal("pin", "--list", agent.new_dir(), check=False)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^shoal: pin: the list /\S+ cannot be read .*: Is a directory\n$")
        self.assertEqual(names(agent.json("image", "ls")), [ref])

    def test_a_list_of_which_a_name_could_not_be_pinned_unpins_nothing(self):
        asked = []

        class Busy(http.server.BaseHTTPRequestHandler):
            """An agent whose disk is full just now."""

            def answer(self, status, document):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append(self.command)
                body = json.dumps(document).encode() + b"\n"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self):
                self.answer(500, {"error": {"message": "no room for it", "exit": 1}})

            def do_GET(self):
                self.answer(200, {"pins": [{"name": "h/r:1"}]})

            do_DELETE = do_GET

            def log_message(self, *args):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            def get_request(self):
                return self.socket.accept()[0], ("", 0)

        directory = tempfile.mkdtemp(dir=lab.TMP)
        path, listed = (os.path.join(directory, name) for name in ("s", "list"))
        with open(listed, "w", encoding="ascii") as f:
            f.write("h/r:1\n")
        with Server(path, Busy) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            done = subprocess.run([lab.SHOAL, "--socket", path, "pin", "--list", listed], capture_output=True, text=True, check=False)
            server.shutdown()
            thread.join()
        self.assertEqual((done.returncode, asked), (1, ["PUT"]), done.stderr)
        self.assertIn("no room for it", done.stderr)

    def test_what_cannot_be_pinned(self):
        agent = self.agent()
        self.assertEqual(agent.shoal("pin", f"{lab.registry().host}/no/such:1", check=False).returncode, 4)
        self.assertEqual(names(agent.json("image", "ls")), [])
        self.assertEqual(agent.shoal("pin", check=False).returncode, 2)
        self.assertEqual(agent.shoal("pin", "a", "--list", "b", check=False).returncode, 2)
        self.assertEqual(agent.shoal("pin", "NOT AN IMAGE", check=False).returncode, 2)
        self.assertEqual(agent.shoal("unpin", f"{lab.registry().host}/no/such:1", check=False).returncode, 4)
