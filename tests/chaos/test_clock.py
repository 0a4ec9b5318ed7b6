"""A server whose wall clock jumps, which callers must not notice."""

import sys
from functools import partial
from pathlib import Path

import pytest
from support.calls import sample, wait_until
from support.chaos import jumping_clock
from support.chaos.load import load
from support.chaos.rounds import rounds
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.one_transport("grpcio counts deadlines by the wall clock"),
]

RATE = 50.0
CALLS = 50
DAY = 86_400
JUMPS = (DAY, -DAY, 3650 * DAY, 0)


def serves(server: ServerProcess, latest: int) -> bool:
    """Return whether the latest version of the model is this one."""
    with Client(server.target) as client:
        return max(summary.version for summary in client.models()) == latest


def test_jumps_of_the_clock_harm_no_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, repository = tmp_path / "clock", tmp_path / "models"
    clock.write_text("0")
    write_tiny(repository)
    monkeypatch.setenv(jumping_clock.OFFSET_FILE, str(clock))
    command = (sys.executable, str(Path(jumping_clock.__file__)))
    flags = ("--poll-seconds", "0.1")
    with (
        ServerProcess(repository, *flags, command=command) as server,
        load(server.target, RATE) as callers,
    ):
        for number, seconds in enumerate(JUMPS * rounds(1), start=2):
            clock.write_text(str(seconds))
            callers.wait_for(CALLS)
            write_tiny(repository, version=number)
            wait_until(partial(serves, server, number))
            callers.wait_for(CALLS)
        assert sample(server, "convscope_model_refused") == 0
        jumps = [line["seconds"] for line in server.log if line["event"] == jumping_clock.JUMPED]
    print(f"{len(JUMPS) * rounds(1)} jumps of the clock: {callers}")
    assert jumps == list(JUMPS * rounds(1))
    assert callers.errors == []
