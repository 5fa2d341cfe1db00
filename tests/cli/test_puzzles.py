"""Puzzles get wrong answers, bad puzzles are taken, or figures do not add up.

The golden models have random weights: they solve nothing, which is what these tests of form,
counting and refusal need. What the shipped models solve is tested in test_shipped.py."""
import csv
import io
import os
import shutil
import unittest

from support import Case, GOLDEN, NEWSPAPER, NEWSPAPER_ANSWER, sudoku_is_solved

TWO_FIVES = "55" + NEWSPAPER[2:]
NO_COMPLETION = "12345678.........9" + "." * 63


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def moves_of(maze):
    """rows, start, goal and a neighbour function of a maze in one-line form"""
    rows = maze.split("/") if "/" in maze else [
        maze[i:i + 30] for i in range(0, 900, 30)]
    cells = {(r, c): v for r, row in enumerate(rows) for c, v in enumerate(row)}
    place = {v: k for k, v in cells.items() if v in "SG"}

    def near(cell):
        r, c = cell
        return [n for n in [(r + 1, c), (r, c - 1), (r, c + 1), (r - 1, c)]
                if cells.get(n, "#") != "#"]
    return rows, cells, place["S"], place["G"], near


def distance(maze):
    _, _, start, goal, near = moves_of(maze)
    steps, queue = {start: 0}, [start]
    for at in queue:
        for n in near(at):
            if n not in steps:
                steps[n] = steps[at] + 1
                queue.append(n)
    return steps.get(goal)


class Generate(Case):
    def test_sudokus_have_their_answer(self):
        for level in ["easy", "medium", "minimal", "hard", "sparse"]:
            with self.subTest(level):
                rows = rows_of(self.ok("gen", "sudoku", "--count", 5, "--seed", 3, "--difficulty",
                                       level))
                self.assertEqual(len(rows), 5)
                self.assertEqual(len({r["question"] for r in rows}), 5)
                for r in rows:
                    self.assertTrue(sudoku_is_solved(r["question"], r["answer"]))
                    self.assertGreaterEqual(int(r["rating"]), 0)

    def test_easy_has_more_clues_than_minimal(self):
        def clues(level):
            rows = rows_of(self.ok("gen", "sudoku", "--count", 20, "--difficulty", level))
            return sum(81 - r["question"].count(".") for r in rows) / len(rows)
        self.assertGreater(clues("easy"), clues("medium"))
        self.assertGreater(clues("medium"), clues("minimal"))

    def test_equal_seeds_give_equal_files(self):
        for kind, more in [("sudoku", []), ("maze", ["--size", "5-12"])]:
            first = self.ok("gen", kind, "--count", 4, "--seed", 7, *more)
            self.assertEqual(first, self.ok("gen", kind, "--count", 4, "--seed", 7, *more))
            self.assertNotEqual(first, self.ok("gen", kind, "--count", 4, "--seed", 8, *more))
            self.assertTrue(self.ok("gen", kind, "--count", 6, "--seed", 7, *more)
                            .startswith(first))

    def test_few_clues_asked_for_are_searched_for(self):
        def clues(*more):
            return [81 - r["question"].count(".") for r in
                    rows_of(self.ok("gen", "sudoku", "--count", 5, "--seed", 3, *more))]
        plain, few = clues(), clues("--clues", 17)
        self.assertTrue(all(a < b for a, b in zip(few, plain)), (few, plain))

    def test_mazes_have_a_shortest_path(self):
        for more in [["--size", "5-20"], ["--difficulty", "hard"], ["--style", "perfect"],
                     ["--style", "rooms", "--size", "17"]]:
            with self.subTest(more):
                for r in rows_of(self.ok("gen", "maze", "--count", 4, *more)):
                    question, answer = r["question"], r["answer"]
                    self.assertEqual(int(r["rating"]), distance(question))
                    self.assertEqual(answer.replace("o", " "), question)
                    self.assertEqual(answer.count("o"), int(r["rating"]) - 1)
                    _, cells, start, _, near = moves_of(answer)
                    at, length = {start}, 0
                    path = {start} | {c for c, v in cells.items() if v in "oG"}
                    while len(at) < len(path):
                        grown = at | {n for c in at for n in near(c) if n in path}
                        self.assertEqual(len(grown), len(at) + 1, "the marks are no single path")
                        at, length = grown, length + 1
                    self.assertEqual(length, int(r["rating"]))

    def test_a_full_maze_has_900_characters(self):
        r = rows_of(self.ok("gen", "maze", "--count", 1))[0]
        self.assertEqual(len(r["question"]), 900)
        self.assertEqual(set(r["question"]), set("# SG"))
        self.assertGreaterEqual(int(r["rating"]), 110)

    def test_a_maze_that_cannot_be_made(self):
        self.refused("gen", "maze", "--size", "4", "--min-length", "200", says="found no 4x4 maze")


class Refusals(Case):
    def setUp(self):
        super().setUp()
        self.model = self.dir / "m.safetensors"
        self.ok("import", GOLDEN / "sudoku-mlp/model.safetensors", "--config",
                GOLDEN / "sudoku-mlp/config.json", "-o", self.model)

    def refuse(self, kind, text, says):
        path = self.file("puzzles", text)
        for command in ["solve", "eval"]:
            self.refused(command, kind, path, "--model", self.model, says=says)

    def test_files_without_a_puzzle(self):
        self.refuse("sudoku", "", "holds no puzzle")
        self.refuse("sudoku", "\n\n", "holds no puzzle")
        self.refuse("sudoku", "source,question,answer,rating\n", "holds no puzzle")
        self.refused("solve", "sudoku", "--model", self.model, says="standard input")

    def test_lines_that_are_no_puzzle(self):
        self.refuse("sudoku", NEWSPAPER + "\n" + "x" * 81 + "\n", "puzzles:2: ")
        self.refuse("sudoku", NEWSPAPER[:80] + "\n", "puzzles:1: ")
        self.refuse("sudoku", "source,question,answer,rating\nonly one field\n", "puzzles:2: ")
        self.refuse("maze", "S    \n", "puzzles:1: a maze has")
        self.refuse("maze", "S##G#x  #\n", "puzzles:1: ")
        self.refuse("maze", "S #/ G\n", "puzzles:1: ")

    def test_puzzles_that_break_their_rules(self):
        self.refuse("sudoku", TWO_FIVES, "row 1 has two 5s")
        self.refuse("sudoku", NO_COMPLETION, "puzzles:1: ")
        self.refuse("sudoku", f"source,question,answer,rating\nx,{NEWSPAPER},{TWO_FIVES},1\n",
                    "puzzles:2: ")
        self.refuse("maze", "S   \n", "puzzles:1: ")
        self.refuse("maze", "SG S\n", "puzzles:1: ")
        self.refuse("maze", "S#  # #G \n", "puzzles:1: ")

    def test_model_of_another_kind(self):
        self.refused("solve", "maze", self.file("maze", "S#/ G\n"), "--model", self.model,
                     says="m, puzzle on line 1: ")

    def test_model_that_is_none(self):
        path = self.file("puzzles", NEWSPAPER)
        self.refused("solve", "sudoku", path, "--model", path, says=str(path))
        self.refused("solve", "sudoku", path, "--model", self.dir, says=str(self.dir))
        self.refused("solve", "sudoku", path, "--model", "none-such", says="none-such")

    def test_backend_that_is_none(self):
        self.refused("solve", "sudoku", self.file("p", NEWSPAPER), "--model", self.model,
                     "--backend", "abacus", says="abacus")


class Files(Case):
    """What spreadsheets and other machines write."""

    def setUp(self):
        super().setUp()
        self.model = self.dir / "m.safetensors"
        self.ok("import", GOLDEN / "sudoku-mlp/model.safetensors", "--config",
                GOLDEN / "sudoku-mlp/config.json", "-o", self.model)
        self.quick = ["--max-steps", 1, "--attempts", 1]

    def test_byte_order_mark_and_windows_line_ends(self):
        csv_text = f"source,question,answer,rating\r\nx,{NEWSPAPER},{NEWSPAPER_ANSWER},0\r\n"
        for text in [csv_text, f"{NEWSPAPER}\r\n"]:
            path = self.file("p.csv", "\ufeff" + text)
            self.assertEqual(
                self.json("eval", "sudoku", path, "--model", self.model, *self.quick)["n"], 1)

    def test_json_of_names_that_are_no_utf8(self):
        name = os.fsdecode(b"m\xff\xc3\xb6.safetensors")
        model = self.dir / name
        shutil.copy(self.model, model)
        puzzles = self.file(os.fsdecode(b"p\xff"), NEWSPAPER)
        for args in [["info", model], ["solve", "sudoku", puzzles, "--model", model, *self.quick],
                     ["eval", "sudoku", puzzles, "--model", model, *self.quick],
                     ["import", model, "-o", self.dir / os.fsdecode(b"o\xff.safetensors")]]:
            with self.subTest(args[0]):
                self.json(*args)


class Random(Case):
    """solve and eval with a model that knows nothing."""

    def setUp(self):
        super().setUp()
        self.model = self.dir / "m.safetensors"
        self.ok("import", GOLDEN / "sudoku-mlp/model.safetensors", "--config",
                GOLDEN / "sudoku-mlp/config.json", "-o", self.model)
        self.quick = ["--model", self.model, "--max-steps", 3, "--attempts", 2]

    def test_an_answer_a_line_and_no_claim(self):
        text = f"{NEWSPAPER}\n{'.' * 81}\n"
        lines = self.ok("solve", "sudoku", "-", *self.quick, stdin=text).splitlines()
        self.assertEqual([len(line) for line in lines], [81, 81])
        for puzzle, answer in zip(text.split(), lines, strict=True):
            self.assertFalse(sudoku_is_solved(puzzle, answer))

    def test_json_of_solve(self):
        got = self.json("solve", "sudoku", *self.quick, stdin=f"{NEWSPAPER}\n{NEWSPAPER}\n")
        self.assertEqual((got["n"], got["solved"], len(got["results"])), (2, 0, 2))
        for r in got["results"]:
            self.assertEqual((r["status"], r["verified"], r["halt"]),
                             ("unsolved", False, "budget"))
            self.assertEqual((r["steps"], r["attempts"]), (6, 2))
        # Equal puzzles get equal attempts.
        self.assertEqual(got["results"][0]["solution"], got["results"][1]["solution"])

    def test_trace_shows_every_step(self):
        out = self.ok("solve", "sudoku", "--trace", *self.quick, stdin=NEWSPAPER).splitlines()
        self.assertEqual(len(out), 7)
        self.assertTrue(out[0].startswith("step 1, attempt 1: "))
        self.assertTrue(out[5].startswith("step 6, attempt 2: "))
        got = self.json("solve", "sudoku", "--trace", *self.quick, stdin=NEWSPAPER)
        trace = got["results"][0]["trace"]
        self.assertEqual([t["step"] for t in trace], [1, 2, 3, 4, 5, 6])
        self.assertEqual(trace[-1]["grid"], got["results"][0]["solution"])

    def test_deadline_ends_the_work(self):
        got = self.json("solve", "sudoku", "--model", self.model, "--max-steps", 1000000,
                        "--attempts", 1, "--deadline-ms", 300, stdin=NEWSPAPER)
        self.assertEqual(got["results"][0]["status"], "deadline")
        self.assertGreater(got["results"][0]["steps"], 0)
        self.assertLess(got["results"][0]["steps"], 1000000)

    def test_eval_counts(self):
        path = self.file("p.csv", "source,question,answer,rating\n" +
                         f"x,{NEWSPAPER},{NEWSPAPER_ANSWER},0\n" * 3)
        got = self.json("eval", "sudoku", path, *self.quick)
        self.assertEqual((got["n"], got["exact"], got["verified"]), (3, 0, 0))
        self.assertEqual((got["mean_steps"], got["mean_attempts"]), (6, 2))
        self.assertEqual(got["halts"], {"verified": 0, "act": 0, "budget": 3})
        self.assertGreater(got["puzzles_per_s"], 0)
        self.assertEqual(self.json("eval", "sudoku", path, "--limit", 2, *self.quick)["n"], 2)

    def test_eval_knows_a_right_answer_where_nothing_is_blank(self):
        # The decoded answer of a full grid is the grid where a model at least copies clues;
        # whatever it is, `verified` and `exact` must agree on a puzzle with one solution.
        path = self.file("p.txt", NEWSPAPER_ANSWER + "\n" + NEWSPAPER + "\n")
        got = self.json("eval", "sudoku", path, *self.quick)
        self.assertEqual(got["labelled"], 2)
        self.assertEqual(got["exact"], got["verified"])

    def test_eval_without_a_single_solution_has_no_exact(self):
        got = self.json("eval", "sudoku", self.file("p", "." * 81), *self.quick)
        self.assertEqual((got["labelled"], got["exact"]), (0, None))

    def test_fixed_runs_all_steps_once(self):
        got = self.json("eval", "sudoku", self.file("p", NEWSPAPER), "--model", self.model,
                        "--halt", "fixed", "--attempts", 1, "--max-steps", 16)
        self.assertEqual((got["mean_steps"], got["mean_attempts"]), (16, 1))
        self.assertEqual(got["policy"], {"max_steps": 16, "attempts": 1, "halt": "fixed"})

    def test_one_by_one_tells_latency(self):
        path = self.file("p", f"{NEWSPAPER}\n" * 4)
        got = self.json("eval", "sudoku", path, "--one-by-one", *self.quick)["latency_ms"]
        self.assertLessEqual(got["p50"], got["p90"])
        self.assertLessEqual(got["p90"], got["p99"])
        self.assertLessEqual(got["p99"], got["max"])
        self.assertGreater(got["p50"], 0)

    def test_marks_tell_each_puzzle_apart(self):
        path, marks = self.file("p", f"{NEWSPAPER}\n" * 3), self.dir / "marks.csv"
        got = self.json("eval", "sudoku", path, "--marks", marks, *self.quick)
        rows = marks.read_text().splitlines()
        self.assertEqual(rows[0], "line,exact,verified,optimal,steps,attempts")
        self.assertEqual([int(r.split(",")[0]) for r in rows[1:]], [1, 2, 3])
        self.assertEqual(sum(int(r.split(",")[4]) for r in rows[1:]), 3 * got["mean_steps"])
        self.refused("eval", "sudoku", path, "--marks", self.dir / "no/such", *self.quick,
                     says="no/such")

    def test_calibration_counts_every_step(self):
        path = self.file("p", f"{NEWSPAPER}\n" * 5)
        got = self.json("eval", "sudoku", path, "--calibration", *self.quick)["calibration"]
        self.assertEqual(sum(b["steps"] for b in got["bins"]), 5 * 3)
        for b in got["bins"]:
            self.assertTrue(b["steps"] == 0 or b["from"] <= b["confidence"] <= b["to"])
            self.assertEqual(b["right"], 0)
        self.assertLessEqual(got["act"]["mean_steps"], 3)

    def test_text_output(self):
        path = self.file("p", NEWSPAPER)
        out = self.ok("eval", "sudoku", path, "--calibration", "--one-by-one", *self.quick)
        for word in ["exact", "verified", "steps", "halts", "speed", "latency", "halt logit"]:
            self.assertIn(word, out)


if __name__ == "__main__":
    unittest.main()
