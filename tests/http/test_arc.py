"""ARC over HTTP: tasks are learned in turns beside puzzles, told of, answered, never called solved."""
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest

from support import NEWSPAPER, SANITIZED, SOLUTION, TESTS, TRM, Server, shipped

ASYNC = {"Prefer": "respond-async"}
STREAM = {"Accept": "text/event-stream"}
SUDOKU = shipped("sudoku")
# A trunk of random weights but for three steps. That tasks are learned is test_arc of cli/.
RECIPE = {"task": "arc", "steps": 3, "batch": 4, "size_max": 5, "share_rules": 1,
          "model": {"seq_len": 900, "vocab_size": 12, "hidden_size": 32, "num_heads": 2, "H_cycles": 1, "L_cycles": 2,
                    "L_layers": 2, "inner_size": 64, "mlp_t": False, "packed": True, "pos_encodings": "rope2d",
                    "rope_theta": 100, "frames": True, "puzzle_emb_ndim": 32, "puzzle_emb_len": 11,
                    "num_puzzle_identifiers": 64, "halt_max_steps": 2, "q_mean": True}}


def task(name, **options):
    with open(os.path.join(TESTS, "data", "arc", name + ".json")) as f:
        return {**json.load(f), **options}


def events(data):
    for block in data.decode().strip().split("\n\n"):
        name, text = block.split("\n", 1)
        yield name[len("event: "):], json.loads(text[len("data: "):])


class Arc(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        recipe = os.path.join(cls.dir.name, "r.json")
        with open(recipe, "w") as f:
            json.dump(RECIPE, f)
        out = os.path.join(cls.dir.name, "t")
        subprocess.run([TRM, "train", recipe, "--out", out, "--threads", "1"], check=True, capture_output=True)
        cls.model = os.path.join(out, "model.safetensors")

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    def setUp(self):
        self.server = None

    def tearDown(self):
        if self.server:
            self.server.stop()

    def start(self, *args):
        """One thread: most of what these tests ask for is learned until a deadline."""
        self.server = Server("--threads", "1", "--model", SUDOKU, "--model", self.model, *args)
        return self.server

    def check_answer(self, a, name):
        asked = task(name)
        self.assertEqual((a["kind"], a["verified"]), ("arc", False))
        self.assertIn((a["status"], a["halt"]), [("answered", "votes"), ("deadline", "deadline")])
        self.assertEqual(a["demonstrations"]["given"], len(asked["train"]))
        self.assertEqual(len(a["tests"]), len(asked["test"]))
        for test, pair in zip(a["tests"], a["solution"]):
            first, second = test["attempts"]
            self.assertEqual((first["grid"], second["grid"]), (pair["attempt_1"], pair["attempt_2"]))
            self.assertGreaterEqual(first["votes"], second["votes"])
            self.assertLessEqual(first["share"] + second["share"], 1.0001)
            for grid in (first["grid"], second["grid"]):
                self.assertTrue(1 <= len(grid) <= 30 and len({len(r) for r in grid}) == 1)

    def test_the_client_watches_a_task_being_learned(self):
        s = self.start()
        _, head, data = s.request("POST", "/v1/arc", task("recolour", deadline_ms=6000), STREAM)
        self.assertTrue(head["content-type"].startswith("text/event-stream"))
        seen = list(events(data))
        name, answer = seen[-1]
        self.assertEqual((name, {n for n, _ in seen[:-1]}), ("done", {"progress"}))
        self.assertGreater(len([p for _, p in seen[:-1] if p["phase"] == "training"]), 1)
        steps = [p["steps"] for _, p in seen]
        self.assertEqual(steps, sorted(steps))
        self.check_answer(answer, "recolour")
        self.assertEqual(s.metric("trmd_arc_tasks"), 0)
        self.assertEqual(s.metric("trmd_arc_bytes"), 0)
        self.assertEqual(s.metric("trmd_verified_total"), 0)

    def test_deadline_brings_an_answer(self):
        s = self.start()
        status, _, a = s.post("/v1/arc", task("mirror", deadline_ms=3000))
        self.assertEqual(status, 200)
        self.check_answer(a, "mirror")
        self.assertLess(a["timing_ms"]["compute"], 60000)

    def test_puzzles_are_answered_between_turns(self):
        s = self.start()
        place = s.request("POST", "/v1/arc", task("crop", deadline_ms=500000), ASYNC)[1]["location"]
        self.assertTrue(s.until(lambda: s.metric("trmd_arc_turn_seconds_count") > 5))
        beside = []
        more = lambda: s.metric("trmd_arc_turn_seconds_count") - s.metric("trmd_step_seconds_count")
        for _ in range(10):
            before = more()
            a = s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]
            self.assertEqual(a["solution"], SOLUTION)
            beside.append(more() - before)
        # Each of a puzzle's steps waits for one turn at most; one more may be under way, and on a
        # busy machine many before and after the puzzle, hence the least.
        if not SANITIZED:  # there a step takes as long as several turns, which get as much time
            self.assertLessEqual(min(beside), 2)
        self.assertEqual(json.loads(s.request("DELETE", place)[2])["state"], "cancelled")
        self.assertTrue(s.until(lambda: s.metric("trmd_arc_tasks") == 0))

    def test_tasks_take_turns_wait_and_are_refused(self):
        s = self.start("--arc-runs", "2", "--arc-queue", "1")
        long = task("crop", deadline_ms=500000)
        gone = []
        for n in (1, 2, 3):
            c = s.connect()
            body = json.dumps(long)
            c.sendall(("POST /v1/arc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                       "Accept: text/event-stream\r\n\r\n%s" % (len(body), body)).encode())
            gone.append(c)
            self.assertTrue(s.until(lambda: s.metric("trmd_arc_tasks") == n))
        status, head, p = s.post("/v1/arc", long)
        self.assertEqual((status, p["type"]), (429, "/problems/queue-full"))
        self.assertIn("retry-after", head)
        for c in gone[:2]:  # both that run are told of: they take turns
            c.settimeout(60)
            got = b""
            while got.count(b"event: progress") < 2:
                got += c.recv(65536)
        for c in gone:
            c.close()
        self.assertTrue(s.until(lambda: s.metric("trmd_arc_tasks") == 0))
        self.assertEqual(s.metric("trmd_arc_bytes"), 0)

    def test_jobs_tell_progress_and_survive_a_killed_daemon(self):
        with tempfile.TemporaryDirectory() as state:
            s = self.start("--state-dir", state)
            place = s.request("POST", "/v1/arc", task("mirror", deadline_ms=8000), ASYNC)[1]["location"]
            job = lambda: json.loads(self.server.request("GET", place)[2])
            self.assertTrue(s.until(lambda: job().get("progress", {}).get("steps", 0) > 0))
            self.assertEqual(job()["progress"]["phase"], "training")
            s.process.kill()
            s.process.wait()
            s.stop()
            s = self.start("--state-dir", state)
            self.assertTrue(s.until(lambda: job()["state"] == "done"))
            self.assertEqual((job()["kind"], job()["claims"]), ("arc", 2))
            self.check_answer(job()["result"], "mirror")

    def test_bad_tasks_point_at_the_fault(self):
        s = self.start()
        good = {"input": [[1, 2]], "output": [[2, 1]]}
        test = [{"input": [[1]]}]
        for bad, pointer in (({"test": test}, "/train"), ({"train": [], "test": test}, "/train"),
                             ({"train": [good]}, "/test"), ({"train": [good], "test": []}, "/test"),
                             ({"train": [{"input": [[1]]}], "test": test}, "/train/0/output"),
                             ({"train": [{**good, "input": [[1, 2], [3]]}], "test": test}, "/train/0/input/1"),
                             ({"train": [good, {**good, "output": [[1, 12]]}], "test": test}, "/train/1/output/0/1"),
                             ({"train": [good], "test": [{"input": [[0] * 31]}]}, "/test/0/input/0"),
                             ({"train": [good], "test": test, "deadline_ms": -1}, "/deadline_ms"),
                             ({"train": [good], "test": test, "model": "sudoku"}, "/model")):
            for headers in ({}, ASYNC):
                status, _, p = s.post("/v1/arc", bad, headers)
                self.assertEqual(status, 422, bad)
                self.assertTrue(p.get("pointer", "").startswith(pointer), (p, pointer))
        self.assertEqual(s.post("/v1/arc", "[1", {})[0], 400)
        self.assertEqual(s.request("GET", "/v1/arc")[0], 405)

    def test_without_an_arc_model_it_says_so(self):
        self.server = Server("--model", SUDOKU)
        status, _, p = self.server.post("/v1/arc", task("crop"))
        self.assertEqual((status, p["type"]), (422, "/problems/no-model"))

    @unittest.skipIf(SANITIZED, "its loops take too long under the sanitizers")
    def test_the_shipped_trunk_learns_a_rule(self):
        s = self.server = Server(kinds=("sudoku", "arc"))
        status, _, data = s.request("POST", "/v1/arc", task("fill", deadline_ms=500000), timeout=520)
        a = json.loads(data)
        self.assertEqual((status, a["status"], a["model"]), (200, "answered", "arc"))
        self.check_answer(a, "fill")
        self.assertEqual(a["demonstrations"]["reproduced"], a["demonstrations"]["given"])
        self.assertEqual(a["solution"][0]["attempt_1"], task("fill")["test"][0]["output"])

    def test_stop_gives_running_tasks_their_time(self):
        s = self.start()
        answers = []
        t = threading.Thread(target=lambda: answers.append(s.post("/v1/arc", task("crop", deadline_ms=2500))))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_arc_tasks") == 1))
        began = time.monotonic()
        self.assertEqual(s.stop(), 0)
        self.server = None
        t.join()
        self.assertEqual(answers[0][0], 200)
        self.assertLess(time.monotonic() - began, 30)


if __name__ == "__main__":
    unittest.main()
