"""A real trmd under more load than it can take, and stopped under load: who is refused is told
so on a connection that lives, and nobody who was let in is dropped."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "http"))
from support import EXTREME, NEWSPAPER, PATIENCE, Others, Server, variants  # noqa: E402

LOAD = os.environ["TRM_LOAD"]


def request(puzzle, headers="", **options):
    body = json.dumps({"puzzle": puzzle, **options})
    return (f"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n"), body


def one_response(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            return data.decode()
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    length = int([line for line in head.decode().lower().split("\r\n")
                  if line.startswith("content-length:")][0].split(":")[1])
    while len(rest) < length:
        rest += s.recv(65536)
    return head.decode() + "\r\n\r\n" + rest.decode()


class Overload(unittest.TestCase):
    def start(self, *args):
        server = Server("--access-log=false", *args)
        self.addCleanup(server.stop)
        return server

    def full(self):
        """A server whose only slot and only place are taken for as long as the test lasts."""
        server = self.start("--slots=1", "--queue-puzzles=1", "--max-attempts=100000",
                            "--max-deadline-ms=600000")
        for taken in (1, 2):
            s = server.connect()
            self.addCleanup(s.close)
            s.sendall("".join(request(EXTREME, attempts=100000, deadline_ms=600000,
                                      halt="fixed")).encode())
            self.assertTrue(server.until(lambda: server.metric("trmd_requests_in_flight")
                                         == taken + 1))  # and the one that asks
            if taken == 1:
                self.assertTrue(server.until(lambda: server.metric("trmd_queue_puzzles") == 0
                                             and server.metric("trmd_batch_size_count") > 0))
        self.assertTrue(server.until(lambda: server.metric("trmd_queue_puzzles") == 1))
        return server

    def test_a_refused_client_keeps_its_connection(self):
        server = self.full()
        with server.connect() as s:
            for _ in range(3):
                s.sendall("".join(request(NEWSPAPER)).encode())
                answer = one_response(s)
                self.assertTrue(answer.startswith("HTTP/1.1 429 "), answer)
                self.assertIn("\r\nRetry-After: ", answer)
                self.assertNotIn("Connection: close", answer)

    def test_a_client_that_asks_leave_is_refused_before_it_sends(self):
        server = self.full()
        with server.connect() as s:
            head, _ = request(NEWSPAPER, "Expect: 100-continue\r\n")
            s.sendall(head.encode())
            self.assertTrue(one_response(s).startswith("HTTP/1.1 429 "))

    def overloaded(self, seconds):
        """Open loop, ten times what it can take: there are 32 slots and 64 places, and each puzzle
        stays until its deadline of 2 s. What the generator saw, RSS before and after, and who
        else was at work meanwhile."""
        with tempfile.TemporaryDirectory(prefix="trmd-load-") as folder:
            puzzles = pathlib.Path(folder) / "puzzles"
            puzzles.write_text("".join(p + "\n" for p in variants(EXTREME, 500)))
            server = self.start("--queue-puzzles=64", "--max-steps-limit=100000", "--max-steps=100000",
                                "--attempts=1")
            load = [LOAD, f"--port={server.port}", f"--mix=sudoku:{puzzles}", "--deadline-ms=2000",
                    "--connections=512", "--json"]
            rss, report = [], None
            for args in (["--rate=480", "--duration=2"], ["--rate=480", f"--duration={seconds}"]):
                with Others(server) as others:
                    done = subprocess.run([*load, *args], capture_output=True, text=True, check=True, timeout=300)
                report = json.loads(done.stdout)
                rss.append(server.metric("process_resident_memory_bytes"))
            return server, report, rss, others

    def quick(self, server, seconds):
        """The share of refusals that took less than this from headers read to answer queued."""
        text = server.request("GET", "/metrics")[2].decode()
        within = lambda le: sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                                if line.startswith("trmd_reject_seconds_bucket") and f'le="{le}"' in line)
        return within(seconds) / within("+Inf")

    def test_ten_times_too_much_is_refused_at_once_and_fills_no_memory(self):
        server, seen, rss, others = self.overloaded(6)
        self.assertEqual(set(seen["statuses"]), {"200", "429"}, seen)
        self.assertEqual(sum(seen["failures"].values()), 0, seen)
        self.assertGreater(seen["statuses"]["429"], seen["statuses"]["200"])
        self.assertLess(seen["late_by_ms"], 1000, seen)  # who was let in keeps the deadline
        self.assertLess(rss[1] - rss[0], 32 << 20)
        self.assertGreater(self.quick(server, "0.005"), 0.99)
        print(f"refusals: {seen['refusal_ms']['p99']:.1f} ms at the client (p99); others took {others.share:.0%} of the "
              f"processors: {'held' if others.few() else 'not held'} to 50 ms", file=sys.stderr)
        if others.few():
            self.assertLess(seen["refusal_ms"]["p99"], 50, seen["refusal_ms"])
        self.assertTrue(server.until(lambda: server.metric("trmd_queue_puzzles") == 0))

    def stop_under_load(self, *args):
        with tempfile.TemporaryDirectory(prefix="trmd-load-") as folder:
            puzzles = pathlib.Path(folder) / "puzzles"
            puzzles.write_text(NEWSPAPER + "\n")
            server = self.start(*args)
            load = subprocess.Popen(
                [LOAD, f"--port={server.port}", f"--mix=sudoku:{puzzles}", "--rate=200",
                 "--duration=3", "--connections=100", "--json"], stdout=subprocess.PIPE, text=True)
            self.assertTrue(server.until(lambda: server.metric("trmd_puzzles_total") > 50))
            server.process.terminate()
            self.assertEqual(server.process.wait(PATIENCE), 0)
            report = json.loads(load.communicate(timeout=120)[0])
        self.assertEqual(set(report["statuses"]) - {"200", "503"}, set(), report)
        self.assertGreater(report["statuses"]["200"], 50)
        self.assertGreater(report["failures"]["connect"], 0)  # it really was stopped early
        self.assertEqual(report["failures"]["reset"], 0, report)
        self.assertEqual(report["failures"]["timeout"], 0, report)

    def test_a_stop_under_load_breaks_no_request(self):
        self.stop_under_load()

    def test_nor_does_one_with_a_drain_delay(self):
        self.stop_under_load("--drain-delay-ms=500")


if __name__ == "__main__":
    unittest.main()
