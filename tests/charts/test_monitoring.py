"""Alerts and dashboard: of metrics that there are, and tested; a real agent's page is clean."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.request

import cluster
import lab

FILES = os.path.join(lab.REPO, "charts", "shoal", "files")
HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE = "edge:v6"
# Not shoal's own: recorded in alerts.yaml, or Prometheus's.
SUFFIXES = ("_bucket", "_sum", "_count")


def known_metrics():
    with open(os.path.join(lab.REPO, "docs", "metrics.md"), encoding="utf-8") as f:
        return dict(re.findall(r"^\| `(shoal_\w+)` \| (\w+)", f.read(), re.M))


def label_values():
    """{metric: {label: what docs/metrics.md says of its values}}"""
    with open(os.path.join(lab.REPO, "docs", "metrics.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| `(shoal_\w+)` \| \w+ \| (.*?) \|", f.read(), re.M)
    return {name: dict(re.findall(r"`(\w+)`: ([^;]+)", labels)) for name, labels in rows}


def named_metrics(text):
    return {name for name in re.findall(r"(?<![\w:])shoal_\w+", text)}


def promtool(*args, stdin=None):
    return subprocess.run(["promtool", *args], input=stdin, capture_output=True, text=True, check=False)


class Tables(unittest.TestCase):
    def test_what_is_made_from_the_tables_is_up_to_date(self):
        done = subprocess.run([os.path.join(lab.REPO, "tools", "docs"), "--check"], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Names(unittest.TestCase):
    def assert_known(self, text, what):
        known = known_metrics()
        for name in sorted(named_metrics(text)):
            base = name
            for suffix in SUFFIXES:
                if name.endswith(suffix) and known.get(name[:-len(suffix)]) == "histogram":
                    base = name[:-len(suffix)]
            self.assertIn(base, known, what)

    def test_alerts_name_metrics_that_there_are(self):
        with open(os.path.join(FILES, "alerts.yaml"), encoding="utf-8") as f:
            self.assert_known(f.read(), "alerts.yaml")

    def test_the_dashboard_names_metrics_that_there_are(self):
        with open(os.path.join(FILES, "dashboard.json"), encoding="utf-8") as f:
            self.assert_known(f.read(), "dashboard.json")

    def test_panels_do_not_overlap(self):
        with open(os.path.join(FILES, "dashboard.json"), encoding="utf-8") as f:
            panels = json.load(f)["panels"]
        taken = set()
        for panel in panels:
            g = panel["gridPos"]
            cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(g["x"] + g["w"], 24)
            taken |= cells


@unittest.skipUnless(shutil.which("promtool"), "no promtool (Debian package prometheus)")
class Prometheus(cluster.LoopbackTest):
    def test_alerts_fire_when_they_should(self):
        done = promtool("test", "rules", os.path.join(HERE, "alerts_test.yaml"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_what_the_dashboard_asks_is_understood(self):
        with open(os.path.join(FILES, "dashboard.json"), encoding="utf-8") as f:
            panels = json.load(f)["panels"]
        asked = [t["expr"] for p in panels for t in p.get("targets", [])]
        self.assertGreater(len(asked), 25)
        for name, value in (("$__rate_interval", "5m"), ("$instance", ".*")):
            asked = [a.replace(name, value) for a in asked]
        self.assertEqual([a for a in asked if "$" in a], [])
        rules = {"groups": [{"name": "dashboard", "rules": [{"record": f"panel:{i}", "expr": a} for i, a in enumerate(asked)]}]}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            json.dump(rules, f)  # which is YAML, too
            f.flush()
            done = promtool("check", "rules", f.name)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_scrape_job_of_the_guide_is_the_one_that_is_asked_for(self):
        with open(os.path.join(lab.REPO, "docs", "operating.md"), encoding="utf-8") as f:
            jobs = set(re.findall(r"job_name: (\w+)", f.read()))
        for name in ("alerts.yaml", "dashboard.json"):
            with open(os.path.join(FILES, name), encoding="utf-8") as f:
                self.assertEqual(set(re.findall(r'\bjob=\\?"(\w+)', f.read())), jobs, name)
        self.assertEqual(len(jobs), 1)

    def test_every_alert_is_tested(self):
        with open(os.path.join(FILES, "alerts.yaml"), encoding="utf-8") as f:
            alerts = set(re.findall(r"- alert: (\w+)", f.read()))
        with open(os.path.join(HERE, "alerts_test.yaml"), encoding="utf-8") as f:
            fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", f.read()))
        self.assertEqual(alerts, fired)

    def page(self, agent):
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.http_port}/metrics", timeout=lab.DEADLINE_S) as answer:
            self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
            return answer.read().decode()

    def assert_alerts_are_tested_with_what_is_there_from_the_start(self, page):
        """What begins at 0 in alerts_test.yaml does so on an agent's page: a series that appears with its first fault has not
        grown by it."""
        with open(os.path.join(HERE, "alerts_test.yaml"), encoding="utf-8") as f:
            series = re.findall(r"series: '(shoal_\w+){(.*?)}', values: \"0", f.read())
        n = 0
        for name, labels in series:
            own = re.findall(r'\b(?!instance|le\b)\w+="[^"]*"', labels)
            if len(own) == 1 and not name.endswith(SUFFIXES):
                self.assertIn(f"\n{name}{{{own[0]}}} 0\n", page)
                n += 1
        self.assertGreater(n, 5)

    def test_the_page_of_a_real_agent_is_clean(self):
        reference = lab.registry().push(IMAGE)
        agents = self.cluster(2)
        self.assert_alerts_are_tested_with_what_is_there_from_the_start(self.page(agents[0]))
        for agent in agents:
            lab.read_all(agent.mount(reference))
        agent = agents[0]
        page = self.page(agent)
        done = promtool("check", "metrics", stdin=page)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
        on_page = set(re.findall(r"^# TYPE (\w+) ", page, re.M))
        self.assertEqual(on_page, set(known_metrics()))
        told = label_values()
        for name, labels in re.findall(r"^(shoal_\w+){(.*)} ", page, re.M):
            values = told.get(name) or told[re.sub(f"({'|'.join(SUFFIXES)})$", "", name)]
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                if label != "le" and not re.match(r"(an?|the) ", values[label]):
                    self.assertIn(value, values[label].split(", "), (name, label))
        self.assertGreater(sum(a.metric("shoal_chunks_total", source="origin") for a in agents), 0)
        lab.wait_for(lambda: sum(a.metric("shoal_chunks_total", source="origin") for a in agents)
                     == sum(a.metric("shoal_leased_chunks_total", kind="first") for a in agents),
                     "each chunk from the registry to have been leased, once")


if __name__ == "__main__":
    unittest.main()
