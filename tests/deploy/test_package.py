"""The Debian package on a Debian that has systemd as its first process and nothing but what the
package asks for.
Symptoms: a library is missing; the service does not start, or not hardened; an upgrade loses a
changed configuration or jobs; a purge leaves something behind."""
import glob
import json
import os
import re
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "http")]
import machine  # noqa: E402
from support import NEWSPAPER, SOLUTION  # noqa: E402

WHY_NOT = machine.why_not("cpack", "dpkg-shlibdeps", "nsenter", "curl", "ip")
PLACES = ("/etc", "/usr", "/opt", "/srv", "/home", "/root", "/var/lib")
# What dpkg and systemd keep for themselves.
THEIRS = re.compile(r"/var/lib/(dpkg|systemd)/|/etc/(passwd|shadow|group|gshadow)-$|/etc/\.pwd\.lock$")


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="trmd-package-")
        cls.addClassCleanup(folder.cleanup)
        machine.run("cpack", "-G", "DEB", "-B", folder.name, cwd=os.environ["TEST_BUILD"])
        (cls.file,) = glob.glob(folder.name + "/*.deb")
        needs = machine.run("dpkg-deb", "--field", cls.file, "Depends").stdout.strip()
        cls.needs = sorted(re.sub(r" *\(.*?\)", "", n).strip() for n in needs.split(","))

    def boot(self):
        self.machine = machine.Booted(*self.needs)
        self.addCleanup(self.machine.remove)
        machine.run("cp", self.file, self.machine.root + "/root/trmd.deb")

    def unit(self, field):
        return self.machine.run("systemctl", "show", "--value", "--property", field, "trmd")

    def ask(self, path, body=None, *args):
        """By this machine's curl in that machine's network."""
        if body:
            args += ("--header", "Content-Type: application/json", "--data", json.dumps(body))
        r = machine.run("nsenter", "--net", "--target", self.machine.first(), "curl", "--silent",
                        "--show-error", "--max-time", "60", *args, f"http://127.0.0.1:{self.port}{path}")
        return json.loads(r.stdout)

    def works(self):
        self.assertEqual(self.unit("ActiveState"), "active", self.machine.run("journalctl", "-u", "trmd"))
        self.assertEqual(self.ask("/v1/sudoku", {"puzzle": NEWSPAPER})["solution"], SOLUTION)

    def test_is_a_tidy_package(self):
        paths = machine.run("dpkg-deb", "--contents", self.file).stdout.splitlines()
        names = {p.split()[5].strip("./") for p in paths if not p.endswith("/")}
        weights = os.path.join(HERE, "../../weights")
        models = {n for n in os.listdir(weights) if n.endswith(".safetensors")}
        self.assertEqual(names, {"etc/trmd/config.json", "lib/systemd/system/trmd.service", "usr/bin/trm",
                                 "usr/bin/trmd", "usr/share/doc/trmd/README.md",
                                 "usr/share/doc/trmd/copyright"} | {"usr/share/trmd/models/" + m for m in models})
        self.assertEqual({p.split()[1] for p in paths}, {"root/root"})
        self.assertLess(len(self.needs), 20, self.needs)

    def test_from_installation_to_purge(self):
        self.boot()
        m, self.port = self.machine, 8080
        before = m.files(*PLACES)
        m.run("dpkg", "--install", "/root/trmd.deb")
        self.works()
        self.runs_with_few_rights()
        self.ends_and_begins_again()
        self.keeps_what_was_changed()
        m.run("dpkg", "--remove", "trmd")
        self.assertEqual(m.try_run("systemctl", "is-active", "trmd").stdout.strip(), "inactive")
        self.assertLessEqual({"/etc/trmd/config.json", "/var/lib/trmd/jobs.sqlite"}, m.files(*PLACES))
        m.run("dpkg", "--purge", "trmd")
        left = {p for p in m.files(*PLACES) - before if not THEIRS.search(p)}
        self.assertEqual(left, set())
        self.assertEqual({p for p in m.files("/var/lib/systemd", "/etc/systemd") if "trmd" in p}, set())
        for kind in ("passwd", "group"):
            self.assertEqual(m.try_run("getent", kind, "trmd").returncode, 2)
        self.assertEqual(m.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "trmd*"), "")

    def runs_with_few_rights(self):
        status = self.machine.run("cat", f"/proc/{self.unit('ExecMainPID')}/status")
        owner = self.machine.run("id", "-u", "trmd")
        self.assertNotEqual(owner, "0")
        for line in (f"Uid:\t{owner}\t{owner}\t{owner}\t{owner}", "CapEff:\t0000000000000000",
                     "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            self.assertIn(line, status)
        self.assertEqual(self.machine.run("systemctl", "is-enabled", "trmd"), "enabled")

    def ends_and_begins_again(self):
        """A reload, a daemon that is killed, a job that outlives it."""
        m = self.machine
        pid = self.unit("ExecMainPID")
        m.run("systemctl", "reload", "trmd")
        self.assertEqual((self.unit("ExecMainPID"), self.unit("NRestarts")), (pid, "0"))
        self.works()
        job = self.ask("/v1/sudoku", {"puzzle": NEWSPAPER}, "--header", "Prefer: respond-async")
        self.assertTrue(machine.until(lambda: self.ask("/v1/jobs/" + job["id"])["state"] == "done", 60))
        m.run("systemctl", "kill", "--signal=KILL", "trmd")
        self.assertTrue(machine.until(lambda: self.unit("NRestarts") == "1"
                                      and self.unit("ActiveState") == "active", 60))
        self.works()
        self.assertEqual(self.ask("/v1/jobs/" + job["id"])["state"], "done")
        m.run("systemctl", "stop", "trmd")
        self.assertEqual((self.unit("ExecMainCode"), self.unit("ExecMainStatus"), self.unit("Result")),
                         ("1", "0", "success"))
        m.run("systemctl", "start", "trmd")
        self.works()

    def keeps_what_was_changed(self):
        """The package over itself, as an upgrade is."""
        path = self.machine.root + "/etc/trmd/config.json"
        with open(path) as f:
            config = json.load(f)
        self.port = config["port"] = 8081
        with open(path, "w") as f:
            json.dump(config, f)
        pid = self.unit("ExecMainPID")
        self.machine.run("dpkg", "--install", "/root/trmd.deb")
        self.assertNotEqual(self.unit("ExecMainPID"), pid)
        self.works()


if __name__ == "__main__":
    unittest.main()
