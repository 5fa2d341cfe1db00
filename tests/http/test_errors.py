"""Bad input gets an error that names the place, and hurts nobody else."""
import json
import unittest

from support import NEWSPAPER, SOLUTION, Server, read_all


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-puzzles-per-request", "256")

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def problem(self, body, status, slug, pointer=None, says=None, path="/v1/sudoku"):
        got, head, data = self.server.request("POST", path, body if isinstance(body, (str, bytes)) else json.dumps(body))
        p = json.loads(data)
        self.assertEqual((got, p["status"], p["type"]), (status, status, "/problems/" + slug), p)
        self.assertEqual(head["content-type"], "application/problem+json")
        self.assertEqual(p["request_id"], head["x-request-id"])
        if pointer is not None:
            self.assertEqual(p.get("pointer", ""), pointer)
        if says:
            self.assertIn(says, p["detail"])
        return p

    def test_not_json(self):
        p = self.problem("{", 400, "not-json")
        self.assertEqual(p["line"], 1)
        p = self.problem('{"puzzle":\n  nope}', 400, "not-json")
        self.assertEqual(p["line"], 2)
        self.problem('{"puzzle":"a","puzzle":"b"}', 400, "not-json", says="duplicate")
        self.problem(b'{"puzzle":"\xff"}', 400, "not-json")
        self.problem(b'{"puzzle":"a\x00"}', 400, "not-json", says="NUL")
        self.problem('{"puzzle":"\\u0000"}', 400, "not-json")
        self.problem("[" * 100000, 400, "not-json", says="nested")
        self.problem('{"puzzle": "x"} trailing', 400, "not-json")
        self.problem('{"puzzle": "x", "deadline_ms": 1e999}', 400, "not-json", says="overflow")
        self.problem('{"puzzle": "x", "max_steps": %s}' % ("9" * 400), 400, "not-json", says="too big")
        self.problem("", 400, "not-json")

    def test_wrong_fields_are_pointed_at(self):
        p = NEWSPAPER
        self.problem([], 422, "invalid-request")
        for scalar in ("5", "null", '"' + p + '"'):  # JSON all the same
            self.problem(scalar, 422, "invalid-request", says="must be a JSON object")
        self.problem({}, 422, "invalid-request", says="missing")
        self.problem({"puzzle": p, "puzzles": [p]}, 422, "invalid-request", says="not both")
        self.problem({"puzzle": 5}, 422, "invalid-request", "/puzzle")
        self.problem({"puzzle": p[:80]}, 422, "invalid-request", "/puzzle", "80")
        self.problem({"puzzle": "x" + p[1:]}, 422, "invalid-request", "/puzzle", "row 1 column 1")
        self.problem({"puzzle": [0] * 80}, 422, "invalid-request", "/puzzle")
        self.problem({"puzzle": [0] * 80 + [10]}, 422, "invalid-request", "/puzzle/80")
        self.problem({"puzzle": [0] * 80 + [1.0]}, 422, "invalid-request", "/puzzle/80")
        self.problem('{"puzzle":[%s99999999999999999]}' % ("0," * 80), 422, "invalid-request", "/puzzle/80")
        self.problem({"puzzle": [[0] * 9] * 8 + [[0] * 8]}, 422, "invalid-request", "/puzzle/8")
        self.problem({"puzzle": [[0] * 9] * 8 + [[0] * 8 + [-1]]}, 422, "invalid-request", "/puzzle/8/8")
        self.problem({"puzzles": []}, 422, "invalid-request", "/puzzles")
        self.problem({"puzzles": [p, "?"]}, 422, "invalid-request", "/puzzles/1")
        self.problem({"puzzle": p, "deadline_m": 5}, 422, "invalid-request", "/deadline_m")
        self.problem({"puzzle": p, "a/b~c": 5}, 422, "invalid-request", "/a~1b~0c", 'no option "a/b~c"')
        for n in range(28, 32):  # is told in part: never of a character
            self.problem({"puzzle": p, "a" + n * "\u00e9": 5}, 422, "invalid-request", "/a" + n * "\u00e9")
        for long in ("\u00e9" * 100, "/" * 100, "a" * 10000):
            self.problem({"puzzle": p, long: 5}, 422, "invalid-request", "", long[:20])
        self.problem({"puzzle": p, "max_steps": 0}, 422, "invalid-request", "/max_steps")
        self.problem({"puzzle": p, "attempts": "3"}, 422, "invalid-request", "/attempts")
        self.problem({"puzzle": p, "halt": "never"}, 422, "invalid-request", "/halt")
        self.problem({"puzzle": p, "model": "nobody"}, 422, "no-model", "/model")
        self.problem('{"puzzle":"x","max_steps":1e999}', 400, "not-json")

    def test_contradiction_names_the_two_cells(self):
        row = "55" + NEWSPAPER[2:]
        p = self.problem({"puzzle": row}, 422, "impossible-puzzle", "/puzzle", "row 1 has two 5s")
        self.assertEqual(p["rule"], {"kind": "row", "index": 1, "digit": 5, "cells": [[1, 1], [1, 2]]})
        column = NEWSPAPER[:72] + "5" + NEWSPAPER[73:]
        grid = [[int(c) if c != "." else 0 for c in column[i:i + 9]] for i in range(0, 81, 9)]
        p = self.problem({"puzzles": [NEWSPAPER, grid]}, 422, "impossible-puzzle", "/puzzles/1/0/0", "column 1")
        self.assertEqual(p["rule"]["cells"], [[1, 1], [9, 1]])
        box = "." * 10 + "7" + "." * 7 + ".." + "7" + "." * 60
        p = self.problem({"puzzle": "7" + box[1:]}, 422, "impossible-puzzle")
        self.assertEqual(p["rule"]["kind"], "box")

    def test_unsolvable_without_a_clash(self):
        p = self.problem({"puzzle": "12345678." + "........9" + "." * 63}, 422, "impossible-puzzle")
        self.assertEqual(p["rule"]["kind"], "no-solution")

    def test_addresses_and_methods(self):
        for method, path, status, allow in (("GET", "/v1/sudoku", 405, "POST"), ("DELETE", "/v1/sudoku", 405, "POST"),
                                            ("POST", "/livez", 405, "GET"), ("GET", "/v1/chess", 404, None),
                                            ("GET", "/../etc/passwd", 404, None),
                                            ("GET", "/metrics%00", 404, None), ("GET", "/metrics%00.html", 404, None)):
            got, head, data = self.server.request(method, path)
            self.assertEqual(got, status, path)
            self.assertEqual(json.loads(data)["status"], status)
            if allow:
                self.assertIn(allow, head["allow"])

    def test_what_allow_offers_is_taken(self):
        for path in ("/", "/app.js", "/livez", "/v1/sudoku"):
            status, head, _ = self.server.request("OPTIONS", path)
            self.assertEqual(status, 204, path)
            self.assertIn("OPTIONS", head["allow"])

    def test_a_page_unchanged_tells_no_other_length(self):
        _, whole, _ = self.server.request("GET", "/")
        status, head, data = self.server.request("GET", "/", headers={"If-None-Match": whole["etag"]})
        self.assertEqual((status, data), (304, b""))
        self.assertIn(head.get("content-length"), (None, whole["content-length"]))

    def test_other_media_types(self):
        for kind, status in (("text/plain", 415), ("application/x-www-form-urlencoded", 415),
                             ("application/json; charset=utf-8", 200), ("application/vnd.x+json", 200)):
            got, _, _ = self.server.request("POST", "/v1/sudoku", json.dumps({"puzzle": NEWSPAPER}), {"Content-Type": kind})
            self.assertEqual(got, status, kind)

    def test_large_body_gets_its_answer(self):
        p = self.problem('{"puzzle":"' + "1" * 20_000_000 + '"}', 413, "too-large")
        self.assertIn("bytes", p["detail"])
        with self.server.connect() as c:
            c.sendall(b"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
            for _ in range(40):
                c.sendall(b"%x\r\n" % 100_000 + b"[" * 100_000 + b"\r\n")
            c.sendall(b"0\r\n\r\n")
            self.assertTrue(read_all(c).startswith(b"HTTP/1.1 413"))

    def test_too_many_puzzles(self):
        self.problem({"puzzles": [NEWSPAPER] * 1000}, 413, "too-large", "/puzzles", "1000 puzzles")

    def test_smuggling_shapes_are_refused_and_the_connection_closed(self):
        body = json.dumps({"puzzle": NEWSPAPER})
        for headers in ("Content-Length: %d\r\nContent-Length: 5" % len(body),
                        "Content-Length: %d\r\nTransfer-Encoding: chunked" % len(body),
                        "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"):
            with self.server.connect(20) as s:
                s.sendall(("POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n%s"
                           % (headers, body)).encode())
                s.shutdown(1)
                answer = read_all(s)
            self.assertNotIn(b"200 OK", answer, headers)

    def test_no_request_hides_in_another(self):
        hidden = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        for headers in (b"Transfer-Encoding : chunked\r\n", b"Content-Length : %d\r\n" % len(hidden),
                        b"Host: y\r\n"):
            with self.server.connect(20) as s:
                s.sendall(b"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + hidden)
                answer = read_all(s)
            self.assertTrue(answer.startswith(b"HTTP/1.1 400"), answer)
            self.assertIn(b"/problems/bad-request", answer)
            self.assertNotIn(b"alive", answer)

    def test_whom_a_request_asks(self):
        for head, status in ((b"GET /livez HTTP/1.1\r\n", b"400"), (b"GET /livez HTTP/1.0\r\n", b"200"),
                             (b"GET http://x/livez HTTP/1.1\r\nHost: x\r\n", b"200"),
                             (b"GET http://x HTTP/1.1\r\nHost: x\r\n", b"200")):
            with self.server.connect(20) as s:
                s.sendall(head + b"Connection: close\r\n\r\n")
                self.assertEqual(read_all(s).split()[1], status, head)

    def test_a_body_far_too_large_is_refused_by_its_headers(self):
        head = b"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        for more in (b"Content-Length: 5000000000\r\n", b"Content-Length: 2000000\r\nExpect: 100-continue\r\n"):
            with self.server.connect(20) as s:
                s.sendall(head + more + b"\r\n")
                self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 413"), more)

    def test_a_compressed_body_is_told_apart_from_a_broken_one(self):
        for coding, status in (("gzip", 415), ("identity", 200)):
            got, _, _ = self.server.request("POST", "/v1/sudoku", json.dumps({"puzzle": NEWSPAPER}),
                                            {"Content-Encoding": coding})
            self.assertEqual(got, status, coding)

    def test_request_id_is_kept_only_if_harmless(self):
        _, head, _ = self.server.request("GET", "/livez", headers={"X-Request-Id": "my-id.42"})
        self.assertEqual(head["x-request-id"], "my-id.42")
        _, head, _ = self.server.request("GET", "/livez", headers={"X-Request-Id": 'a"b<c>'})
        self.assertRegex(head["x-request-id"], r"^[0-9a-f]{32}$")

    def test_puzzle_made_to_be_slow_holds_up_nobody(self):
        # no clash, no solution, and a blind search wanders for minutes
        slow = ".....5.8....6.1.43..........1.5........1.6...3.......553.....61........4........."
        got, _, data = self.server.request("POST", "/v1/sudoku", {"puzzle": slow, "deadline_ms": 200})
        self.assertIn(got, (200, 422))
        if got == 200:
            self.assertEqual(json.loads(data)["verified"], False)
        self.assertEqual(self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)

    def test_bad_requests_hurt_nobody(self):
        for _ in range(50):
            self.problem("{", 400, "not-json")
        self.assertEqual(self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)


if __name__ == "__main__":
    unittest.main()
