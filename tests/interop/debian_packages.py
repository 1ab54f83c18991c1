"""Programs from Debian's packages that are unpacked, not installed: each into a root of its own under build/peers."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / "build" / "peers"


class Unavailable(Exception):
    """The package can't be had here; the text says why."""


def _run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, **options)


def _missing_libraries(packages):
    """The libraries that these packages need and that are not installed."""
    r = _run(
        "apt-cache",
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
        *packages,
    )
    names = sorted({line.strip() for line in r.stdout.splitlines() if re.match(r"^lib[a-z0-9.+-]+$", line)})
    if r.returncode != 0 or not names:
        raise Unavailable(f"apt knows no package '{packages[0]}' here (its lists may be missing: apt-get update)")
    r = _run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names)
    installed = {line.split()[0] for line in r.stdout.splitlines() if line.endswith(" installed")}
    return [n for n in names if n not in installed]


def _fetch(packages, place, root):
    with tempfile.TemporaryDirectory(dir=place) as downloads:
        os.chmod(downloads, 0o755)
        r = _run("apt-get", "download", "-q", *packages, *_missing_libraries(packages), cwd=downloads)
        debs = sorted(Path(downloads).glob("*.deb"))
        if r.returncode != 0 or not all(any(d.name.startswith(p + "_") for d in debs) for p in packages):
            raise Unavailable(
                f"Debian's package '{packages[0]}' can't be fetched: " + (r.stderr.strip().splitlines() or ["?"])[-1]
            )
        for deb in debs:
            _run("dpkg-deb", "-x", str(deb), str(root), check=True)


def unpack(name, packages):
    """The directory build/peers/NAME/root with the packages and the libraries they need that this machine lacks; fetched
    when it isn't there yet. What packages bring in /lib lies in usr/lib, as on an installed system."""
    place = PEERS / name
    root = place / "root"
    if (root / ".complete").exists():
        return root
    for program in ("apt-get", "apt-cache", "dpkg-deb", "dpkg-query"):
        if not shutil.which(program):
            raise Unavailable(f"no {program} here: {name} comes from Debian's packages")
    place.mkdir(parents=True, exist_ok=True)
    with open(place / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (root / ".complete").exists():
            return root
        _fetch(packages, place, root)
        for folder in ("usr", "etc", "var"):
            (root / folder).mkdir(exist_ok=True)
        if (root / "lib").is_dir():
            _run("cp", "-a", str(root / "lib") + "/.", str(root / "usr/lib"), check=True)
        (root / ".complete").touch()
    return root
