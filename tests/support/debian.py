"""Programs from PATH or from Debian's packages, which are unpacked and not installed."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["find_program"]

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "debian"


def find_program(name: str, package: str) -> Path:
    """Return a program; the test is skipped if it is neither installed nor can be fetched.

    Installing the package would start its service.

    Args:
        name: The name of the program.
        package: The package that has it in usr/bin or usr/sbin.
    """
    if found := shutil.which(name):
        return Path(found)
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / package
    with (CACHE / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes may fetch it at the same time
        if not folder.exists():
            _unpack(package, folder)
    for place in ("usr/bin", "usr/sbin"):
        if (program := folder / place / name).exists():
            return program
    pytest.skip(f"Debian's package {package} has no {name}")


def _unpack(package: str, folder: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"{package} is not installed; run: apt-get install {package}")
    work = folder.with_suffix(".tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", package]
    if subprocess.run(download, cwd=work, check=False, capture_output=True).returncode != 0:
        subprocess.run(["apt-get", "update"], check=False, capture_output=True)
        if subprocess.run(download, cwd=work, check=False, capture_output=True).returncode != 0:
            pytest.skip(f"{package} is not installed and can't be fetched")
    (archive,) = work.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, work], check=True)
    archive.unlink()
    work.rename(folder)
