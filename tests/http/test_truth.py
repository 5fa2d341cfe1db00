"""Answers are true, and the same whoever asks, when, how, and beside whom."""
import csv
import json
import pathlib
import random
import subprocess
import tempfile
import threading
import unittest

import truths
from support import SANITIZED, TRM, Server, valid

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
                s.post("/v1/sudoku", {"puzzles": ["." * 81, "1" + "." * 80], "deadline_ms": 200})
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

    def sample(self):
        """Puzzles of each public set as (kind, question, answer): small files of them, and images."""
        rng, share = random.Random(8), 24 if SANITIZED else 1
        mazes = subprocess.run([TRM, "gen", "maze", "--count", str(80 // share), "--size", "4-14", "--seed", "8"],
                               capture_output=True, text=True, check=True).stdout
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as f:
            f.write(mazes)
            f.flush()
            items = truths.puzzles_of(f.name)
        for name, n in (("sudoku-everyday.csv", 200), ("sudoku-extreme.csv", 24), ("sudoku-17-clue.txt", 24),
                        ("sudoku-forum-hardest.txt", 24), ("maze-hard.csv", 12)):
            found = truths.puzzles_of(PUZZLES / name)
            items += [truths.image(rng, found[i % len(found)]) for i in range(max(1, n // share))]
        return items

    def test_hundreds_of_every_public_set_in_any_company(self):
        items = self.sample()
        s = Server("--coalesce", "false", kinds=("sudoku", "maze"))
        self.addCleanup(s.stop)
        one, bad = truths.company(s, items, 1)
        s.stop()
        s = Server("--slots", "6", kinds=("sudoku", "maze"))
        self.addCleanup(s.stop)
        other, more = truths.company(s, items, 2, clients=2, most=40)
        self.assertEqual(bad + more, [])
        self.assertEqual(len(set(one) & set(i[:2] for i in items)), len(set(i[:2] for i in items)))
        self.assertEqual(truths.differing(items, one, other)[0], [])
        for answers in (one, other):
            self.assertGreater(sum(answers[i[:2]]["verified"] for i in items), 0.9 * len(items))

    def test_the_rules_written_again_see_what_is_untrue(self):
        kind, question, answer = truths.puzzles_of(PUZZLES / "sudoku-everyday.csv")[0]
        a = {"kind": "sudoku", "status": "solved", "verified": True, "solution": answer}
        self.assertIsNone(truths.wrong((kind, question, answer), a))
        other = answer.translate(str.maketrans("12", "21"))
        for change in ({"solution": other}, {"verified": False}, {"status": "unsolved"}, {"kind": "maze"},
                       {"verified": False, "status": "unsolved"}):
            self.assertIsNotNone(truths.wrong((kind, question, answer), {**a, **change}), change)
        self.assertIsNotNone(truths.wrong((kind, "." * 81, answer), {**a, "solution": other}))
        b = {"kind": "maze", "status": "solved", "verified": True, "solution": "So#\n#o \n G#", "optimal": True,
             "path": [[0, 0], [0, 1], [1, 1], [2, 1]], "length": 3}
        maze = ("maze", b["solution"].replace("o", " "), None)
        self.assertIsNone(truths.wrong(maze, b))
        for change in ({"solution": "So#\n#oo\n G#"}, {"solution": "So \n#o \n G#"}, {"solution": "S #\n#o \n G#"},
                       {"optimal": False}, {"length": 4}, {"path": b["path"][1:]}, {"verified": False}):
            self.assertIsNotNone(truths.wrong(maze, {**b, **change}), change)

    def test_what_the_model_cannot_solve_nobody_solves_for_it(self):
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            (at / "r.json").write_text(json.dumps(UNTRAINED))
            subprocess.run([TRM, "train", at / "r.json", "--out", at / "m", "--threads", "1"],
                           check=True, capture_output=True)
            s = self.start("--model", str(at / "m" / "model.safetensors"))
            known = questions("sudoku-everyday.csv", 40) + questions("sudoku-extreme.csv", 40)
            answers = self.all_at_once(s, [puzzle for puzzle, _ in known], attempts=8)
            for a, (_, answer) in zip(answers, known):
                self.assertEqual((a["status"], a["verified"]), ("unsolved", False))
                self.assertNotEqual(a["solution"], answer)


if __name__ == "__main__":
    unittest.main()
