"""What a peer is to the bench."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.bundles import LITE0
from bench.context import BASE, ROOT
from bench.loads import Request
from bench.photos import digit, jpeg, pixels_224
from bench.reference import cores

__all__ = ["APPS", "WORKS", "Peer", "Running", "Work", "environment"]

APPS = ROOT / "bench" / "peers" / "apps"
TOP = 5


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request.

    Args:
        name: The name in the peer's server.
        model: Whose bundle answers.
        data: What is sent: a JPEG, or pixels in the graph's own shape.
        shape: The shape of the pixels; empty for a JPEG.
    """

    name: str
    model: str
    data: Callable[[], bytes]
    shape: tuple[int, ...] = ()


WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        Work("jpeg", LITE0, lambda: jpeg("500x375")),
        Work("jpeg_draft", LITE0, lambda: jpeg("500x375")),
        Work("tensor", LITE0, pixels_224, (224, 224, 3)),
        Work("tiny", "digits", digit, (28, 28, 1)),
    )
}


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that is ready.

    Args:
        request: Makes the request of a work.
        top: Makes one call of a work and gives the classes, the best first.
        good: Counts the good answers so far, where HTTP's status doesn't say.
    """

    request: Callable[[Work], Request]
    top: Callable[[Work], list[int]]
    good: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Args:
        name: Its name.
        distribution: Its package, whose version is recorded.
        protocol: How it is called.
        setting: How it is set up, in a line.
        start: Runs it with the Python of its environment, for the duration of a
            with block, in an empty directory.
        packages: What its environment holds besides.
    """

    name: str
    distribution: str
    protocol: str
    setting: str
    start: Callable[[Path, Path], AbstractContextManager[Running]]
    packages: tuple[str, ...] = ("onnxruntime", "numpy", "Pillow")


def environment() -> Mapping[str, str]:
    """The variables that the apps read."""
    return {
        "BENCH_MODELS": str(BASE),
        "BENCH_WORKERS": str(cores()),
        "PYTHONPATH": str(APPS),
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "NO_COLOR": "1",
    }
