"""The live page in a real browser, and the events that feed it."""
import json
import os
import socket

from concurrent.futures import ThreadPoolExecutor

import browser
import cluster
import lab
import made_up
from lab import metric_sum

IMAGE = "edge:v6"
# SHOAL_PICTURES=DIR: what the page looked like is kept there (docs/page*.png are made so).
PICTURES = os.environ.get("SHOAL_PICTURES")


SOURCES = {"cache": "cache", "dedup": "another image here", "peer": "peers", "origin": "origins"}
GAUGES = ("readers_waiting", "fetches_in_flight", "cache_bytes")  # that go down, too
SHOWN = """(() => {
  const all = (e, selector) => [...e.querySelectorAll(selector)];
  const $ = id => document.getElementById(id).textContent;
  const sums = {}, lately = {};
  for (const e of all(document, '[data-key][data-value]')) {
    if (sums[e.dataset.key] !== undefined && sums[e.dataset.key] !== e.dataset.value) throw new Error(e.dataset.key + ' differs');
    sums[e.dataset.key] = e.dataset.value;
  }
  for (const key of ['node', 'version', 'uptime_ms']) delete sums[key];
  for (const e of all(document, '[data-lately]')) lately[e.dataset.lately] = e.dataset.value;
  const mounts = all(document, '.mount').map(m => ({
    dir: m.querySelector('code').textContent, share: m.querySelector('.share')?.textContent,
    ready: +m.querySelector('[data-ready]')?.dataset.ready, chunks: +m.querySelector('[data-ready]')?.dataset.chunks,
    strip: all(m, '.strip i').map(c => [parseFloat(c.style.getPropertyValue('--h')), c.className]) }));
  const cells = tr => [...tr.children].map(td => td.dataset.value ?? td.textContent);
  const peers = Object.fromEntries(all(document, '#peers tr').map(cells).map(c => [c[0], [c[1], c[3], c[5], c[6], c[7]]]));
  return { uptime: +document.body.dataset.uptime, sums, lately, mounts, peers, peers_sum: $('peers-sum'),
    questions: all(document, '#questions tr').map(cells).filter(c => c.length > 1), hit: $('hit'), ratio: $('ratio'), waiting: $('waiting'),
    waited: +document.getElementById('waited').dataset.value, bar: document.getElementById('read-bar').getAttribute('aria-label') };
})()"""


def shown(page):
    """What stands on the page, all of it of one event."""
    return page.value(SHOWN)


def truth(metrics):
    """{what the page calls it: what /metrics says}, for everything that is counted on the page."""
    of = {f"read_bytes.{s}": metric_sum(metrics, "shoal_read_bytes_total", source=s) for s in SOURCES}
    of |= {f"chunk_bytes.{s}": metric_sum(metrics, "shoal_chunk_bytes_total", source=s) for s in ("dedup", "peer", "origin")}
    of |= {f"peer_received_bytes.{zone}": metric_sum(metrics, "shoal_peer_received_bytes_total", zone=zone) for zone in ("same", "other")}
    of |= {f"leased_chunks.{kind}": metric_sum(metrics, "shoal_leased_chunks_total", kind=kind) for kind in ("first", "again")}
    return of | {"origin_received_bytes": metric_sum(metrics, "shoal_origin_received_bytes_total"),
                 "origin_data_bytes": metric_sum(metrics, "shoal_origin_received_bytes_total", kind="data"),
                 "origin_unique_bytes": metric_sum(metrics, "shoal_origin_unique_bytes_total"),
                 "origin_requests": metric_sum(metrics, "shoal_origin_requests_total"), "cache_bytes": metric_sum(metrics, "shoal_cache_bytes"),
                 "readers_waiting": metric_sum(metrics, "shoal_readers_waiting"),
                 "fetches_in_flight": metric_sum(metrics, "shoal_fetches_in_flight")}


def percent(part, whole):
    return f"{part * 100 / whole:.{1 if 0 < part * 10 < whole else 0}f} %" if whole else "-"


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

    def test_only_the_first_event_brings_the_past(self):
        agent = self.agent()
        agent.mount(lab.registry().push(IMAGE), "--prefetch")
        lab.wait_for(lambda: agent.json("blob", "ls")["blobs"][0]["ready_bytes"] > 0, "the image to come")
        lab.wait_for(lambda: agent.json("top")["uptime_ms"] >= 5000, "the time of the first sample")

        def first_two():
            with self.connect(agent) as connection, connection.makefile("rb") as stream:
                events = self.next_event(stream), self.next_event(stream)
            return len(events[0]["past"]) >= 2 and events  # a busy machine is late with it
        first, second = lab.wait_for(first_two, "the first sample")
        self.assertNotIn("past", second)
        self.assertEqual(first["past"][0], first["minutes_ago"])
        times = [sums["uptime_ms"] for sums in first["past"]] + [first["uptime_ms"]]
        self.assertEqual(times, sorted(times))
        self.assertEqual(times[0], 0)
        steps = [round(time / 5000) for time in times[1:-1]]
        self.assertEqual(steps, sorted(set(steps) - {0}), "one at each whole step, but those for which it is too late")
        received = [sums["origin_received_bytes"] for sums in first["past"]]
        self.assertEqual((received, received[0]), (sorted(received), 0))
        self.assertEqual(agent.json("top")["minutes_ago"], first["minutes_ago"])

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

    def assert_between(self, agent, page):
        """Each value of the page is one that the metrics had while it was made. What it shows."""
        before = truth(agent.metrics())
        uptime = agent.json("top")["uptime_ms"]
        lab.wait_for(lambda: shown(page)["uptime"] >= uptime, "an event that was made after that")
        page_says = shown(page)
        after = truth(agent.metrics())
        self.assertEqual(set(page_says["sums"]), set(before), "values of the page without a metric, or the other way round")
        for key, value in page_says["sums"].items():
            if key not in GAUGES:
                self.assertTrue(before[key] <= int(value) <= after[key], f"{key}: {before[key]} {value} {after[key]}")
        return page_says

    def assert_equal_now(self, agent, page):
        """... and exactly what they say, at a moment when nothing moves: neighbours may still ask for something."""
        found, says = {"all": "not compared yet"}, None

        def is_equal():
            nonlocal found, says
            says, metrics = shown(page), agent.metrics()
            if metric_sum(metrics, "shoal_fetches_in_flight") or not all(m.get("share") for m in says["mounts"]):
                found = {"all": "readahead, or a mount, is on its way"}
                return False
            pairs = {**self.sums_of(says, metrics), **self.mounts_of(agent, says), **self.peers_of(agent, says, metrics)}
            found = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
            return not found
        lab.wait_for(is_equal, lambda: f"the page to say what the metrics say: {found}")
        return says

    @staticmethod
    def sums_of(says, metrics):
        """{what: (as the page has it, as the metrics have it)}, of all that is counted."""
        sums = truth(metrics)
        pairs = {key: (float(says["sums"].get(key, -1)), value) for key, value in sums.items()}
        # The agent is younger than five minutes.
        pairs |= {f"lately {key}": (int(value), sums[key]) for key, value in says["lately"].items()}
        read = {source: sums[f"read_bytes.{source}"] for source in SOURCES}
        all_read, unique = sum(read.values()), sums["origin_unique_bytes"]
        pairs["hit"] = (says["hit"], percent(read["cache"] + read["dedup"], all_read))
        pairs["bar"] = (says["bar"], ", ".join(f"{name} {value * 100 / all_read:.1f} %" for name, value in zip(SOURCES.values(), read.values())))
        pairs["ratio"] = (says["ratio"], f"{sums['origin_data_bytes'] / unique:.2f} × unique bytes" if unique else "nothing was missing")
        seconds = sum(metric_sum(metrics, "shoal_read_seconds_sum", source=source) for source in ("peer", "origin"))
        pairs["waited"] = (abs(says["waited"] - seconds * 1000) <= 2, True)
        return pairs

    @staticmethod
    def mounts_of(agent, says):
        """The same, of the mounts: of one image here, and so of all blobs."""
        blobs, mounts = agent.json("blob", "ls")["blobs"], agent.json("top")["mounts"]
        n = (sum(b["n_ready"] for b in blobs), sum(b["n_chunks"] for b in blobs))
        pairs = {"mounts": ([m["dir"] for m in says["mounts"]], [m["dir"] for m in mounts])}
        for shown_one, told in zip(says["mounts"], mounts):
            strip = [(int(told["strip"][i]), told["strip"][i + 1]) for i in range(0, len(told["strip"]), 2)]
            present = sum(height for height, _ in strip) / (9 * len(strip))
            pairs |= {f"chunks at {told['dir']}": ((shown_one["ready"], shown_one["chunks"]), n),
                      f"strip at {told['dir']}": ([(round(h * 9 / 100), note or ".") for h, note in shown_one["strip"]], strip),
                      f"share at {told['dir']}": (shown_one["share"], f"{n[0] * 100 // n[1]} %"),
                      f"height at {told['dir']}": (abs(present - n[0] / n[1]) <= 0.15, True)}  # cells are sampled
        return pairs

    @staticmethod
    def peers_of(agent, says, metrics):
        """The same, of the neighbours: states, bytes and speeds, as `shoal peers` has them."""
        told = {p["id"][:12]: ["this node" if p["state"] == "self" else p["state"], p["address"], str(p["rate_bytes_per_s"]),
                               str(p["received_bytes"]), str(p["sent_bytes"])] for p in agent.json("peers")["peers"]}
        by_state = {state: int(metric_sum(metrics, "shoal_peers", state=state)) for state in ("up", "down", "suspect")}
        pairs = {"peers": (says["peers"], told),
                 "peers_sum": (says["peers_sum"], ": " + ", ".join(f"{n} {state}" for state, n in by_state.items() if n))}
        for direction, column in (("received", 3), ("sent", 4)):
            pairs[direction] = (sum(int(row[column]) for row in says["peers"].values()),
                                metric_sum(metrics, f"shoal_peer_{direction}_bytes_total"))
        return pairs

    def test_each_value_is_what_the_metrics_say_while_an_image_loads_on_two_agents(self):
        agents = self.cluster(2, read={"timeout_ms": 10000 * int(lab.DEADLINE_S)})  # readers wait until the pages have shown it
        pages = [self.open(agent) for agent in agents]
        image = lab.registry().push(IMAGE)
        wheres = [agent.mount(image) for agent in agents]
        for where in wheres:  # a part of it: readahead brings more
            with open(next(lab.regular_files(where)), "rb") as f:
                f.read(1)
        for agent, page in zip(agents, pages):
            says = self.assert_equal_now(agent, page)
            self.assertEqual([m["dir"] for m in says["mounts"]], [wheres[agents.index(agent)]])
            self.assertLess(says["mounts"][0]["ready"], says["mounts"][0]["chunks"])

        # Readers that wait, and go on waiting.
        for agent in agents:
            agent.reload(limits={"origin_bytes_per_s": 1})
        with ThreadPoolExecutor(2) as pool:
            reads = [pool.submit(lab.read_all, where) for where in wheres]
            for agent, page in zip(agents, pages):
                self.assert_waiting(agent, page)
            for agent in agents:
                agent.reload(limits={"origin_bytes_per_s": 400_000})
            n_loading = 0
            while not all(read.done() for read in reads):
                for agent, page in zip(agents, pages):
                    says = self.assert_between(agent, page)
                    if says["mounts"][0]["ready"] < says["mounts"][0]["chunks"]:
                        n_loading += 1
                        self.keep_picture(page, "page.png")
            self.assertGreater(n_loading, 0)
            for read in reads:
                read.result()
        for agent, page in zip(agents, pages):
            says = self.assert_equal_now(agent, page)
            self.assertEqual({cell for m in says["mounts"] for cell in map(tuple, m["strip"])}, {(100, "")})
            for key in ("read_bytes.origin", "origin_unique_bytes", "peer_received_bytes.same", "leased_chunks.first"):
                self.assertGreater(int(says["sums"][key]), 0, key)
            self.assertGreater(says["waited"], 0)
            self.assertEqual(page.complaints, [])

    def assert_waiting(self, agent, page):
        """Readers wait for the registry, which may not send: who waits for what is on the page."""
        def differences():
            metrics, says = agent.metrics(), shown(page)
            waiting = int(metric_sum(metrics, "shoal_readers_waiting"))
            told = {(q["source"], q["blob"][:12]) for q in agent.json("top")["questions"]}
            pairs = {"nobody waits": (waiting > 0, True), "waiting": (says["waiting"], f"{waiting} reader{'s' if waiting > 1 else ''}"),
                     "units": (says["sums"]["fetches_in_flight"], str(int(metric_sum(metrics, "shoal_fetches_in_flight")))),
                     "questions": ({(q[1], q[4]) for q in says["questions"]}, told),
                     "for whom": ("a reader" in [q[0] for q in says["questions"]], True),
                     "strip": ("f" in [note for _, note in says["mounts"][0]["strip"]], True)}
            return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        lab.wait_for(lambda: not differences(), lambda: f"the page to show who waits: {differences()}")

    def test_the_last_minutes_are_there_at_once(self):
        first, second = self.cluster(2)
        image = lab.registry().push(IMAGE)
        first.shoal("prefetch", first.mount(image))
        self.assert_tree(second.mount(image), IMAGE)
        page = self.open(second)
        lab.wait_for(lambda: page.value("document.querySelectorAll('#chart .same').length"), "what came before it was opened")
        says = self.assert_equal_now(second, page)
        self.assertGreater(int(says["lately"]["read_bytes.peer"]), 0)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        self.keep_picture(page, "page-dark.png")
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

    def open(self, document, n_refused=0, **kw):
        agent = made_up.Agent(document, n_refused)
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
        self.assertIn("3 lied, 2 wrong", self.text(page, "#peers tr:nth-child(2)"))
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

    def test_what_was_before_the_page_was_opened_is_shown_at_once_and_goes_on(self):
        MIB, now, read = made_up.MIB, 3723000, (60 * made_up.MIB, 0, 0, 0)
        before = [made_up.sums(now - 300000 + i * 5000, read, (0, 0, i * 10 * MIB if i < 50 else 500 * MIB, 0)) for i in range(60)]
        document = made_up.document(read=read, came=(0, 0, 500 * MIB, 0), past=before, minutes_ago=before[0])
        agent, page = self.open(document)
        self.assertEqual(self.text(page, "#chart-scale"), "at most 2.0 MiB/s")
        self.assertIn(self.count(page, "#chart .other"), (50, 51))  # of 5 seconds each; and nothing in the last of them
        self.assertEqual(self.text(page, '[data-lately="peer_received_bytes.other"]'), "500.0 MiB")
        self.assertEqual(self.text(page, '[data-lately="read_bytes.cache"]'), "0 B")
        later = made_up.document(read=read, came=(0, 0, 500 * MIB, 20 * MIB), uptime_ms=now + 1000, minutes_ago=before[0])
        self.say(agent, page, later)
        self.assertEqual((self.count(page, "#chart .origin"), self.text(page, "#chart-scale")), (1, "at most 4.0 MiB/s"))
        self.assertIn(self.count(page, "#chart .other"), (49, 50, 51))
        with self.subTest("a tab that comes back: now is since the last sample, not the mean of its absence"):
            past = [made_up.sums(now + 300000 + i * 5000, read, (0, 0, 500 * MIB, 320 * MIB)) for i in range(60)]
            back = made_up.document(read=read, came=(0, 0, 500 * MIB, 330 * MIB), uptime_ms=now + 600000, past=past, minutes_ago=past[0])
            self.say(agent, page, back)
            self.assertEqual(self.text(page, 'tr:has([data-lately="origin_received_bytes"]) > :nth-child(2)'), "2.0 MiB/s")
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
        bars = page.value("getComputedStyle(document.querySelector('.key.coming')).backgroundImage")
        self.assertEqual(bars, page.value("getComputedStyle(document.querySelector('.strip i.f'), '::after').backgroundImage"))
        self.assertNotIn(bars.split("rgb")[0], {look.split("rgb")[0] for look in looks[:2]})  # those of a strip
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

    def test_it_listens_while_it_is_seen(self):
        """As in a tab behind another, from the beginning."""
        browser.require_browser()
        agent, shown_page = self.open(made_up.document())
        page = browser.Page("about:blank")
        self.addCleanup(page.close)
        page.call("Page.addScriptToEvaluateOnNewDocument", source="var unseen = true;"
                  " Object.defineProperty(document, 'hidden', { get: () => unseen });")
        page.call("Page.navigate", url=shown_page.value("location.href"))
        lab.wait_for(lambda: page.value("document.readyState") == "complete" and page.value("document.hidden"), "the page")
        self.assertIsNone(page.value("events"))
        page.value("unseen = false; document.dispatchEvent(new Event('visibilitychange'))")
        lab.wait_for(lambda: page.value("document.body.dataset.uptime"), "the first event to be shown")
        page.value("unseen = true; document.dispatchEvent(new Event('visibilitychange'))")
        self.assertEqual(page.value("events.readyState"), 2, "closed")
        self.assertEqual(page.complaints, [])

    def test_an_agent_that_refuses_at_first_is_asked_again(self):
        """It has other viewers, as many as it bears: the browser by itself does not ask again."""
        agent, page = self.open(made_up.document(), n_refused=2)
        self.assertEqual(agent.n_refused, 0)
        self.assertTrue(page.value("document.getElementById('gone').hidden"))

    def test_of_a_tab_that_comes_back_to_the_front_silence_counts_from_then(self):
        agent, page = self.open(made_up.document())
        page.value("var unseen = true; Object.defineProperty(document, 'hidden', { get: () => unseen });"
                   " document.dispatchEvent(new Event('visibilitychange'));"
                   " heard = new Date(Date.now() - 3600e3); var back, gone;"
                   " new MutationObserver(() => gone ??= performance.now()).observe(document.body, { attributeFilter: ['class'] });")
        agent.say(None)
        page.value("unseen = false; back = performance.now(); document.dispatchEvent(new Event('visibilitychange'))")
        lab.wait_for(lambda: page.value("document.body.classList.contains('gone')"), "the page to notice")
        self.assertGreaterEqual(page.value("gone - back"), page.value("SILENT_MS"))

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
