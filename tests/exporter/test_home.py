"""Users without a home directory, or with one that they can't write to."""

from pathlib import Path

import pytest

from convscope.exporter.home import CACHES, replace_unusable_caches


def test_caches_of_a_usable_home_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    environment: dict[str, str] = {}
    replace_unusable_caches(environment)
    assert environment == {}


def test_caches_of_a_home_that_does_not_exist_are_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {"TORCH_HOME": "/set/by/the/user"}
    replace_unusable_caches(environment)
    assert environment.keys() == CACHES.keys()
    assert environment["TORCH_HOME"] == "/set/by/the/user"
    assert Path(environment["MPLCONFIGDIR"]).is_relative_to(tmp_path)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o700]
