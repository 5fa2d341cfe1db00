"""Runs the built `trm` and reads what it writes. Standard library only."""
import array
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parent.parent
TRM = os.environ.get("TRM_BIN", str(TESTS.parent / "build/release/bin/trm"))
GOLDEN = TESTS / "golden"

COMMANDS = ["solve", "eval", "gen", "train", "info", "import", "average", "split", "join", "forward", "grad", "bench"]
NEWSPAPER = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
NEWSPAPER_ANSWER = (
    "534678912672195348198342567859761423426853791713924856961537284287419635345286179")


def trm(*args, stdin="", timeout=300):
    """Runs trm; arguments of any type become text."""
    return subprocess.run([TRM] + [str(a) for a in args], input=stdin, text=True,
                          capture_output=True, timeout=timeout)


class Case(unittest.TestCase):
    """A test with a folder of its own, and what all of them assert."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="trm-test-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return path

    def ok(self, *args, stdin=""):
        done = trm(*args, stdin=stdin)
        self.assertEqual(done.returncode, 0, f"trm {args}: {done.stderr}")
        return done.stdout

    def json(self, *args, stdin=""):
        """The one JSON object that a command with --json prints."""
        value = json.loads(self.ok(*args, "--json", stdin=stdin))
        self.assertIsInstance(value, dict)
        return value

    def refused(self, *args, stdin="", says=""):
        """Exit code 2, nothing on stdout, one line on stderr that holds `says`."""
        done = trm(*args, stdin=stdin)
        self.assertEqual(done.returncode, 2, f"trm {args}: {done.stdout}{done.stderr}")
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("trm"), done.stderr)
        self.assertIn(says, done.stderr)
        return done.stderr


FORMATS = {"F32": ("f", 4), "F64": ("d", 8), "I32": ("i", 4)}


def read_tensors(path):
    """name -> (dtype, shape, values as a flat array, or raw bytes for other types)."""
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        raw = body[begin:end]
        if t["dtype"] in FORMATS:
            values = array.array(FORMATS[t["dtype"]][0], raw)
            if sys.byteorder == "big":
                values.byteswap()
            raw = values
        out[name] = (t["dtype"], t["shape"], raw)
    return out


def read_metadata(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + size]).get("__metadata__", {})


def write_tensors(path, tensors):
    """The reverse of read_tensors."""
    header, body = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        raw = values.tobytes() if isinstance(values, array.array) else bytes(values)
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def worst(a, b):
    """(largest difference, largest value of b)"""
    return max(abs(x - y) for x, y in zip(a, b)), max(abs(x) for x in b)


def relative_norm(a, b):
    """|a - b| / |b|"""
    difference = sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5
    return difference / max(sum(x * x for x in b) ** 0.5, 1e-30)


def backends():
    """Names that this build and processor have, asked of `trm` itself."""
    said = trm("info", GOLDEN / "sudoku-mlp/model.safetensors", "--config",
               GOLDEN / "sudoku-mlp/config.json", "--backend", "none-such").stderr
    names = said.strip().split("there are: ")[1].split(", ")
    return [n for n in names if n not in ("auto", "cpu")]


def golden_config(model):
    return json.loads((GOLDEN / model / "config.json").read_text())


def sudoku_is_solved(puzzle, answer):
    cells = [range(9 * i, 9 * i + 9) for i in range(9)]
    cells += [range(i, 81, 9) for i in range(9)]
    cells += [[27 * (b // 3) + 3 * (b % 3) + 9 * r + c for r in range(3) for c in range(3)]
              for b in range(9)]
    return (all(sorted(answer[i] for i in unit) == list("123456789") for unit in cells)
            and all(p in ".0_" or p == a for p, a in zip(puzzle, answer)))
