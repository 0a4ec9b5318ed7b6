"""The rows of findings, and the attacks of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.attacks import (
    access,
    bundles,
    control,
    floods,
    images,
    listeners,
    logs,
    memory,
    reflection,
    shortage,
)
from bench.attacks.results import Result
from bench.attacks.run import Run

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row.

    Args:
        title: The finding.
        attacks: Runs the attacks.
    """

    title: str
    attacks: Callable[[Run], Iterator[Result]]


ROWS = {
    "control": Row("control: the same load, none of which reaches the server", control.control),
    "exif": Row("JPEG with many Exif segments", images.exif),
    "images": Row("other images that are cheap to send and expensive to decode", images.expensive),
    "log": Row("unwritable log", logs.unwritable),
    "memory": Row("bytes in flight", memory.in_flight),
    "bundles": Row("bundles run without limits in the serving process", bundles.hostile_bundles),
    "floods": Row("floods", floods.floods),
    "low-memory": Row("low memory", shortage.low_memory),
    "metrics": Row("metrics listener", listeners.metrics_listener),
    "workers": Row("workers", listeners.workers),
    "reflection": Row("reflection", reflection.reflection),
    "access": Row("access control", access.access_control),
}
