"""What a section of the check knows: the provider, the bundles and the time that is left."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from convscope.server.runtime.providers import CPU, ON_GPU

__all__ = ["Check", "Results", "SkippedError", "attempt"]

Item = TypeVar("Item")
Results = dict[str, Any]


class SkippedError(Exception):
    """A section or a part of it does not run here. The message has the reason."""


@dataclass(frozen=True, slots=True)
class Check:
    """One section's run.

    Args:
        provider: The execution provider under test, by its short name.
        scratch: A directory that all sections share, and which is removed afterwards.
        models: A repository whose bundles are used; None for those of the checkout and exports.
        window: The seconds of one measurement of speed.
        deadline: When the section must have ended, in seconds since the epoch.
    """

    provider: str
    scratch: Path
    models: Path | None
    window: float
    deadline: float

    @property
    def repository(self) -> Path:
        """Return the repository of the bundles that the section `bundles` prepares."""
        return self.scratch / "bundles"

    @property
    def tuning_cache(self) -> Path:
        """Return the file in which the servers keep what they measured."""
        return self.scratch / "tuning.json"

    @property
    def on_gpu(self) -> bool:
        """Return whether the provider uses a GPU."""
        return self.provider in ON_GPU

    @property
    def providers(self) -> tuple[str, ...]:
        """Return the provider under test and the CPU, once each."""
        return tuple(dict.fromkeys((self.provider, CPU)))

    def left(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self.deadline - time.time())

    def while_time(self, items: Iterable[Item], seconds: float, results: Results) -> Iterator[Item]:
        """Return the items one by one, and record those for which too little time is left.

        Args:
            items: What is to be measured.
            seconds: The time that one of them needs.
            results: The section's results; `not_reached` lists the rest.
        """
        for item in items:
            if self.left() >= seconds:
                yield item
            else:
                results.setdefault("not_reached", []).append(str(item))


@contextmanager
def attempt(name: str, results: Results) -> Iterator[None]:
    """Make an error a problem of one model, so that the section goes on with the others."""
    try:
        yield
    except SkippedError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever fails is a result
        results.setdefault("problems", []).append(f"{name}: {type(error).__name__}: {error}")
