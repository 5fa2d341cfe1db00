"""A GPU that dies or is too small, in a real daemon. The CPU plays the GPU and dies on command."""
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import unittest

from support import EXTREME, NEWSPAPER, PATIENCE, SOLUTION, TRMD, Server

LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed", "deadline_ms": 600000}
GPU = ("--backend", "cuda-f32")


class Gpu(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dead = os.path.join(folder.name, "dead")
        self.env = {"TRM_CUDA_LIBRARY": os.environ["TEST_GPU"], "TRM_CUDA_TEST_FAIL": self.dead}

    def start(self, *args, **env):
        s = Server("--slots", "4", *args, env={**self.env, **env})
        self.addCleanup(s.stop)
        return s

    def kill(self):
        with open(self.dead, "w", encoding="ascii"):
            pass

    def ready(self, s):
        status, _, data = s.request("GET", "/readyz")
        return status, json.loads(data).get("reason")

    def test_a_dead_gpu_is_told_and_a_reload_tries_again(self):
        s = self.start(*GPU)
        answers = []
        t = threading.Thread(target=lambda: answers.append(s.post("/v1/sudoku", LONG)))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        self.assertEqual(self.ready(s)[0], 200)
        self.kill()
        t.join()
        status, head, p = answers[0]
        self.assertEqual((status, p["type"]), (503, "/problems/unavailable"))
        self.assertIn("retry-after", head)
        self.assertEqual(self.ready(s), (503, "engine"))
        self.assertEqual(s.request("GET", "/livez")[0], 200)
        self.assertEqual((s.metric("trmd_ready"), s.metric("trmd_engine_failures_total")), (0, 1))
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0], 503)
        self.assertIn("the device failed", s.errors())
        os.remove(self.dead)
        s.process.send_signal(signal.SIGHUP)
        self.assertTrue(s.until(lambda: self.ready(s)[0] == 200))
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)

    def test_with_fallback_nobody_notices(self):
        s = self.start(*GPU, "--gpu-fallback", "true")
        answers = []
        hard = {"puzzles": [EXTREME, NEWSPAPER], "max_steps": 4, "attempts": 1, "halt": "fixed", "deadline_ms": 600000}
        t = threading.Thread(target=lambda: answers.append(s.post("/v1/sudoku", hard)))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        self.kill()
        t.join()
        self.assertEqual(answers[0][0], 200)
        self.assertEqual([r["attempts"] for r in answers[0][2]["results"]], [1, 1])
        self.assertGreaterEqual(answers[0][2]["results"][0]["steps"], 4)
        self.assertEqual(self.ready(s)[0], 200)
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)
        model = json.loads(s.request("GET", "/v1/models")[2])["models"][0]
        self.assertNotIn("cuda", model["backend"])
        info = s.request("GET", "/metrics")[2].decode()
        self.assertIsNone(re.search(r'trmd_model_info\{model="sudoku"[^}]*cuda', info))
        self.assertIn('then="cpu"', info)

    @unittest.skipIf("/tsan/" in TRMD, "no threads meet in it, and the stand-in's 64 slots take minutes")
    def test_short_memory_means_fewer_slots(self):
        s = self.start(*GPU, "--slots", "64", TRM_CUDA_TEST_MEMORY="30000000")
        model = json.loads(s.request("GET", "/v1/models")[2])["models"][0]
        self.assertTrue(1 <= model["slots"] < 64, model)
        self.assertIn("fewer slots", s.errors())
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)

    def test_no_memory_at_all(self):
        env = {**os.environ, **self.env, "TRM_CUDA_TEST_MEMORY": "1000"}
        r = subprocess.run([TRMD, "--port", "0", *GPU], env=env, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(r.returncode, 2)
        self.assertIn("no room", r.stderr)
        s = self.start(*GPU, "--gpu-fallback", "true", TRM_CUDA_TEST_MEMORY="1000")
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)
        self.assertIn("going on on the CPU", s.errors())


if __name__ == "__main__":
    unittest.main()
