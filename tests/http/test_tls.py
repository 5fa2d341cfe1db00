"""TLS: answers, streams, probes; a certificate replaced while connections live."""
import http.client
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest

from support import EXTREME, NEWSPAPER, SOLUTION, TRMD, Server, read_all


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="trmd-tls-")
        cls.addClassCleanup(folder.cleanup)
        cls.dir = pathlib.Path(folder.name)
        for name in ("one", "two"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-keyout", cls.dir / (name + ".key"), "-out", cls.dir / (name + ".pem"),
                            "-days", "2", "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1"],
                           check=True, capture_output=True)

    def setUp(self):
        self.put("one", "one")
        self.server = Server("--tls-cert", str(self.dir / "cert"), "--tls-key", str(self.dir / "key"),
                             "--admin-port", "0")
        self.addCleanup(self.server.stop)

    def put(self, cert, key):
        (self.dir / "cert").write_bytes((self.dir / (cert + ".pem")).read_bytes())
        (self.dir / "key").write_bytes((self.dir / (key + ".key")).read_bytes())

    def trusts(self, *names):
        context = ssl.create_default_context()
        for name in names:
            context.load_verify_locations(self.dir / (name + ".pem"))
        return context

    def connection(self, *names, port=None):
        c = http.client.HTTPSConnection("127.0.0.1", port or self.server.port, timeout=60,
                                        context=self.trusts(*names))
        self.addCleanup(c.close)
        return c

    def ask(self, c, method, path, body=None, headers=None):
        c.request(method, path, json.dumps(body) if body else None,
                  {"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        return r.status, r.read()

    def reload(self, trust):
        return self.ask(self.connection(trust, port=self.server.admin_port), "POST", "/admin/reload")[0]

    def test_answers_and_streams(self):
        c = self.connection("one")
        for _ in range(3):  # on one connection
            status, data = self.ask(c, "POST", "/v1/sudoku", {"puzzle": NEWSPAPER})
            self.assertEqual((status, json.loads(data)["solution"]), (200, SOLUTION))
        status, data = self.ask(c, "POST", "/v1/sudoku", {"puzzle": NEWSPAPER}, {"Accept": "text/event-stream"})
        self.assertIn("event: done", data.decode())
        self.assertGreaterEqual(c.sock.version(), "TLSv1.2")

    def test_what_is_not_tls_gets_nothing(self):
        with self.server.connect() as s:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertNotIn(b"200", read_all(s))
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            with self.server.connect() as s:
                old.wrap_socket(s)
        self.assertEqual(self.ask(self.connection("one"), "GET", "/livez")[0], 200)

    def test_client_that_leaves_is_noticed(self):
        c = self.connection("one")
        c.request("POST", "/v1/sudoku", json.dumps({"puzzle": EXTREME, "max_steps": 1000, "attempts": 100,
                                                    "halt": "fixed", "deadline_ms": 60000}),
                  {"Content-Type": "application/json"})
        admin = self.connection("one", port=self.server.admin_port)

        def metric(line):
            return line in self.ask(admin, "GET", "/metrics")[1].decode()
        self.assertTrue(self.server.until(lambda: metric("trmd_queue_seconds") or metric("trmd_batch_size_count")))
        c.sock.shutdown(socket.SHUT_RDWR)
        self.assertTrue(self.server.until(lambda: metric('cause="cancelled"} 1')))

    def test_certificate_is_replaced_without_a_gap(self):
        kept = self.connection("one")
        self.assertEqual(self.ask(kept, "GET", "/livez")[0], 200)
        self.put("two", "two")
        self.server.process.send_signal(signal.SIGHUP)
        self.assertTrue(self.server.until(lambda: self.good("two")))
        self.assertFalse(self.good("one"))
        self.assertEqual(self.ask(kept, "GET", "/livez")[0], 200)  # an old connection lives on

    def good(self, name):
        try:
            return self.ask(self.connection(name), "GET", "/livez")[0] == 200
        except ssl.SSLCertVerificationError:
            return False

    def test_a_bad_pair_keeps_the_old_certificate(self):
        for cert, key in (("two", "one"), ("one", "two")):
            self.put(cert, key)
            self.assertEqual(self.reload("one"), 422)
            self.assertTrue(self.good("one"))
        (self.dir / "cert").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
        self.assertEqual(self.reload("one"), 422)
        self.put("two", "two")
        self.assertEqual(self.reload("one"), 200)
        self.assertTrue(self.good("two"))

    def test_a_bad_pair_does_not_start(self):
        done = subprocess.run([TRMD, "--port", "0", "--tls-cert", str(self.dir / "one.pem"), "--tls-key",
                               str(self.dir / "two.key")], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 2)
        self.assertIn("tls-cert", done.stderr)

    def test_the_file_that_is_no_certificate_is_named(self):
        for cert, key, named in (("one.key", "one.key", "one.key"), ("one.pem", "one.pem", "one.pem"),
                                 ("one.pem", "two.key", "two.key")):
            done = subprocess.run([TRMD, "--check-config", "--tls-cert", str(self.dir / cert), "--tls-key",
                                   str(self.dir / key)], capture_output=True, text=True, timeout=30)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(f"--tls-cert: {self.dir / named}: ", done.stderr)

    def test_healthcheck_speaks_tls(self):
        check = [TRMD, "--healthcheck", "--port", str(self.server.port), "--tls-cert", str(self.dir / "one.pem"),
                 "--tls-key", str(self.dir / "one.key")]
        self.assertEqual(subprocess.run(check, timeout=30).returncode, 0)
        self.assertEqual(subprocess.run(check[:4], timeout=30, stderr=subprocess.DEVNULL).returncode, 1)


if __name__ == "__main__":
    unittest.main()
