"""`trm bench` prints figures that contradict each other, or spoils its history."""
import csv
import unittest

from support import Case, backends

SHORT = ["--size", "sudoku-128", "--seconds", 0.05, "--batch", 2, "--threads", 1]


class Bench(Case):
    def test_figures_agree(self):
        rows = self.json("bench", *SHORT)["rows"]
        self.assertEqual([r["backend"] for r in rows],
                         [b for b in backends() if b != "reference"])
        for r in rows:
            self.assertEqual((r["model"], r["work"], r["batch"], r["threads"]),
                             ("sudoku-128", "step", 2, 1))
            # 21 passes of 2 layers: 2.01 GFLOP of products a puzzle-step.
            self.assertAlmostEqual(r["gflops"] / r["puzzle_steps_per_s"], 2.007, delta=0.01)
            self.assertLessEqual(r["gemm_gflops_min"], r["gemm_gflops_max"])
            self.assertGreater(r["gemm_share"], 0)
            self.assertGreater(r["bytes"], 2 * r["slot_bytes"])

    def test_training_steps_are_timed(self):
        rows = self.json("bench", "--train", "--backend", "openblas", *SHORT)["rows"]
        self.assertEqual([r["work"] for r in rows], ["train"])
        self.assertGreater(rows[0]["puzzle_steps_per_s"], 0)

    def test_history_grows_under_one_header(self):
        history = self.dir / "history.csv"
        for _ in range(2):
            self.ok("bench", "--backend", "openblas", "--csv", history, *SHORT)
        with open(history, newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([r["backend"] for r in rows], ["openblas", "openblas"])
        self.assertTrue(all(None not in r and None not in r.values() for r in rows))

    def test_any_model_can_be_timed(self):
        rows = self.json("bench", "--model", "sudoku", "--backend", "openblas", "--seconds",
                         0.05)["rows"]
        self.assertEqual(rows[0]["model"], "sudoku")

    def test_history_that_cannot_be_written(self):
        self.refused("bench", "--csv", self.dir / "no/such/file", says="no/such/file")


if __name__ == "__main__":
    unittest.main()
