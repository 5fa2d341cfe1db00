"""A deadline is kept: in the queue, in the slots, and by work of every kind at once."""
import csv
import pathlib
import threading
import time
import unittest

from support import EXTREME, NEWSPAPER, SANITIZED, SOLUTION, Server, variants

PUZZLES = pathlib.Path(__file__).resolve().parents[1] / "data" / "puzzles"
LONG = {"max_steps": 1000, "attempts": 100, "halt": "fixed"}
# s; a busy machine may run neither thread just when the step ends, and under a sanitizer, whose steps
# take most of a second, the clock is not what is tested
GRACE = 30 if SANITIZED else 3


class Deadlines(unittest.TestCase):
    def start(self, *args, **kw):
        s = Server(*args, **kw)
        self.addCleanup(s.stop)
        return s

    def test_no_answer_comes_later_than_its_deadline_and_one_step(self):
        s = self.start("--slots", "8", "--max-attempts", "1000", kinds=("sudoku", "maze"))
        with open(PUZZLES / "maze-hard.csv", encoding="ascii") as f:
            mazes = [row["question"] for row in csv.DictReader(f)]
        asks = [("/v1/sudoku", p, 50 + 90 * i) for i, p in enumerate(variants(EXTREME, 16))]
        asks += [("/v1/maze", p, 75 + 180 * i) for i, p in enumerate(mazes[:8])]
        answers = [None] * len(asks)

        def ask(i, path, puzzle, ms):
            began = time.monotonic()
            answers[i] = s.post(path, {"puzzle": puzzle, "deadline_ms": ms, **LONG})[2]
            answers[i]["client_ms"] = (time.monotonic() - began) * 1000
        threads = [threading.Thread(target=ask, args=(i, *a)) for i, a in enumerate(asks)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        step = 1000 * s.longest_step()
        for a, (_, _, ms) in zip(answers, asks):
            self.assertEqual(a["halt"], "deadline", a)
            self.assertGreaterEqual(a["timing_ms"]["total"], ms)
            self.assertLess(a["timing_ms"]["total"], ms + step + 1000 * GRACE)
            self.assertGreaterEqual(a["client_ms"], ms)

    def test_work_that_expires_in_the_queue_never_starts(self):
        s = self.start("--slots", "1", "--coalesce", "false")
        busy = s.send("/v1/sudoku", {"puzzle": EXTREME, **LONG, "deadline_ms": 600000})
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        a = s.post("/v1/sudoku", {"puzzle": NEWSPAPER, "deadline_ms": 100})[2]
        self.assertEqual((a["status"], a["steps"], a["attempts"], a["timing_ms"]["compute"]), ("deadline", 0, 0, 0))
        self.assertFalse(a["verified"])
        busy.close()
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)


if __name__ == "__main__":
    unittest.main()
