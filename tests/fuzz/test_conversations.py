"""Mutated conversations: nothing but clean ends of calls and connections."""

import time
from random import SystemRandom

import pytest
from structlog.testing import capture_logs
from support.fuzz.conversations import Fuzzer
from support.fuzz.runs import SECONDS

ROUNDS = 400  # of each seed


@pytest.mark.timeout(300 + SECONDS)
@pytest.mark.parametrize("seed", range(5))
async def test_mutated_conversations(seed: int) -> None:
    if SECONDS:
        await fuzz(SystemRandom().randrange(2**32), seconds=SECONDS / 5)
    else:
        await fuzz(seed)


async def fuzz(seed: int, seconds: float = 0.0) -> None:
    """Run the rounds of a seed, or as many as take so long."""
    fuzzer = Fuzzer(seed)
    end, rounds = time.monotonic() + seconds, 0
    with capture_logs() as log:
        while rounds < ROUNDS or time.monotonic() < end:
            try:
                await fuzzer.round()
            except BaseException as error:
                error.add_note(f"round {rounds} of seed {seed}")
                raise
            rounds += 1
            assert not log, f"round {rounds} of seed {seed}"
    print(f"seed {seed}: {rounds} rounds, {fuzzer.calls} calls, {fuzzer.closed} closed")
    # Most conversations are whole enough for calls, and many are ended by the server.
    assert fuzzer.calls > rounds / 2
    assert fuzzer.closed > rounds / 20
    await fuzzer.stop()
