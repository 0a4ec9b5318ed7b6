"""The interface of a peer."""

from collections.abc import Callable, Mapping, Sequence
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
        model: The model whose bundle is used.
        data: Returns the input: a JPEG, or pixels in the graph's input shape.
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
        top: Makes one call of a work and returns the classes, the most probable first.
        pids: The processes.
        good: Returns the number of successful calls so far, if the HTTP status doesn't show it.
    """

    request: Callable[[Work], Request]
    top: Callable[[Work], list[int]]
    pids: Sequence[int]
    good: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Args:
        name: The name.
        distribution: The package, whose version is recorded.
        protocol: The protocol of the calls.
        setting: The configuration in one line.
        start: Runs the peer with the Python of its environment for the duration of a with block,
            in an empty directory.
        packages: Further packages of its environment.
    """

    name: str
    distribution: str
    protocol: str
    setting: str
    start: Callable[[Path, Path], AbstractContextManager[Running]]
    packages: tuple[str, ...] = ("onnxruntime", "numpy", "Pillow")


def environment() -> Mapping[str, str]:
    """Return the environment variables that the apps read."""
    return {
        "BENCH_MODELS": str(BASE),
        "BENCH_WORKERS": str(cores()),
        "PYTHONPATH": str(APPS),
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "NO_COLOR": "1",
    }
