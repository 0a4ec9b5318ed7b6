"""A run of the attacks: which server, how long, and where its files are."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from support.tiny import write_tiny

from bench.attacks.honest import Honest, honest
from bench.attacks.results import Result
from bench.attacks.server import Checkout, Server, serving

__all__ = ["Report", "Run", "outcome", "repeat", "reply", "reporting"]

CLASSIFY = "/convscope.v1.ClassifierService/Classify"


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        checkout: Whose server is attacked.
        scratch: A folder that is removed afterwards.
        seconds: The duration of quiet windows and of attacks that can go on for any time.
        every: Whether attacks that are similar to others are run too.
        rounds: How often an attack that can be repeated is run beside an honest caller.
        yields: Whether attackers beside an honest caller run only when a core is free.
    """

    checkout: Checkout
    scratch: Path
    seconds: float = 3.0
    every: bool = False
    rounds: int = 3
    yields: bool = True

    @property
    def models(self) -> Path:
        """Return a repository with the model `tiny`."""
        root = self.scratch / "models"
        if not root.exists():
            write_tiny(root)
        return root

    def serving(
        self, *flags: str, models: Path | None = None, stderr: int | None = None
    ) -> AbstractContextManager[Server]:
        """Serve `tiny`, or another repository, for the duration of a with block."""
        models = models or self.models
        return serving(self.checkout, models, self.scratch, *flags, stderr=stderr)

    def honest(self, server: Server, **options: Any) -> AbstractContextManager[Honest]:
        """Call a server honestly for the duration of a with block."""
        output = self.scratch / "calls.json"
        return honest(server, output, self.seconds, self.yields, **options)

    def beside(
        self,
        server: Server,
        row: str,
        attack: str,
        act: Callable[[], dict[str, Any]],
        rounds: int = 1,
    ) -> Result:
        """Attack a server beside an honest caller."""
        with self.honest(server) as caller:
            figures = caller.during(attack, act, rounds)
        return Result(row, attack, figures, *caller.traffic(attack))


class Report:
    """Results of attacks beside one honest caller, complete when the caller has ended."""

    def __init__(self, row: str, caller: Honest, rounds: int) -> None:
        self._row = row
        self._rounds = rounds
        self._caller = caller
        self._figures: dict[str, dict[str, Any]] = {}

    def attack(self, attack: str, act: Callable[[], dict[str, Any]]) -> None:
        """Attack."""
        self._figures[attack] = self._caller.during(attack, act, self._rounds)

    def results(self) -> Iterator[Result]:
        """Return the results."""
        for attack, figures in self._figures.items():
            yield Result(self._row, attack, figures, *self._caller.traffic(attack))


@contextmanager
def reporting(run: Run, server: Server, row: str, **options: Any) -> Iterator[Report]:
    """Attack a server several times beside one honest caller."""
    with run.honest(server, **options) as caller:
        yield Report(row, caller, run.rounds)


def repeat(act: Callable[[], object], seconds: float, pause: float = 0.0) -> int:
    """Act again and again, at least once; return how often."""
    end, count = time.monotonic() + seconds, 0
    while not count or time.monotonic() < end:
        began = time.monotonic()
        act()
        count += 1
        time.sleep(max(0.0, began + pause - time.monotonic()))
    return count


def reply(channel: grpc.Channel, message: bytes, **options: Any) -> str:
    """Call Classify with a serialized request; return the code and the message of the reply."""
    return outcome(channel.unary_unary(CLASSIFY), message, **options)


def outcome(call: Callable[..., Any], message: Any, timeout: float = 15.0, **options: Any) -> str:
    """Call a method; return the code and the message of the reply."""
    try:
        call(message, timeout=timeout, **options)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"
