"""The unit in deploy/systemd/ is valid and fits the server."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from convscope.server.process.settings import ProcessSettings

UNIT = "deploy/systemd/convscope-server.service"


def test_systemd_accepts_the_unit(root: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    # It requires that the commands exist.
    text = (root / UNIT).read_text().replace("/opt/convscope/bin/convscope-server", "/bin/true")
    unit = tmp_path / "convscope-server.service"
    unit.write_text(text)
    done = subprocess.run(
        [program, "verify", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "convscope" not in done.stderr  # a warning about an unknown key


def test_the_server_has_time_to_drain(root: Path) -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", (root / UNIT).read_text(), re.MULTILINE)
    assert int(seconds) > ProcessSettings.drain_seconds + ProcessSettings.grace_seconds
