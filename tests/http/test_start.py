"""What an operator meets at the start: an address that is taken, both families of addresses, few files."""
import resource
import socket
import subprocess
import unittest

from support import PATIENCE, TRMD, Server, shipped


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


if __name__ == "__main__":
    unittest.main()
