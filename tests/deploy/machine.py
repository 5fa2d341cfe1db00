"""A bare Debian 12 to install on and to build containers from: made once from Debian's packages
and kept in the build folder. Debian's archive as this machine's apt knows it is all it needs."""
import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ARCHIVES = "/var/cache/apt/archives"
CACHE = os.path.join(os.environ["TEST_BUILD"], "deploy")
SUITES = [f"deb http://deb.debian.org/{path} {suite} main" for path, suite in
          (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security"))]

# Not mmdebstrap's --dpkgopt=path-exclude: it would put a Python program behind each archive it
# extracts, which took minutes.
LEAN = "".join(f"path-exclude=/usr/share/{d}/*\n" for d in ("man", "locale", "doc")) \
    + "path-include=/usr/share/doc/*/copyright\n"


class Failed(Exception):
    """A command's exit status and what it said."""


def why_not(*tools):
    """Why this machine cannot make roots and namespaces, or None."""
    if os.getuid() != 0:
        return "needs root, to make a root of its own"
    missing = [t for t in (*tools, "mmdebstrap") if not shutil.which(t)]
    if missing:
        return f"no {', '.join(missing)}; deploy/setup --all installs them"
    try:
        run("unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "none", "/mnt")
    except Failed as e:
        return f"the kernel forbids namespaces: {e}"
    return None


def run(*command, **kw):
    """Runs; a failure shows what the command said."""
    r = subprocess.run(command, capture_output=True, text=True, errors="replace", **kw)
    if r.returncode:
        raise Failed(f"{' '.join(command)}: exit {r.returncode}\n{r.stdout[-3000:]}\n{r.stderr[-3000:]}")
    return r


def link_archives(folder):
    """What apt has already fetched for this machine need not be fetched again."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(ARCHIVES):
        if name.endswith(".deb") and not os.path.exists(os.path.join(folder, name)):
            try:
                os.link(os.path.join(ARCHIVES, name), os.path.join(folder, name))
            except OSError:
                shutil.copy(os.path.join(ARCHIVES, name), folder)


def debian(*packages):
    """The path of a tar of Debian 12 with what every Debian has and apt, or these packages."""
    name = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8] if packages else "bare"
    tar = os.path.join(CACHE, f"debian-{name}.tar")
    if os.path.exists(tar):
        return tar
    os.makedirs(CACHE, exist_ok=True)
    archives = os.path.join(CACHE, "archives")
    link_archives(archives)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        new = os.path.join(folder, "debian.tar")
        run("mmdebstrap", f"--variant={'essential' if packages else 'minbase'}", "--skip=download/empty", "--skip=essential/unlink",
            f"--setup-hook=mkdir -p \"$1\"{ARCHIVES}; cp -l {archives}/*.deb \"$1\"{ARCHIVES}/ || cp {archives}/*.deb \"$1\"{ARCHIVES}/",
            "--dpkgopt=force-unsafe-io", f"--extract-hook=printf '{LEAN}' >\"$1\"/etc/dpkg/dpkg.cfg.d/lean",
            *(["--include=" + ",".join(packages)] if packages else []), "bookworm", new, *SUITES)
        os.rename(new, tar)
    return tar


class Booted:
    """Such a Debian with systemd as its first process, in namespaces of its own: it sees neither
    this machine's processes nor its files nor its network, and ends with this object."""

    def __init__(self, *packages):
        self.dir = tempfile.mkdtemp(prefix="trmd-", dir="/var/tmp")
        self.root = os.path.join(self.dir, "root")
        os.mkdir(self.root)
        run("tar", "-C", self.root, "-xf", debian("systemd", *packages))
        tree = next(t for t in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                    if os.path.exists(t + "/cgroup.procs"))
        self.group = os.path.join(tree, os.path.basename(self.dir))
        os.mkdir(self.group)
        with open(self.dir + "/log", "w") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork",
                 "--kill-child", os.path.join(HERE, "boot"), self.root], stdout=log, stderr=log,
                preexec_fn=self.join)
        with open(self.dir + "/log") as log:
            if not until(lambda: self.try_run("systemctl", "is-system-running").stdout.strip()
                         in ("running", "degraded"), 120):
                raise AssertionError("systemd does not come up: " + log.read())

    def join(self):
        with open(self.group + "/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))

    def first(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return f.read().split()[0]

    def try_run(self, *command):
        """Runs inside."""
        try:
            enter = ("nsenter", "--all", "--target", self.first())
        except (OSError, IndexError):  # not there yet
            return subprocess.CompletedProcess(command, 1, "", "")
        return subprocess.run((*enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                               "DEBIAN_FRONTEND=noninteractive", *command),
                              capture_output=True, text=True, errors="replace")

    def run(self, *command):
        r = self.try_run(*command)
        if r.returncode:
            raise Failed(f"{' '.join(command)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r.stdout.strip()

    def files(self, *folders):
        """The paths of what is there."""
        return {os.path.join(d, n)[len(self.root):] for f in folders
                for d, dirs, names in os.walk(self.root + f) for n in dirs + names}

    def remove(self):
        self.process.kill()
        self.process.wait()
        until(lambda: not self.left(), 30)
        for d, _, _ in os.walk(self.group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(d)
        run("rm", "-rf", "--one-file-system", self.dir)

    def left(self):
        """Is there a process yet?"""
        with contextlib.suppress(OSError), open(self.group + "/cgroup.events") as f:
            return "populated 1" in f.read()
        return False


def until(happens, seconds):
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
