"""What an operator meets at the start and when settings change: an address that is taken, both families
of addresses, few files, limits that do not fit each other."""
import json
import os
import pathlib
import resource
import socket
import subprocess
import tempfile
import time
import unittest

from support import NEWSPAPER, PATIENCE, TRMD, Server, shipped


class Start(unittest.TestCase):
    def start(self, *args):
        s = Server(*args)
        self.addCleanup(s.stop)
        return s

    def refused(self, *args):
        done = subprocess.run([TRMD, "--model", shipped("sudoku"), *map(str, args)], capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_a_port_that_is_taken_is_not_shared(self):
        s = self.start()
        self.assertRegex(self.refused("--port", s.port), f"{s.port}: Address already in use")
        self.assertRegex(self.refused("--port", 0, "--admin-port", s.port), f"{s.port}: Address already in use")
        self.assertRegex(self.refused("--port", 0, "--host", "192.0.2.1"), "192.0.2.1 port 0: Cannot assign")
        self.assertEqual(s.request("GET", "/livez")[0], 200)

    def test_a_port_is_free_again_as_soon_as_its_daemon_has_stopped(self):
        s = Server()
        self.assertEqual(s.request("GET", "/livez")[0], 200)
        self.assertEqual(s.stop(), 0)
        again = self.start("--port", str(s.port))  # the last one counts
        self.assertEqual((again.port, again.request("GET", "/livez")[0]), (s.port, 200))

    def test_two_colons_are_all_addresses(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError as e:
            self.skipTest(f"no IPv6 here: {e}")
        s = self.start("--host", "::")
        for host in ("127.0.0.1", "::1"):
            s.host = host
            self.assertEqual(s.request("GET", "/livez")[0], 200, host)
        s.process.terminate()
        s.process.wait(PATIENCE)
        self.assertIn('"client":"127.0.0.1"', s.errors())

    def test_a_closed_stream_is_no_file_of_the_daemons(self):
        # Its lowest free number would be given to the job store or a socket, which then got the log.
        state = tempfile.TemporaryDirectory(prefix="trmd-test-")
        self.addCleanup(state.cleanup)
        for closed in ("0<&- 1>&- 2>&-", "2>&-", "1>&-"):
            with self.subTest(closed), socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
                probe.close()
                daemon = subprocess.Popen(
                    ["sh", "-c", f'exec "$0" "$@" {closed}', TRMD, "--model", shipped("sudoku"), "--port", str(port),
                     "--state-dir", state.name], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.addCleanup(daemon.kill)
                asked = [TRMD, "--healthcheck", "--port", str(port)]
                until = time.monotonic() + PATIENCE
                while subprocess.run(asked, capture_output=True).returncode and time.monotonic() < until:
                    self.assertIsNone(daemon.poll())
                    time.sleep(0.05)
                for fd in range(3):
                    self.assertEqual(os.readlink(f"/proc/{daemon.pid}/fd/{fd}"), "/dev/null")
                daemon.terminate()
                self.assertEqual(daemon.wait(PATIENCE), 0)

    def test_two_models_of_one_name_are_refused(self):
        self.assertIn('the name "sudoku"', self.refused("--port", 0, "--model", shipped("sudoku")))

    def test_it_asks_for_as_many_files_as_it_takes_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        most = 1 << 40 if hard == resource.RLIM_INFINITY else hard
        for connections in (1000, 1000000):
            s = self.start("--connections", str(connections))
            self.assertEqual(s.metric("process_max_fds"), min(most, connections + 256))
            s.process.terminate()
            s.process.wait(PATIENCE)
            self.assertEqual("fewer files may be open" in s.errors(), most < connections + 256)

    def configured(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        config = pathlib.Path(folder.name) / "config.json"
        config.write_text("{}")
        s = self.start("--config", str(config), "--admin-port", "0")

        def put(settings):
            config.write_text(settings)
            status, _, data = s.admin("POST", "/admin/reload")
            return status, json.loads(data).get("detail")
        return s, put

    def test_limits_that_do_not_fit_each_other_are_refused_at_a_reload_too(self):
        s, put = self.configured()
        status, why = put('{"attempts": 2000}')  # more than max_attempts
        self.assertEqual(status, 422)
        self.assertIn("attempts", why)
        self.assertEqual(json.loads(s.admin("GET", "/admin/config")[2])["attempts"], 0)
        self.assertEqual(put('{"attempts": 2}')[0], 200)
        self.assertEqual(json.loads(s.admin("GET", "/admin/config")[2])["attempts"], 2)

    def test_a_rate_limit_can_be_set_where_there_was_none_and_taken_away(self):
        s, put = self.configured()
        ask = lambda: [s.post("/v1/sudoku", {"puzzle": NEWSPAPER})[0] for _ in range(3)]
        self.assertEqual(ask(), [200] * 3)
        self.assertEqual(put('{"rate_limit": 0.001, "rate_burst": 1}')[0], 200)
        self.assertEqual(ask(), [200, 429, 429])
        self.assertEqual(put("{}")[0], 200)
        self.assertEqual(ask(), [200] * 3)


if __name__ == "__main__":
    unittest.main()
