"""Models, keys and settings change while requests run, and no request notices."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import unittest

from support import NEWSPAPER, SOLUTION, TRM, Server, shipped

SHIPPED = pathlib.Path(shipped("sudoku"))


class Reload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="trmd-reload-")
        at = pathlib.Path(cls.folder.name)
        cls.one, cls.two = SHIPPED.read_bytes(), at / "two.safetensors"
        # the same weights in another precision: another content, still a model that solves
        subprocess.run([TRM, "import", SHIPPED, "-o", cls.two, "--dtype", "int8"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.two = cls.two.read_bytes()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.model = pathlib.Path(self.folder.name) / (self.id().rsplit(".", 1)[1] + ".safetensors")
        self.model.write_bytes(self.one)

    def start(self, *args):
        self.server = Server("--model", str(self.model), "--admin-port", "0", *args)
        self.addCleanup(self.server.stop)
        return self.server

    def put(self, data):
        fresh = self.model.with_suffix(".new")
        fresh.write_bytes(data)
        os.replace(fresh, self.model)

    def reload(self):
        status, _, data = self.server.admin("POST", "/admin/reload")
        return status, json.loads(data)

    def served(self):
        return json.loads(self.server.request("GET", "/v1/models")[2])["models"][0]["id"]

    def solve(self):
        return self.server.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"]

    def test_hangup_swaps_the_model(self):
        s = self.start()
        before = self.served()
        self.put(self.two)
        s.process.send_signal(signal.SIGHUP)
        self.assertTrue(s.until(lambda: self.served() != before))
        self.assertEqual(self.solve(), SOLUTION)
        self.assertEqual(s.metric("trmd_model_info"), 1)

    def test_the_admin_endpoint_answers_when_it_is_done(self):
        self.start()
        before = self.served()
        status, body = self.reload()
        self.assertEqual((status, body["models"][0]["id"]), (200, before))
        self.put(self.two)
        status, body = self.reload()
        self.assertEqual(status, 200)
        self.assertNotEqual(body["models"][0]["id"], before)
        self.assertEqual(self.served(), body["models"][0]["id"])

    def test_a_bad_file_keeps_the_old_model(self):
        s = self.start()
        before = self.served()
        half, flipped = self.two[:len(self.two) // 2], bytearray(self.two)
        flipped[20:30] = b"\xff" * 10
        for n, bad in enumerate((half, b"", bytes(flipped), b"not a model at all"), 1):
            self.put(bad)
            status, problem = self.reload()
            self.assertEqual((status, problem["type"]), (422, "/problems/reload-failed"))
            self.assertIn(self.model.name, problem["detail"])
            self.assertEqual(s.metric('trmd_reloads_total{what="model",result="error"}'), n)
            self.assertEqual((self.served(), self.solve()), (before, SOLUTION))
            self.assertEqual(s.request("GET", "/readyz")[0], 200)
        self.model.unlink()
        self.assertEqual(self.reload()[0], 422)
        self.put(self.two)
        self.assertEqual(self.reload()[0], 200)
        self.assertNotEqual(self.served(), before)

    def test_a_model_that_cannot_make_a_step_is_not_swapped_in(self):
        self.start()
        before = self.served()
        size = int.from_bytes(self.one[:8], "little")
        header = json.loads(self.one[8:8 + size])
        bad = bytearray(self.one)  # every weight of the halt head a NaN
        begin, end = header["inner.q_head.weight"]["data_offsets"]
        bad[8 + size + begin:8 + size + end] = b"\xff" * (end - begin)
        self.put(bytes(bad))
        status, problem = self.reload()
        self.assertEqual(status, 422)
        self.assertIn("finite", problem["detail"])
        self.assertEqual((self.served(), self.solve()), (before, SOLUTION))

    def test_reload_in_a_loop_under_load_fails_no_request(self):
        s = self.start("--access-log", "false")
        threads = len(os.listdir(f"/proc/{s.process.pid}/task"))
        over, wrong, counts = threading.Event(), [], [0] * 4

        def ask(i):
            while not over.is_set():
                status, _, a = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 3})
                if status != 200 or {r["solution"] for r in a["results"]} != {SOLUTION}:
                    wrong.append((status, a))
                counts[i] += 1
        clients = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for t in clients:
            t.start()
        ids = set()
        for n in range(12):
            self.put((self.two, self.one, b"garbage")[n % 3])
            status, _ = self.reload()
            self.assertEqual(status, 422 if n % 3 == 2 else 200)
            ids.add(self.served())
        over.set()
        for t in clients:
            t.join()
        self.assertEqual(wrong, [])
        self.assertGreater(min(counts), 0)
        self.assertEqual(len(ids), 2)
        # old generations are gone with their threads (libuv keeps up to four of its own)
        self.assertTrue(s.until(
            lambda: len(os.listdir(f"/proc/{s.process.pid}/task")) <= threads + 4))

    def test_work_under_way_ends_in_the_model_it_began_with(self):
        s = self.start()
        answers = []
        body = {"puzzle": "." * 81, "halt": "fixed", "max_steps": 1000, "attempts": 100, "deadline_ms": 8000}
        t = threading.Thread(target=lambda: answers.append(s.post("/v1/sudoku", body)))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        self.put(self.two)
        self.assertEqual(self.reload()[0], 200)
        self.assertEqual(self.solve(), SOLUTION)  # by the new one, while the old one works
        self.assertEqual(answers, [])
        t.join()
        self.assertEqual((answers[0][0], answers[0][2]["status"]), (200, "deadline"))

    def test_reloads_that_overlap_all_get_an_answer(self):
        self.start()
        self.put(self.two)
        results = []
        many = [threading.Thread(target=lambda: results.append(self.reload()[0])) for _ in range(8)]
        for t in many:
            t.start()
        for t in many:
            t.join()
        self.assertEqual(results, [200] * 8)

    def test_settings_are_read_anew_and_bad_ones_are_named(self):
        config = pathlib.Path(self.folder.name) / "config.json"
        config.write_text('{"max_puzzles_per_request": 2}')
        s = self.start("--config", str(config))
        many = {"puzzles": [NEWSPAPER] * 3}
        self.assertEqual(s.post("/v1/sudoku", many)[0], 413)
        config.write_text('{"max_puzzles_per_request": 3}')
        self.assertEqual(self.reload()[0], 200)
        self.assertEqual(s.post("/v1/sudoku", many)[0], 200)
        self.assertEqual(json.loads(s.admin("GET", "/admin/config")[2])["max_puzzles_per_request"], 3)
        config.write_text('{"max_puzzles_per_request": "x"}')
        status, problem = self.reload()
        self.assertEqual(status, 422)
        self.assertIn("max_puzzles_per_request", problem["detail"])
        self.assertEqual(s.post("/v1/sudoku", many)[0], 200)

    def test_the_admin_door_is_for_admins(self):
        s = self.start()
        for path in ("/livez", "/readyz", "/metrics", "/v1/models"):
            self.assertEqual(s.admin("GET", path)[0], 200, path)
        self.assertEqual(s.admin("POST", "/v1/sudoku", "{}")[0], 404)
        self.assertEqual(s.request("POST", "/admin/reload")[0], 404)
        status, head, _ = s.admin("GET", "/admin/reload")
        self.assertEqual((status, head["allow"]), (405, "POST"))
        self.assertEqual(s.admin("POST", "/admin/reload", headers={"Origin": "https://x.example"})[0], 403)
        self.assertEqual(s.metric("trmd_reloads_total"), 0)


if __name__ == "__main__":
    unittest.main()
