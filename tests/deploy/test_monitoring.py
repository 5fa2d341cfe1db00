"""What watches the daemon: Prometheus with the configuration of the compose file scrapes a real
daemon, and every figure of the dashboard and every alert is asked of it.
Symptoms: a panel stays empty; an alert can never fire; a metric was renamed on one side."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "http"))
from support import NEWSPAPER, SEVENTEEN, Server  # noqa: E402

COMPOSE = os.path.realpath(os.path.join(HERE, "../../deploy/compose"))
KUBERNETES = os.path.realpath(os.path.join(HERE, "../../deploy/kubernetes"))


def text(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def dashboard():
    return json.loads(text(COMPOSE, "grafana/dashboards/trmd.json"))


def questions():
    """(panel, PromQL) of the dashboard, its variables filled in."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "10s").replace(
                "$instance", ".*")


class Metrics(unittest.TestCase):
    def test_every_metric_named_anywhere_is_one_the_daemon_has(self):
        s = Server()
        self.addCleanup(s.stop)
        self.assertTrue(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["verified"])
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", s.request("GET", "/metrics")[2].decode(), re.M))
        known = set(kinds)
        for name, kind in kinds.items():
            if kind == "histogram":
                known |= {name + end for end in ("_bucket", "_sum", "_count")}
        asked = {m for _, q in questions() for m in re.findall(r"\btrmd_\w+", q)}
        asked |= set(re.findall(r"\btrmd_\w+", text(COMPOSE, "alerts.yml")))
        adapter = text(KUBERNETES, "prometheus-adapter.yaml")
        made = set(re.findall(r"as: (trmd_\w+)", adapter))
        asked |= set(re.findall(r"\btrmd_\w+", adapter)) - made
        self.assertGreater(len(asked), 10)
        self.assertEqual(asked - known, set())
        # What the autoscaler wants is what the adapter makes.
        self.assertEqual(set(re.findall(r"\btrmd_\w+", text(KUBERNETES, "base/autoscaler.yaml"))), made)

    def test_the_dashboard_is_whole(self):
        d = dashboard()
        self.assertEqual(len({p["id"] for p in d["panels"]}), len(d["panels"]))
        for p in d["panels"]:
            g = p["gridPos"]
            self.assertLessEqual(g["x"] + g["w"], 24)
            self.assertIn(p["datasource"]["uid"], text(COMPOSE, "grafana/provisioning/datasources/prometheus.yml"))


@unittest.skipUnless(shutil.which("prometheus") and shutil.which("promtool"),
                     "no prometheus; deploy/setup --all installs it")
class Prometheus(unittest.TestCase):
    def test_every_panel_shows_something(self):
        s = Server("--queue-puzzles", "2", "--slots", "1")
        self.addCleanup(s.stop)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder = tempfile.TemporaryDirectory(prefix="trmd-prometheus-")
        self.addCleanup(folder.cleanup)
        shutil.copy(os.path.join(COMPOSE, "alerts.yml"), folder.name)
        config = text(COMPOSE, "prometheus.yml")
        self.assertIn('"trmd:8080"', config)
        with open(os.path.join(folder.name, "prometheus.yml"), "w") as f:
            f.write(config.replace("trmd:8080", f"127.0.0.1:{s.port}").replace("15s", "1s"))
        process = subprocess.Popen(
            ["prometheus", "--config.file=" + os.path.join(folder.name, "prometheus.yml"),
             "--storage.tsdb.path=" + os.path.join(folder.name, "data"),
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"])
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

        def ask(path, **query):
            try:
                url = f"http://127.0.0.1:{port}/api/v1/{path}?" + urllib.parse.urlencode(query)
                with urllib.request.urlopen(url, timeout=10) as r:
                    return json.load(r)["data"]
            except OSError:
                return {}

        left = dict.fromkeys(questions())
        end = time.monotonic() + 60
        while left and time.monotonic() < end:
            for puzzle in (NEWSPAPER, SEVENTEEN, "55" + "." * 79):
                s.post("/v1/sudoku", {"puzzle": puzzle, "max_steps": 2})
            for q in list(left):
                result = ask("query", query=q[1]).get("result") or []
                if any(r["value"][1] != "NaN" for r in result):
                    del left[q]
        self.assertEqual(list(left), [])
        groups = ask("rules")["groups"]
        rules = [r for g in groups for r in g["rules"]]
        self.assertEqual(len(rules), text(COMPOSE, "alerts.yml").count("- alert:"))
        self.assertEqual([r["name"] for r in rules if r["health"] == "err"], [])

    def test_configuration_and_rules_check_out(self):
        r = subprocess.run(["promtool", "check", "config", os.path.join(COMPOSE, "prometheus.yml")],
                           capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)


if __name__ == "__main__":
    unittest.main()
