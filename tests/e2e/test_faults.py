"""What a reader gets from a registry that misbehaves: right bytes, or EIO in time; never a wrong byte.

Everything is real but the registry, which is tests/fakes/faulty_origin.py before a real one.
"""
import errno
import hashlib
import json
import os
import random
import threading
import time

from concurrent.futures import ThreadPoolExecutor

import lab

IMAGE = "edge:v6"
N_FLIPS = 1000
TIMEOUT_S = 2.0
N_HARMLESS = 2  # bits of one image's zstd frames that say nothing


def files_of(image):
    """[(path, sha256)] of the image's regular files that are not empty."""
    rows = (line.split(" ", 10) for line in lab.expected_lines(image))
    return [(r[10], r[8]) for r in rows if r[0] == "f" and r[4] != "0" and "\\" not in r[10]]


def read_file(path):
    """sha256 of its content; the errno where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        return e.errno


class FaultTest(lab.LabTest):
    def world(self, faults=None, image=IMAGE, timeout_s=None, config=None):
        """(origin, agent, mount): mounted from a registry in good order, which misbehaves from then on."""
        lab.registry().push(image)
        origin = self.faulty_origin()
        config = dict(config or {})
        if timeout_s is not None:
            config["read"] = {"timeout_ms": int(timeout_s * 1000)}
        agent = self.agent(host=origin.host, config=config)
        where = agent.mount(f"{origin.host}/{image}")
        origin.reset_stats()
        origin.set(**(faults or {}))
        return origin, agent, where

    def assert_injected(self, origin, what, at_least=1):
        self.assertGreaterEqual(origin.stats()["injected"].get(what, 0), at_least, "the test's own fault")

    def right_in_the_end(self, what=None, at_least=1, **faults):
        """The whole tree is right, although this happens. Read in random order first: many requests."""
        origin, agent, where = self.world(faults)
        files = files_of(IMAGE)
        random.Random(len(faults)).shuffle(files)
        for path, digest in files:
            self.assertEqual(read_file(where + path), digest, f"{path} with {faults}")
        self.assert_tree(where, IMAGE, f"with {faults}")
        if what:
            self.assert_injected(origin, what, at_least)
        return origin, agent

    def time_to_eio(self, where):
        path, _ = files_of(IMAGE)[0]
        start = time.monotonic()
        self.assertEqual(read_file(where + path), errno.EIO)
        return time.monotonic() - start

    def eio_at_once(self, **faults):
        """A final answer: EIO, long before the time-out; and all is right when the registry is."""
        origin, agent, where = self.world(faults, timeout_s=lab.DEADLINE_S)
        self.assertLess(self.time_to_eio(where), lab.DEADLINE_S / 2)
        self.assertIn("read failed", agent.log())
        origin.set()
        self.assert_tree(where, IMAGE, "when it is over")
        return origin, agent

    def eio_in_time(self, **faults):
        """No final answer: asked again until the time-out, never given up before it."""
        origin, agent, where = self.world(faults, timeout_s=TIMEOUT_S)
        self.assertGreaterEqual(self.time_to_eio(where), TIMEOUT_S * 0.98)
        # The kernel asks again for the page that the reader needs: that one does not wait anew.
        self.assertEqual(agent.log().count("read failed"), 1)
        origin.set()
        return agent, where

    def eio_in_time_and_all_is_well_later(self, **faults):
        agent, where = self.eio_in_time(**faults)
        agent.reload(read={"timeout_ms": 1000 * int(lab.DEADLINE_S)})  # what comes now may take its time
        path, digest = files_of(IMAGE)[0]
        lab.wait_for(lambda: read_file(where + path) == digest, "the registry to be asked again")
        self.assert_tree(where, IMAGE, "when it is over")


class WrongBytes(FaultTest):
    def flip(self, image, seed):
        """The whole tree, with most answers spoilt by one bit. @return (flips, caught)"""
        origin, agent, where = self.world({"flip": 0.7, "seed": seed}, image)
        files = files_of(image)
        random.Random(seed).shuffle(files)
        for path, digest in files:
            self.assertIn(read_file(where + path), (digest, errno.EIO), f"{image} {path}, seed {seed}")
        lab.wait_for(lambda: agent.metric("shoal_fetches_in_flight") == 0, "readahead to end")
        flips = origin.stats()["injected"].get("flip", 0)
        caught = int(agent.metric("shoal_verify_failures_total", source="origin"))
        agent.umount(where)
        agent.stop()
        origin.stop()
        return flips, caught

    def test_1000_flipped_bits_reach_nobody(self):
        images = [i for i in ("edge:v6-none", "edge:v6-encrypted", "edge:v6", "edge:v5-lz4-sha256") if i in lab.ALL]
        total, seed = 0, 0
        while total < N_FLIPS:
            seed += 1
            image = images[seed % len(images)]
            flips, caught = self.flip(image, seed)
            self.assertLessEqual(caught, flips)
            self.assertGreaterEqual(caught, flips - (0 if image == "edge:v6-none" else N_HARMLESS),
                                    f"{image}, seed {seed}")
            total += flips

    def test_bits_that_flip_now_and_then_are_not_noticed(self):
        _, agent = self.right_in_the_end("flip", flip=0.3, count=15)
        self.assertGreaterEqual(agent.metric("shoal_verify_failures_total", source="origin"), 1)
        self.assertIn("wrong bytes from a source", agent.log())

    def test_a_registry_that_only_lies_gives_eio_at_once(self):
        _, agent, where = self.world({"flip": 1}, timeout_s=lab.DEADLINE_S)
        self.assertLess(self.time_to_eio(where), lab.DEADLINE_S / 2)
        self.assertIn("no source gives the right bytes", agent.log())

    def test_a_second_origin_gives_what_the_first_one_spoils(self):
        lab.registry().push(IMAGE)
        origin, agent, where = self.world({"flip": 1}, config={"registries": [{"host": "*", "scheme": "http"}]})
        agent.mount(lab.registry().push(IMAGE))  # the same image, and so a second origin of its blobs
        self.assert_tree(where, IMAGE)
        self.assert_injected(origin, "flip")


class Answers(FaultTest):
    def test_bodies_that_stop_half_way(self):
        self.right_in_the_end("short", short=0.2)

    def test_ranges_that_come_shorter_than_asked(self):
        self.right_in_the_end("short_clean", short_clean=0.2)

    def test_a_wrong_content_range_now_and_then(self):
        self.right_in_the_end("wrong_range", wrong_range=0.2)

    def test_a_content_range_that_is_always_wrong(self):
        self.eio_in_time_and_all_is_well_later(wrong_range=1)

    def test_range_ignored(self):
        _, agent = self.right_in_the_end("ignore_range", ignore_range=True)
        self.assertIn("ignores Range", agent.log())

    def test_bodies_of_unknown_length(self):
        origin, _, where = self.world({"no_length": True})
        self.assert_tree(where, IMAGE)
        self.assertGreater(origin.stats()["body_bytes"], 0)

    def test_404(self):
        self.eio_at_once(status=404)

    def test_403(self):
        self.eio_at_once(status=403)

    def test_429_is_waited_out_as_it_says(self):
        origin, _ = self.right_in_the_end("status", status=429, retry_after_s=1, count=2)
        log = origin.stats()["log"]
        refused = [i for i, entry in enumerate(log) if entry["status"] == 429]
        for i in refused:
            if i + 1 < len(log) and i + 1 not in refused:
                self.assertGreaterEqual(log[i + 1]["at_s"] - log[i]["at_s"], 0.95)

    def test_500s_that_pass(self):
        self.right_in_the_end("status", 5, status=500, count=5)

    def test_500s_without_end(self):
        self.eio_in_time_and_all_is_well_later(status=500)

    def test_503_with_retry_after_beyond_the_time_out(self):
        self.eio_in_time(status=503, retry_after_s=3600)


class Connections(FaultTest):
    def test_a_reset_at_every_tenth_request(self):
        self.right_in_the_end("reset_every", reset_every=10)

    def test_resets_in_the_body(self):
        self.right_in_the_end("reset_after_bytes", reset_after_bytes=1000, count=10)

    def test_a_stall_is_given_up_and_asked_again(self):
        self.right_in_the_end("stall", stall_after_bytes=5000, count=1)

    def test_a_stall_without_end(self):
        self.eio_in_time_and_all_is_well_later(stall=True)

    def test_who_reads_one_page_does_not_wait_twice(self):
        _, agent, where = self.world({"stall": True}, timeout_s=TIMEOUT_S)
        self.assertEqual(errno.EIO, read_file(where + "/sizes/4095"))
        self.assertEqual(agent.log().count("read failed"), 1)

    def test_while_a_read_hangs_it_is_told_who_is_asked_for_what_and_since_when(self):
        origin, agent, where = self.world({"stall_head": True})
        path, digest = files_of(IMAGE)[0]
        told = {}

        def hangs():
            told.update(agent.json("explain", where + path))
            row = told["asked"][-1] if told["asked"] else {"took_us": 0}
            return row["took_us"] > 200_000 and (row["source"], row["result"], row["for"]) == ("origin", "open", "reader")
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(read_file, where + path)
            lab.wait_for(hangs, lambda: f"the reader to wait for the registry: {told}")
            self.assertEqual(told["asked"][-1]["detail"], origin.host)
            self.assertRegex(told["why"], rf"^a reader waits: .*the origin \({origin.host}\) has been asked for \d+\.\d ms, and has not given it yet$")
            self.assertFalse(told["ready"] or "source" in told, told)
            lab.wait_for(lambda: [q["detail"] for q in agent.json("top")["questions"] if q["reader"]] == [origin.host],
                         "the registry to be named as the one that is waited for")
            self.assertGreater(agent.json("top")["waiting_ms"], 200)
            self.assertRegex(agent.shoal("top").stdout, r"readers waited (0\.[2-9]|[1-9]\d*\.\d) s in the last 5 min")
            origin.set()
            self.assertEqual(read.result(), digest)
        told = agent.json("explain", where + path)
        self.assertEqual(told["source"], "origin")
        self.assertNotIn("open", [row["result"] for row in told["asked"]])
        lab.wait_for(lambda: agent.json("top")["waiting_ms"] == 0, "nobody to wait")

    def test_a_stall_before_the_head(self):
        self.eio_in_time_and_all_is_well_later(stall_head=True)

    def test_a_slow_line_is_slow_and_no_error(self):
        path = "/big/random"  # a chunk of 1 MiB
        timeout_s = 6.0  # of which a third is silence: longer than a busy machine makes
        _, _, where = self.world({"bytes_per_s": 150000}, timeout_s=timeout_s)
        start = time.monotonic()
        self.assertEqual(dict(files_of(IMAGE))[path], read_file(where + path))
        self.assertGreater(time.monotonic() - start, timeout_s, "the test's own fault")

    def test_a_line_that_brings_next_to_nothing_is_an_error_in_time(self):
        _, _, where = self.world({"bytes_per_s": 400}, timeout_s=TIMEOUT_S)
        start = time.monotonic()
        self.assertEqual(errno.EIO, read_file(where + "/big/random"))
        self.assertLess(time.monotonic() - start, 4 * TIMEOUT_S)

    def test_a_registry_that_is_away_for_a_while(self):
        origin, agent, where = self.world()
        origin.stop()
        before = agent.metric("shoal_origin_requests_total")
        results = []
        reader = threading.Thread(target=lambda: results.append(read_file(where + files_of(IMAGE)[0][0])))
        reader.start()
        lab.wait_for(lambda: agent.metric("shoal_origin_requests_total") > before, "the agent to be refused")
        origin.start()
        reader.join(lab.DEADLINE_S)
        self.assertEqual(results, [files_of(IMAGE)[0][1]])


class Tokens(FaultTest):
    def test_tokens_that_end_in_the_middle(self):
        origin, _ = self.right_in_the_end(auth="bearer", anonymous=True, token_uses=3)
        self.assertGreaterEqual(origin.stats()["tokens"], 2)

    def test_tokens_that_live_a_second(self):
        origin, _ = self.right_in_the_end(auth="bearer", anonymous=True, token_ttl_s=1, bytes_per_s=1500000)
        self.assertGreaterEqual(origin.stats()["tokens"], 2)

    def test_good_tokens_that_are_refused(self):
        self.eio_at_once(auth="bearer", anonymous=True, refuse_tokens=403)

    def test_no_token_without_credentials(self):
        self.eio_at_once(auth="bearer")


class Redirects(FaultTest):
    def test_targets_that_go_stale(self):
        for status in (400, 401, 403, 404, 410):
            with self.subTest(status=status):
                self.right_in_the_end("redirect", 3, redirect=True, redirect_uses=2, redirect_stale=status)

    def test_a_redirect_is_used_again_while_it_works(self):
        origin, _ = self.right_in_the_end("redirect", redirect=True)
        self.assertLessEqual(origin.stats()["injected"]["redirect"], 3)  # of one blob; a few may ask at once


class Credentials(FaultTest):
    """Replaced while the image is mounted: the next 401 reads them again, and readers notice nothing."""

    def replaced(self, registry, write, mount_options=(), auth="basic"):
        """write(password): puts it where shoald looks. registry: settings that say where that is."""
        lab.registry().push(IMAGE)
        write("first")
        origin = self.faulty_origin(auth=auth, username="user", password="first", token_uses=4)
        agent = self.agent(host=origin.host, config={
            "registries": [{"host": origin.host, "scheme": "http", **registry(origin)}]})
        where = agent.mount(f"{origin.host}/{IMAGE}", *mount_options)
        files = files_of(IMAGE)
        random.Random(3).shuffle(files)
        for i, (path, digest) in enumerate(files):
            if i == len(files) // 3:
                write("second")
                origin.set(auth=auth, username="user", password="second", token_uses=4)
                origin.reset_stats()
            self.assertEqual(read_file(where + path), digest, path)
        log = origin.stats()["log"]
        self.assertIn(401, [entry["status"] for entry in log], "the test's own fault")
        self.assertIn(206, [entry["status"] for entry in log])
        for word in ("first", "second", lab.base64_of("user:first"), lab.base64_of("user:second")):
            self.assertNotIn(word, agent.log())
            self.assertEqual(lab.files_that_hold(agent.state_dir, word), [])

    def file_in(self, name):
        directory = lab.tempfile.mkdtemp(dir=lab.TMP)
        return os.path.join(directory, name)

    def write_atomically(self, path, text):
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def docker_config(self, path):
        """What writes a docker config; the host comes when it is known."""
        hosts = []

        def write(password):
            auths = {host: {"auth": lab.base64_of(f"user:{password}")} for host in hosts}
            self.write_atomically(path, json.dumps({"auths": auths}))

        return hosts, write

    def test_a_password_file(self):
        path = self.file_in("password")
        for auth in ("basic", "bearer"):
            with self.subTest(auth=auth):
                self.replaced(lambda origin: {"username": "user", "password_file": path},
                              lambda password: self.write_atomically(path, password + "\n"), auth=auth)

    def test_a_docker_config(self):
        path = self.file_in("config.json")
        hosts, write = self.docker_config(path)

        def registry(origin):
            hosts.append(origin.host)
            write("first")
            return {"docker_config": path}

        self.replaced(registry, write)

    def test_an_auth_file_of_one_mount(self):
        path = self.file_in("config.json")
        hosts, write = self.docker_config(path)

        def registry(origin):
            hosts.append(origin.host)
            write("first")
            return {}

        self.replaced(registry, write, ("--auth-file", path), auth="bearer")

    def test_who_is_refused_later_reads_why_everywhere(self):
        def allow(password):
            return lab.htpasswd_file("withdrawn-htpasswd", "user", password)
        registry = lab.Registry(htpasswd=allow("secret"))
        self.addCleanup(registry.stop)
        reference = registry.push(IMAGE, creds="user:secret")
        password_file = self.file_in("password")
        self.write_atomically(password_file, "secret")
        agent = self.agent(config={"registries": [
            {"host": registry.host, "scheme": "http", "username": "user", "password_file": password_file}]})
        where = agent.mount(reference)
        allow("another")
        path, digest = files_of(IMAGE)[0]
        self.assertEqual(errno.EIO, read_file(where + path))
        words = f"{registry.host} refuses access (401): check the credentials"
        self.assertIn(words, agent.log())
        explained = agent.json("explain", where + path)
        self.assertIn("the origin refused access", explained["why"])
        self.assertIn("EACCES", [ask["result"] for ask in explained["asked"]])
        allow("secret")
        lab.wait_for(lambda: read_file(where + path) == digest, "the file to be read again")

    def test_a_real_registry_with_a_password(self):
        registry = lab.Registry(htpasswd=lab.htpasswd_file("faults-htpasswd", "user", "secret"))
        self.addCleanup(registry.stop)
        reference = registry.push(IMAGE, creds="user:secret")
        path = self.file_in("password")
        entry = {"host": registry.host, "scheme": "http", "username": "user", "password_file": path}
        self.write_atomically(path, "wrong")
        agent = self.agent(config={"registries": [entry]})
        self.assertEqual(agent.shoal("mount", reference, agent.new_dir(), check=False).returncode, 5)
        self.write_atomically(path, "secret")
        self.assert_tree(agent.mount(reference), IMAGE)
