"""Settings, read as the program reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from convscope.server.config.command_line import command_line
from convscope.server.config.settings import Settings

Parse = Callable[..., Settings]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Read flags, environment variables and the file."""
    monkeypatch.delenv("CONVSCOPE_TUNING_CACHE")  # which the tests of servers need

    def parse(*flags: str | Path) -> Settings:
        found: list[Settings] = []
        command_line(found.append)([str(flag) for flag in flags], standalone_mode=False)
        (settings,) = found
        return settings

    return parse
