"""The other face: KServe's and Triton's inference protocol, version 2, in JSON."""
import hashlib
import json
import pathlib
import tempfile
import unittest

from support import EXTREME, NEWSPAPER, SOLUTION, Server, valid

CELLS = [int(c) if c != "." else 0 for c in NEWSPAPER]
SOLVED = [int(c) for c in SOLUTION]


def texts(*puzzles):
    return {"name": "puzzle", "shape": [len(puzzles)], "datatype": "BYTES", "data": list(puzzles)}


def outputs(answer):
    return {o["name"]: o for o in answer["outputs"]}


class V2(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(kinds=("sudoku", "maze"))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def infer(self, body, model="sudoku"):
        return self.server.post(f"/v2/models/{model}/infer", body)

    def get(self, path):
        status, _, data = self.server.request("GET", path)
        return status, json.loads(data)

    def test_health_and_metadata(self):
        self.assertEqual(self.get("/v2/health/live"), (200, {"live": True}))
        self.assertEqual(self.get("/v2/health/ready"), (200, {"ready": True}))
        self.assertEqual(self.get("/v2")[1]["name"], "trmd")
        self.assertEqual(self.get("/v2/models/sudoku/ready"), (200, {"name": "sudoku", "ready": True}))
        status, m = self.get("/v2/models/sudoku")
        self.assertEqual((status, m["name"]), (200, "sudoku"))
        self.assertEqual(m["inputs"], [{"name": "puzzle", "datatype": "BYTES", "shape": [-1]}])
        answer = outputs(self.infer({"inputs": [texts(NEWSPAPER)]})[2])
        self.assertEqual([o["name"] for o in m["outputs"]], list(answer))
        for o in m["outputs"]:
            self.assertEqual(answer[o["name"]]["datatype"], o["datatype"])

    def test_strings(self):
        status, _, a = self.infer({"id": "42", "inputs": [texts(NEWSPAPER, EXTREME)], "parameters": {"attempts": 1}})
        self.assertEqual((status, a["model_name"], a["id"]), (200, "sudoku", "42"))
        out = outputs(a)
        self.assertEqual((out["solution"]["shape"], out["status"]["shape"]), ([2], [2]))
        self.assertTrue(valid(NEWSPAPER, out["solution"]["data"][0]))
        self.assertEqual(out["status"]["data"][0], "solved")
        for verified, status, solution in zip(out["verified"]["data"], out["status"]["data"], out["solution"]["data"]):
            self.assertEqual(verified, status == "solved")
            self.assertEqual(len(solution), 81)

    def test_integers_in_each_shape(self):
        rows = [CELLS[i:i + 9] for i in range(0, 81, 9)]
        for shape, data in (([1, 81], CELLS), ([81], CELLS), ([1, 81], [CELLS]), ([1, 9, 9], [rows]), ([9, 9], rows)):
            a = self.infer({"inputs": [{"name": "puzzle", "shape": shape, "datatype": "INT32", "data": data}]})
            self.assertEqual(a[0], 200, a)
            self.assertEqual(outputs(a[2])["solution"],
                             {"name": "solution", "datatype": "INT32", "shape": shape, "data": SOLVED})
        a = self.infer({"inputs": [{"name": "puzzle", "shape": [3, 81], "datatype": "UINT8", "data": CELLS * 3}]})
        self.assertEqual(outputs(a[2])["solution"]["data"], SOLVED * 3)

    def test_a_maze(self):
        a = self.infer({"inputs": [texts("S #  \n# # #\n    G")]}, "maze")
        out = outputs(a[2])
        self.assertEqual(out["status"]["data"], ["solved"])
        self.assertIn("o", out["solution"]["data"][0])

    def test_only_the_outputs_asked_for(self):
        a = self.infer({"inputs": [texts(NEWSPAPER)], "outputs": [{"name": "steps"}, {"name": "solution"}]})[2]
        self.assertEqual(set(outputs(a)), {"steps", "solution"})

    def test_errors_are_in_both_tongues_and_name_the_place(self):
        twice = "55" + NEWSPAPER[2:]
        cells = lambda **kw: {"name": "puzzle", "shape": [1, 81], "datatype": "INT32", "data": CELLS, **kw}
        for body, status, pointer in (
                ("{", 400, None),
                ({"inputs": [texts(NEWSPAPER)], "max_steps": 3}, 422, "/max_steps"),
                ({"inputs": [texts(NEWSPAPER)], "parameters": {"max_step": 3}}, 422, "/parameters/max_step"),
                ({"inputs": [texts(NEWSPAPER)], "parameters": {"model": "maze"}}, 422, "/parameters/model"),
                ({"inputs": [texts(NEWSPAPER)], "outputs": [{"name": "answer"}]}, 422, "/outputs/0/name"),
                ({"inputs": [texts(NEWSPAPER)] * 2}, 422, "/inputs"),
                ({"inputs": [{**texts(NEWSPAPER), "name": "grid"}]}, 422, "/inputs/0/name"),
                ({"inputs": [{**texts(NEWSPAPER), "datatype": "FP32"}]}, 422, "/inputs/0/datatype"),
                ({"inputs": [{**texts(NEWSPAPER), "shape": [2]}]}, 422, "/inputs/0/data"),
                ({"inputs": [{**texts(NEWSPAPER), "shape": [0]}]}, 422, "/inputs/0/shape"),
                ({"inputs": [{**texts(NEWSPAPER), "shape": [1 << 30, 1 << 30, 1 << 30]}]}, 413, "/inputs/0/shape"),
                ({"inputs": [texts(NEWSPAPER, twice)]}, 422, "/inputs/0/data/1"),
                ({"inputs": [texts(NEWSPAPER, 7)]}, 422, "/inputs/0/data/1"),
                ({"inputs": [cells(shape=[3, 27])]}, 422, "/inputs/0/shape"),
                ({"inputs": [cells(data=CELLS[:-1])]}, 422, "/inputs/0/data"),
                ({"inputs": [cells(data=CELLS[:40] + [12] + CELLS[41:])]}, 422, "/inputs/0/data/40"),
                ({"inputs": [cells(data=[5, 5] + CELLS[2:])]}, 422, "/inputs/0/data/0"),
                ({"inputs": [{"name": "puzzle", "shape": [1], "datatype": "BYTES",
                              "parameters": {"binary_data_size": 85}}]}, 422, "/inputs/0/data")):
            got, head, p = self.infer(body)
            self.assertEqual((got, p.get("pointer")), (status, pointer), p)
            self.assertEqual(p["error"], p["detail"])
            self.assertEqual(head["content-type"], "application/problem+json")
        for path in ("/v2/models/nobody", "/v2/models/nobody/ready"):
            self.assertEqual(self.get(path)[0], 404)
        self.assertEqual(self.infer({}, "nobody")[0], 404)
        self.assertEqual(self.server.request("GET", "/v2/models/sudoku/infer")[0], 405)
        self.assertEqual(self.server.request("GET", "/v2/models/")[0], 404)
        self.assertNotIn("error", self.server.post("/v1/sudoku", {})[2])

    def test_a_client_with_a_key_may_and_one_without_may_not(self):
        with tempfile.TemporaryDirectory() as folder:
            keys = pathlib.Path(folder) / "keys"
            keys.write_text("me:" + hashlib.sha256(b"a-key").hexdigest() + "\n")
            s = Server("--api-keys-file", str(keys))
            self.addCleanup(s.stop)
            body = {"inputs": [texts(NEWSPAPER)]}
            self.assertEqual(s.post("/v2/models/sudoku/infer", body)[0], 401)
            self.assertEqual(s.request("GET", "/v2/models/sudoku")[0], 401)
            self.assertEqual(s.request("GET", "/v2/models/sudoku/ready")[0], 200)
            self.assertEqual(s.post("/v2/models/sudoku/infer", body, {"X-API-Key": "a-key"})[0], 200)

    def test_it_is_counted_and_bounded_like_the_first_face(self):
        before = self.server.metric('trmd_requests_total{kind="sudoku",status="200",reason="ok"}')
        self.infer({"inputs": [texts(NEWSPAPER)]})
        self.assertTrue(self.server.until(
            lambda: self.server.metric('trmd_requests_total{kind="sudoku",status="200",reason="ok"}') == before + 1))
        status, _, p = self.infer({"inputs": [texts(*[NEWSPAPER] * 1025)]})
        self.assertEqual((status, p["type"]), (413, "/problems/too-large"))


if __name__ == "__main__":
    unittest.main()
