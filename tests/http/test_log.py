"""Logs that machines read: one JSON object a line, whatever clients send."""
import json
import unittest

from support import NEWSPAPER, Server, read_all

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Log(unittest.TestCase):
    def test_each_request_is_one_line_with_id_trace_and_times(self):
        s = Server()
        headers = {"X-Request-Id": "order-42", "traceparent": TRACE, "User-Agent": 'me "1"\x1b'}
        status, _, data = s.request("POST", "/v1/sudoku", {"puzzles": [NEWSPAPER] * 3}, headers)
        self.assertEqual(status, 200)
        size = len(data)
        self.assertEqual(s.post("/v1/sudoku", "{", {"traceparent": "00-none"})[0], 400)
        for path in ("/%0a%7b%22level%22:%22error%22%7d", "/%22,%22status%22:200,%22x%22:%22", "/%ff%fe%00%1b[31m"):
            s.request("GET", path, headers={"X-Request-Id": 'x","status":200'})
        s.process.terminate()
        s.process.wait(60)
        lines = s.errors().splitlines()
        s.stop()
        records = [json.loads(line) for line in lines]
        access = [r for r in records if r.get("request_id")]
        self.assertEqual(len(access), 5, lines)
        first, second = access[:2]
        self.assertEqual((first["request_id"], first["traceparent"], first["status"], first["kind"], first["puzzles"]),
                         ("order-42", TRACE, 200, "sudoku", 3))
        self.assertEqual((first["client"], first["user_agent"], first["bytes_in"], first["bytes_out"]),
                         ("127.0.0.1", 'me "1"\x1b', len(json.dumps({"puzzles": [NEWSPAPER] * 3})), size))
        self.assertEqual((second["status"], second["reason"]), (400, "not-json"))
        self.assertNotIn("traceparent", second)
        self.assertEqual([r["status"] for r in access[2:]], [404, 404, 404])
        for r in access:
            self.assertRegex(r["request_id"], r"^(order-42|[0-9a-f]{32})$")
            self.assertGreaterEqual(r["total_s"], 0)

    def test_what_is_no_request_cannot_write_a_line_of_its_own(self):
        s = Server("--request-timeout-ms", "500")
        for junk in (b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                     b"\x16\x03\x01 {\"level\":\"error\"}\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000):
            with s.connect() as c:
                try:
                    c.sendall(junk)
                    read_all(c)
                except ConnectionError:
                    pass
        s.process.terminate()
        s.process.wait(60)
        lines = s.errors().splitlines()
        s.stop()
        self.assertIn("http", [json.loads(line)["msg"] for line in lines])
        self.assertNotIn("error", [json.loads(line)["level"] for line in lines])


if __name__ == "__main__":
    unittest.main()
