"""ARC tasks from the command line: refused where they are bad, learned, scored, submitted."""
import json
import resource
import unittest

from support import TESTS, Case, backends

DATA = TESTS / "data/arc"
MODEL = {"seq_len": 900, "vocab_size": 12, "hidden_size": 32, "num_heads": 2, "H_cycles": 1,
         "L_cycles": 2, "L_layers": 2, "inner_size": 64, "mlp_t": False, "packed": True,
         "pos_encodings": "rope2d", "rope_theta": 100, "frames": True, "puzzle_emb_ndim": 32,
         "puzzle_emb_len": 11, "num_puzzle_identifiers": 64, "halt_max_steps": 2, "q_mean": True}
PAIR = {"input": [[1, 2]], "output": [[2, 1]]}


class Arc(Case):
    def model(self, **recipe):
        """A trunk after a few steps of training."""
        text = json.dumps({"task": "arc", "steps": 3, "batch": 4, "size_max": 5,
                           "share_rules": 1, "model": MODEL, **recipe})
        self.ok("train", self.file("r.json", text), "--out", self.dir / "t", "--threads", 1)
        return self.dir / "t/model.safetensors"

    def challenges(self, **tasks):
        """A challenges file and its solutions."""
        solutions = {k: [p["output"] for p in t["test"]] for k, t in tasks.items()}
        asked = {k: {"train": t["train"], "test": [{"input": p["input"]} for p in t["test"]]}
                 for k, t in tasks.items()}
        return (self.file("x_challenges.json", json.dumps(asked)),
                self.file("x_solutions.json", json.dumps(solutions)))

    def task(self, name):
        return json.loads((DATA / f"{name}.json").read_text())

    def test_a_trunk_holds_one_puzzle_and_learns_a_task(self):
        model = self.model()
        info = self.json("info", model)
        self.assertEqual(info["config"]["num_puzzle_identifiers"], 1)
        task = self.task("recolour")
        got = self.json("solve", "arc", DATA / "recolour.json", "-m", model, "--max-steps", 1500,
                        "--attempts", 8, "--deadline-ms", 3600000, "--threads", 2)
        self.assertEqual((got["kind"], got["phase"]), ("arc", "done"))
        self.assertEqual(got["reproduced"], len(task["train"]))
        self.assertEqual(got["predictions"], 8)
        attempts = got["tests"][0]["attempts"]
        self.assertEqual(len(attempts), 2)
        self.assertEqual(attempts[0]["grid"], task["test"][0]["output"])
        self.assertGreaterEqual(attempts[0]["votes"], attempts[1]["votes"])

    def test_a_trunk_is_trained_further(self):
        first = self.model(steps=2)
        text = json.dumps({"task": "arc", "seed": 4, "batch": 4, "steps": 2, "size_max": 6,
                           "share_rules": 1, "model": MODEL})
        self.ok("train", self.file("more.json", text), "--init", first, "--out", self.dir / "more",
                "--threads", 1)
        info = self.json("info", self.dir / "more/model.safetensors")
        self.assertEqual(info["config"]["num_puzzle_identifiers"], 1)
        wide = json.dumps({**json.loads(text), "model": {**MODEL, "inner_size": 96}})
        self.refused("train", self.file("wide.json", wide), "--init", first, "--out",
                     self.dir / "wide", "--threads", 1, says="shape")

    @unittest.skipUnless("onednn-int8" in backends(), "this machine has no int8 products")
    def test_a_backend_that_cannot_learn_has_another_do_it(self):
        model = self.model()
        got = [self.json("solve", "arc", DATA / "mirror.json", "-m", model, "--max-steps", 8,
                         "--attempts", 2, "--threads", 1, "--backend", b)["tests"]
               for b in ["onednn-int8", "onednn-bf16"]]
        self.assertEqual(got[0], got[1])

    def test_progress_and_grids_are_shown(self):
        out = self.ok("solve", "arc", DATA / "mirror.json", "-m", self.model(), "--max-steps", 41,
                      "--attempts", 1, "--trace")
        self.assertIn("training: 40 steps", out)
        self.assertIn("test 1, attempt 1: 1 votes (100%)", out)
        rows = self.task("mirror")["test"][0]["input"]
        shape = [len(line) for line in out.splitlines()[-len(rows):]]
        self.assertEqual(shape, [len(r) for r in rows])

    def test_an_evaluation_scores_submits_and_goes_on(self):
        model = self.model()
        file, solutions = self.challenges(a=self.task("mirror"), b=self.task("crop"),
                                          c=self.task("recolour"))
        out = self.dir / "out.json"
        args = ["eval", "arc", file, "-m", model, "--submission", out, "--max-steps", 2,
                "--attempts", 2]
        got = self.json(*args, "--limit", 1)
        self.assertEqual((got["n"], got["ran"], got["scored"]), (1, 1, 0))
        self.assertIsNone(got["pass2"])
        self.assertIsNone(got["tasks"][0]["pass2"])
        told = json.loads(out.read_text())
        self.assertEqual(list(told), ["a"])
        self.assertEqual(set(told["a"][0]), {"attempt_1", "attempt_2"})
        right = self.task("mirror")["test"][0]["output"]
        told["a"][0]["attempt_2"] = right  # to be taken as it is
        out.write_text(json.dumps(told))
        got = self.json(*args, "--solutions", solutions,
                        "--tasks", self.file("list.txt", "# two of three\na\nb\n"))
        self.assertEqual((got["n"], got["ran"], got["scored"]), (2, 1, 2))
        self.assertEqual(got["pass1"], 0)
        self.assertEqual(got["pass2"], 0.5)
        self.assertEqual(got["solved"], 1)
        ran = got["tasks"][0]
        self.assertEqual((ran["task"], ran["pass1"], ran["pass2"]), ("b", 0, 0))
        self.assertTrue(0 <= ran["share"] <= 1)
        self.assertEqual(list(json.loads(out.read_text())), ["a", "b"])

    def test_a_tasks_time_can_be_a_processors(self):
        file, _ = self.challenges(a=self.task("mirror"))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        got = self.json("eval", "arc", file, "-m", self.model(), "--task-seconds", 1,
                        "--processor-time", "--threads", 2)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.assertGreater(got["tasks"][0]["votes"], 0)
        self.assertGreater(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1.5)

    def test_bad_tasks_are_refused_with_their_place(self):
        def refused(task, says):
            self.refused("solve", "arc", stdin=json.dumps(task), says=says)
        refused({"train": [], "test": [{"input": [[1]]}]}, "/train:")
        refused({"train": [PAIR], "test": []}, "/test:")
        refused({"train": [PAIR], "test": [{"input": [[1], [2, 3]]}]}, "/test/0/input/1:")
        refused({"train": [PAIR], "test": [{"input": [[10]]}]}, "/test/0/input/0/0:")
        refused({"train": [PAIR], "test": [{"input": [[1]] * 31}]}, "/test/0/input:")
        self.refused("solve", "arc", stdin="{", says="line 1")
        self.refused("eval", "arc", self.file("t.json", json.dumps({"x": {"train": []}})),
                     says="task x/train:")
        self.refused("eval", "arc", "no-such-file.json", says="no-such-file.json")
        self.refused("gen", "arc", says="trm solve arc")

    def test_other_models_are_refused(self):
        self.refused("solve", "arc", DATA / "crop.json", "-m", "sudoku", says="not an ARC model")

    def test_held_out_and_excluded_tasks_are_not_trained_on(self):
        file, _ = self.challenges(a=self.task("mirror"), b=self.task("crop"))
        self.model(challenges=[file.name], share_rules=0)
        self.file("list.txt", "a\n")
        turned = {"train": [{"input": p["input"][::-1], "output": p["output"][::-1]}
                            for p in self.task("crop")["train"]], "test": [{"input": [[1]]}]}
        other = self.file("other.json", json.dumps({"z": turned}))
        recipe = self.file("r2.json", json.dumps(
            {"task": "arc", "steps": 1, "batch": 1, "model": MODEL, "held_out": "list.txt",
             "challenges": [file.name], "exclude": [other.name]}))
        self.refused("train", recipe, "--out", self.dir / "u", says="no tasks to train on")
        self.file("list.txt", "q\n")
        self.refused("train", recipe, "--out", self.dir / "u", says="no task q")


if __name__ == "__main__":
    unittest.main()
