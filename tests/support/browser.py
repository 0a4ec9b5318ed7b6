"""A real browser without a window, for pages that people look at."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--hide-scrollbars",
)
TIMEOUT_SECONDS = 120
INSTALL_SECONDS = 200


def find_browser() -> str:
    """Return the path of Chromium; install Debian's as root, or skip the test otherwise."""
    if found := _installed():
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (("update",), ("install", "--yes", "--no-install-recommends", "chromium")):
            subprocess.run(
                ["apt-get", *command], capture_output=True, timeout=INSTALL_SECONDS, check=False
            )
        if found := _installed():
            return found
    pytest.skip("Chromium is missing; install it with: apt-get install chromium")


def _installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page; a flag says what to return, such as --dump-dom."""
    command = [find_browser(), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
    )
