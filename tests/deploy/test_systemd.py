"""The service: what the daemon tells systemd, and the unit's own checks.
Symptoms: the service never becomes ready; a stuck daemon is not restarted; a hung one is;
the unit runs with more rights than it needs."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "http"))
from support import NEWSPAPER, TRMD, Server  # noqa: E402

UNIT = os.path.join(HERE, "../../deploy/systemd/trmd.service")


class Manager:
    """A notify socket, as systemd holds one."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)

    def next(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(4096).decode()
        except socket.timeout:
            return None

    def until(self, wanted, seconds=30):
        end = time.monotonic() + seconds
        seen = []
        while time.monotonic() < end:
            seen.append(self.next(end - time.monotonic()))
            if seen[-1] == wanted:
                return seen
        raise AssertionError(f"no {wanted}, only {seen}")


@unittest.skipUnless(os.environ.get("TEST_SYSTEMD") == "1", "built without libsystemd")
class Notify(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.manager = Manager(self.folder.name)

    def tearDown(self):
        self.manager.socket.close()
        self.folder.cleanup()

    def start(self, watchdog=None):
        env = {"NOTIFY_SOCKET": self.manager.path}
        if watchdog:
            env["WATCHDOG_USEC"] = str(watchdog)
        return Server(env=env)

    def test_ready_is_told_when_it_answers(self):
        s = self.start()
        self.manager.until("READY=1")
        self.assertEqual(s.request("GET", "/readyz")[0], 200)
        self.assertEqual(s.stop(), 0)

    def test_ready_is_not_told_when_the_start_fails(self):
        r = subprocess.run([TRMD, "--port", "0", "--model", "/nonexistent"], capture_output=True,
                           env={**os.environ, "NOTIFY_SOCKET": self.manager.path}, timeout=60)
        self.assertEqual(r.returncode, 2)
        self.assertIsNone(self.manager.next(0.2))

    def test_stopping_is_told_at_the_drain(self):
        s = self.start()
        self.manager.until("READY=1")
        self.assertEqual(s.stop(), 0)
        self.manager.until("STOPPING=1", 1)

    def test_a_reload_is_told_from_begin_to_end(self):
        s = self.start()
        self.manager.until("READY=1")
        s.process.send_signal(signal.SIGHUP)
        self.assertEqual(self.manager.until("READY=1"), ["RELOADING=1", "READY=1"])
        s.stop()

    def test_no_watchdog_messages_unless_asked(self):
        s = self.start()
        self.manager.until("READY=1")
        self.assertIsNone(self.manager.next(0.5))
        s.stop()

    def test_watchdog_at_half_the_interval_also_under_load(self):
        s = self.start(watchdog=400_000)
        self.manager.until("READY=1")
        s.post("/v1/sudoku", {"puzzle": NEWSPAPER})
        begin, n = time.monotonic(), 0
        while time.monotonic() < begin + 2:
            n += self.manager.next(1) == "WATCHDOG=1"
        self.assertGreaterEqual(n, 6)
        self.assertLessEqual(n, 12)
        s.stop()

    def test_a_stuck_loop_falls_silent(self):
        s = self.start(watchdog=200_000)
        self.manager.until("WATCHDOG=1")
        s.process.send_signal(signal.SIGSTOP)
        while self.manager.next(0.3):
            pass
        self.assertIsNone(self.manager.next(1))
        s.process.send_signal(signal.SIGCONT)
        self.manager.until("WATCHDOG=1", 5)
        s.stop()

    def test_another_process_s_watchdog_is_not_ours(self):
        s = Server(env={"NOTIFY_SOCKET": self.manager.path, "WATCHDOG_USEC": "100000",
                        "WATCHDOG_PID": str(os.getpid())})
        self.manager.until("READY=1")
        self.assertIsNone(self.manager.next(0.5))
        s.stop()


@unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze")
class Unit(unittest.TestCase):
    def test_verifies(self):
        with tempfile.TemporaryDirectory() as d:
            unit = os.path.join(d, "trmd.service")
            with open(UNIT) as f, open(unit, "w") as out:
                out.write(f.read().replace("/usr/bin/trmd", TRMD))
            r = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
                               capture_output=True, text=True)
        self.assertEqual((r.returncode, r.stdout + r.stderr), (0, ""))

    def test_exposure_is_at_most_two(self):
        r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", UNIT],
                           capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stdout)

    def test_just_in_time_kernels_stay_possible(self):
        with open(UNIT) as f:
            settings = [line.split("=")[0] for line in f]
        self.assertNotIn("MemoryDenyWriteExecute", settings)

    def test_stops_later_than_the_drain(self):
        import json
        with open(UNIT) as f:
            stop = next(int(line.split("=")[1]) for line in f if line.startswith("TimeoutStopSec="))
        r = subprocess.run([TRMD, "--check-config"], capture_output=True, text=True, check=True)
        self.assertGreater(stop * 1000, json.loads(r.stdout)["drain_timeout_ms"])


if __name__ == "__main__":
    unittest.main()
