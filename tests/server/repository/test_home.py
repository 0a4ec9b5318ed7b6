"""The caches of a user without a home directory."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from convscope.server.repository.home import expand_home

CACHE = Path("~/.cache/convscope/tuning.json")


def test_the_home_directory_is_used_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expand_home(CACHE) == Path("/home/somebody/.cache/convscope/tuning.json")
    assert expand_home(Path("/var/cache")) == Path("/var/cache")


def test_a_user_without_one_gets_a_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    expected = Path(tempfile.gettempdir(), f"convscope-{os.getuid()}")
    assert expand_home(CACHE) == expected / ".cache/convscope/tuning.json"
