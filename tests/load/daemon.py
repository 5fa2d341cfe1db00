"""What run and soak share: a trmd of their own, the generator, the daemon's own figures."""
import argparse
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments(description):
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin",
                   help="folder of trmd, trm and trmd-load")
    p.add_argument("--mix", action="append", metavar="KIND:FILE[:WEIGHT]",
                   help="what to send; 10000 easy Sudokus from `trm gen` if nothing is said")
    p.add_argument("--trmd", action="append", default=[], metavar="OPTION",
                   help="an option for trmd, such as --trmd=--slots=16")
    p.add_argument("--deadline-ms", type=int, default=10000, help="deadline of each request")
    return p


def say(text):
    print(text, file=sys.stderr, flush=True)


class Daemon:
    """A trmd on a free port; its log goes to a file in `folder`."""

    def __init__(self, a, folder):
        self.a, self.log = a, open(folder / "trmd.log", "wb")
        self.process = subprocess.Popen(
            [a.bin / "trmd", "--port=0", "--access-log=false", *a.trmd],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        match = re.match(r"listening on http://.*:(\d+)$", self.process.stdout.readline().strip())
        if not match:
            raise SystemExit(f"trmd did not start: {(folder / 'trmd.log').read_text()}")
        self.port = int(match.group(1))
        self.folder = folder
        self.mix = a.mix or [self.generated()]

    def generated(self):
        path = self.folder / "sudoku.csv"
        with open(path, "w", encoding="utf-8") as out:
            subprocess.run([self.a.bin / "trm", "gen", "sudoku", "--count=10000", "--seed=1",
                            "--difficulty=easy"],
                           stdout=out, stderr=subprocess.DEVNULL, check=True)
        return f"sudoku:{path}"

    def load(self, *args):
        command = [self.a.bin / "trmd-load", f"--port={self.port}", "--json",
                   f"--deadline-ms={self.a.deadline_ms}", *args]
        done = subprocess.run(command + [f"--mix={m}" for m in self.mix],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.strip())
        return json.loads(done.stdout)

    def capacity(self, seconds):
        """Requests per second with every slot busy: twice as many in flight as slots."""
        return self.load("--closed", "--connections=64", f"--duration={seconds}",
                         f"--warmup={seconds / 4}")["ok_per_s"]

    def metrics(self):
        """Series, as written, to its value."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as r:
            lines = r.read().decode().splitlines()
        return {k: float(v) for k, v in (x.rsplit(" ", 1) for x in lines if x[0] != "#")}

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.log.close()
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def daemon(a):
    with tempfile.TemporaryDirectory(prefix="trmd-load-") as folder:
        d = Daemon(a, pathlib.Path(folder))
        try:
            yield d
        finally:
            code = d.stop()
            if code:
                say(f"trmd left with code {code}")


class Sampler(threading.Thread):
    """Calls `look()` every `seconds` and keeps what it returns."""

    def __init__(self, look, seconds):
        super().__init__(daemon=True)
        self.look, self.seconds, self.over = look, seconds, threading.Event()
        self.seen = []

    def run(self):
        while not self.over.wait(self.seconds):
            self.seen.append(self.look())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{len(os.sched_getaffinity(0))} cores, {model.group(1) if model else 'unknown CPU'}"
