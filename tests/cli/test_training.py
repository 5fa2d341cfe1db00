"""A killed run does not go on as if nothing had happened, or a bad recipe is taken."""
import json
import os
import signal
import subprocess
import time
import unittest

from support import TESTS, TRM, Case, GOLDEN, read_metadata, read_tensors

RECIPE = {
    "task": "sudoku", "seed": 5, "batch": 8, "steps": 40, "warmup": 4, "lr": 0.01,
    "lr_rest": 0.001, "extra_clues": 30,
    "model": {"seq_len": 81, "vocab_size": 11, "hidden_size": 32, "H_cycles": 1, "L_cycles": 2,
              "L_layers": 1, "mlp_t": True, "pos_encodings": "none", "halt_max_steps": 4},
}
MAZE_RECIPE = {
    "task": "maze", "seed": 5, "batch": 4, "steps": 3, "warmup": 1, "lr": 0.001,
    "size_min": 5, "size_max": 7,
    "model": {"seq_len": 900, "vocab_size": 6, "hidden_size": 32, "num_heads": 2, "H_cycles": 1,
              "L_cycles": 1, "L_layers": 1, "pos_encodings": "rope2d", "packed": True,
              "halt_max_steps": 4},
}
LOSSES = ["step", "samples", "puzzles", "lm", "q_halt", "total", "lr", "grad_norm", "cells",
          "exact", "halted_steps", "easier"]


class Training(Case):
    def recipe(self, **change):
        return self.file("recipe.json", json.dumps({**RECIPE, **change}))

    def log(self, folder):
        lines = (self.dir / folder / "log.jsonl").read_text().splitlines()
        return [{k: json.loads(line)[k] for k in LOSSES} for line in lines]

    def train(self, folder, *more, recipe=None):
        return self.json("train", recipe or self.recipe(), "--out", self.dir / folder, "--threads",
                         2, "--log-every", 1, *more)

    def test_a_run_ends_with_a_model_that_loads(self):
        got = self.train("a")
        self.assertTrue(got["done"])
        self.assertEqual(got["step"], 40)
        log = self.log("a")
        self.assertEqual([line["step"] for line in log], list(range(1, 41)))
        self.assertEqual(log[-1]["samples"], 40 * 8)
        info = self.json("info", self.dir / "a/model.safetensors")
        self.assertEqual(info["config"]["hidden_size"], 32)
        self.assertEqual(info["config"]["task"], "sudoku")
        puzzle = "." * 81
        self.ok("solve", "sudoku", "--model", self.dir / "a/model.safetensors", "--attempts", 1,
                stdin=puzzle)

    def test_a_maze_model_is_trained_and_takes_any_size(self):
        self.train("maze", recipe=self.file("maze.json", json.dumps(MAZE_RECIPE)))
        model = self.dir / "maze/model.safetensors"
        puzzles = self.ok("gen", "maze", "--count", 6, "--size", "4-9", "--min-length", 3)
        path = self.file("mazes.csv", puzzles)
        quick = ["--model", model, "--max-steps", 2, "--attempts", 10]
        got = self.json("eval", "maze", path, *quick)
        self.assertEqual((got["n"], got["labelled"]), (6, 6))
        self.assertLessEqual(got["exact"], got["optimal"])
        self.assertLessEqual(got["optimal"], got["verified"])
        self.assertEqual(sum(got["halts"].values()), 6)
        answers = self.ok("solve", "maze", path, *quick).splitlines()
        questions = [line.split(",")[1] for line in puzzles.splitlines()[1:]]
        self.assertEqual([a.replace("o", " ") for a in answers], questions)
        full = self.ok("gen", "maze").splitlines()[1].split(",")[1]
        self.assertEqual(len(self.ok("solve", "maze", "--model", model, "--max-steps", 1,
                                     "--attempts", 1, stdin=full)), 901)

    def test_a_run_that_was_cut_into_parts_goes_on_exactly(self):
        self.train("whole", recipe=self.recipe(steps=12))
        self.train("first", recipe=self.recipe(steps=6))
        self.ok("split", self.dir / "first", "-o", self.dir / "parts", "--mb", 0.02)
        parts = [p for p in (self.dir / "parts").iterdir() if p.name != "parts.json"]
        self.assertGreater(len(parts), 10)
        self.assertLessEqual(max(p.stat().st_size for p in parts), 20000)
        self.ok("join", self.dir / "parts", "-o", self.dir / "second")
        for file in (self.dir / "first").iterdir():
            self.assertEqual(file.read_bytes(), (self.dir / "second" / file.name).read_bytes())
        self.train("second", "--resume", recipe=self.recipe(steps=12))
        self.assertEqual(self.log("second"), self.log("whole"))
        for path in ("state.safetensors", "model.safetensors"):
            self.assertEqual((self.dir / "second" / path).read_bytes(), (self.dir / "whole" / path).read_bytes())

    def test_parts_that_are_damaged_are_refused(self):
        (self.dir / "run").mkdir()
        (self.dir / "run/state").write_bytes(bytes(range(250)) * 20)
        (self.dir / "run/empty").write_bytes(b"")
        self.ok("split", self.dir / "run", "-o", self.dir / "parts", "--mb", 0.001)
        self.ok("join", self.dir / "parts", "-o", self.dir / "back")
        self.assertEqual((self.dir / "back/empty").read_bytes(), b"")
        part, other = self.dir / "parts/state.part001", self.dir / "parts/state.part002"
        whole = part.read_bytes()
        for damage in (whole[:-1], b"x" + whole[1:], other.read_bytes()[::-1]):
            part.write_bytes(damage)
            self.refused("join", self.dir / "parts", "-o", self.dir / "again", says="state: its parts")
            self.assertEqual([p.name for p in (self.dir / "again").iterdir()], ["empty"])
        part.unlink()
        self.refused("join", self.dir / "parts", "-o", self.dir / "again", says="state.part001: No such")
        self.refused("join", self.dir / "run", "-o", self.dir / "again", says="parts.json")
        self.refused("split", self.dir / "nowhere", "-o", self.dir / "p", says="nowhere: No such")

    def test_losses_fall(self):
        log = self.log_of_training(steps=150)
        first, last = log[:10], log[-10:]
        self.assertLess(sum(x["lm"] for x in last), 0.9 * sum(x["lm"] for x in first))

    def log_of_training(self, **change):
        self.train("long", recipe=self.recipe(**change))
        return self.log("long")

    def kill(self, folder, steps, how):
        """Starts a run that saves after every step and ends it after `steps` log lines."""
        run = subprocess.Popen([TRM, "train", self.recipe(), "--out", self.dir / folder,
                                "--threads", "2", "--log-every", "1", "--save-every", "0"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        log = self.dir / folder / "log.jsonl"
        until = time.monotonic() + 120
        while not log.exists() or log.read_text().count("\n") < steps:
            self.assertIsNone(run.poll(), "the run ended by itself")
            self.assertLess(time.monotonic(), until)
            time.sleep(0.005)
        os.kill(run.pid, how)
        _, said = run.communicate(timeout=60)
        return run.returncode, said.decode()

    def same_as_unbroken(self, folder):
        self.train("whole")
        self.assertTrue(self.train(folder, "--resume")["done"])
        self.assertEqual(self.log(folder), self.log("whole"))
        a = read_tensors(self.dir / folder / "model.safetensors")
        b = read_tensors(self.dir / "whole/model.safetensors")
        self.assertEqual(a, b)

    def test_a_killed_run_resumes_to_the_same_losses_and_weights(self):
        code, _ = self.kill("killed", 7, signal.SIGKILL)
        self.assertEqual(code, -signal.SIGKILL)
        self.same_as_unbroken("killed")

    def test_a_run_that_is_asked_to_stop_saves_first(self):
        code, said = self.kill("stopped", 3, signal.SIGTERM)
        self.assertEqual(code, 0, said)
        self.assertTrue((self.dir / "stopped/state.safetensors").exists())
        self.same_as_unbroken("stopped")

    def test_minutes_stop_a_run(self):
        got = self.train("timed", "--minutes", 0.01, recipe=self.recipe(steps=10000000))
        self.assertFalse(got["done"])
        self.assertGreater(got["step"], 0)
        self.assertTrue((self.dir / "timed/model.safetensors").exists())

    def test_a_run_is_not_overwritten(self):
        self.train("a")
        before = (self.dir / "a/state.safetensors").read_bytes()
        self.refused("train", self.recipe(), "--out", self.dir / "a", says="--resume")
        self.assertEqual((self.dir / "a/state.safetensors").read_bytes(), before)

    def test_recipes_that_are_none(self):
        for text, says in [("{", "line 1"), ("[]", "not a JSON object"),
                           (json.dumps({**RECIPE, "btach": 3}), 'unknown key "btach"'),
                           (json.dumps({**RECIPE, "batch": 0}), '"batch"'),
                           (json.dumps({**RECIPE, "task": "chess"}), '"task"'),
                           (json.dumps({**RECIPE, "model": {}}), "seq_len")]:
            with self.subTest(says):
                self.refused("train", self.file("bad.json", text), "--out", self.dir / "x",
                             says=says)
        self.refused("train", self.dir / "none.json", "--out", self.dir / "x", says="none.json")
        self.refused("train", self.recipe(), says="missing --out")

    def test_shipped_recipes_ask_for_their_data_and_nothing_else(self):
        recipes = sorted((TESTS.parent / "weights/recipes").glob("*.json"))
        self.assertIn("sudoku-large.json", [r.name for r in recipes])
        for recipe in recipes:
            with self.subTest(recipe.name):
                self.refused("train", recipe, "--out", self.dir / recipe.stem, "--data",
                             self.dir / "no-data", says="no-data/")

    def test_files_that_are_missing(self):
        self.refused("train", self.recipe(file="none.csv", share_file=0.5), "--out",
                     self.dir / "x", says="none.csv")
        self.refused("train", self.recipe(), "--out", self.dir / "no/such/folder",
                     says="no/such/folder")
        self.refused("train", self.recipe(), "--out", self.dir / "x", "--init",
                     self.dir / "none.safetensors", says="none.safetensors")

    def test_a_start_from_other_weights_runs_as_its_own_recipe_says(self):
        self.train("a", recipe=self.recipe(steps=2))
        model = {**RECIPE["model"], "H_cycles": 3, "halt_max_steps": 2}
        self.train("b", "--init", self.dir / "a/model.safetensors",
                   recipe=self.recipe(steps=2, model=model))
        config = self.json("info", self.dir / "b/model.safetensors")["config"]
        self.assertEqual((config["H_cycles"], config["halt_max_steps"]), (3, 2))

    def test_a_start_from_another_shape_is_refused(self):
        self.refused("train", self.recipe(), "--out", self.dir / "x", "--init",
                     GOLDEN / "maze-attention/model.safetensors", says="maze-attention")

    def test_trainings_from_the_same_weights_are_averaged(self):
        for seed in 1, 2:
            self.train(f"run{seed}", recipe=self.recipe(steps=2, seed=seed))
        runs = [self.dir / f"run{seed}/model.safetensors" for seed in (1, 2)]
        mean = self.dir / "mean.safetensors"
        self.assertEqual(self.json("average", *runs, "-o", mean)["models"], 2)
        a, b, got = (read_tensors(path) for path in (*runs, mean))
        self.assertEqual(list(got), list(a))
        for name, (_, shape, values) in got.items():
            self.assertEqual(shape, a[name][1])
            for x, y, z in zip(a[name][2], b[name][2], values):
                self.assertAlmostEqual((x + y) / 2, z, 6)
        self.assertEqual(read_metadata(mean), read_metadata(runs[0]))
        self.ok("solve", "sudoku", "-m", mean, "--attempts", 1, stdin="." * 81)

    def test_models_of_two_shapes_have_no_average(self):
        self.train("run", recipe=self.recipe(steps=1))
        run = self.dir / "run/model.safetensors"
        self.train("wide", recipe=self.recipe(steps=1, model={**RECIPE["model"], "hidden_size": 64}))
        wide = self.dir / "wide/model.safetensors"
        mean = self.dir / "mean.safetensors"
        self.refused("average", run, wide, "-o", mean, says="wide/model.safetensors is of another shape")
        self.refused("average", run, self.dir / "none", "-o", mean, says="none")
        self.refused("average", run, "-o", mean, says="")
        self.refused("average", run, run, says="-o")
        self.refused("average", run, run, "-o", mean, "-d", "int8", says="f32 or bf16")
        self.assertFalse(mean.exists())


if __name__ == "__main__":
    unittest.main()
