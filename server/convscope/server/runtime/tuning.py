"""Chooses how a version is run, by a short measurement on this machine.

The result is stored in a file, under a key made of everything that it depends on.
"""

import hashlib
import json
import os
import platform
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import onnxruntime as ort
import structlog

from convscope.bundle.durable import replace_file
from convscope.bundle.json_files import format_object
from convscope.server.runtime.execution import Execution, ExecutionOverrides
from convscope.server.runtime.measurement import (
    BATCHES,
    BusyError,
    OpenSession,
    example_input,
    measure,
)
from convscope.server.runtime.providers import ProviderPolicy
from convscope.v1 import manifest_pb2 as pb

__all__ = ["BATCHES", "Tuner"]

log = structlog.get_logger(__name__)


class Tuner:
    """Chooses how versions are run, and stores what was measured.

    Args:
        overrides: What the operator has set.
        cache: The file that stores measurements; None stores none.
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
            manifest: The version's manifest.
            open_session: Opens its plain session with a number of threads.
            policy: Which providers these sessions may use.
            hot: Whether the server already serves requests. Requests and a
                measurement would disturb each other, so nothing is measured.
            like: What an unmeasured version then uses.
        """
        overrides = self._overrides
        if overrides.complete or not overrides.measure:
            return overrides.without_measuring()
        key = self._key(manifest, policy)
        known = self._read().get(key)
        if known is not None:
            return overrides.over(Execution(**known))
        if hot:
            source = "defaults" if like is None else "settings of the version before it"
            reason = (
                f"{source}, because nothing is measured while the server serves requests; "
                "the next start measures it"
            )
            return overrides.over(
                replace(like or _unmeasured(overrides.cores, reason), reason=reason)
            )
        started_at = perf_counter()
        try:
            measured = measure(example_input(manifest.input), open_session, overrides.cores)
        except BusyError as error:
            log.warning(
                "not tuned",
                model=manifest.model,
                message=f"the machine is busy, so {manifest.model} runs with default settings; "
                "restart the server when it is idle",
                reason=str(error),
            )
            reason = f"defaults, because the machine was busy at the start: {error}"
            return overrides.over(_unmeasured(overrides.cores, reason))
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
        """Return a hash of everything that the measurement depends on."""
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
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}  # then it is measured again

    def _write(self, key: str, measured: Execution) -> None:
        if self._cache is None:
            return
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._cache, format_object(self._read() | {key: asdict(measured)}))
        except OSError as error:
            log.warning("the measurement can't be stored", reason=error.strerror)


def _unmeasured(cores: int, reason: str) -> Execution:
    """Return the choice for most networks: one core per concurrent call, all for a single one."""
    return Execution(cores, 1, cores, 1, reason)


def _processor() -> str:
    """Return the name of the processor, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{platform.machine()} {os.cpu_count()}"
