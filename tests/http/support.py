"""A real trmd on a free port, and small clients for it."""
import http.client
import itertools
import json
import math
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TRMD = os.environ["TEST_TRMD"]
TRM = os.environ["TEST_TRM"]
# Under a sanitizer, and beside other tests, all is many times slower: times are not compared there,
# and nobody waits for less than this before something is called missing.
SANITIZED = any(f"/{name}/" in TRMD for name in ("asan", "tsan"))
PATIENCE = 240 if SANITIZED else 120

NEWSPAPER = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
SEVENTEEN = "................12..3..4........53...1........67...89.....6.......21......9...7.5"
EXTREME = ".9.7..1....4.8..2.5....3.....3.7..9..7.6..3..2....5.....64....19...6..8..2...76.."


def valid(puzzle, solution):
    """Sudoku's rules, written a second time on purpose."""
    units = [[r * 9 + c for c in range(9)] for r in range(9)]
    units += [[r * 9 + c for r in range(9)] for c in range(9)]
    units += [[(b // 3 * 3 + i // 3) * 9 + b % 3 * 3 + i % 3 for i in range(9)] for b in range(9)]
    return (all(sorted(solution[i] for i in u) == list("123456789") for u in units) and
            all(p in ".0_" or p == s for p, s in zip(puzzle, solution)))


def variants(puzzle, n):
    """n other puzzles, as hard: the digits renamed."""
    out = []
    for names in itertools.islice(itertools.permutations("123456789"), 1, n + 1):
        out.append(puzzle.translate(str.maketrans("123456789", "".join(names))))
    return out


COPIES = tempfile.TemporaryDirectory(prefix="trmd-models-")


def shipped(kind):
    """Under a sanitizer a Sudoku step of 32 cycles would take seconds: its copy takes 3."""
    path = os.path.join(os.path.dirname(TESTS), "weights", kind + ".safetensors")
    if not SANITIZED or kind != "sudoku":
        return path
    copy = os.path.join(COPIES.name, kind + ".safetensors")
    if not os.path.exists(copy):
        with open(path, "rb") as f:
            model = f.read()
        short = re.sub(rb'(H_cycles\\":)32,', rb"\1 3,", model)
        assert short != model and len(short) == len(model)
        with open(copy, "wb") as f:
            f.write(short)
    return copy


class Server:
    """Serves the shipped models of `kinds`, none for all of them, where `args` name no model: each
    that a test does not ask costs its start, which under a sanitizer is long."""

    def __init__(self, *args, env=None, kinds=("sudoku",)):
        if not any(str(a).split("=")[0] == "--model" for a in args):
            args += tuple(word for kind in kinds for word in ("--model", shipped(kind)))
        settings = {"TRMD_DEADLINE_MS": "600000"}  # where a test asks for none
        if SANITIZED:  # work that only fills the time takes one processor, not all
            settings["TRMD_THREADS"] = "1"
        env = {**settings, **os.environ, **(env or {})}
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([TRMD, "--port", "0", *args], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True, env=env)
        line = self.process.stdout.readline()
        match = re.match(r"listening on https?://(.*):(\d+)$", line.strip())
        if not match:
            self.process.wait(30)
            raise AssertionError("trmd did not start: " + self.errors())
        self.host, self.port = match.group(1), int(match.group(2))
        if "--admin-port" in args:
            self.admin_port = int(self.process.stdout.readline().strip().rsplit(":", 1)[1])

    def errors(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        self.process.stdout.close()
        code = self.process.returncode
        self.log.close()
        return code

    def connect(self, timeout=PATIENCE):
        return socket.create_connection((self.host, self.port), timeout)

    def admin(self, *args, **kw):
        return self.request(*args, port=self.admin_port, **kw)

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE, port=None):
        c = http.client.HTTPConnection(self.host, port or self.port, timeout=timeout)
        try:
            headers = {**({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            c.request(method, path, body, headers)
            r = c.getresponse()
            data = r.read()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, data
        finally:
            c.close()

    def post(self, path, body, headers=None, **kw):
        status, head, data = self.request("POST", path, body, headers, **kw)
        return status, head, json.loads(data)

    def send(self, path, body):
        """A request whose answer nobody waits for: closing the connection ends it."""
        s, text = self.connect(), json.dumps(body)
        s.sendall((f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   f"Content-Length: {len(text)}\r\n\r\n{text}").encode())
        return s

    def metric(self, name):
        text = self.request("GET", "/metrics")[2].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith(name) and line[len(name):len(name) + 1] in (" ", "{"))

    def longest_step(self):
        """An upper bound of what the slowest step took, in seconds, from the daemon's own histogram."""
        text = self.request("GET", "/metrics")[2].decode()
        counts = {}
        for line in text.splitlines():
            if line.startswith("trmd_step_seconds_bucket"):
                bound = float(line.split('le="')[1].split('"')[0])
                counts[bound] = counts.get(bound, 0) + float(line.rsplit(" ", 1)[1])
        return min(b for b in counts if counts[b] == counts[float("inf")])

    def until(self, what, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what():
                return True
            time.sleep(0.02)
        return False


class Others:
    """The share of the processors that others than this test and its daemon took, at normal
    priority or above, while the block ran. Milliseconds are only held to where it is small: a
    daemon that gets no processor answers late, and that tells nothing about the daemon."""

    def __init__(self, server):
        self.pid, self.share = server.process.pid, None

    def look(self):
        """Seconds that all used, seconds that we used, and now."""
        tick = os.sysconf("SC_CLK_TCK")
        with open("/proc/stat", encoding="ascii") as f:
            user, _, system = (int(x) / tick for x in f.readline().split()[1:4])
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            daemon = sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13]) / tick
        return user + system, daemon + sum(os.times()[:4]), time.monotonic()

    def __enter__(self):
        self.before = self.look()
        return self

    def __exit__(self, *_):
        used, ours, seconds = (b - a for a, b in zip(self.before, self.look()))
        self.share = (used - ours) / (seconds * os.cpu_count())

    def few(self):
        return self.share < 0.2


def percentile(values, share):
    """By nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def read_all(s):
    data = b""
    while True:
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more
