"""The live page in a real browser, and the events that feed it."""
import json
import os
import socket

import browser
import cluster
import lab

IMAGE = "edge:v6"
# SHOAL_PICTURES=DIR: what the page looked like is kept there (docs/page*.png are made so).
PICTURES = os.environ.get("SHOAL_PICTURES")


def number(page, key):
    return int(page.value(f"Number(document.querySelector('[data-key=\"{key}\"]')?.dataset.value ?? -1)"))


class Events(lab.LabTest):
    def connect(self, agent):
        s = socket.create_connection(("127.0.0.1", agent.http_port), timeout=lab.DEADLINE_S)
        self.addCleanup(s.close)
        s.sendall(b"GET /events HTTP/1.1\r\nHost: shoal\r\n\r\n")
        return s

    def next_event(self, stream):
        for line in stream:
            if line.startswith(b"data: "):
                return json.loads(line[len("data: "):])
        raise AssertionError("the stream ended")

    def status_of(self, connection):
        with connection.makefile("rb") as stream:
            return int(stream.readline().split()[1])

    def test_a_viewer_sees_what_is_so_now_and_again_every_second(self):
        agent = self.agent()
        with self.connect(agent).makefile("rb") as stream:
            self.assertEqual(self.next_event(stream)["mounts"], [])
            where = agent.mount(lab.registry().push(IMAGE))
            lab.wait_for(lambda: [m["dir"] for m in self.next_event(stream)["mounts"]] == [where],
                         "the mount to be told")

    def test_more_viewers_than_it_bears_are_told_so_and_make_room_when_they_go(self):
        agent = self.agent()
        viewers = [self.connect(agent) for _ in range(16)]
        self.assertEqual([self.status_of(v) for v in viewers], [200] * 16)
        self.assertEqual(self.status_of(self.connect(agent)), 503)
        viewers[0].close()
        lab.wait_for(lambda: self.status_of(self.connect(agent)) == 200, "room for another viewer")


class LivePage(cluster.LoopbackTest):
    def open(self, agent, **kw):
        browser.require_browser()
        page = browser.Page(f"http://127.0.0.1:{agent.http_port}/", **kw)
        self.addCleanup(page.close)
        lab.wait_for(lambda: page.value("document.body?.dataset.uptime"), "the first event to be shown")
        return page

    def keep_picture(self, page, name):
        if PICTURES:
            page.picture(os.path.join(PICTURES, name))

    def test_it_shows_where_bytes_come_from_while_an_image_loads(self):
        first, second = self.cluster(2)
        image = lab.registry().push(IMAGE)
        first.shoal("prefetch", first.mount(image))
        page = self.open(second)
        self.assertEqual(number(page, "read_bytes.peer"), 0)
        where = second.mount(image)
        strip = "document.querySelector('#mounts [data-ready]')"
        lab.wait_for(lambda: page.value(f"!!{strip}"), "the mount to be shown")
        self.assertIn(where, page.value("document.getElementById('mounts').textContent"))
        self.assert_tree(where, IMAGE)
        total = int(page.value(f"Number({strip}.dataset.chunks)"))
        self.assertEqual(total, sum(b["n_chunks"] for b in second.json("blob", "ls")["blobs"]))
        lab.wait_for(lambda: int(page.value(f"Number({strip}.dataset.ready)")) == total, "the strip to fill")

        def as_metrics_say():
            return (number(page, "read_bytes.peer") == second.metric("shoal_read_bytes_total", source="peer") > 0 and
                    number(page, "read_bytes.cache") == second.metric("shoal_read_bytes_total", source="cache") and
                    number(page, "peer_received_bytes.same") ==
                    second.metric("shoal_peer_received_bytes_total", zone="same") > 0 and
                    number(page, "origin_received_bytes") == second.metric("shoal_origin_received_bytes_total"))
        lab.wait_for(as_metrics_say, "the page to say what the metrics say")
        self.assertIn("up", page.value("document.getElementById('peers').textContent"))
        self.assertRegex(page.value("document.getElementById('read-bar').getAttribute('aria-label')"), r"peers \d")
        self.keep_picture(page, "page.png")
        self.assertEqual(page.complaints, [])

    def test_it_works_with_a_keyboard_on_a_phone_in_the_dark(self):
        agent = self.agent()
        agent.mount(lab.registry().push(IMAGE))
        page = self.open(agent, width=390, height=900, dark=True)
        self.assertLessEqual(page.value("document.documentElement.scrollWidth"), 390)
        self.assertLess(page.value("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"), 64)
        seen = []
        for _ in range(6):
            page.press("Tab")
            seen.append(page.value("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"))
        self.assertEqual(seen, ["metrics", "what readers got", "what came in", "open questions", "peers", seen[5]])
        self.keep_picture(page, "page-phone.png")
        self.assertEqual(page.complaints, [])

    def test_it_says_so_when_the_agent_is_gone_and_goes_on_with_the_next(self):
        agent = self.agent()
        page = self.open(agent)
        agent.stop()
        lab.wait_for(lambda: "no connection" in page.value("document.getElementById('ready').textContent"),
                     "the page to notice")
        agent.start()
        lab.wait_for(lambda: page.value("document.getElementById('ready').textContent") == "ready",
                     "the page to find the agent again")
