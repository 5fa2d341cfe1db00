"""Jobs shared by several daemons through Redis (--jobs).
Symptoms: a job is stuck when its daemon dies; two daemons record a result each; a Redis that is
away takes the daemon with it; what has expired stays."""
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from support import EXTREME, NEWSPAPER, SOLUTION, TRMD, Server

ASYNC = {"Prefer": "respond-async"}
LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed", "deadline_ms": 600000}
A_WHILE = {"puzzles": [EXTREME] * 20 + [NEWSPAPER], "attempts": 2, "max_steps": 6, "halt": "fixed"}
PASSWORD = "not:to/be@seen"


class Redis:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/2"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.folder.name,
             "--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
            stdout=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while self.ask("PING") != "PONG":
            if time.monotonic() > end:
                raise AssertionError("redis does not start")
            time.sleep(0.05)

    def ask(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), "-a", PASSWORD, "--no-auth-warning", "-n", "2",
                               *words], capture_output=True, text=True).stdout.strip()

    def stop(self):
        self.process.terminate()
        self.process.wait()


@unittest.skipUnless(shutil.which("redis-server") and shutil.which("redis-cli"), "no redis-server; deploy/setup --tests")
class SharedJobs(unittest.TestCase):
    def setUp(self):
        self.redis = Redis()
        self.servers = []
        self.addCleanup(self.redis.folder.cleanup)
        self.addCleanup(self.redis.stop)
        self.addCleanup(lambda: [s.stop() for s in self.servers])

    def start(self, *args):
        s = Server("--jobs", self.redis.url, "--job-idle-ms", "1000", "--job-runs", "1", *args)
        self.servers.append(s)
        return s

    def submit(self, server, body):
        status, head, job = server.post("/v1/sudoku", body, ASYNC)
        self.assertEqual(status, 202, job)
        return head["location"]

    def job(self, server, place):
        status, _, data = server.request("GET", place)
        self.assertEqual(status, 200, data)
        return json.loads(data)

    def reaches(self, server, place, state):
        self.assertTrue(server.until(lambda: self.job(server, place)["state"] == state),
                        self.job(server, place))
        return self.job(server, place)

    def ended(self, server, how):
        text = server.request("GET", "/metrics")[2].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith("trmd_jobs_ended_total{") and f'"{how}"' in line)

    @staticmethod
    def claims(server):
        return server.metric("trmd_job_claims_total")

    def kill(self, server):
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()

    def nothing_is_queued(self):
        self.assertEqual(self.redis.ask("XLEN", "{trmd}:queue"), "0")
        self.assertEqual(self.redis.ask("XPENDING", "{trmd}:queue", "trmd").split()[0], "0")

    def test_who_has_time_does_the_work_and_all_see_it(self):
        a, b = self.start(), self.start()
        busy = self.submit(a, LONG)
        self.reaches(b, busy, "running")
        places = [self.submit(s, {"puzzle": NEWSPAPER}) for s in (a, b) * 5]
        for place in places:
            self.assertEqual(self.reaches(a, place, "done")["result"]["solution"], SOLUTION)
            self.assertEqual(self.job(b, place), self.job(a, place))
        self.assertTrue(a.until(lambda: self.ended(a, "done") + self.ended(b, "done") == 10))
        # Cancelled where it may not run.
        self.assertEqual(json.loads(b.request("DELETE", busy)[2])["state"], "cancelled")
        self.assertTrue(a.until(lambda: self.ended(a, "cancelled") + self.ended(b, "cancelled")
                                + self.ended(a, "lost") + self.ended(b, "lost") == 1))
        self.nothing_is_queued()
        self.assertTrue(a.until(lambda: a.metric("trmd_jobs") == 11))

    def test_a_killed_daemon_s_job_is_taken_over(self):
        a, b = self.start(), self.start()
        place = self.submit(a, A_WHILE)
        self.assertTrue(a.until(lambda: self.claims(a) + self.claims(b) == 1))
        if self.claims(b):
            a, b = b, a
        waiting = self.submit(a, {"puzzle": NEWSPAPER})
        self.kill(a)
        job = self.reaches(b, place, "done")
        self.assertEqual((job["claims"], job["result"]["results"][20]["solution"]), (2, SOLUTION))
        self.assertEqual(self.reaches(b, waiting, "done")["result"]["solution"], SOLUTION)
        self.nothing_is_queued()

    def test_one_that_was_only_slow_records_nothing(self):
        a = self.start()
        place = self.submit(a, A_WHILE)
        self.reaches(a, place, "running")
        a.process.send_signal(signal.SIGSTOP)
        b = self.start()
        job = self.reaches(b, place, "done")
        a.process.send_signal(signal.SIGCONT)
        self.assertTrue(a.until(lambda: self.ended(a, "lost") + self.ended(a, "cancelled") == 1))
        self.assertEqual((self.ended(a, "done"), self.ended(b, "done")), (0, 1))
        self.assertEqual(self.job(a, place), job)
        self.assertEqual(job["claims"], 2)

    def test_a_living_daemon_s_job_is_left_alone(self):
        a = self.start()
        place = self.submit(a, LONG)
        self.reaches(a, place, "running")
        b = self.start()
        self.assertEqual(self.reaches(b, self.submit(b, {"puzzle": NEWSPAPER}), "done")["claims"], 1)
        time.sleep(3)  # three times what makes it silent
        self.assertEqual(self.job(b, place)["claims"], 1)

    def test_a_stopped_daemon_gives_its_job_back(self):
        a = self.start()
        place = self.submit(a, A_WHILE)
        self.reaches(a, place, "running")
        b = self.start("--job-idle-ms", "600000")
        self.assertEqual(a.stop(), 0)
        self.servers.remove(a)
        self.assertEqual(self.reaches(b, place, "done")["claims"], 1)

    def test_a_job_that_kills_its_daemons_is_given_up(self):
        s = self.start("--job-idle-ms", "300")
        place = self.submit(s, LONG)
        for claim in range(1, 6):
            self.assertTrue(s.until(lambda: self.job(s, place).get("claims") == claim))
            self.kill(s)
            s = self.start("--job-idle-ms", "300")
        job = self.reaches(s, place, "failed")
        self.assertEqual((job["problem"]["status"], job["claims"]), (500, 5))
        self.nothing_is_queued()

    def test_limits_hold_for_all_together(self):
        a, b = (self.start("--job-queue", "2") for _ in range(2))
        running = [self.submit(s, LONG) for s in (a, b)]
        for place in running:
            self.reaches(a, place, "running")
        for s in (a, b):
            self.submit(s, LONG)
        for s in (a, b):
            status, _, p = s.post("/v1/sudoku", LONG, ASYNC)
            self.assertEqual((status, p["type"]), (429, "/problems/queue-full"))

    def test_results_expire(self):
        s = self.start("--job-keep-s", "1")
        place = self.submit(s, {"puzzle": NEWSPAPER})
        self.assertTrue(s.until(lambda: self.ended(s, "done") == 1))
        self.assertTrue(s.until(lambda: s.request("GET", place)[0] == 404))
        self.assertTrue(s.until(lambda: self.redis.ask("KEYS", "*job:*") == ""))
        self.assertTrue(s.until(lambda: s.metric("trmd_jobs") == 0 and s.metric("trmd_job_bytes") == 0))

    def test_a_redis_that_is_away_hurts_jobs_alone(self):
        s = self.start()
        done = self.submit(s, {"puzzle": NEWSPAPER})
        before = self.reaches(s, done, "done")
        self.redis.stop()
        status, head, p = s.post("/v1/sudoku", {"puzzle": NEWSPAPER}, ASYNC)
        self.assertEqual((status, p["type"]), (503, "/problems/unavailable"))
        self.assertIn("retry-after", head)
        self.assertNotIn(PASSWORD, json.dumps(p))
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)
        self.assertEqual(s.request("GET", "/readyz")[0], 200)
        self.redis.start()
        self.assertEqual(self.job(s, done), before)
        self.assertEqual(self.reaches(s, self.submit(s, {"puzzle": NEWSPAPER}), "done")["claims"], 1)

    def test_what_does_not_fit_is_named_at_the_start(self):
        def fails(*args):
            r = subprocess.run([TRMD, "--port", "0", *args], capture_output=True, text=True, timeout=60)
            self.assertEqual(r.returncode, 2)
            self.assertNotIn(PASSWORD, r.stderr)
            return r.stderr
        self.assertIn("WRONGPASS", fails("--jobs", f"redis://:x@127.0.0.1:{self.redis.port}"))
        self.assertIn("Connection refused", fails("--jobs", f"redis://:{PASSWORD}@127.0.0.1:1"))
        self.assertIn("redis://", fails("--jobs", "rediss://queue"))
        self.assertIn("state_dir", fails("--jobs", self.redis.url, "--state-dir", self.redis.folder.name))
        shown = subprocess.run([TRMD, "--check-config", "--jobs", self.redis.url], capture_output=True, text=True)
        self.assertIn("redis://***@127.0.0.1", shown.stdout)
        self.assertNotIn(PASSWORD, shown.stdout)


if __name__ == "__main__":
    unittest.main()
