"""Chooses how a version is run by a short measurement on this very machine.

A lone call is fastest with all cores; a crowd of calls is served fastest with
one core each, because no thread then waits for another. Whether batches help
depends on the network: they save the overhead of a small one, and cost a large
one its cache. So all of it is measured, once: the result is kept in a file,
under everything that it depends on.
"""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray

from convscope.server.runtime.execution import Execution, ExecutionOverrides
from convscope.server.runtime.providers import ProviderPolicy, Session
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Tuner"]

log = structlog.get_logger(__name__)

# Below this a run takes less than the way to another thread and back.
INLINE_SECONDS = 150e-6
# No batch on the event loop may hold it up longer than this.
MAX_INLINE_SECONDS = 2e-3
BATCHES = (2, 4, 8, 16, 32, 64)
# No batch may take longer than this, however well it would pay.
MAX_BATCH_SECONDS = 0.25
# A larger batch, or more threads, must pay at least so much.
WORTH = 0.92
# All cores take longer than one by so much, or one core longer than a moment ago, only if
# something else keeps them busy.
BUSY = 1.25
MEASURE_SECONDS = 0.08
# So many larger batches that don't pay end the search.
MAX_IN_VAIN = 2
MIN_RUNS = 3

OpenSession = Callable[[int], Session]


class Tuner:
    """Measures, and remembers what was measured.

    Args:
        wishes: What the operator set.
        cache: The file to remember it in; None doesn't.
    """

    def __init__(self, overrides: ExecutionOverrides, cache: Path | None) -> None:
        self._overrides = overrides
        self._cache = cache

    def choose(
        self,
        manifest: pb.ModelManifest,
        open_session: OpenSession,
        *,
        policy: ProviderPolicy,
        hot: bool = False,
        like: Execution | None = None,
    ) -> Execution:
        """Choose how a version is run.

        Args:
            manifest: Of the version.
            open_session: Opens its plain session with a number of threads.
            policy: What these sessions may run on.
            hot: Whether the server answers meanwhile: measuring would disturb
                it, and be disturbed.
            like: What then serves a network that isn't known yet.
        """
        overrides = self._overrides
        if overrides.complete or not overrides.measure:
            return overrides.without_measuring()
        key = self._key(manifest, policy)
        known = self._read().get(key)
        if known is not None:
            return overrides.over(Execution(**known))
        if hot:
            reason = "not measured while the server answers; the next start measures it"
            return overrides.over(
                replace(like or _unmeasured(overrides.cores, reason), reason=reason)
            )
        started_at = perf_counter()
        try:
            measured = _measure(_example(manifest.input), open_session, overrides.cores)
        except _BusyError as error:
            log.warning("not tuned", model=manifest.model, reason=str(error))
            return overrides.over(_unmeasured(overrides.cores, str(error)))
        log.info(
            "tuned",
            model=manifest.model,
            version=manifest.version,
            seconds=round(perf_counter() - started_at, 2),
            **asdict(measured),
        )
        self._write(key, measured)
        return overrides.over(measured)

    def _key(self, manifest: pb.ModelManifest, policy: ProviderPolicy) -> str:
        """Everything that the measurement depends on."""
        graph = next((file.sha256 for file in manifest.files if file.name == "model.onnx"), "")
        here = ort.get_available_providers()
        providers = (policy.preference, policy.options, policy.deferred, here)
        parts = (graph, ort.__version__, str(self._overrides.cores), _processor(), str(providers))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._cache is None:
            return {}
        try:
            known = json.loads(self._cache.read_bytes())
            return {str(key): asdict(Execution(**value)) for key, value in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # it is measured again

    def _write(self, key: str, measured: Execution) -> None:
        if self._cache is None:
            return
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps(self._read() | {key: asdict(measured)}, indent=1)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._cache.parent, prefix=self._cache.name, delete=False
            ) as file:
                file.write(content)
            Path(file.name).replace(self._cache)
        except OSError as error:
            log.warning("the measurement can't be kept", reason=error.strerror)


class _BusyError(Exception):
    """The machine is too busy for a measurement that is worth keeping."""


def _unmeasured(cores: int, reason: str) -> Execution:
    """What serves most networks well: a core for each of a crowd, all for a lone call."""
    return Execution(cores, 1, cores, 1, f"defaults: {reason}")


def _processor() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{platform.machine()} {os.cpu_count()}"


def _example(spec: pb.InputSpec) -> NDArray[np.generic]:
    """One input of the right type and shape; what it shows doesn't matter for the time."""
    random = np.random.default_rng(0)
    shape = (1, *spec.shape)
    if spec.dtype == pb.DATA_TYPE_UINT8:
        return random.integers(0, 256, shape, dtype=np.uint8)
    return random.standard_normal(shape, dtype=np.float32)


def _measure(example: NDArray[np.generic], open_session: OpenSession, cores: int) -> Execution:
    narrow = open_session(1)
    alone = _seconds(narrow, example)
    if alone < INLINE_SECONDS and not narrow.on_gpu:
        batch, per_image = _best_batch(narrow, example, alone, MAX_INLINE_SECONDS)
        reason = f"one image takes {_ms(alone)}, less than a thread's hand-over; " + _per_image(
            batch, per_image
        )
        return Execution(0, 1, 1, batch, reason)
    batch, per_image = _best_batch(narrow, example, alone, MAX_BATCH_SECONDS)
    reason = f"one image takes {_ms(alone)} on one core; " + _per_image(batch, per_image)
    # A GPU runs one batch after the other, whatever the processor's cores do.
    if cores == 1 or narrow.on_gpu:
        return Execution(1, 1, 1, batch, reason)
    wide = open_session(cores)
    wide_alone = _seconds(wide, example)
    if wide_alone > BUSY * alone:
        raise _BusyError(
            f"{_ms(alone)} on one core and {_ms(wide_alone)} on {cores}: other work keeps them busy"
        )
    lone_threads = cores if wide_alone < WORTH * alone else 1
    wide_batch, _ = _best_batch(wide, example, wide_alone, MAX_BATCH_SECONDS)
    # Both by their mean: the shortest run of one says nothing against the mean of the other.
    wide_per_image = _crowd_seconds(wide, example, wide_batch, 1) / wide_batch
    crowd_per_image = _crowd_seconds(narrow, example, batch, cores) / batch
    again = _seconds(narrow, example)
    if max(alone, again) > BUSY * min(alone, again):
        raise _BusyError(f"{_ms(alone)} on one core, and then {_ms(again)}: other work disturbs it")
    reason += f"; {_ms(wide_alone)} on {cores} cores"
    if wide_per_image < WORTH * crowd_per_image:
        return Execution(1, cores, cores, wide_batch, f"{reason}, which also serves a crowd best")
    reason += f"; a crowd is served at {_ms(crowd_per_image)} an image by {cores} runners"
    return Execution(cores, 1, lone_threads, batch, reason)


def _per_image(batch: int, seconds: float) -> str:
    return f"{_ms(seconds)} in batches of {batch}" if batch > 1 else "batches don't pay"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


def _best_batch(
    session: Session, example: NDArray[np.generic], alone: float, limit: float
) -> tuple[int, float]:
    """The size of batch that pays, and the seconds that an image of it takes."""
    best, per_image, in_vain = 1, alone, 0
    for batch in BATCHES:
        if batch * per_image > limit or in_vain == MAX_IN_VAIN:
            break
        seconds = _seconds(session, np.repeat(example, batch, axis=0)) / batch
        in_vain += 1
        if seconds < WORTH * per_image:
            best, per_image, in_vain = batch, seconds, 0
    return best, per_image


def _crowd_seconds(
    session: Session, example: NDArray[np.generic], batch: int, callers: int
) -> float:
    """Seconds from one finished batch to the next, with several callers at once."""
    inputs = np.repeat(example, batch, axis=0)

    def call(_: int) -> tuple[int, float]:
        runs, started_at = 0, perf_counter()
        while runs < MIN_RUNS or perf_counter() - started_at < MEASURE_SECONDS:
            _run(session, inputs)
            runs += 1
        return runs, perf_counter() - started_at

    with ThreadPoolExecutor(callers) as pool:
        return 1 / sum(runs / seconds for runs, seconds in pool.map(call, range(callers)))


def _seconds(session: Session, inputs: NDArray[np.generic]) -> float:
    """The shortest of a few runs: what disturbs a run only ever makes it longer."""
    _run(session, inputs)
    best, started_at, runs = float("inf"), perf_counter(), 0
    while runs < MIN_RUNS or perf_counter() - started_at < MEASURE_SECONDS:
        began = perf_counter()
        _run(session, inputs)
        best = min(best, perf_counter() - began)
        runs += 1
    return best


def _run(session: Session, inputs: NDArray[np.generic]) -> None:
    session.run(None, inputs)
