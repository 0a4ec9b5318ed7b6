"""How long a fuzzer runs, and which inputs it makes.

By default it makes a fixed number of inputs, the same in each run. With CONVSCOPE_FUZZ_SECONDS
in the environment it runs for so long, from another seed. CONVSCOPE_FUZZ_INPUTS ends such a run
after so many inputs, and CONVSCOPE_FUZZ_SEED repeats it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from random import Random, SystemRandom
from typing import NamedTuple

__all__ = ["SECONDS", "Input", "groups", "inputs", "reported", "seed"]

SECONDS = float(os.environ.get("CONVSCOPE_FUZZ_SECONDS", "0"))
# A long run prints how far it is.
_PROGRESS = 5000
_MAX_INPUTS = float(os.environ.get("CONVSCOPE_FUZZ_INPUTS", "inf"))


class Input(NamedTuple):
    """One input of a fuzzer.

    Args:
        seed: The seed of the run.
        number: Its position in the run.
        random: What its content comes from.
    """

    seed: int
    number: int
    random: Random


def seed() -> int:
    """Return the seed of this run."""
    stated = os.environ.get("CONVSCOPE_FUZZ_SEED")
    if stated is not None:
        return int(stated)
    return SystemRandom().randrange(2**32) if SECONDS else 0


def inputs(count: int) -> Iterator[Input]:
    """Return the inputs of a run.

    Args:
        count: How many inputs a run without CONVSCOPE_FUZZ_SECONDS has.
    """
    start, end, index = seed(), time.monotonic() + SECONDS, 0
    while (time.monotonic() < end and index < _MAX_INPUTS) if SECONDS else index < count:
        # A string: the generators of neighboring numbers resemble each other at their start.
        yield Input(start, index, Random(f"{start}/{index}"))
        index += 1
        if index % _PROGRESS == 0:
            print(f"{index:,} inputs", flush=True)


def groups(count: int, size: int) -> Iterator[list[Input]]:
    """Return the inputs of a run in groups of a size; the last may be smaller."""
    every = inputs(count)
    while group := list(islice(every, size)):
        yield group


@contextmanager
def reported(one: Input) -> Iterator[None]:
    """Add to an error which input led to it."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"input {one.number} of CONVSCOPE_FUZZ_SEED={one.seed}")
        raise
