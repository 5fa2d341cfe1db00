"""What a web developer does: post puzzles in every shape, get answers in the same shape."""
import json
import unittest

from support import EXTREME, NEWSPAPER, SEVENTEEN, SOLUTION, Server, valid


class Solving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(kinds=())  # as a user starts it: with all that is shipped

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def test_newspaper_puzzle_is_solved(self):
        status, head, a = self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER})
        self.assertEqual(status, 200)
        self.assertEqual((a["kind"], a["status"], a["verified"], a["halt"]), ("sudoku", "solved", True, "verified"))
        self.assertEqual(a["solution"], SOLUTION)
        self.assertEqual(a["grid"][0], [5, 3, 4, 6, 7, 8, 9, 1, 2])
        self.assertGreaterEqual(a["steps"], 1)
        self.assertGreaterEqual(a["timing_ms"]["total"], a["timing_ms"]["compute"])
        self.assertRegex(head["server-timing"], r"queue;dur=.*compute;dur=.*total;dur=")
        self.assertRegex(head["x-request-id"], r"^[0-9a-f]{32}$")

    def test_solution_has_the_shape_of_the_puzzle(self):
        flat = [int(c) if c != "." else 0 for c in NEWSPAPER]
        want = [int(c) for c in SOLUTION]
        a = self.server.post("/v1/sudoku", {"puzzle": flat})[2]
        self.assertEqual(a["solution"], want)
        rows = [flat[i:i + 9] for i in range(0, 81, 9)]
        a = self.server.post("/v1/sudoku", {"puzzle": rows})[2]
        self.assertEqual(a["solution"], [want[i:i + 9] for i in range(0, 81, 9)])
        for blank in "0_":
            a = self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER.replace(".", blank)})[2]
            self.assertEqual(a["solution"], SOLUTION)

    def test_hard_puzzles_are_never_called_solved_wrongly(self):
        for puzzle in (SEVENTEEN, EXTREME):
            a = self.server.post("/v1/sudoku", {"puzzle": puzzle, "deadline_ms": 20000})[2]
            self.assertEqual(a["status"] == "solved", a["verified"])
            self.assertEqual(a["verified"], valid(puzzle, a["solution"]))
            self.assertIn(a["status"], ("solved", "unsolved", "deadline"))

    def test_many_come_back_in_order(self):
        shift = str.maketrans("123456789", "234567891")
        puzzles = [NEWSPAPER, NEWSPAPER.translate(shift)] * 20
        a = self.server.post("/v1/sudoku", {"puzzles": puzzles})[2]
        self.assertEqual(len(a["results"]), 40)
        for i, r in enumerate(a["results"]):
            self.assertEqual(r["solution"], SOLUTION if i % 2 == 0 else SOLUTION.translate(shift))

    def test_a_thousand_in_one_request(self):
        a = self.server.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 1000, "deadline_ms": 60000})[2]
        self.assertEqual([r["solution"] for r in a["results"]], [SOLUTION] * 1000)

    def test_equal_puzzles_get_equal_answers(self):
        answers = {self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"] for _ in range(5)}
        self.assertEqual(answers, {SOLUTION})

    def test_empty_grid_gets_some_valid_grid_or_says_no(self):
        a = self.server.post("/v1/sudoku", {"puzzle": "." * 81, "attempts": 4})[2]
        self.assertEqual(a["verified"], valid("." * 81, a["solution"]))

    def test_budget_is_kept(self):
        a = self.server.post("/v1/sudoku", {"puzzle": EXTREME, "max_steps": 2, "attempts": 1, "halt": "fixed"})[2]
        self.assertEqual((a["steps"], a["attempts"]), (2, 1))

    def test_a_stream_is_for_who_accepts_one(self):
        for accept, stream in (("Text/Event-Stream", True), ("application/json, text/event-stream;q=0.5", True),
                               ("text/event-stream; charset=utf-8", True), ("text/event-stream;q=0, */*", False),
                               ("text/event-stream; Q=0.000", False), ("text/event-streams", False), ("", False)):
            with self.subTest(accept):
                _, head, _ = self.server.request("POST", "/v1/sudoku", {"puzzle": NEWSPAPER}, {"Accept": accept})
                self.assertEqual(head["content-type"], "text/event-stream" if stream else "application/json")

    def test_stream_shows_every_step_and_ends_with_the_answer(self):
        status, head, data = self.server.request("POST", "/v1/sudoku", {"puzzle": NEWSPAPER},
                                                 {"Accept": "text/event-stream"})
        self.assertEqual(status, 200)
        self.assertTrue(head["content-type"].startswith("text/event-stream"))
        events = [e.split("\n", 1) for e in data.decode().strip().split("\n\n")]
        names = [e[0] for e in events]
        self.assertEqual(names[-1], "event: done")
        self.assertEqual(set(names[:-1]), {"event: step"})
        done = json.loads(events[-1][1][len("data: "):])
        self.assertEqual(done["solution"], SOLUTION)
        first = json.loads(events[0][1][len("data: "):])
        self.assertEqual(len(first["grid"]), 9)
        self.assertEqual(len(first["cell_confidence"]), 81)
        self.assertEqual(len(names) - 1, done["steps"])

    def test_models_are_listed(self):
        models = json.loads(self.server.request("GET", "/v1/models")[2])["models"]
        self.assertIn("sudoku", [m["kind"] for m in models])
        name = next(m["name"] for m in models if m["kind"] == "sudoku")
        a = self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER, "model": name})[2]
        self.assertEqual(a["model"], name)


if __name__ == "__main__":
    unittest.main()
