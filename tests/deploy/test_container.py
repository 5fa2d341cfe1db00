"""The container: made by the Dockerfile as it is, and run as a cluster would run it: read-only,
without capabilities, with limits. The Dockerfile's last stage takes the build under test; with
TEST_CONTAINER=whole the stages before it are run too, on a Debian made here (no registry need be
there), which takes minutes.
Symptoms: the build fails; the image carries what it should not; health is not seen; SIGTERM does
not end it; a quota or a memory limit is not kept to."""
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "http")]
import machine  # noqa: E402
from support import EXTREME, NEWSPAPER, SOLUTION, Server  # noqa: E402

REPOSITORY = os.path.realpath(os.path.join(HERE, "../.."))
LONG = {"puzzle": EXTREME, "max_steps": 1000, "attempts": 100, "halt": "fixed"}
WHOLE = os.environ.get("TEST_CONTAINER") == "whole"
WHY_NOT = machine.why_not("buildah", "podman", "runc", "dpkg-query", "npm")
# Podman asks for more than a container of its own may raise.
LIMITS = ("--ulimit", "nofile=4096:20000", "--ulimit", "nproc=4096:4096")
IMAGE, BASE = "localhost/trmd:test", "localhost/debian:12"


class Engine:
    """buildah and podman with storage of their own, which goes when the tests end."""

    def __init__(self):
        # Not in the build folder: podman wants a short path.
        self.dir = tempfile.mkdtemp(prefix="trmd-", dir="/var/tmp")
        self.storage = ["--root", self.dir + "/root", "--runroot", self.dir + "/run",
                        "--storage-driver", "vfs"]

    def buildah(self, *args):
        env = {**os.environ, "TMPDIR": self.dir}
        return machine.run("buildah", *self.storage, *args, env=env).stdout.strip()

    def podman(self, *args, **kw):
        return machine.run("podman", *self.storage, "--cgroup-manager", "cgroupfs", "--events-backend",
                           "file", "--runtime", "/usr/sbin/runc", *args, **kw).stdout.strip()

    def build(self):
        self.buildah("bud", "--isolation", "chroot", "--network", "host", "--pull-never", "--format",
                     "docker", "--layers=false", *(self.from_sources() if WHOLE else self.from_build()),
                     "--build-arg", "REVISION=tested", "--target", "cpu", "--tag", IMAGE, "--file",
                     os.path.join(REPOSITORY, "deploy/container/Dockerfile"), REPOSITORY)

    def from_build(self):
        """What stands in the place of the Dockerfile's stage `build`: this build, installed as
        deploy/container/build would."""
        root = self.dir + "/built/image"
        machine.run("cmake", "--install", os.environ["TEST_BUILD"], "--strip", "--prefix", "/usr",
                    "--component", "Unspecified", env={**os.environ, "DESTDIR": root})
        machine.run(os.path.join(REPOSITORY, "deploy/container/collect"), root)
        return "--build-context", f"build={self.dir}/built"

    def from_sources(self):
        """A Debian, made here, for the whole Dockerfile."""
        base = self.buildah("from", "scratch")
        self.buildah("add", base, machine.debian(), "/")
        self.buildah("commit", "--rm", base, BASE)
        archives = os.path.join(machine.CACHE, "archives")
        machine.link_archives(archives)
        return "--volume", f"{archives}:{machine.ARCHIVES}", "--build-arg", f"DEBIAN={BASE}"

    def remove(self):
        subprocess.run(["podman", *self.storage, "rm", "--all", "--force"], capture_output=True)
        subprocess.run(["buildah", *self.storage, "rm", "--all"], capture_output=True)
        subprocess.run(["rm", "-rf", "--one-file-system", self.dir], check=True)


class Container(Server):
    """The image as a daemon on a port of this machine's loopback."""

    def __init__(self, engine, *args):
        self.engine, self.host = engine, "127.0.0.1"
        self.id = engine.podman(
            "run", "--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt",
            "no-new-privileges", *LIMITS,
            "--log-driver", "k8s-file", "--health-interval=disable", "--publish", "127.0.0.1::8080",
            *args, IMAGE)
        self.port = int(engine.podman("port", self.id, "8080").splitlines()[0].rsplit(":", 1)[1])
        if not self.until(self.ready, 60):
            raise AssertionError("not ready: " + self.logs())

    def ready(self):
        try:
            return self.request("GET", "/readyz", timeout=2)[0] == 200
        except OSError:
            return False

    def logs(self):
        return self.engine.podman("logs", self.id)

    def inspect(self):
        return json.loads(self.engine.podman("inspect", self.id))[0]

    def proc(self, name):
        """A file of the daemon's process, as this machine sees it."""
        with open(f"/proc/{self.inspect()['State']['Pid']}/{name}") as f:
            return f.read()

    def status(self, field):
        return re.search(rf"^{field}:\s*(.*)$", self.proc("status"), re.M).group(1).split()

    def stop(self):
        self.engine.podman("rm", "--force", self.id)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine()
        cls.addClassCleanup(cls.engine.remove)
        cls.engine.build()
        cls.root = cls.engine.podman("image", "mount", IMAGE)

    def start(self, *args):
        c = Container(self.engine, *args)
        self.addCleanup(c.stop)
        return c

    def file(self, path, mode="r"):
        with open(self.root + path, mode) as f:
            return f.read()

    def test_holds_what_it_needs_and_little_else(self):
        self.assertEqual(sorted(os.listdir(self.root + "/usr/bin")), ["trm", "trmd"])
        shells = subprocess.run(["find", self.root, "-name", "*sh", "-o", "-perm", "/6000"],
                                capture_output=True, text=True, check=True).stdout
        self.assertEqual(shells, "")
        size = int(subprocess.run(["du", "-sb", self.root], capture_output=True, text=True,
                                  check=True).stdout.split()[0])
        print(f"image: {size / 1e6:.0f} MB unpacked", file=sys.stderr)
        self.assertLess(size, 150e6)

    def test_models_are_the_repository_s(self):
        shipped = sorted(n for n in os.listdir(os.path.join(REPOSITORY, "weights"))
                         if n.endswith(".safetensors"))
        self.assertEqual(sorted(os.listdir(self.root + "/usr/share/trmd/models")), shipped)
        for name in shipped:
            with open(os.path.join(REPOSITORY, "weights", name), "rb") as f:
                self.assertEqual(self.file("/usr/share/trmd/models/" + name, "rb"), f.read())

    def test_labels_say_what_it_is(self):
        config = json.loads(self.engine.podman("image", "inspect", IMAGE))[0]
        label = {k.rsplit(".", 1)[1]: v for k, v in config["Labels"].items()
                 if k.startswith("org.opencontainers.image.")}
        version = self.engine.podman("run", "--rm", "--network", "none", *LIMITS, IMAGE, "--version")
        self.assertEqual("trmd " + label["version"], version)
        self.assertEqual((label["revision"], label["licenses"]), ("tested", "Apache-2.0"))
        self.assertEqual(config["Config"]["Entrypoint"], ["/usr/bin/trmd"])
        self.assertEqual(config["Config"]["User"], "65532:65532")
        self.assertEqual(config["Healthcheck"]["Test"], ["CMD", "/usr/bin/trmd", "--healthcheck"])

    def test_lists_what_it_is_made_of(self):
        machine.run(os.path.join(HERE, "run-node"), os.environ["TEST_BUILD"], "sbom.mjs",
                    self.root + "/usr/share/trmd/sbom.cdx.json")
        bom = json.loads(self.file("/usr/share/trmd/sbom.cdx.json"))
        self.assertEqual((bom["bomFormat"], bom["metadata"]["component"]["name"]), ("CycloneDX", "trmd"))
        packages = {c["name"]: c for c in bom["components"] if c["type"] == "library"}
        self.assertLessEqual({"libc6", "libuv1", "libgnutls30"}, set(packages))
        # Every shared library belongs to a package that is listed, with its licence beside it.
        self.assertEqual(set(packages), set(os.listdir(self.root + "/var/lib/dpkg/status.d")))
        for name, c in packages.items():
            self.assertIn(f"Version: {c['version']}\n", self.file("/var/lib/dpkg/status.d/" + name))
            self.assertTrue(os.path.getsize(f"{self.root}/usr/share/doc/{name}/copyright"))
            self.assertRegex(c["purl"], r"^pkg:deb/debian/[^ :+]+@[^ :+]+\?arch=\w+&distro=debian-12$")
        for c in bom["components"]:
            if c["type"] == "machine-learning-model":
                data = self.file(f"/usr/share/trmd/models/{c['name']}.safetensors", "rb")
                self.assertEqual(c["hashes"][0]["content"], hashlib.sha256(data).hexdigest())

    def test_solves_with_the_least_rights(self):
        c = self.start()
        self.assertEqual(c.post("/v1/sudoku", {"puzzle": NEWSPAPER})[2]["solution"], SOLUTION)
        self.assertEqual(c.status("Uid"), ["65532"] * 4)
        self.assertEqual((c.status("CapEff"), c.status("CapPrm")), (["0" * 16], ["0" * 16]))
        self.assertEqual(c.status("NoNewPrivs"), ["1"])
        root = next(m for m in c.proc("mountinfo").splitlines() if m.split()[4] == "/")
        self.assertIn("ro", root.split()[5].split(","))

    def test_health_is_seen(self):
        c = self.start()
        self.engine.podman("healthcheck", "run", c.id)
        os.kill(c.inspect()["State"]["Pid"], signal.SIGSTOP)
        try:
            with self.assertRaises(machine.Failed):
                self.engine.podman("healthcheck", "run", c.id)
        finally:
            os.kill(c.inspect()["State"]["Pid"], signal.SIGCONT)
        self.engine.podman("healthcheck", "run", c.id)

    def test_sigterm_answers_what_is_in_flight_and_exits_with_0(self):
        c = self.start()
        conn = c.connect()
        body = json.dumps({**LONG, "deadline_ms": 3000})
        conn.sendall((f"POST /v1/sudoku HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        self.assertTrue(c.until(lambda: c.metric("trmd_requests_in_flight") >= 2))
        self.engine.podman("stop", "--time", "30", c.id)
        self.assertIn(b'"halt":"deadline"', conn.recv(65536).replace(b" ", b""))
        conn.close()
        self.assertEqual(c.inspect()["State"]["ExitCode"], 0)

    @unittest.skipIf((os.cpu_count() or 1) < 2, "one processor: there is nothing to leave unused")
    def test_threads_follow_the_processor_quota(self):
        def threads(*args):
            c = self.start(*args)
            c.post("/v1/sudoku", {"puzzle": NEWSPAPER})
            n = int(c.status("Threads")[0])
            c.stop()
            return n
        one, two = threads("--cpus", "1"), threads("--cpus", "2")
        self.assertEqual(one, threads("--cpus", "2", "--env", "TRMD_THREADS=1"))
        self.assertLess(one, two)

    def test_works_within_its_memory(self):
        limit = 256 << 20
        c = self.start("--memory", str(limit), "--memory-swap", str(limit))
        status, _, a = c.post("/v1/sudoku", {"puzzles": [NEWSPAPER] * 256, "attempts": 2})
        self.assertEqual((status, len(a["results"])), (200, 256))
        peak = int(c.status("VmHWM")[0]) * 1024
        print(f"peak resident memory: {peak / 1e6:.0f} MB", file=sys.stderr)
        state = c.inspect()
        self.assertEqual((state["HostConfig"]["Memory"], state["State"]["OOMKilled"]), (limit, False))
        self.assertEqual(state["State"]["Status"], "running")


if __name__ == "__main__":
    unittest.main()
