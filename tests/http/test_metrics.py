"""Figures that an operator lives by are those of what has happened."""
import re
import subprocess
import unittest

from support import EXTREME, NEWSPAPER, TRMD, Server

KIND = '{kind="sudoku"}'


class Metrics(unittest.TestCase):
    def test_they_add_up_to_the_answers(self):
        s = Server("--coalesce", "false")
        self.addCleanup(s.stop)
        a = s.post("/v1/sudoku", {"puzzles": [NEWSPAPER, EXTREME], "attempts": 64})[2]["results"]
        a.append(s.post("/v1/sudoku", {"puzzle": EXTREME, "halt": "fixed", "max_steps": 3, "attempts": 2})[2])
        a.append(s.post("/v1/sudoku", {"puzzle": EXTREME, "halt": "fixed", "max_steps": 1000, "attempts": 1000,
                                       "deadline_ms": 200})[2])
        self.assertEqual(s.post("/v1/sudoku", {"puzzle": "55" + "." * 79})[0], 422)
        self.assertEqual(s.post("/v1/sudoku", "{")[0], 400)
        self.assertTrue(s.until(lambda: s.metric("trmd_requests_in_flight") == 1))
        m = s.metric
        for (status, reason), n in {(200, "ok"): 3, (422, "impossible-puzzle"): 1, (400, "not-json"): 1}.items():
            self.assertEqual(m(f'trmd_requests_total{{kind="sudoku",status="{status}",reason="{reason}"}}'), n)
        self.assertEqual(m("trmd_request_seconds_count" + KIND), 5)
        self.assertGreaterEqual(m("trmd_request_seconds_sum" + KIND), 0.2)
        for status in ("solved", "unsolved", "deadline"):
            self.assertEqual(m(f'trmd_puzzles_total{{kind="sudoku",status="{status}"}}'),
                             sum(r["status"] == status for r in a), status)
        self.assertEqual(m("trmd_verified_total" + KIND), sum(r["verified"] for r in a))
        for halt in {r["halt"] for r in a}:
            self.assertEqual(m(f'trmd_halts_total{{kind="sudoku",cause="{halt}"}}'), sum(r["halt"] == halt for r in a))
        for name, key in (("steps", "steps"), ("attempts", "attempts")):
            self.assertEqual(m(f"trmd_{name}_per_answer_count" + KIND), 4)
            self.assertEqual(m(f"trmd_{name}_per_answer_sum" + KIND), sum(r[key] for r in a))
        for name in ("queue", "compute"):
            self.assertEqual(m(f"trmd_{name}_seconds_count" + KIND), 4)
            self.assertAlmostEqual(m(f"trmd_{name}_seconds_sum" + KIND),
                                   sum(r["timing_ms"][name] for r in a) / 1000, places=4)
        model = '{model="sudoku"}'
        self.assertEqual(m("trmd_batch_size_count" + model), m("trmd_step_seconds_count" + model))
        self.assertGreaterEqual(m("trmd_batch_size_sum" + model), max(r["steps"] for r in a))
        self.assertAlmostEqual(m("trmd_engine_busy_seconds_total" + model), m("trmd_step_seconds_sum" + model), places=4)
        self.assertEqual((m("trmd_queue_puzzles"), m("trmd_queue_bytes")), (0, 0))
        version = subprocess.run([TRMD, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        self.assertEqual(m(f'trmd_build_info{{version="{version}"}}'), 1)

    def test_every_family_says_what_it_is(self):
        s = Server()
        self.addCleanup(s.stop)
        s.post("/v1/sudoku", {"puzzle": NEWSPAPER})
        status, head, data = s.request("GET", "/metrics")
        self.assertEqual((status, head["content-type"].split(";")[0]), (200, "text/plain"))
        seen = set()
        for line in data.decode().splitlines():
            if line.startswith("# "):
                seen.add(line.split()[2])
                self.assertRegex(line, r"^# (HELP \w+ .+|TYPE \w+ (counter|gauge|histogram))$")
                continue
            name = re.match(r'^(\w+)(\{(\w+="[^"]*",?)+\})? -?[0-9.e+-]+$|^(\w+) \+Inf$', line)
            self.assertIsNotNone(name, line)
            self.assertIn(re.sub(r"_(bucket|sum|count)$", "", name[1]) if name[1] not in seen else name[1], seen)


if __name__ == "__main__":
    unittest.main()
