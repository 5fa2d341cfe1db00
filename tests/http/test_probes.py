"""What an orchestrator asks: does it live, is it ready. The engine thread is really stopped."""
import ctypes
import json
import os
import signal
import sys
import threading
import time
import unittest

from support import EXTREME, NEWSPAPER, SANITIZED, SOLUTION, Others, Server, percentile, variants

ATTACH, DETACH = 16, 17  # of ptrace
LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed", "deadline_ms": 30000}


def engine_thread(pid):
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as f:
            if f.read().strip() == "trmd-engine":
                return int(tid)
    raise AssertionError("no engine thread")


class Stopped:
    """One thread of a child stands still; the others run on."""

    def __init__(self, tid):
        self.tid, self.libc = tid, ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        if self.libc.ptrace(ATTACH, self.tid, None, None):
            raise unittest.SkipTest("ptrace: " + os.strerror(ctypes.get_errno()))
        os.waitpid(self.tid, 0x40000000)  # __WALL
        return self

    def __exit__(self, *_):
        self.libc.ptrace(DETACH, self.tid, None, None)


class Probes(unittest.TestCase):
    def start(self, *args):
        s = Server(*args)
        self.addCleanup(s.stop)
        return s

    def test_a_hung_engine_thread_is_seen_and_its_recovery_too(self):
        s = self.start("--hung-after-ms", "500")
        answers = []
        t = threading.Thread(target=lambda: answers.append(s.post("/v1/sudoku", {**LONG, "deadline_ms": 5000})))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        with Stopped(engine_thread(s.process.pid)):
            self.assertTrue(s.until(lambda: s.request("GET", "/livez")[0] == 503))
            self.assertEqual(json.loads(s.request("GET", "/livez")[2])["status"], "hung")
            self.assertEqual(json.loads(s.request("GET", "/readyz")[2])["reason"], "engine")
            self.assertEqual(s.metric("trmd_ready"), 0)
        self.assertTrue(s.until(lambda: s.request("GET", "/livez")[0] == 200))
        t.join()
        self.assertEqual(answers[0][0], 200)
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)

    def test_an_idle_engine_is_not_hung_but_one_that_does_not_wake_is(self):
        s = self.start("--hung-after-ms", "500")
        time.sleep(1.2)
        self.assertEqual(s.request("GET", "/livez")[0], 200)
        answers = []
        with Stopped(engine_thread(s.process.pid)):
            t = threading.Thread(target=lambda: answers.append(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})))
            t.start()
            self.assertTrue(s.until(lambda: s.request("GET", "/livez")[0] == 503))
        t.join()
        self.assertEqual(answers[0][2]["solution"], SOLUTION)

    def test_probes_answer_at_once_under_full_load(self):
        s = self.start("--access-log", "false", "--queue-puzzles", "4096")
        over, counts = threading.Event(), [0] * 4

        def ask(i):
            body = json.dumps({"puzzles": variants(EXTREME, 256)[i::4], "deadline_ms": 500, "halt": "fixed", "attempts": 100})
            while not over.is_set():
                self.assertEqual(s.request("POST", "/v1/sudoku", body)[0], 200)
                counts[i] += 1
        load = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for t in load:
            t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_puzzles") > 100))
        times = []
        with Others(s) as others:
            for n in range(200):
                began = time.monotonic()
                self.assertEqual(s.request("GET", ("/livez", "/readyz")[n % 2])[0], 200)
                times.append(time.monotonic() - began)
                time.sleep(0.01)
        over.set()
        for t in load:
            t.join()
        self.assertGreater(min(counts), 0)
        held = others.few() and not SANITIZED
        print(f"probes: {percentile(times, 0.99) * 1000:.1f} ms (p99); others took {others.share:.0%} of the processors: "
              f"{'held' if held else 'not held'} to 50 ms", file=sys.stderr)
        if held:
            self.assertLess(percentile(times, 0.5), 0.05, sorted(times)[100:])
            self.assertLess(percentile(times, 0.99), 0.05, sorted(times)[-10:])

    def test_not_ready_at_once_after_a_stop_signal_but_alive(self):
        s = self.start("--drain-delay-ms", "60000")
        s.process.send_signal(signal.SIGTERM)
        self.assertTrue(s.until(lambda: s.request("GET", "/readyz")[0] == 503))
        self.assertEqual(s.request("GET", "/livez")[0], 200)


if __name__ == "__main__":
    unittest.main()
