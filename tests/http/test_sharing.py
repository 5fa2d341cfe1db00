"""Equal puzzles are computed once, in flight and afterwards, and nobody can tell but by the time."""
import csv
import os
import shutil
import subprocess
import tempfile
import threading
import unittest

from support import EXTREME, NEWSPAPER, SOLUTION, TESTS, TRM, Server, shipped, variants

LONG = {"max_steps": 1000, "attempts": 100, "halt": "fixed"}


class Sharing(unittest.TestCase):
    def start(self, *args, **kw):
        self.server = Server(*args, **kw)
        self.addCleanup(self.server.stop)
        return self.server

    def together(self, *bodies):
        answers = [None] * len(bodies)

        def ask(i):
            answers[i] = self.server.post("/v1/sudoku", bodies[i])
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return answers

    def test_equal_puzzles_in_flight_are_computed_once(self):
        s = self.start()
        a = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 200})[2]["results"]
        self.assertEqual({r["solution"] for r in a}, {SOLUTION})
        self.assertEqual(len({(r["steps"], r["attempts"], r["halt"]) for r in a}), 1)
        self.assertEqual(s.metric("trmd_coalesced_total"), 199)
        self.assertEqual(s.metric("trmd_puzzles_total"), 200)
        # one task's steps, whatever the number of lanes
        self.assertLess(s.metric("trmd_batch_size_sum"), 200)

    def test_each_takes_its_place_in_the_queue(self):
        s = self.start("--queue-puzzles", "4")
        self.assertEqual(s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 5})[0], 413)
        s.stop()
        s = self.start("--queue-puzzles", "4", "--max-puzzles-per-request", "4")
        busy = s.send("/v1/sudoku", {"puzzles": [EXTREME] * 3, **LONG, "deadline_ms": 600000})
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_puzzles") == 2))
        self.assertEqual(s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 3})[0], 429)
        self.assertEqual(s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 2})[0], 200)
        busy.close()

    def test_each_keeps_its_own_deadline(self):
        self.start()
        long, short = self.together({"puzzle": EXTREME, **LONG, "deadline_ms": 2500},
                                    {"puzzle": EXTREME, **LONG, "deadline_ms": 800})
        self.assertEqual((long[2]["halt"], short[2]["halt"]), ("deadline", "deadline"))
        self.assertGreaterEqual(long[2]["timing_ms"]["total"], 2500)
        self.assertGreaterEqual(short[2]["timing_ms"]["total"], 800)
        self.assertLess(short[2]["timing_ms"]["total"], long[2]["timing_ms"]["total"])
        self.assertGreater(short[2]["steps"], 0)  # the best answer so far, though another's work

    def test_a_client_that_leaves_takes_nothing_along(self):
        s = self.start()
        c = s.send("/v1/sudoku", {"puzzle": EXTREME, **LONG, "deadline_ms": 600000})
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        answers = []
        t = threading.Thread(target=lambda: answers.append(
            s.post("/v1/sudoku", {"puzzle": EXTREME, **LONG, "deadline_ms": 4000})))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_queue_puzzles") == 1))
        c.close()
        t.join()
        self.assertEqual((answers[0][0], answers[0][2]["halt"]), (200, "deadline"))
        self.assertGreater(answers[0][2]["steps"], 0)

    def test_other_options_are_other_work(self):
        s = self.start()
        a = self.together({"puzzle": EXTREME, "max_steps": 2, "attempts": 1, "halt": "fixed"},
                          {"puzzle": EXTREME, "max_steps": 3, "attempts": 1, "halt": "fixed"})
        self.assertEqual([r[2]["steps"] for r in a], [2, 3])
        self.assertEqual(s.metric("trmd_coalesced_total"), 0)

    def test_it_can_be_turned_off(self):
        s = self.start("--coalesce", "false")
        s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 20})
        self.assertEqual(s.metric("trmd_coalesced_total"), 0)

    def test_kinds_share_the_engine(self):
        """Both kinds have more to do than there is time for; neither gets less than a third, but for
        the one step of each that the look at the clock may have cut."""
        s = self.start(kinds=("sudoku", "maze"))
        with open(os.path.join(TESTS, "data", "puzzles", "maze-hard.csv"), encoding="ascii") as f:
            mazes = [row["question"] for row in csv.DictReader(f)]
        busy = lambda: [s.metric('trmd_engine_busy_seconds_total{model="%s"}' % m) for m in ("sudoku", "maze")]
        hard = {"max_steps": 1000, "attempts": 100, "halt": "fixed", "deadline_ms": 600000}
        asks = [s.send("/v1/sudoku", {"puzzles": variants(EXTREME, 4), **hard}),
                s.send("/v1/maze", {"puzzles": mazes[:4], **hard})]
        self.assertTrue(s.until(lambda: min(busy()) > 0))
        before, steps = busy(), s.metric("trmd_step_seconds_count")
        spent = lambda: [now - then for now, then in zip(busy(), before)]
        mean = lambda: sum(spent()) / max(1, s.metric("trmd_step_seconds_count") - steps)
        self.assertTrue(s.until(lambda: sum(spent()) > max(2, 12 * mean())))
        one = s.longest_step()
        self.assertGreater(min(spent()) + one, sum(spent()) / 3, (spent(), one))
        for a in asks:
            a.close()

    def test_an_answer_is_remembered(self):
        s = self.start("--cache-entries", "100")
        first = s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]
        steps = s.metric("trmd_batch_size_count")
        again = s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]
        self.assertEqual(s.metric("trmd_batch_size_count"), steps)
        for key in ("solution", "grid", "status", "verified", "halt", "steps", "attempts", "confidence", "model"):
            self.assertEqual(again[key], first[key], key)
        self.assertEqual(s.metric('trmd_cache_total{result="hit"}'), 1)
        flat = [int(c) if c != "." else 0 for c in NEWSPAPER]  # the same puzzle in another shape
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": flat})[2]["solution"], [int(c) for c in SOLUTION])
        self.assertEqual(s.metric('trmd_cache_total{result="hit"}'), 2)
        both = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER, *variants(NEWSPAPER, 2)]})[2]["results"]
        self.assertEqual([r["status"] for r in both], ["solved"] * 3)
        self.assertEqual(s.metric('trmd_cache_total{result="hit"}'), 3)

    def test_what_a_deadline_cut_off_is_not_remembered(self):
        s = self.start("--cache-entries", "100")
        for _ in range(2):
            a = s.post("/v1/sudoku", {"puzzle": EXTREME, **LONG, "deadline_ms": 200})[2]
            self.assertEqual(a["status"], "deadline")
        self.assertEqual(s.metric('trmd_cache_total{result="hit"}'), 0)

    def test_the_cache_is_bounded_and_keeps_what_is_used(self):
        s = self.start("--cache-entries", "4")
        hits = lambda: s.metric('trmd_cache_total{result="hit"}')
        for other in variants(NEWSPAPER, 6):
            s.post("/v1/sudoku", {"puzzle": NEWSPAPER})
            s.post("/v1/sudoku", {"puzzle": other})
        self.assertEqual(hits(), 5)  # NEWSPAPER each time but the first
        s.post("/v1/sudoku", {"puzzle": variants(NEWSPAPER, 1)[0]})
        self.assertEqual(hits(), 5)  # long gone

    def test_other_options_are_not_remembered_as_equal(self):
        s = self.start("--cache-entries", "10")
        for n in (2, 3, 2):
            a = s.post("/v1/sudoku", {"puzzle": EXTREME, "max_steps": n, "attempts": 1, "halt": "fixed"})[2]
            self.assertEqual(a["steps"], n)
        self.assertEqual(s.metric('trmd_cache_total{result="hit"}'), 1)

    def test_what_another_model_has_answered_is_not_remembered(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        model = os.path.join(folder.name, "sudoku.safetensors")
        shutil.copy(shipped("sudoku"), model)
        s = self.start("--cache-entries", "10", "--model", model, "--admin-port", "0")
        solved = lambda: (s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"],
                          s.metric('trmd_cache_total{result="hit"}'))
        self.assertEqual([solved() for _ in range(2)], [(SOLUTION, 0), (SOLUTION, 1)])
        subprocess.run([TRM, "import", shipped("sudoku"), "-o", model, "--dtype", "int8"], check=True, capture_output=True)
        self.assertEqual(s.admin("POST", "/admin/reload")[0], 200)
        self.assertEqual([solved() for _ in range(2)], [(SOLUTION, 1), (SOLUTION, 2)])


if __name__ == "__main__":
    unittest.main()
