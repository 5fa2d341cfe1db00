"""The nginx example, with Debian's nginx before real daemons.
Symptoms: steps arrive all at once; the proxy gives up before the deadline or works on for a
client that left; a refusal loses its Retry-After; a restart behind the proxy is seen by clients."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "http"))
from support import EXTREME, NEWSPAPER, SEVENTEEN, SOLUTION, TRMD, Server  # noqa: E402

CONF = os.path.join(HERE, "../../deploy/proxy/nginx.conf")
NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed", "deadline_ms": 60000}
WRAPPER = """daemon off; master_process off; pid {d}/pid; error_log {d}/error.log; {user}
events {{}}
http {{ access_log off;
  client_body_temp_path {d}/a; proxy_temp_path {d}/b; fastcgi_temp_path {d}/c;
  uwsgi_temp_path {d}/e; scgi_temp_path {d}/f;
  include {d}/trmd.conf; }}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy(Server):
    """nginx with the example's file, its ports changed, its upstreams the given daemons."""

    def __init__(self, *daemons):
        self.dir = tempfile.TemporaryDirectory(prefix="trmd-nginx-")
        self.host, self.port = "127.0.0.1", free_port()
        with open(CONF) as f:
            text = f.read()
        line = "server 127.0.0.1:8080 max_fails=0;"
        assert line in text and "listen 80;" in text and "listen [::]:80;" in text
        text = text.replace(line, " ".join(line.replace("8080", str(d.port)) for d in daemons))
        text = text.replace("listen 80;", f"listen {self.port};").replace("listen [::]:80;", "")
        with open(os.path.join(self.dir.name, "trmd.conf"), "w") as f:
            f.write(text)
        main = os.path.join(self.dir.name, "nginx.conf")
        with open(main, "w") as f:
            f.write(WRAPPER.format(d=self.dir.name, user="user root;" if os.getuid() == 0 else ""))
        self.process = subprocess.Popen([NGINX, "-p", self.dir.name, "-c", main])
        if not self.until(self.answers):
            raise AssertionError("nginx did not start")

    def answers(self):
        try:
            self.connect(1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.dir.cleanup()


class Address:
    def __init__(self, port):
        self.port = port


def stream_begin(server, body):
    c = http.client.HTTPConnection(server.host, server.port, timeout=30)
    c.request("POST", "/v1/sudoku", json.dumps(body),
              {"Content-Type": "application/json", "Accept": "text/event-stream"})
    return c


def stream(server, body):
    c = stream_begin(server, body)
    return c, c.getresponse()


def event(response):
    """The next event's name and data."""
    lines = []
    while True:
        line = response.readline().decode().rstrip("\n")
        if not line and lines:
            return lines[0], json.loads(lines[1][len("data: "):])
        if line and not line.startswith(":"):
            lines.append(line)


@unittest.skipUnless(NGINX, "no nginx; deploy/setup --all installs it")
class Nginx(unittest.TestCase):
    def start(self, *args):
        s = Server(*args)
        self.addCleanup(s.stop)
        return s

    def proxy(self, *daemons):
        p = Proxy(*daemons)
        self.addCleanup(p.stop)
        return p

    def test_events_arrive_one_by_one(self):
        s = self.start()
        p = self.proxy(s)
        c, r = stream(p, LONG)
        for n in range(1, 4):
            name, data = event(r)
            self.assertEqual((name, data["step"]), ("event: step", n))
            # It came while the daemon still works on the answer, not after.
            self.assertEqual(s.metric("trmd_puzzles_total"), 0)
        c.close()

    def test_an_event_does_not_wait_for_the_next(self):
        """A source that sends its second event only once the first has arrived."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(30)
            p = self.proxy(Address(listener.getsockname()[1]))
            c = stream_begin(p, {"puzzle": NEWSPAPER})
            source = listener.accept()[0]
            source.recv(65536)
            source.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
            r = c.getresponse()
            for n in range(3):
                text = b'event: step\ndata: {"step": %d}\n\n' % n
                source.sendall(b"%x\r\n%s\r\n" % (len(text), text))
                self.assertEqual(event(r), ("event: step", {"step": n}))
            for x in (r, c, source):
                x.close()

    def test_a_whole_stream_ends_with_the_answer(self):
        p = self.proxy(self.start())
        c, r = stream(p, {"puzzle": NEWSPAPER})
        name, data = event(r)
        while name == "event: step":
            name, data = event(r)
        self.assertEqual((name, data["solution"]), ("event: done", SOLUTION))
        self.assertEqual(r.read(), b"")
        c.close()

    def test_a_client_that_leaves_the_proxy_leaves_the_daemon(self):
        s = self.start()
        p = self.proxy(s)
        c, r = stream(p, LONG)
        event(r)
        self.assertGreaterEqual(s.metric("trmd_requests_in_flight"), 2)
        r.close()
        c.close()
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") == 1))
        # The slot is free a step later than the request is.
        self.assertTrue(s.until(lambda: s.metric("trmd_halts_total") == 1))

    def test_the_request_s_deadline_is_kept(self):
        p = self.proxy(self.start())
        status, _, a = p.post("/v1/sudoku", {**LONG, "deadline_ms": 300})
        self.assertEqual((status, a["status"]), (200, "deadline"))
        self.assertGreaterEqual(a["timing_ms"]["total"], 300)

    def test_the_proxy_waits_longer_than_the_longest_deadline(self):
        with open(CONF) as f:
            waits = re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", f.read())
        r = subprocess.run([TRMD, "--check-config"], capture_output=True, text=True, check=True)
        self.assertEqual(len(waits), 2)
        for w in waits:
            self.assertGreater(int(w) * 1000, json.loads(r.stdout)["max_deadline_ms"])

    def test_refusals_pass_as_they_are(self):
        s = self.start("--slots", "1", "--queue-puzzles", "1")
        p = self.proxy(s)
        status, head, a = p.post("/v1/sudoku", {"puzzle": "55" + "." * 79})
        self.assertEqual((status, head["content-type"]), (422, "application/problem+json"))
        status, _, a = p.post("/v1/sudoku", {"puzzle": "." * (2 << 20)})
        self.assertEqual((status, a["status"]), (413, 413))
        status, head, _ = p.request("GET", "/v1/sudoku")
        self.assertEqual((status, head["allow"].split(",")[0]), (405, "POST"))
        busy, r = stream(s, LONG)
        event(r)
        waits = stream_begin(s, {**LONG, "puzzle": NEWSPAPER})
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_puzzles") == 1))
        status, head, a = p.post("/v1/sudoku", {"puzzle": SEVENTEEN})
        self.assertEqual((status, a["type"]), (429, "/problems/queue-full"))
        self.assertGreaterEqual(int(head["retry-after"]), 1)
        for x in (r, busy, waits):
            x.close()

    def test_a_draining_daemon_s_503_passes_when_there_is_no_other(self):
        s = self.start()
        p = self.proxy(s)
        self.assertEqual(p.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0], 200)  # a kept connection
        c, r = stream(s, LONG)  # keeps the daemon draining
        event(r)
        s.process.send_signal(signal.SIGTERM)
        self.assertTrue(s.until(lambda: not Proxy.answers(s)))
        status, head, a = p.post("/v1/sudoku", {"puzzle": NEWSPAPER})
        self.assertEqual((status, a["type"]), (503, "/problems/draining"))
        self.assertGreaterEqual(int(head["retry-after"]), 1)
        c.close()
        r.close()
        self.assertEqual(s.process.wait(30), 0)

    def test_a_daemon_that_leaves_is_not_noticed_beside_another(self):
        s, other = self.start(), self.start()
        p = self.proxy(s, other)
        ask = [p.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0] for _ in range(8)]
        c, r = stream(s, LONG)
        event(r)
        s.process.send_signal(signal.SIGTERM)
        ask += [p.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0] for _ in range(8)]
        self.assertTrue(s.until(lambda: not Proxy.answers(s)))
        ask += [p.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0] for _ in range(8)]
        c.close()
        r.close()
        self.assertEqual(s.process.wait(30), 0)
        ask += [p.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0] for _ in range(8)]
        self.assertEqual(ask, [200] * 32)


if __name__ == "__main__":
    unittest.main()
