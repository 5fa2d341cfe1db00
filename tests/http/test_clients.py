"""Clients as they come: many, idle, slow to read, half gone, too eager."""
import hashlib
import json
import resource
import socket
import tempfile
import time
import unittest

from support import EXTREME, NEWSPAPER, SOLUTION, Server, read_all

LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed"}


def post(body, headers=""):
    text = json.dumps(body)
    return ("POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
            % (headers, len(text), text)).encode()


class Clients(unittest.TestCase):
    def start(self, *args):
        self.server = Server(*args)
        self.addCleanup(self.server.stop)
        return self.server

    def solves(self):
        self.assertEqual(self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)

    def connect(self):
        c = self.server.connect()
        self.addCleanup(c.close)
        return c

    def test_five_thousand_idle_connections_hurt_nobody(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 6000:
            self.skipTest(f"only {hard} files may be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        s = self.start()
        idle = [self.connect() for _ in range(5000)]
        self.assertTrue(s.until(lambda: s.metric("trmd_connections") >= 5000))
        self.solves()
        for c in idle[::1000]:  # and each of them is still good for a request
            c.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(c.recv(100).startswith(b"HTTP/1.1 200"))
        for c in idle:
            c.close()
        self.assertTrue(s.until(lambda: s.metric("trmd_connections") < 10))

    def test_connections_are_limited_each_and_in_all(self):
        for args, most in ((("--connections", "8"), 8), (("--connections-per-ip", "4"), 4)):
            s = self.start(*args)
            held = []
            for _ in range(most):
                c = self.connect()
                c.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertTrue(c.recv(100).startswith(b"HTTP/1.1 200"))
                held.append(c)
            extra = self.connect()
            extra.settimeout(1)
            try:
                extra.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(extra.recv(100), b"")
            except (socket.timeout, ConnectionError):
                pass
            for c in held + [extra]:
                c.close()
            self.assertTrue(s.until(self.answers))

    def answers(self):
        try:
            return self.server.request("GET", "/livez")[0] == 200
        except OSError:
            return False

    def test_a_client_too_eager_is_told_to_wait_and_others_are_not(self):
        s = self.start("--rate-limit", "1", "--rate-burst", "3", "--host", "0.0.0.0")
        s.host = "127.0.0.1"
        seen = [s.post("/v1/sudoku", {"puzzle": NEWSPAPER}) for _ in range(5)]
        self.assertEqual([r[0] for r in seen[:3]], [200] * 3)
        self.assertEqual(seen[4][0], 429)
        self.assertEqual(seen[4][2]["type"], "/problems/rate-limited")
        self.assertGreaterEqual(int(seen[4][1]["retry-after"]), 1)
        self.assertEqual(s.request("GET", "/livez")[0], 200)  # probes are not counted
        s.host = "127.0.0.2"  # another client: on Linux all of 127/8 is here
        c = socket.create_connection(("127.0.0.2", s.port), 30, ("127.0.0.3", 0))
        self.addCleanup(c.close)
        c.sendall(post({"puzzle": NEWSPAPER}, "Connection: close\r\n"))
        self.assertIn(SOLUTION.encode(), read_all(c))

    def test_a_stream_with_nothing_to_tell_is_kept_awake(self):
        s = self.start("--slots", "1", "--stream-ping-ms", "200", "--coalesce", "false")
        busy = self.connect()
        busy.sendall(post({**LONG, "deadline_ms": 600000}))
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        c = self.connect()
        c.sendall(post({"puzzle": NEWSPAPER, "deadline_ms": 600000}, "Accept: text/event-stream\r\nConnection: close\r\n"))
        text = b""
        while text.count(b": ping\n\n") < 2:  # while it waits for the slot
            more = c.recv(65536)
            self.assertTrue(more, text)
            text += more
        self.assertTrue(text.startswith(b"HTTP/1.1 200 "))
        self.assertNotIn(b"event: ", text)
        busy.close()
        text = read_all(c).decode()
        self.assertIn("event: done\ndata: ", text)
        self.assertIn(SOLUTION, text)

    def test_a_reader_too_slow_misses_steps_but_never_the_end(self):
        s = self.start("--stream-buffer-bytes", "4096")
        c = socket.socket()
        self.addCleanup(c.close)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.connect((s.host, s.port))
        one_clue = ["." * i + "1" + "." * (80 - i) for i in range(32)]  # hopeless, in short steps
        c.sendall(post({"puzzles": one_clue, "deadline_ms": 6000},
                       "Accept: text/event-stream\r\nConnection: close\r\n"))
        self.assertTrue(s.until(lambda: s.metric("trmd_puzzles_total") == 32))
        text = read_all(c).decode()
        done = json.loads(text.rsplit("event: done\ndata: ", 1)[1].split("\n")[0])
        self.assertIn("deadline", {r["halt"] for r in done["results"]})
        self.assertLess(text.count("event: step"), sum(r["steps"] for r in done["results"]))

    def test_a_reader_that_never_reads_is_cut_off(self):
        s = self.start("--idle-timeout-ms", "1000")
        c = socket.socket()
        self.addCleanup(c.close)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.connect((s.host, s.port))
        flood = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        c.settimeout(0.5)
        try:
            for _ in range(2000):
                c.sendall(flood)
        except (socket.timeout, ConnectionError):
            pass
        self.assertTrue(s.until(lambda: s.metric("trmd_connections") <= 1))
        self.solves()

    def test_garbage_leaves_nothing_behind(self):
        s = self.start("--idle-timeout-ms", "1000", "--request-timeout-ms", "500")
        held = lambda: (s.metric("process_open_fds"), s.metric("trmd_requests_in_flight"), s.metric("trmd_connections"))
        before = held()
        for junk in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50,
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000,
                     b"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", post({"puzzle": NEWSPAPER})[:-5],
                     b"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
                     b"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"):
            for _ in range(20):
                c = self.connect()
                try:
                    c.sendall(junk)
                except ConnectionError:
                    pass
        self.solves()
        self.assertTrue(s.until(lambda: held() == before), (held(), before))

    def test_half_a_connection_gets_what_is_ready_and_frees_what_is_not(self):
        s = self.start("--idle-timeout-ms", "1000")
        with s.connect() as c:
            c.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            c.shutdown(socket.SHUT_WR)
            self.assertIn(b"alive", read_all(c))
        with s.connect() as c:  # to have sent all is to have left, where there is to wait
            c.sendall(post({**LONG, "deadline_ms": 60000}))
            c.shutdown(socket.SHUT_WR)
            self.assertNotIn(b"200 OK", read_all(c))
        self.assertTrue(s.until(lambda: s.metric('trmd_halts_total{kind="sudoku",cause="cancelled"}') == 1))
        with s.connect() as c:  # half a request
            c.sendall(post({"puzzle": NEWSPAPER})[:-10])
            c.shutdown(socket.SHUT_WR)
            self.assertNotIn(b"200 OK", read_all(c))
        self.solves()
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") == 1))

    def test_cancelling_costs_at_most_a_step(self):
        s = self.start()
        c = self.connect()
        c.sendall(post({**LONG, "deadline_ms": 60000}))
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 3))
        c.close()
        self.assertTrue(s.until(lambda: s.metric("trmd_halts_total") == 1))
        steps = s.metric("trmd_batch_size_count")
        time.sleep(0.5)
        self.assertEqual(s.metric("trmd_batch_size_count"), steps)
        self.assertEqual(s.metric('trmd_requests_total{kind="sudoku",status="499",reason="client-left"}'), 1)

    def keys(self, key):
        f = tempfile.NamedTemporaryFile("w")
        self.addCleanup(f.close)
        f.write("me:" + hashlib.sha256(key.encode()).hexdigest() + "\n")
        f.flush()
        return f.name

    def test_a_browser_asks_first_and_needs_no_key_for_that(self):
        s = self.start("--cors-origins", "https://a.example", "--api-keys-file", self.keys("a-key"))
        ask = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "content-type,x-api-key,prefer"}
        for path, method in (("/v1/sudoku", "POST"), ("/v1/jobs/" + "0" * 32, "DELETE"), ("/v2/models/sudoku/infer", "POST")):
            status, head, _ = s.request("OPTIONS", path, headers=ask)
            self.assertEqual((status, head["access-control-allow-origin"]), (204, "https://a.example"))
            self.assertIn(method, head["access-control-allow-methods"].split(", "))
            allowed = head["access-control-allow-headers"].lower().split(", ")
            self.assertEqual(set(ask["Access-Control-Request-Headers"].split(",")) - set(allowed), set())
            self.assertEqual(head["vary"], "Origin")
        head = s.request("OPTIONS", "/v1/sudoku", headers={**ask, "Origin": "https://b.example"})[1]
        self.assertNotIn("access-control-allow-origin", head)

    def test_errors_carry_the_origin_too(self):
        s = self.start("--cors-origins", "https://a.example", "--queue-puzzles", "1")
        origin = {"Origin": "https://a.example"}
        for method, path, body, status in (("GET", "/nowhere", None, 404), ("GET", "/v1/sudoku", None, 405),
                                           ("POST", "/v1/sudoku", "{", 400), ("POST", "/v1/sudoku", "{}", 422),
                                           ("POST", "/v1/sudoku", '{"puzzles":["", ""]}', 413)):
            got, head, _ = s.request(method, path, body, origin)
            self.assertEqual((got, head.get("access-control-allow-origin"), head.get("vary")),
                             (status, "https://a.example", "Origin"))
        s.stop()
        s = self.start("--cors-origins", "https://a.example", "--rate-limit", "0.001", "--rate-burst", "1",
                       "--api-keys-file", self.keys("a-key"))
        key = {**origin, "X-API-Key": "a-key"}
        for headers, status in ((origin, 401), (key, 200), (key, 429)):
            got, head, _ = s.request("POST", "/v1/sudoku", {"puzzle": NEWSPAPER}, headers)
            self.assertEqual((got, head.get("access-control-allow-origin")), (status, "https://a.example"))
            self.assertIn("Retry-After", head["access-control-expose-headers"])
        for near in ("https://a.example.evil.example", "http://a.example", "https://a.example:8080", "null"):
            self.assertNotIn("access-control-allow-origin", s.request("GET", "/livez", headers={"Origin": near})[1])


if __name__ == "__main__":
    unittest.main()
