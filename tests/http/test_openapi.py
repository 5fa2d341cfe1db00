"""/openapi.json describes what happens: live requests and answers are held against it."""
import hashlib
import http.client
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import unittest

import jsonschema

from support import EXTREME, NEWSPAPER, TRM, Server
from test_arc import RECIPE, task
from test_probes import Stopped, engine_thread

WEIGHTS = pathlib.Path(__file__).resolve().parents[2] / "weights"
MAZE = ["S #  ", "# # #", "    G"]
LONG = {"max_steps": 1000, "attempts": 100, "halt": "fixed"}
INFER = "/v2/models/{model}/infer"
V2 = {"inputs": [{"name": "puzzle", "datatype": "BYTES", "shape": [1], "data": [NEWSPAPER]}]}
POSTS = {"/v1/sudoku": {"puzzle": NEWSPAPER}, "/v1/maze": {"puzzle": MAZE}, "/v1/arc": task("mirror"), INFER: V2}
# A job store that cannot be reached: the one in memory always can.
UNSEEN = {("get", "/v1/jobs/{id}", "503"), ("delete", "/v1/jobs/{id}", "503")}


class Document:
    def __init__(self, text):
        self.root = json.loads(text)
        self.seen = set()

    def follow(self, node):
        while "$ref" in node:
            place = self.root
            for name in node["$ref"][2:].split("/"):
                place = place[name.replace("~1", "/").replace("~0", "~")]
            node = place
        return node

    def errors(self, schema, value):
        """What is wrong with a value; local references are looked up in the whole document."""
        v = jsonschema.Draft202012Validator({"components": self.root["components"], "allOf": [schema]})
        return [f"{e.json_path}: {e.message}" for e in v.iter_errors(value)]

    def operations(self):
        for path, item in self.root["paths"].items():
            for method in ("get", "post", "delete"):
                if method in item:
                    yield method, path, item[method]


def walk(node, place=""):
    yield place, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from walk(child, f"{place}/{key}")


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.dir.name)
        (folder / "recipe.json").write_text(json.dumps(RECIPE))
        subprocess.run([TRM, "train", folder / "recipe.json", "--out", folder / "arc", "--threads", "1"],
                       check=True, capture_output=True)
        cls.models = [f"--model={WEIGHTS / 'sudoku.safetensors'}", f"--model={WEIGHTS / 'maze.safetensors'}",
                      f"--model={folder / 'arc/model.safetensors'}"]
        (folder / "keys").write_text("me:" + hashlib.sha256(b"a-key").hexdigest() + "\n")
        cls.keys = f"--api-keys-file={folder / 'keys'}"
        cls.server = Server(*cls.models)
        cls.doc = Document(cls.server.request("GET", "/openapi.json")[2])

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.dir.cleanup()

    def start(self, *args):
        s = Server(*self.models, *args)
        self.addCleanup(s.stop)
        return s

    def test_the_document_holds_together(self):
        root, ids = self.doc.root, []
        self.assertRegex(root["openapi"], r"^3\.1\.")
        for _, path, op in self.doc.operations():
            ids.append(op["operationId"])
            self.assertIn("default", op["responses"], path)
            item = root["paths"][path]
            named = {p["name"] for p in item.get("parameters", [])}
            self.assertEqual(named, set(re.findall(r"\{(\w+)\}", path)))
        self.assertEqual(len(ids), len(set(ids)))
        used = set()
        for place, node in walk(root):
            if isinstance(node, dict) and "$ref" in node:
                self.assertTrue(node["$ref"].startswith("#/"), place)
                self.doc.follow(node)
                used.add(node["$ref"])
        for group, parts in root["components"].items():
            for name in parts if group != "securitySchemes" else ():
                self.assertIn(f"#/components/{group}/{name}", used, "described but not used")
        for name, schema in root["components"]["schemas"].items():
            jsonschema.Draft202012Validator.check_schema(schema)
        for _, path, op in self.doc.operations():
            if "requestBody" in op:
                body = op["requestBody"]["content"]["application/json"]
                self.assertEqual(self.doc.errors(body["schema"], body["example"]), [], path)

    def answer(self, method, path, status, head, data):
        """An answer is as described: status, headers, type and content."""
        op = self.doc.root["paths"][path][method]
        place = f"{method} {path} {status}"
        self.assertIn(str(status), op["responses"], place)
        self.doc.seen.add((method, path, str(status)))
        described = self.doc.follow(op["responses"][str(status)])
        for name, header in described.get("headers", {}).items():
            header = self.doc.follow(header)
            if name.lower() in head:
                self.assertEqual(self.doc.errors(header["schema"], head[name.lower()]), [], f"{place} {name}")
            else:
                self.assertFalse(header.get("required"), f"{place} lacks {name}")
        kind = head["content-type"].split(";")[0]
        self.assertIn(kind, described["content"], place)
        media = described["content"][kind]
        if kind == "text/event-stream":
            self.events(media["x-events"], data.decode(), place)
        elif kind.endswith("json"):
            self.assertEqual(self.doc.errors(media["schema"], json.loads(data)), [], place)

    def events(self, described, text, place):
        names = set()
        for block in text.strip().split("\n\n"):
            if block.startswith(":"):
                continue
            name, body = re.fullmatch(r"event: (\w+)\ndata: (.*)", block).groups()
            self.assertEqual(self.doc.errors(described[name], json.loads(body)), [], f"{place} {name}")
            names.add(name)
        self.assertIn("done", names, place)

    def ask(self, server, method, path, want, body=None, headers=None, fill=None, valid=True):
        """One live exchange; `valid`: is the body as described?"""
        real = path
        for name, value in {"model": "sudoku", **(fill or {})}.items():
            real = real.replace("{%s}" % name, value)
        status, head, data = server.request(method.upper(), real, body, headers)
        self.assertEqual(status, want, data)
        self.answer(method, path, status, head, data)
        if isinstance(body, dict):
            schema = self.doc.root["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
            self.assertEqual(self.doc.errors(schema, body) == [], valid, f"{path} {json.dumps(body)[:200]}")
        return head, data

    def solved(self, s):
        rows = [[int(c) if c != "." else 0 for c in NEWSPAPER[i:i + 9]] for i in range(0, 81, 9)]
        flat = sum(rows, [])
        asks = [("/v1/sudoku", {"puzzle": p}) for p in (NEWSPAPER, rows, flat)]
        asks += [("/v1/sudoku", {"puzzles": [NEWSPAPER, flat, EXTREME], "max_steps": 4, "attempts": 2, "halt": "act",
                                 "deadline_ms": 5000, "model": "sudoku"}),
                 ("/v1/sudoku", {"puzzle": EXTREME, **LONG, "deadline_ms": 200}),
                 ("/v1/maze", {"puzzles": [MAZE, "\n".join(MAZE)]}),
                 ("/v1/maze", {"puzzle": "S" + " " * 898 + "G", "attempts": 1, "max_steps": 2, "halt": "fixed"}),
                 ("/v1/arc", {**POSTS["/v1/arc"], "deadline_ms": 1500}),
                 (INFER, {**V2, "id": "7", "parameters": {"attempts": 3, "binary_data_output": True}}),
                 (INFER, {"inputs": [{"name": "puzzle", "datatype": "INT64", "shape": [1, 9, 9], "data": [rows]}],
                          "outputs": [{"name": "solution"}]})]
        for path, body in asks:
            self.ask(s, "post", path, 200, body)
            if path != INFER:
                self.ask(s, "post", path, 200, body, {"Accept": "text/event-stream"})
        self.ask(s, "post", INFER, 200, {"inputs": [{**V2["inputs"][0], "data": ["\n".join(MAZE)]}]},
                 fill={"model": "maze"})

    def refused(self, s):
        for path, body in POSTS.items():
            self.ask(s, "post", path, 400, '{"puzzle": [')
            self.ask(s, "post", path, 413, "x" * (2 << 20))
            self.ask(s, "post", path, 415, "a=b", {"Content-Type": "text/plain"})
            self.ask(s, "post", path, 422, {}, valid=False)
        for puzzle in (NEWSPAPER[1:], NEWSPAPER[:-1] + "x", [1] * 80, [[0] * 9] * 8, 7):
            self.ask(s, "post", "/v1/sudoku", 422, {"puzzle": puzzle}, valid=False)
            v2 = {"inputs": [{**V2["inputs"][0], "data": [puzzle], "shape": [0]}]}
            self.ask(s, "post", INFER, 422, v2, valid=False)
        for more in ({"max_step": 1}, {"max_steps": 0}, {"halt": "never"}, {"puzzles": [NEWSPAPER]}):
            self.ask(s, "post", "/v1/sudoku", 422, {"puzzle": NEWSPAPER, **more}, valid=False)
        self.ask(s, "post", "/v1/maze", 422, {"puzzle": ["S x", "  G"]}, valid=False)
        self.ask(s, "post", "/v1/arc", 422, {"train": [], "test": []}, valid=False)
        self.ask(s, "post", INFER, 422, {**V2, "parameters": {"model": "maze"}}, valid=False)
        # as described, and yet impossible
        self.ask(s, "post", "/v1/sudoku", 422, {"puzzle": "55" + "." * 79})
        self.ask(s, "post", "/v1/maze", 422, {"puzzle": ["S#G"]})
        self.ask(s, "post", INFER, 404, V2, fill={"model": "nobody"})
        for path in ("/v2/models/{model}", "/v2/models/{model}/ready"):
            self.ask(s, "get", path, 404, fill={"model": "nobody"})
        for method in ("get", "delete"):
            self.ask(s, method, "/v1/jobs/{id}", 404, fill={"id": "0" * 32})

    def other_methods(self, s):
        for path, item in self.doc.root["paths"].items():
            for method in {"get", "post", "delete", "put"} - set(item):
                status, head, data = s.request(method.upper(), path.replace("{model}", "sudoku"))
                self.assertEqual(status, 405, f"{method} {path}")
                self.assertEqual(self.doc.errors({"$ref": "#/components/schemas/Problem"}, json.loads(data)), [])
                for named in set(item) & {"get", "post", "delete"}:
                    self.assertIn(named.upper(), head["allow"])

    def jobs(self, s):
        place = "/v1/jobs/{id}"
        for path in ("/v1/sudoku", "/v1/maze", "/v1/arc"):
            body = {**POSTS[path], "deadline_ms": 1000}
            _, data = self.ask(s, "post", path, 202, body, {"Prefer": "respond-async"})
            job = {"id": json.loads(data)["id"]}
            self.ask(s, "get", place, 200, fill=job)
            self.ask(s, "get", place, 200, headers={"Accept": "text/event-stream"}, fill=job)
            self.ask(s, "get", place, 200, fill=job)
        _, data = self.ask(s, "post", "/v1/sudoku", 202, {"puzzle": EXTREME, **LONG}, {"Prefer": "respond-async"})
        job = {"id": json.loads(data)["id"]}
        self.ask(s, "delete", place, 200, fill=job)
        self.assertTrue(s.until(lambda: json.loads(self.ask(s, "get", place, 200, fill=job)[1])["state"] == "cancelled"))

    def probes(self, s):
        for method, path, _ in self.doc.operations():
            if method == "get" and "{id}" not in path:
                self.ask(s, "get", path, 200)

    def without_a_key(self):
        s = self.start(self.keys)
        for method, path, op in self.doc.operations():
            if "security" in op:
                self.ask(s, method, path, 401, POSTS.get(path), fill={"id": "0" * 32})

    def too_eager(self):
        s = self.start("--rate-limit=0.001", "--rate-burst=1")
        self.ask(s, "post", "/v1/sudoku", 200, POSTS["/v1/sudoku"])
        for path, body in POSTS.items():
            self.ask(s, "post", path, 429, body)

    def hung(self):
        s = self.start("--hung-after-ms=200")
        t = threading.Thread(target=lambda: s.post("/v1/sudoku", {"puzzle": EXTREME, **LONG, "deadline_ms": 1000}))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        with Stopped(engine_thread(s.process.pid)):
            self.assertTrue(s.until(lambda: s.request("GET", "/livez")[0] == 503))
            for method, path, op in self.doc.operations():
                if method == "get" and "503" in op["responses"] and "{id}" not in path:
                    self.ask(s, method, path, 503)
        t.join()

    def stopping(self):
        """Clients that are still connected when the listener has closed."""
        s = self.start()
        held = {path: http.client.HTTPConnection(s.host, s.port, timeout=30) for path in POSTS}
        for c in held.values():
            c.connect()
        t = threading.Thread(target=lambda: s.post("/v1/sudoku", {"puzzle": EXTREME, **LONG, "deadline_ms": 4000}))
        t.start()
        self.assertTrue(s.until(lambda: s.metric("trmd_batch_size_count") > 0))
        s.process.send_signal(signal.SIGTERM)

        def closed():
            try:
                s.connect().close()
                return False
            except OSError:
                return True
        self.assertTrue(s.until(closed))
        for path, c in held.items():
            c.request("POST", path.replace("{model}", "sudoku"), json.dumps(POSTS[path]),
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            data = r.read()
            self.assertEqual(r.status, 503, data)
            self.answer("post", path, 503, {k.lower(): v for k, v in r.getheaders()}, data)
            c.close()
        t.join()

    def test_live_requests_and_answers_are_as_described(self):
        for part in (self.solved, self.refused, self.other_methods, self.jobs, self.probes):
            with self.subTest(part.__name__):
                part(self.server)
        for part in (self.without_a_key, self.too_eager, self.hung, self.stopping):
            with self.subTest(part.__name__):
                part()
        described = {(method, path, status) for method, path, op in self.doc.operations()
                     for status in op["responses"] if status != "default"}
        self.assertEqual(described - self.doc.seen, UNSEEN, "described, but never seen")


if __name__ == "__main__":
    unittest.main()
