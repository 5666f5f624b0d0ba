"""The live page in a real browser, and the events that feed it."""
import json
import os
import socket

import browser
import cluster
import lab
import made_up

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


class PageTest(cluster.LoopbackTest):
    def browse(self, url, **kw):
        browser.require_browser()
        page = browser.Page(url, **kw)
        self.addCleanup(page.close)
        lab.wait_for(lambda: page.value("document.body?.dataset.uptime"), "the first event to be shown")
        return page

    def keep_picture(self, page, name):
        if PICTURES:
            page.picture(os.path.join(PICTURES, name))


class LivePage(PageTest):
    def open(self, agent):
        return self.browse(f"http://127.0.0.1:{agent.http_port}/")

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

    def test_it_says_so_when_the_agent_is_gone_and_goes_on_with_the_next(self):
        agent = self.agent()
        page = self.open(agent)
        agent.stop()
        lab.wait_for(lambda: "no connection" in page.value("document.getElementById('ready').textContent"),
                     "the page to notice")
        self.assertFalse(page.value("document.getElementById('gone').hidden"))
        agent.start()
        lab.wait_for(lambda: page.value("document.getElementById('ready').textContent") == "ready",
                     "the page to find the agent again")


# Every element of a selector: its text's contrast with what is behind it, by the formula of WCAG 2.2.
CONTRAST = """(selector => {
  const parts = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = c => parts(c).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { const c = getComputedStyle(e).backgroundColor; return c === 'rgba(0, 0, 0, 0)' ? behind(e.parentElement) : c; };
  return Math.min(...[...document.querySelectorAll(selector)].map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  }));
})"""


class MadeUp(PageTest):
    """The page with more, and worse, than a test's agents have."""

    def open(self, document, **kw):
        agent = made_up.Agent(document)
        self.addCleanup(agent.close)
        return agent, self.browse(agent.url, **kw)

    def say(self, agent, page, document):
        agent.say(document)
        lab.wait_for(lambda: page.value("document.body.dataset.uptime") == str(document["uptime_ms"]), "the event to be shown")

    def count(self, page, selector):
        return int(page.value(f"document.querySelectorAll('{selector}').length"))

    def text(self, page, selector):
        return page.value(f"document.querySelector('{selector}').textContent")

    def test_30_images_and_64_peers_fit_on_a_phone_under_a_finger(self):
        document = made_up.busy(30, 64)
        agent, page = self.open(document, width=375, height=667, dark=True)
        wide = "[...document.querySelectorAll('.wide, html')].filter(e => e.scrollWidth > e.clientWidth).length"
        self.assertEqual(page.value(wide), 0, "something is cut off at the edge")
        self.assertLess(page.value("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"), 64)
        self.assertIn("service-15", self.text(page, ".mount"))  # it is down: first
        self.assertIn("401 Unauthorized", self.text(page, ".mount"))
        self.assertEqual(self.text(page, "#peers-sum"), ": 62 up, 1 down")
        self.assertIn("down", self.text(page, "#peers tr"))
        self.assertIn("3 lied", self.text(page, "#peers tr:nth-child(2)"))
        self.assertEqual((self.count(page, ".mount"), self.count(page, "#peers tr")), (8, 12))
        self.keep_picture(page, "page-phone.png")
        for name, n, what in (("mounts", 30, ".mount"), ("peers", 64, "#peers tr")):
            self.assertGreaterEqual(page.value(f"document.getElementById('all-{name}').offsetHeight"), 40)
            page.tap(f"#all-{name}")
            lab.wait_for(lambda: self.count(page, what) == n, "all to be shown")
        self.say(agent, page, {**document, "uptime_ms": document["uptime_ms"] + 1000})
        self.assertEqual((self.count(page, ".mount"), self.count(page, "#peers tr")), (30, 64))
        self.assertEqual(page.value(wide), 0)
        self.assertEqual(page.complaints, [])

    def test_what_came_while_nobody_listened_is_spread_over_that_time(self):
        document = made_up.document(came=(0, 0, 0, 0))
        agent, page = self.open(document)
        minute = made_up.document(came=(0, 0, 0, 60 * made_up.MIB), uptime_ms=document["uptime_ms"] + 60000)
        self.say(agent, page, minute)
        self.assertEqual(self.text(page, "#chart-scale"), "at most 1.0 MiB/s")
        self.assertIn(self.count(page, "#chart > div > span"), (12, 13))  # of 5 seconds each
        self.say(agent, page, {**minute, "uptime_ms": minute["uptime_ms"] + 600000, "origin_received_bytes": 660 * made_up.MIB})
        self.assertEqual(self.text(page, "#chart-scale"), "at most 1.0 MiB/s")  # longer than it shows
        self.assertIn(self.count(page, "#chart > div > span"), (59, 60))
        self.assertEqual(page.complaints, [])

    def test_mounts_that_are_not_told_one_by_one_are_counted(self):
        document = made_up.busy(64, 0)
        agent, page = self.open(document)
        self.assertTrue(page.value("document.getElementById('more-mounts').hidden"))
        self.say(agent, page, {**document, "n_mounts": 201, "uptime_ms": document["uptime_ms"] + 1000})
        self.assertEqual(self.text(page, "#more-mounts"), "and 137 more, which shoal ls has")
        self.assertFalse(page.value("document.getElementById('more-mounts').hidden"))
        self.assertEqual(page.complaints, [])

    def test_without_colours_and_with_a_keyboard_alone(self):
        document = made_up.busy(12, 20)
        agent, page = self.open(document, vision="achromatopsia")
        looks = [page.value(f"getComputedStyle(document.querySelector('.key.{look}')).backgroundImage")
                 for look in ("cache", "dedup", "same", "other", "origin")]
        self.assertEqual(len({look.split("rgb")[0] for look in looks}), 5, looks)  # by direction and kind, not by colour
        seen = []
        for _ in range(8):
            page.press("Tab")
            seen.append(page.value("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"))
            if seen[-1].startswith("show all 12"):
                page.press("Enter")
                lab.wait_for(lambda: self.count(page, ".mount") == 12, "all images to be shown")
                self.say(agent, page, {**document, "uptime_ms": document["uptime_ms"] + 1000})
                self.assertEqual(page.value("document.activeElement.id"), "all-mounts")  # where it was
                self.assertNotEqual(page.value("getComputedStyle(document.activeElement).outlineStyle"), "none")
        self.assertEqual(seen[:7], ["metrics", "what readers got", "what came in", "show all 12", "open questions", "peers", "show all 20"])
        for dark in ("light", "dark"):
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": dark}])
            self.assertGreaterEqual(page.value(f"{CONTRAST}('h2, td, th, .dim, dt, dd, small, b, button, #ready')"), 4.5, dark)
        self.keep_picture(page, "page-no-colours.png")
        self.assertEqual(page.complaints, [])

    def test_nothing_is_said_as_if_it_were_so_now_when_the_agent_is_silent(self):
        document = made_up.document()
        agent, page = self.open(document)
        self.assertIn("shoal mount IMAGE DIR", self.text(page, "#mounts"))
        self.assertEqual(self.text(page, "#hit"), "-")
        self.assertIn("alone", self.text(page, "#peers"))
        agent.say(None)  # connected, and not a word
        lab.wait_for(lambda: page.value("document.body.classList.contains('gone')"), "the page to notice")
        self.assertIn("No word from the agent since", self.text(page, "#gone"))
        self.assertLess(float(page.value("getComputedStyle(document.querySelector('main')).opacity")), 1)
        self.say(agent, page, {**document, "uptime_ms": document["uptime_ms"] + 1000})
        self.assertTrue(page.value("document.getElementById('gone').hidden"))
        self.assertEqual(page.value("getComputedStyle(document.querySelector('main')).opacity"), "1")
        agent.say({**document, "uptime_ms": 5000, "ready": False})  # started again
        lab.wait_for(lambda: "not ready" in self.text(page, "#ready"), "the new agent to be shown")
        self.assertEqual(page.complaints, [])
