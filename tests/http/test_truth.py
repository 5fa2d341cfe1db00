"""Answers are true, and the same whoever asks, when, how, and beside whom."""
import csv
import json
import pathlib
import subprocess
import tempfile
import threading
import unittest

from support import EXTREME, TRM, Server, valid

PUZZLES = pathlib.Path(__file__).resolve().parents[1] / "data" / "puzzles"
# Three steps of training: weights that are all but random.
UNTRAINED = {"task": "sudoku", "steps": 3, "batch": 4, "seed": 1,
             "model": {"seq_len": 81, "vocab_size": 11, "hidden_size": 32, "H_cycles": 1, "L_cycles": 2, "L_layers": 2,
                       "mlp_t": True, "inner_size": 64, "puzzle_emb_ndim": 0, "puzzle_emb_len": 0, "halt_max_steps": 2}}


def questions(name, n):
    with open(PUZZLES / name, encoding="ascii") as f:
        return [(row["question"], row["answer"]) for row, _ in zip(csv.DictReader(f), range(n))]


class Truth(unittest.TestCase):
    def start(self, *args):
        s = Server(*args)
        self.addCleanup(s.stop)
        return s

    def one_by_one(self, s, puzzles, **more):
        return [s.post("/v1/sudoku", {"puzzle": p, **more})[2] for p in puzzles]

    def all_at_once(self, s, puzzles, **more):
        return s.post("/v1/sudoku", {"puzzles": puzzles, **more})[2]["results"]

    def in_the_other_face(self, s, puzzles, **more):
        body = {"inputs": [{"name": "puzzle", "datatype": "BYTES", "shape": [len(puzzles)], "data": puzzles}],
                "parameters": more}
        out = {o["name"]: o["data"] for o in s.post("/v2/models/sudoku/infer", body)[2]["outputs"]}
        return [dict(zip(out, values)) for values in zip(*out.values())]

    def beside_others(self, s, puzzles, **more):
        over = threading.Event()

        def disturb():
            while not over.is_set():
                s.post("/v1/sudoku", {"puzzles": [EXTREME, "." * 81], "halt": "fixed", "attempts": 4, "deadline_ms": 200})
        t = threading.Thread(target=disturb)
        t.start()
        try:
            return self.one_by_one(s, puzzles, **more)
        finally:
            over.set()
            t.join()

    def test_a_puzzle_with_one_solution_always_gets_the_same_verified_answer(self):
        known = dict(questions("sudoku-everyday.csv", 16) + questions("sudoku-extreme.csv", 4))
        puzzles, more = list(known), {"attempts": 3, "deadline_ms": 120000}
        alone = self.start("--slots", "1", "--threads", "1")
        wide = self.start("--workers", "2", "--threads", "2", "--coalesce", "false", "--cache-entries", "1000")
        runs = [(puzzles, self.one_by_one(alone, puzzles, **more)),
                (puzzles, self.all_at_once(wide, puzzles, **more)),
                (puzzles[::-1], self.all_at_once(wide, puzzles[::-1], **more)),  # remembered
                (puzzles, self.in_the_other_face(wide, puzzles, **more)),
                (puzzles, self.beside_others(self.start(), puzzles, **more))]
        solved = 0
        for asked, answers in runs:
            self.assertEqual(len(answers), len(asked))
            for puzzle, a in zip(asked, answers):
                self.assertEqual(a["status"] == "solved", a["verified"])
                self.assertEqual(a["verified"], valid(puzzle, a["solution"]))
                if a["verified"]:
                    self.assertEqual(a["solution"], known[puzzle])
                    solved += 1
        self.assertGreater(solved, 10 * len(runs))

    def test_what_the_model_cannot_solve_nobody_solves_for_it(self):
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            (at / "r.json").write_text(json.dumps(UNTRAINED))
            subprocess.run([TRM, "train", at / "r.json", "--out", at / "m", "--threads", "1"],
                           check=True, capture_output=True)
            s = self.start("--model", str(at / "m" / "model.safetensors"))
            for puzzle, answer in questions("sudoku-everyday.csv", 10):
                a = s.post("/v1/sudoku", {"puzzle": puzzle, "attempts": 8})[2]
                self.assertEqual((a["status"], a["verified"]), ("unsolved", False))
                self.assertNotEqual(a["solution"], answer)


if __name__ == "__main__":
    unittest.main()
