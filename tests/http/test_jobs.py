"""Jobs: work that is asked for now and fetched later, through restarts and full disks."""
import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import tempfile
import unittest

from support import EXTREME, NEWSPAPER, SOLUTION, TRMD, Server, valid

ASYNC = {"Prefer": "respond-async"}
LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed", "deadline_ms": 600000}


def events(data):
    for block in data.decode().strip().split("\n\n"):
        if block.startswith("event: "):
            name, text = block.split("\n", 1)
            yield name[len("event: "):], json.loads(text[len("data: "):])


class Jobs(unittest.TestCase):
    def setUp(self):
        self.server = None
        self.state = tempfile.TemporaryDirectory()

    def tearDown(self):
        if self.server:
            self.server.stop()
        self.state.cleanup()

    def start(self, *args, **kw):
        self.server = Server(*args, **kw)
        return self.server

    def submit(self, body, path="/v1/sudoku", headers=None):
        status, head, job = self.server.post(path, body, {**ASYNC, **(headers or {})})
        self.assertEqual(status, 202, job)
        self.assertEqual(head["location"], "/v1/jobs/" + job["id"])
        self.assertEqual(head["preference-applied"], "respond-async")
        self.assertEqual(job["state"], "queued")
        return head["location"]

    def job(self, place):
        status, _, data = self.server.request("GET", place)
        self.assertEqual(status, 200, data)
        return json.loads(data)

    def reaches(self, place, state):
        self.assertTrue(self.server.until(lambda: self.job(place)["state"] == state), self.job(place))
        return self.job(place)

    def kill(self):
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()
        self.server.stop()

    def test_job_is_accepted_and_answered_later(self):
        s = self.start()
        place = self.submit({"puzzles": [NEWSPAPER] * 100})
        job = self.reaches(place, "done")
        self.assertEqual([r["solution"] for r in job["result"]["results"]], [SOLUTION] * 100)
        self.assertEqual(job["kind"], "sudoku")
        self.assertLessEqual(job["created"], job["started"])
        self.assertLessEqual(job["started"], job["ended"])
        self.assertLess(job["ended"], job["expires"])
        self.assertEqual(self.reaches(self.submit({"puzzle": NEWSPAPER}), "done")["result"]["solution"], SOLUTION)
        self.assertTrue(s.until(lambda: s.metric("trmd_jobs_ended_total") == 2))
        self.assertTrue(s.until(lambda: s.metric("trmd_jobs") == 2))
        self.assertGreater(s.metric("trmd_job_bytes"), 100 * 81)

    def test_other_preferences_are_answered_at_once(self):
        s = self.start()
        for prefer in ("wait=10", "return=minimal, x=respond-async", "respond-asynchronously"):
            self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER}, {"Prefer": prefer})[0], 200)
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER}, {"Prefer": "wait=1, Respond-Async;q=1"})[0], 202)

    def test_bad_requests_are_refused_before_they_are_jobs(self):
        s = self.start()
        status, _, p = s.post("/v1/sudoku", {"puzzle": "55" + "." * 79}, ASYNC)
        self.assertEqual((status, p["pointer"]), (422, "/puzzle"))
        self.assertEqual(s.post("/v1/sudoku", "{", ASYNC)[0], 400)
        self.assertTrue(s.until(lambda: s.metric("trmd_jobs") == 0))

    def test_unknown_jobs(self):
        s = self.start()
        for name in ("0" * 32, "x", "", "%2e%2e", "0" * 33, "0" * 200):
            for method in ("GET", "DELETE"):
                status, _, data = s.request(method, "/v1/jobs/" + name)
                self.assertEqual((status, json.loads(data)["type"]), (404, "/problems/not-found"), name)
        status, head, _ = s.request("PUT", "/v1/jobs/" + "0" * 32, "{}")
        self.assertEqual((status, head["allow"]), (405, "GET, HEAD, DELETE, OPTIONS"))

    def test_stream_follows_a_job_to_its_end(self):
        self.start()
        place = self.submit({"puzzles": [NEWSPAPER] * 100 + [EXTREME] * 4, "attempts": 4})
        _, head, data = self.server.request("GET", place, headers={"Accept": "text/event-stream"})
        self.assertTrue(head["content-type"].startswith("text/event-stream"))
        seen = list(events(data))
        self.assertEqual([name for name, _ in seen[:-1]], ["progress"] * (len(seen) - 1))
        name, last = seen[-1]
        self.assertEqual((name, last["state"], len(last["result"]["results"])), ("done", "done", 104))
        for r in last["result"]["results"][100:]:
            self.assertEqual(r["verified"], valid(EXTREME, r["solution"]))
        # One that has ended already is told at once.
        again = list(events(self.server.request("GET", place, headers={"Accept": "text/event-stream"})[2]))
        self.assertEqual(again, [("done", last)])

    def test_progress_is_told(self):
        self.start()
        place = self.submit({"puzzles": [NEWSPAPER] * 40 + [EXTREME] * 40, "max_steps": 200, "attempts": 200})
        self.assertTrue(self.server.until(lambda: self.job(place).get("progress", {}).get("done", 0) > 0))
        job = self.job(place)
        self.assertEqual(job["progress"]["puzzles"], 80)
        self.assertEqual(json.loads(self.server.request("DELETE", place)[2])["state"], "cancelled")

    def test_cancel_ends_the_work(self):
        s = self.start("--job-runs", "1")
        running, queued = self.submit(LONG), self.submit(LONG)
        self.reaches(running, "running")
        self.assertEqual(self.job(queued)["state"], "queued")
        for place in (queued, running):
            status, _, data = s.request("DELETE", place)
            self.assertEqual((status, json.loads(data)["state"]), (200, "cancelled"))
            self.assertEqual(json.loads(s.request("DELETE", place)[2])["state"], "cancelled")
        self.assertTrue(s.until(lambda: s.metric("trmd_halts_total") == 1))
        done = self.submit({"puzzle": NEWSPAPER})
        self.reaches(done, "done")
        self.assertEqual(json.loads(s.request("DELETE", done)[2])["state"], "done")
        self.assertNotIn("result", self.job(running))

    def test_number_and_bytes_are_bounded(self):
        s = self.start("--job-runs", "1", "--job-queue", "2", "--job-bytes", "40000", "--max-body-bytes", "20000")
        first = self.submit(LONG)
        self.reaches(first, "running")
        places = [self.submit(LONG) for _ in range(2)]
        status, head, p = s.post("/v1/sudoku", LONG, ASYNC)
        self.assertEqual((status, p["type"]), (429, "/problems/queue-full"))
        self.assertIn("2 jobs wait", p["detail"])
        self.assertGreaterEqual(int(head["retry-after"]), 1)
        for place in [first] + places:
            s.request("DELETE", place)
        big = {"puzzles": [NEWSPAPER] * 200}
        self.reaches(self.submit(big), "done")  # its result alone is above the limit
        status, _, p = s.post("/v1/sudoku", big, ASYNC)
        self.assertEqual(status, 429)
        self.assertIn("bytes", p["detail"])

    def test_results_expire(self):
        s = self.start("--job-keep-s", "1")
        place = self.submit({"puzzle": NEWSPAPER})
        self.assertTrue(s.until(lambda: s.metric("trmd_jobs_ended_total") == 1))
        self.assertTrue(s.until(lambda: s.request("GET", place)[0] == 404))

    def test_jobs_belong_to_the_key_that_made_them(self):
        keys = {"alice": "key-of-alice", "bob": "key-of-bob"}
        path = os.path.join(self.state.name, "keys")
        with open(path, "w") as f:
            for name, key in keys.items():
                f.write("%s:%s\n" % (name, hashlib.sha256(key.encode()).hexdigest()))
        s = self.start("--api-keys-file", path)
        alice, bob = ({"X-API-Key": k} for k in keys.values())
        place = self.submit({"puzzle": NEWSPAPER}, headers=alice)
        self.assertEqual(s.request("GET", place)[0], 401)
        self.assertEqual(s.request("GET", place, headers=bob)[0], 404)
        self.assertEqual(s.request("DELETE", place, headers=bob)[0], 404)
        self.assertTrue(s.until(lambda: json.loads(s.request("GET", place, headers=alice)[2])["state"] == "done"))

    def test_jobs_leave_room_for_those_who_wait(self):
        s = self.start("--slots", "4", "--queue-puzzles", "64", "--max-puzzles-per-request", "64")
        hard = {"puzzles": [EXTREME] * 64, "halt": "fixed", "max_steps": 500, "attempts": 100}
        places = [self.submit(hard) for _ in range(4)]
        self.reaches(places[0], "running")
        for _ in range(5):
            a = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 30})[2]
            self.assertEqual({r["status"] for r in a["results"]}, {"solved"})
        for place in places:
            s.request("DELETE", place)

    def test_queued_running_and_ended_jobs_survive_a_killed_daemon(self):
        args = ("--state-dir", self.state.name, "--job-runs", "1")
        self.start(*args)
        done = self.submit({"puzzle": NEWSPAPER})
        before = self.reaches(done, "done")
        running = self.submit({"puzzles": [EXTREME] * 10 + [NEWSPAPER], "attempts": 2, "max_steps": 16,
                               "halt": "fixed"})
        queued = self.submit({"puzzle": NEWSPAPER})
        self.reaches(running, "running")
        self.kill()
        self.start(*args)
        self.assertEqual(self.job(done), before)
        after = self.reaches(running, "done")
        self.assertEqual(after["claims"], 2)
        self.assertEqual(after["result"]["results"][10]["solution"], SOLUTION)
        self.assertEqual(self.reaches(queued, "done")["claims"], 1)

    def test_stopped_daemon_gives_its_job_back(self):
        args = ("--state-dir", self.state.name)
        self.start(*args)
        place = self.submit(LONG)
        self.reaches(place, "running")
        self.assertEqual(self.server.stop(), 0)
        self.start(*args)
        self.assertEqual(self.reaches(place, "running")["claims"], 1)

    def test_job_that_kills_its_daemon_is_given_up(self):
        args = ("--state-dir", self.state.name)
        self.start(*args)
        place = self.submit(LONG)
        for _ in range(5):
            self.reaches(place, "running")
            self.kill()
            self.start(*args)
        job = self.reaches(place, "failed")
        self.assertEqual((job["problem"]["status"], job["claims"]), (500, 5))

    def test_one_daemon_per_state_directory(self):
        self.start("--state-dir", self.state.name)
        r = subprocess.run([TRMD, "--port", "0", "--state-dir", self.state.name], capture_output=True, text=True,
                           timeout=60)
        self.assertEqual(r.returncode, 2)
        self.assertIn("in use by another daemon", r.stderr)

    def test_unusable_state_directories_are_named(self):
        locked = os.path.join(self.state.name, "locked")
        os.mkdir(locked)
        rotten = os.path.join(self.state.name, "rotten")
        os.mkdir(rotten)
        with open(os.path.join(rotten, "jobs.sqlite"), "w") as f:
            f.write("this is no database " * 100)
        os.chmod(locked, stat.S_IRUSR | stat.S_IXUSR)
        cases = [(os.path.join(self.state.name, "nowhere"), "No such file"), (rotten, "not a database")]
        if os.geteuid() != 0:
            cases.append((locked, "may not write"))
        for path, why in cases:
            r = subprocess.run([TRMD, "--port", "0", "--state-dir", path], capture_output=True, text=True, timeout=60)
            self.assertEqual(r.returncode, 2, path)
            self.assertIn(why, r.stderr)

    def test_what_is_on_disk_is_the_daemons_alone(self):
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        self.start("--state-dir", self.state.name)
        self.reaches(self.submit({"puzzle": NEWSPAPER}), "done")
        names = os.listdir(self.state.name)
        self.assertIn("jobs.sqlite", names)
        for name in names:
            self.assertEqual(os.stat(os.path.join(self.state.name, name)).st_mode & 0o077, 0, name)

    def test_full_disk_is_an_error_not_an_end(self):
        s = self.start("--state-dir", self.state.name)
        self.reaches(self.submit({"puzzle": NEWSPAPER}), "done")
        # No file may grow any more: what a full disk does to the database.
        resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        status, head, p = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 500}, ASYNC)
        self.assertEqual((status, p["type"]), (503, "/problems/unavailable"))
        self.assertIn("jobs.sqlite", p["detail"])
        self.assertIn("retry-after", head)
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0], 200)
        self.assertGreaterEqual(s.metric("trmd_job_store_errors_total"), 1)
        resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.assertEqual(self.reaches(self.submit({"puzzle": NEWSPAPER}), "done")["result"]["solution"], SOLUTION)

    def test_client_that_leaves_hurts_nobody(self):
        s = self.start()
        place = self.submit(LONG)
        for _ in range(20):
            with s.connect() as c:
                c.sendall(("GET %s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n" % place).encode())
                self.assertIn(b"200 OK", c.recv(200))
            with s.connect() as c:
                c.sendall(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % place).encode())
        self.assertEqual(self.job(place)["state"], "running")
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") <= 1))
        s.request("DELETE", place)


if __name__ == "__main__":
    unittest.main()
