"""Chooses how a version is run, by a short measurement on this machine.

The result is stored in a file, under a key made of everything that it depends on.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import onnxruntime as ort
import structlog

from convscope.bundle.durable import replace_file
from convscope.bundle.json_files import format_object
from convscope.server.runtime.execution import Execution, ExecutionOverrides
from convscope.server.runtime.measurement import BATCHES, BusyError, OpenTrial, Rehearsal, measure
from convscope.server.runtime.providers import ON_GPU, ProviderPolicy
from convscope.v1 import manifest_pb2 as pb

__all__ = ["BATCHES", "CPU_BATCH", "GPU_BATCH", "Measurements", "Tuner", "processor"]

log = structlog.get_logger(__name__)

# It changes with what is measured, so that the results of older releases are not used.
METHOD = "whole batches, short ones inline"
# The batches of a version that isn't measured. On the CPU they save some of our own work, and
# are small enough for the caches; a GPU is idle for most of a smaller batch.
CPU_BATCH = 4
GPU_BATCH = 16


@dataclass(frozen=True, slots=True)
class Measurements:
    """The stored measurements of how versions are run.

    Args:
        cores: The cores that were used.
        file: The file that stores them; None stores none.
    """

    cores: int
    file: Path | None

    def known(self, manifest: pb.ModelManifest, policy: ProviderPolicy) -> Execution | None:
        """Return what was measured for a version, if it was."""
        found = self._read().get(self.key(manifest, policy))
        try:
            return None if found is None else Execution(**found)
        except TypeError:
            return None  # then it is measured again

    def store(
        self, manifest: pb.ModelManifest, policy: ProviderPolicy, measured: Execution
    ) -> None:
        """Store what was measured for a version."""
        self._store(self.key(manifest, policy), asdict(measured))

    def known_choice(
        self, manifest: pb.ModelManifest, policy: ProviderPolicy
    ) -> Mapping[str, Any] | None:
        """Return what `store_choice` has stored, if it has."""
        return self._read().get(self.key(manifest, policy))

    def store_choice(
        self, manifest: pb.ModelManifest, policy: ProviderPolicy, choice: Mapping[str, Any]
    ) -> None:
        """Store which provider was chosen for a version whose policy names none."""
        self._store(self.key(manifest, policy), choice)

    def _store(self, key: str, value: Mapping[str, Any]) -> None:
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, format_object({**self._read(), key: value}))
        except OSError as error:
            log.warning("the measurement can't be stored", reason=error.strerror)

    def key(self, manifest: pb.ModelManifest, policy: ProviderPolicy) -> str:
        """Return a hash of everything that the measurement depends on."""
        graph = next((file.sha256 for file in manifest.files if file.name == "model.onnx"), "")
        here = ort.get_available_providers()
        providers = (policy.preference, policy.options, policy.deferred, policy.precision, here)
        machine = (str(self.cores), processor())
        parts = (METHOD, graph, ort.__version__, *machine, str(providers))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _read(self) -> dict[str, Mapping[str, Any]]:
        if self.file is None:
            return {}
        try:
            known = json.loads(self.file.read_bytes())
            return {str(key): value for key, value in known.items() if isinstance(value, dict)}
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}  # then it is measured again


class Tuner:
    """Chooses how versions are run, and stores what was measured.

    Args:
        overrides: What the operator has set.
        rehearse: Does the work of a batch.
        cache: The file that stores measurements; None stores none.
    """

    def __init__(
        self, overrides: ExecutionOverrides, rehearse: Rehearsal, cache: Path | None
    ) -> None:
        self._overrides = overrides
        self.rehearse = rehearse
        self.measurements = Measurements(overrides.cores, cache)

    def choose(
        self,
        manifest: pb.ModelManifest,
        open_trial: OpenTrial,
        *,
        policy: ProviderPolicy,
        hot: bool = False,
        like: Execution | None = None,
    ) -> Execution:
        """Choose how a version is run.

        Args:
            manifest: The version's manifest.
            open_trial: Opens it with a number of threads, to be measured.
            policy: Which providers its sessions may use.
            hot: Whether the server already serves requests. Requests and a
                measurement would disturb each other, so nothing is measured.
            like: What an unmeasured version then uses.
        """
        overrides = self._overrides
        if overrides.complete:
            return overrides.over(Execution(1, 1, 1, 1, "set by flags"))
        if not overrides.measure:
            return self.defaults(open_trial, "because measuring is off")
        known = self.measurements.known(manifest, policy)
        if known is not None:
            return overrides.over(known)
        if hot:
            why = (
                "because nothing is measured while the server serves requests; "
                "the next start measures it"
            )
            if like is None:
                return self.defaults(open_trial, why)
            reason = f"settings of the version before it, {why}"
            return overrides.over(replace(like, reason=reason))
        started_at = perf_counter()
        try:
            measured = measure(open_trial, self.rehearse, overrides.cores)
        except BusyError as error:
            log.warning(
                "not tuned",
                model=manifest.model,
                message=f"the machine is busy, so {manifest.model} runs with default settings; "
                "restart the server when it is idle",
                reason=str(error),
            )
            return self.defaults(open_trial, f"because the machine was busy at the start: {error}")
        log.info(
            "tuned",
            model=manifest.model,
            version=manifest.version,
            seconds=round(perf_counter() - started_at, 2),
            **asdict(measured),
        )
        self.measurements.store(manifest, policy, measured)
        return overrides.over(measured)

    def is_settled(self, manifest: pb.ModelManifest, policy: ProviderPolicy) -> bool:
        """Report whether the next start will run a version in the same way."""
        return self._overrides.complete or self.measurements.known(manifest, policy) is not None

    @property
    def max_batch(self) -> int | None:
        """The batch size that the operator has set."""
        return self._overrides.max_batch

    def unmeasured_batch(
        self, policy: ProviderPolicy, *, hot: bool, like: Execution | None
    ) -> int | None:
        """Return the batch size of a version without a measurement; None if it gets one."""
        overrides = self._overrides
        if overrides.measure and not hot:
            return None
        if overrides.measure and like is not None:
            return like.max_batch
        return CPU_BATCH if ON_GPU.isdisjoint(policy.preference) else GPU_BATCH

    def defaults(self, open_trial: OpenTrial, why: str) -> Execution:
        """Return what is good for most networks: a core for each batch, all for a single call."""
        reason, cores = f"defaults, {why}", self._overrides.cores
        if open_trial(1).model.on_gpu:
            return self._overrides.over(Execution(1, 1, 1, GPU_BATCH, reason))
        return self._overrides.over(Execution(cores, 1, cores, CPU_BATCH, reason))


def processor() -> str:
    """Return the name of the processor, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{platform.machine()} {os.cpu_count()}"
