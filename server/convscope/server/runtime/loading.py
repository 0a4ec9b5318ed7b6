"""Loads one version: files, graph, session, and the golden gate, which also warms it up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

import structlog

from convscope.bundle.signatures import TrustedSigners
from convscope.server.errors import BundleRejectedError, ShuttingDownError
from convscope.server.runtime.choices import Choices
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.golden import GoldenGate
from convscope.server.runtime.model import Model, memory_bytes
from convscope.server.runtime.providers import CPU, ProviderPolicies, ProviderPolicy
from convscope.server.runtime.providers.engines import EngineCache
from convscope.server.runtime.selection import Opened, Placement, ProviderSelector
from convscope.server.runtime.tuning import Tuner
from convscope.server.runtime.validated import read_validated
from convscope.server.runtime.validation.cache import ValidationCache
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.validation.examination import (
    Examination,
    Findings,
    check_explanations,
    make_preprocessor,
)
from convscope.server.runtime.validation.limits import Limits
from convscope.server.runtime.versions import LoadedVersion, PreprocessorFactory
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Loader"]

log = structlog.get_logger(__name__)

# A version has up to two plain sessions: for single requests and for concurrent ones.
SESSIONS = 2


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads versions.

    Args:
        policies: Which providers their sessions may use.
        make_preprocessor: Makes the preprocessor of a model that takes images.
        tuner: Chooses how they are run.
        preload_feature_maps: Whether to open the sessions with feature maps too.
        stopping: Whether the server is stopping; a validation is then aborted.
        validator: Validates each version in a process of its own, before this one opens it.
        limits: What that may take.
        engines: Where TensorRT's engines are stored; None stores none.
        preload_explanations: Whether to open the sessions with explanations too.
        trusted: One of these must have signed each version; None to ignore signatures.
        validated: The versions that passed the validation before.
        choices: The providers that were chosen where a policy names none.
    """

    policies: ProviderPolicies
    make_preprocessor: PreprocessorFactory
    tuner: Tuner
    preload_feature_maps: bool = False
    stopping: Callable[[], bool] = lambda: False
    validator: BundleValidator = field(default_factory=BundleValidator)
    limits: Limits = field(default_factory=Limits)
    engines: EngineCache | None = None
    preload_explanations: bool = False
    trusted: TrustedSigners | None = None
    validated: ValidationCache = field(default_factory=partial(ValidationCache, None))
    choices: Choices = field(default_factory=Choices)
    selector: ProviderSelector = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", ProviderSelector(self.tuner, self.choices))

    def load(
        self, directory: Path, *, hot: bool = False, like: Execution | None = None
    ) -> LoadedVersion:
        """Load the version of a directory. Takes seconds, so call it in a thread.

        Args:
            directory: The version's directory.
            hot: Whether the server already serves requests. If so, nothing is
                measured, and the validation leaves the CPU to the requests.
            like: How the model's other version is run, if it has one.

        Raises:
            BundleRejectedError: It failed a check, or can't be loaded at all.
            ShuttingDownError: The server is stopping.
            OSError: A file can't be read, or no process can be started now.
            MemoryError: The process has no memory left.
        """
        started_at = perf_counter()
        try:
            loaded, findings = self._load(directory, hot, like)
        except (BundleRejectedError, ShuttingDownError, OSError, MemoryError):
            raise
        except Exception as error:  # no bundle may affect the others
            log.exception("unexpected error at load", model=directory.parent.name)
            raise BundleRejectedError(
                "unexpected", f"the load failed with {type(error).__name__}; the log has the trace"
            ) from error
        _log_ready(loaded, findings, perf_counter() - started_at)
        return loaded

    def memory_bytes(self, graph_bytes: int) -> int:
        """Estimate how much memory a version will take, by the size of its graph."""
        return memory_bytes(graph_bytes, SESSIONS)

    def _load(
        self, directory: Path, hot: bool, like: Execution | None
    ) -> tuple[LoadedVersion, Findings]:
        examination = self._examination(directory, hot, like)
        findings = self.validated.find(examination) or self.validator.validate(
            examination, self.stopping
        )
        validated = read_validated(directory, findings.manifest_sha256)
        bundle = validated.bundle
        if not findings.remembered:
            self.validated.store(examination, bundle.manifest, findings)
        policy, pending_engine = self.policies.of(bundle.manifest.model), None
        if self.engines is not None:
            policy, pending_engine = self.engines.select(
                policy, validated.plain_graph, bundle.manifest.input
            )
        preprocessor = make_preprocessor(bundle, self.make_preprocessor)
        # Before the sessions that stay, so that it doesn't add to the peak of the memory.
        golden = GoldenGate(bundle, preprocessor)
        open_on = partial(Opened, validated, preprocessor)
        placement = self._place(open_on, golden, policy, hot, like)
        policy = placement.opened.policy
        unexplained = findings.unexplained
        if policy.wanted != CPU:  # the validation has checked what the CPU returns
            unexplained = check_explanations(bundle, policy, golden)
        _warn_if_unexplained(bundle.manifest, unexplained)
        model = Model(
            validated,
            placement.opened.policy,
            placement.opened.open_plain,
            placement.execution,
            pending_engine,
            unexplained,
            placement.fallback_from,
        )
        maps_only = bundle.manifest.task == pb.TASK_FEATURE_EXTRACTION
        if self.preload_feature_maps:
            model.load_feature_maps()
        explains = bundle.manifest.HasField("explanation") and unexplained is None
        if self.preload_explanations and explains:
            model.load_explanations()
        golden.check(model, feature_maps=self.preload_feature_maps or maps_only)
        loaded = LoadedVersion(model, preprocessor, findings.figures, placement.candidates)
        return loaded, findings

    def _place(
        self,
        open_on: Callable[[ProviderPolicy], Opened],
        golden: GoldenGate,
        policy: ProviderPolicy,
        hot: bool,
        like: Execution | None,
    ) -> Placement:
        """Return where a version runs, and how."""
        if policy.is_auto:
            return self.selector.select(open_on, golden, policy, hot=hot, like=like)
        opened = open_on(policy)
        execution = self.tuner.choose(
            golden.manifest, opened.trial, policy=policy, hot=hot, like=like
        )
        return Placement(opened, execution)

    def _examination(self, directory: Path, hot: bool, like: Execution | None) -> Examination:
        policy = self.policies.of(directory.parent.name)
        if policy.is_auto:  # every candidate is compared with the reference before it is chosen
            policy = policy.on_cpu()
        return Examination(
            directory,
            policy,
            self.make_preprocessor,
            self.tuner.measurements,
            self.tuner.max_batch,
            self.tuner.unmeasured_batch(policy, hot=hot, like=like),
            self.preload_feature_maps,
            self.limits,
            hot,
            self.trusted,
        )


def _warn_if_unexplained(manifest: pb.ModelManifest, reason: str | None) -> None:
    if reason is not None:
        log.warning(
            "no explanations", model=manifest.model, version=manifest.version, reason=reason
        )


def _log_ready(loaded: LoadedVersion, findings: Findings, seconds: float) -> None:
    model, execution = loaded.model, loaded.execution
    name, number = loaded.key
    log.info(
        "model ready",
        model=name,
        version=number,
        provider=model.provider,
        compute_precision=model.compute_precision,
        nodes=model.nodes,
        runners=execution.runners,
        threads=execution.threads,
        lone_threads=execution.lone_threads,
        max_batch=execution.max_batch,
        validation="remembered" if findings.remembered else "examined",
        session_mb=round(loaded.figures.session_bytes / 1e6, 1),
        batch_mb=round(loaded.figures.batch_bytes / 1e6, 1),
        validation_peak_mb=round(loaded.figures.peak_bytes / 1e6, 1),
        validation_seconds=loaded.figures.seconds,
        seconds=round(seconds, 3),
    )
    if model.fallback_from:
        log.warning(
            "provider fallback",
            model=name,
            version=number,
            wanted=model.fallback_from,
            provider=model.provider,
            nodes=model.nodes,
        )
