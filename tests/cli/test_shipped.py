"""The shipped model is not found, or does not solve what it is shipped for."""
import json
import pathlib
import shutil
import subprocess
import unittest

from support import (TESTS, TRM, Case, NEWSPAPER, NEWSPAPER_ANSWER, read_metadata,
                     sudoku_is_solved, trm)


class Shipped(Case):
    def test_a_newspaper_puzzle_is_solved_without_naming_a_model(self):
        done = trm("solve", "sudoku", stdin=NEWSPAPER + "\n")
        self.assertEqual(done.stdout, NEWSPAPER_ANSWER + "\n")
        self.assertIn("line 1: solved", done.stderr)

    def test_a_solved_answer_is_what_the_json_says(self):
        got = self.json("solve", "sudoku", stdin=NEWSPAPER)["results"][0]
        self.assertEqual((got["status"], got["verified"], got["halt"], got["solution"]),
                         ("solved", True, "verified", NEWSPAPER_ANSWER))

    def test_easy_puzzles_are_solved(self):
        path = self.file("easy.csv", self.ok("gen", "sudoku", "--count", 100, "--seed", 1,
                                             "--difficulty", "easy"))
        got = self.json("eval", "sudoku", path)
        self.assertGreaterEqual(got["verified"], 0.97)
        self.assertEqual(got["exact"], got["verified"])
        self.assertEqual(got["halts"]["verified"], round(100 * got["verified"]))
        self.assertLess(got["mean_steps"], 32)

    def test_assumptions_solve_what_one_attempt_does_not(self):
        path = TESTS / "data/puzzles/sudoku-extreme.csv"
        one = self.json("eval", "sudoku", path, "--limit", 12, "--attempts", 1)
        many = self.json("eval", "sudoku", path, "--limit", 12)
        self.assertGreater(many["verified"], one["verified"] + 0.2)
        self.assertEqual(many["exact"], many["verified"])

    def test_all_eval_figures_agree_with_what_solve_prints(self):
        text = self.ok("gen", "sudoku", "--count", 20, "--seed", 2, "--difficulty", "medium")
        path = self.file("p.csv", text)
        few = ["--attempts", 1, "--max-steps", 8]
        answers = self.ok("solve", "sudoku", path, *few).splitlines()
        rows = [line.split(",") for line in text.splitlines()[1:]]
        right = sum(a == row[2] for a, row in zip(answers, rows, strict=True))
        checked = sum(sudoku_is_solved(row[1], a) for a, row in zip(answers, rows, strict=True))
        got = self.json("eval", "sudoku", path, *few)
        self.assertEqual(round(20 * got["exact"]), right)
        self.assertEqual(round(20 * got["verified"]), checked)
        self.assertGreater(right, 0)

    def test_tasks_of_one_rule_are_learned(self):
        for name in "crop", "mirror", "fill":
            path = TESTS / f"data/arc/{name}.json"
            got = self.json("solve", "arc", path, "--max-steps", 1000, "--deadline-ms", 600000)
            tests = json.loads(path.read_text())["test"]
            answers = [[a["grid"] for a in test["attempts"]] for test in got["tests"]]
            for test, grids in zip(tests, answers, strict=True):
                self.assertIn(test["output"], grids, name)

    def test_every_shipped_model_loads_by_its_name(self):
        models = sorted((TESTS.parent / "weights").glob("*.safetensors"))
        self.assertTrue(models)
        for path in models:
            info = self.json("info", path.stem)
            self.assertEqual(info["name"], path.stem)
            self.assertIn("config", read_metadata(path))
            self.assertEqual(info["id"], self.json("info", path)["id"])

    def test_an_installed_binary_finds_the_models_beside_it(self):
        there = self.dir / "bin/trm"
        models = self.dir / "share/trmd/models"
        there.parent.mkdir()
        models.mkdir(parents=True)
        shutil.copy2(TRM, there)
        shutil.copy(TESTS.parent / "weights/sudoku.safetensors", models / "other.safetensors")
        done = subprocess.run([there, "info", "other"], capture_output=True, text=True,
                              cwd=pathlib.Path("/"), timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("other", done.stdout.splitlines()[0])


if __name__ == "__main__":
    unittest.main()
