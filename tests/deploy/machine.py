"""A bare Debian 12 to install on and to build containers from: made once from Debian's packages
and kept in the build folder. Debian's archive as this machine's apt knows it is all it needs."""
import os
import shutil
import subprocess
import tempfile

ARCHIVES = "/var/cache/apt/archives"
CACHE = os.path.join(os.environ["TEST_BUILD"], "deploy")
SUITES = [f"deb http://deb.debian.org/{path} {suite} main" for path, suite in
          (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security"))]


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


def debian():
    """The path of a tar of Debian 12 with what every Debian has."""
    tar = os.path.join(CACHE, "debian.tar")
    if os.path.exists(tar):
        return tar
    os.makedirs(CACHE, exist_ok=True)
    archives = os.path.join(CACHE, "archives")
    link_archives(archives)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        new = os.path.join(folder, "debian.tar")
        run("mmdebstrap", "--variant=minbase", "--skip=download/empty", "--skip=essential/unlink",
            f"--setup-hook=mkdir -p \"$1\"{ARCHIVES}; cp -l {archives}/*.deb \"$1\"{ARCHIVES}/ || cp {archives}/*.deb \"$1\"{ARCHIVES}/",
            "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright", "bookworm", new, *SUITES)
        os.rename(new, tar)
    return tar
