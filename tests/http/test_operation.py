"""What an operator relies on: deadlines, clients that leave, a full queue, a clean stop."""
import json
import signal
import subprocess
import threading
import time
import unittest

from support import EXTREME, NEWSPAPER, PATIENCE, SOLUTION, TRMD, Server, read_all, variants

LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed", "deadline_ms": 60000}


def raw_post(server, body):
    return server.send("/v1/sudoku", body)


class Operation(unittest.TestCase):
    def setUp(self):
        self.server = None

    def tearDown(self):
        if self.server:
            self.server.stop()

    def start(self, *args, **kw):
        self.server = Server(*args, **kw)
        return self.server

    def test_probes(self):
        s = self.start()
        self.assertEqual(json.loads(s.request("GET", "/livez")[2])["status"], "alive")
        self.assertEqual(json.loads(s.request("GET", "/readyz")[2])["status"], "ready")
        self.assertEqual(json.loads(s.request("GET", "/openapi.json")[2])["openapi"], "3.1.0")
        check = [TRMD, "--healthcheck", "--port", str(s.port)]
        self.assertEqual(subprocess.run(check).returncode, 0)
        s.stop()
        self.server = None
        self.assertEqual(subprocess.run(check, stderr=subprocess.DEVNULL).returncode, 1)

    def test_deadline_brings_the_best_answer_so_far(self):
        s = self.start()
        began = time.monotonic()
        a = s.post("/v1/sudoku", {**LONG, "deadline_ms": 300})[2]
        self.assertEqual((a["status"], a["halt"]), ("deadline", "deadline"))
        self.assertGreater(a["steps"], 0)
        self.assertEqual(len(a["solution"]), 81)
        self.assertGreaterEqual(time.monotonic() - began, 0.29)
        self.assertGreaterEqual(a["timing_ms"]["total"], 300)

    def test_client_that_leaves_frees_its_slot_and_nobody_elses(self):
        s = self.start()
        gone = [raw_post(s, LONG) for _ in range(4)]
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") >= 5))
        for c in gone:
            c.close()
        self.assertTrue(s.until(lambda: s.metric("trmd_halts_total") >= 4))
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") <= 1))

    def test_full_queue_says_when_to_come_back(self):
        s = self.start("--slots", "1", "--queue-puzzles", "3")
        busy = raw_post(s, LONG)
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") >= 2))
        waiting = [raw_post(s, LONG)]
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_puzzles") == 1))
        status, head, p = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 3})
        self.assertEqual((status, p["type"]), (429, "/problems/queue-full"))
        self.assertGreaterEqual(int(head["retry-after"]), 1)
        self.assertEqual(s.metric("trmd_queue_puzzles"), 1)
        waiting += [raw_post(s, LONG) for _ in range(2)]
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_puzzles") == 3))
        status, head, p = s.post("/v1/sudoku", {"puzzle": NEWSPAPER})
        self.assertEqual(status, 429)
        for c in waiting + [busy]:
            c.close()
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_puzzles") == 0))
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0], 200)

    def padded(self, size, now=None):
        """A request of so many bytes, of which only `now` are sent."""
        text = json.dumps(LONG).ljust(size)
        c = self.server.connect()
        self.addCleanup(c.close)
        c.sendall((f"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   f"Connection: close\r\nContent-Length: {size}\r\n\r\n{text[:now]}").encode())
        return c, text[now:].encode() if now else b""

    def test_bytes_that_wait_are_bounded(self):
        s = self.start("--queue-bytes", "60000", "--max-body-bytes", "40000")
        first, _ = self.padded(40000)
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_bytes") == 40000))
        answer = read_all(self.padded(40000)[0])
        self.assertTrue(answer.startswith(b"HTTP/1.1 429 "), answer)
        self.assertIn(b"\r\nRetry-After: ", answer)
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0], 200)
        first.close()
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_bytes") == 0))
        self.assertEqual(s.post("/v1/sudoku", json.dumps({"puzzle": NEWSPAPER}).ljust(40000))[0], 200)

    def test_bodies_that_are_never_sent_to_their_end_are_bounded_too(self):
        s = self.start("--queue-bytes", "60000", "--max-body-bytes", "40000")
        held = [self.padded(40000, 20000)[0] for _ in range(2)]
        def refused():
            c, rest = self.padded(40000, 39000)
            c.sendall(rest)
            return read_all(c).startswith(b"HTTP/1.1 429 ")
        self.assertTrue(s.until(refused))
        for c in held:
            c.close()
        body = json.dumps({"puzzle": NEWSPAPER}).ljust(40000)
        self.assertTrue(s.until(lambda: s.post("/v1/sudoku", body)[0] == 200))

    def test_easy_puzzles_pass_hard_ones(self):
        s = self.start("--slots", "2")
        hard = [raw_post(s, {"puzzle": puzzle, "max_steps": 8, "attempts": 1000, "halt": "fixed", "deadline_ms": 600000})
                for puzzle in variants(EXTREME, 12)]
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") >= 13))
        for _ in range(5):
            self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["status"], "solved")
            self.assertEqual(s.metric("trmd_requests_in_flight"), 13)  # the hard ones, and who asks
        for c in hard:
            c.close()

    def test_stop_finishes_what_is_in_flight(self):
        s = self.start()
        answers = []

        def ask():
            answers.append(s.post("/v1/sudoku", {**LONG, "deadline_ms": 4000})[0])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") >= 5))
        s.process.send_signal(signal.SIGTERM)
        for t in threads:
            t.join()
        self.assertEqual(answers, [200] * 4)
        self.assertEqual(s.process.wait(PATIENCE), 0)

    def test_second_signal_ends_now(self):
        s = self.start()
        busy = raw_post(s, LONG)
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") >= 2))
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        self.assertIsNone(s.process.poll())
        s.process.send_signal(signal.SIGTERM)
        self.assertIsNotNone(s.process.wait(PATIENCE))
        busy.close()

    def test_work_that_outlasts_the_drain_is_given_up(self):
        s = self.start("--drain-timeout-ms", "300")
        busy = raw_post(s, LONG)
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") >= 2))
        s.process.send_signal(signal.SIGTERM)
        self.assertEqual(s.process.wait(PATIENCE), 1)
        self.assertNotIn(b"200 OK", read_all(busy))
        busy.close()

    def test_not_ready_while_draining(self):
        s = self.start("--drain-delay-ms", "6000")
        self.assertEqual(s.request("GET", "/readyz")[0], 200)
        s.process.send_signal(signal.SIGTERM)
        self.assertTrue(s.until(lambda: s.request("GET", "/readyz")[0] == 503))
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)
        self.assertEqual(s.process.wait(PATIENCE), 0)

    def test_two_workers_answer_as_one(self):
        s = self.start("--workers", "2", "--threads", "2")
        a = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 50})[2]
        self.assertEqual({r["solution"] for r in a["results"]}, {SOLUTION})

    def test_pipelined_requests_are_answered_in_order(self):
        s = self.start()
        text = json.dumps({"puzzle": NEWSPAPER})
        post = ("POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(text), text))
        with s.connect() as c:
            c.sendall((post * 2 + "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").encode())
            answer = read_all(c).decode()
        self.assertEqual(answer.count("HTTP/1.1 200"), 3)
        self.assertEqual(answer.count(SOLUTION), 2)
        self.assertLess(answer.rindex(SOLUTION), answer.index('"alive"'))

    def test_expect_continue(self):
        s = self.start()
        text = json.dumps({"puzzle": NEWSPAPER})
        with s.connect() as c:
            c.sendall(("POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                       "Expect: 100-continue\r\nConnection: close\r\n\r\n" % len(text)).encode())
            self.assertIn(b"100 Continue", c.recv(100))
            c.sendall(text.encode())
            self.assertIn(SOLUTION.encode(), read_all(c))

    def test_keys_are_asked_for(self):
        import hashlib
        import tempfile
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("alice:" + hashlib.sha256(b"secret-key-of-alice").hexdigest() + "\n")
            f.flush()
            s = self.start("--api-keys-file", f.name)
            self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0], 401)
            self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER}, {"Authorization": "Bearer wrong"})[0], 401)
            self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER}, {"Authorization": "Bearer secret-key-of-alice"})[0], 200)
            self.assertEqual(s.request("GET", "/livez")[0], 200)

    def test_slow_sender_is_cut_off(self):
        s = self.start("--request-timeout-ms", "600")
        with s.connect() as c:
            c.sendall(b"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            began = time.monotonic()
            try:
                while time.monotonic() - began < PATIENCE:
                    c.sendall(b" ")
                    time.sleep(0.05)
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.assertLess(time.monotonic() - began, PATIENCE - 5)
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)

    def test_a_client_that_drips_its_headers_is_cut_off(self):
        s = self.start("--idle-timeout-ms", "1000", "--request-timeout-ms", "500")
        for first in (b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"):  # a new connection, and one in use
            with s.connect() as c:
                if first:
                    c.sendall(first)
                    self.assertTrue(c.recv(100).startswith(b"HTTP/1.1 200"))
                c.sendall(b"GET /livez HTTP/1.1\r\nX-Long: ")
                began = time.monotonic()
                try:
                    while time.monotonic() - began < PATIENCE:
                        c.sendall(b"x")
                        time.sleep(0.05)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                self.assertLess(time.monotonic() - began, PATIENCE - 5)
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)

    def test_hangup_reloads_keys_and_limits(self):
        import hashlib
        import tempfile
        with tempfile.NamedTemporaryFile("w+") as f:
            def write(key):
                f.seek(0)
                f.truncate()
                f.write("bob:" + hashlib.sha256(key.encode()).hexdigest() + "\n")
                f.flush()

            write("first-key-of-bob")
            s = self.start("--api-keys-file", f.name)
            ask = lambda key: s.post("/v1/sudoku", {"puzzle": NEWSPAPER}, {"X-API-Key": key})[0]
            self.assertEqual((ask("first-key-of-bob"), ask("second-key-of-bob")), (200, 401))
            write("second-key-of-bob")
            s.process.send_signal(signal.SIGHUP)
            self.assertTrue(s.until(lambda: ask("second-key-of-bob") == 200))
            self.assertEqual(ask("first-key-of-bob"), 401)

    def test_bad_start_is_one_line_and_exit_2(self):
        for args in (["--port", "x"], ["--nonsense"], ["--model", "/nowhere.safetensors"], ["--backend", "abacus"],
                     ["--jobs", "redis://localhost"]):
            r = subprocess.run([TRMD, *args], capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(r.returncode, 2, args)
            lines = [line for line in r.stderr.splitlines() if line.startswith("trmd: ")]
            self.assertEqual(len(lines), 1, r.stderr)


if __name__ == "__main__":
    unittest.main()
