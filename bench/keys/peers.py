"""Compare with each peer: the same ONNX file, the same data, the same number of calls in flight."""

import struct
import subprocess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import grpc

from bench.bundles import repository
from bench.calls import classify
from bench.context import Bench
from bench.errors import BenchError
from bench.loads import closed_loop
from bench.peers import PEERS
from bench.peers.base import TOP, WORKS, Peer, Running, Work
from bench.peers.venvs import python_of, version_of
from bench.photos import image_message, tensor_message
from bench.registry import Measured, measurement
from bench.sampling import Figure, Sample, Samples
from bench.servers import Server, serving

NOT_RUN = (
    *(BenchError, OSError, ValueError, LookupError),
    *(grpc.RpcError, struct.error, subprocess.SubprocessError),
)
WARM_UP_SECONDS = 0.3
# Enough to saturate a server. More calls would only wait longer.
IN_FLIGHT = {"jpeg": 16, "jpeg_draft": 16, "tensor": 16, "tiny": 64}


@measurement("peers")
def peers(bench: Bench) -> Measured:
    """Measure calls per second, relative to each peer."""
    figures: dict[str, Figure] = {}
    details: dict[str, Any] = {}
    with serving(
        repository(bench, "efficientnet_lite0", "digits"), tuning_cache=bench.tuning_cache
    ) as ours:
        for name in bench.peers:
            detail: dict[str, Any] = {"not_run": {}}
            details[name] = detail
            try:
                figures |= _compare(bench, PEERS[name], ours, detail)
            except NOT_RUN as error:
                detail["not_run"]["at all"] = str(error)
    return Measured(figures, details)


def _compare(bench: Bench, peer: Peer, ours: Server, detail: dict[str, Any]) -> dict[str, Figure]:
    python = python_of(bench, peer)
    detail["version"] = version_of(python, peer.distribution)
    detail["distribution"] = peer.distribution
    detail["onnxruntime"] = version_of(python, "onnxruntime")
    detail["protocol"], detail["setting"] = peer.protocol, peer.setting
    figures: dict[str, Figure] = {}
    directory = Path(mkdtemp(prefix=f"{peer.name}-", dir=bench.scratch))
    with peer.start(python, directory) as theirs:
        for name, work in WORKS.items():
            try:
                samples = _samples(bench, work, ours, theirs)
            except NOT_RUN as error:
                detail["not_run"][name] = str(error)
                continue
            detail[f"{name}_per_second"] = samples.details()
            figures[f"peers.{peer.name}.{name}"] = samples.ratio("ours", "theirs")
    return figures


def _samples(bench: Bench, work: Work, ours: Server, theirs: Running) -> Samples:
    message, in_flight = _message(work), IN_FLIGHT[work.name]
    _check_answer(work, ours, theirs, message)
    seconds, request = bench.seconds(1.2), theirs.request(work)

    def our_speed() -> Sample:
        return ours.saturate(
            message, bench.scratch, in_flight=in_flight, seconds=seconds, warm_up=WARM_UP_SECONDS
        ).rate()

    def their_speed() -> Sample:
        before = theirs.good() if theirs.good else 0.0
        loop = closed_loop(
            request,
            bench.scratch,
            server=theirs.pids,
            in_flight=in_flight,
            seconds=seconds,
            warm_up=WARM_UP_SECONDS,
        )
        answered = loop.answered
        good = theirs.good() - before if theirs.good else float(answered.succeeded)
        if answered.failed or good < answered.succeeded:
            raise BenchError(f"{answered.succeeded} replies, of which only {good:.0f} succeeded")
        return loop.rate()

    return bench.interleave(ours=our_speed, theirs=their_speed)


def _message(work: Work) -> bytes:
    if work.shape:
        return tensor_message(work.model, work.data(), work.shape)
    return image_message(work.model, work.data())


def _check_answer(work: Work, ours: Server, theirs: Running, message: bytes) -> None:
    """Check that both return the same top class."""
    (result,) = classify(ours.target, message).results
    own = [each.index for each in result.prediction.classes]
    other = theirs.top(work)
    if len(other) != TOP or other[0] != own[0]:
        raise BenchError(f"Convscope returns {own}, the peer {other}")
