"""Users without a home directory, or with one that they can't write to."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from convscope.exporter.home import CACHES, replace_unusable_caches


def test_caches_of_a_usable_home_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    environment: dict[str, str] = {}
    replace_unusable_caches(environment)
    assert environment == {}


@pytest.mark.parametrize("home", ["/dev/null", "/dev/null/none"])
def test_caches_of_a_home_that_can_not_be_made_are_temporary(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {"TORCH_HOME": "/set/by/the/user"}
    replace_unusable_caches(environment)
    assert environment.keys() == CACHES.keys()
    assert environment["TORCH_HOME"] == "/set/by/the/user"
    assert Path(environment["MPLCONFIGDIR"]).is_relative_to(tmp_path)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o700]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_caches_of_a_home_of_another_user_are_temporary(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    program = (
        "import os\n"
        "from convscope.exporter.home import replace_unusable_caches\n"
        "os.setuid(65534)\n"
        "environment = {}\n"
        "replace_unusable_caches(environment)\n"
        "print(*environment)"
    )
    with TemporaryDirectory() as public:
        Path(public).chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"HOME": str(tmp_path), "TMPDIR": public},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.stdout.split(), done.stderr) == ([*CACHES], "")
