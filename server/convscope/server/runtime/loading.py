"""Loads one version: files, graph, session, and the golden gate, which also warms it up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from time import perf_counter

import structlog

from convscope.bundle.reader import Bundle
from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.explained import open_explained
from convscope.server.runtime.golden import GoldenGate
from convscope.server.runtime.model import Model, memory_bytes
from convscope.server.runtime.providers import (
    EngineCache,
    ProviderPolicies,
    ProviderPolicy,
    open_session,
)
from convscope.server.runtime.tuning import Tuner
from convscope.server.runtime.validation import BundleValidator, validate_bundle
from convscope.server.runtime.versions import (
    ImagePreprocessor,
    LoadedVersion,
    PreprocessorFactory,
)
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
        validator: Validates bundles while the server serves requests.
        engines: Where TensorRT's engines are stored; None stores none.
        preload_explanations: Whether to open the sessions with explanations too.
    """

    policies: ProviderPolicies
    make_preprocessor: PreprocessorFactory
    tuner: Tuner
    preload_feature_maps: bool = False
    stopping: Callable[[], bool] = lambda: False
    validator: BundleValidator = field(default_factory=BundleValidator)
    engines: EngineCache | None = None
    preload_explanations: bool = False

    def load(
        self, directory: Path, *, hot: bool = False, like: Execution | None = None
    ) -> LoadedVersion:
        """Load the version of a directory. Takes seconds, so call it in a thread.

        Args:
            directory: The version's directory.
            hot: Whether the server already serves requests. If so, nothing is
                measured, and the graph is validated in a subprocess. A signature is
                always checked in one.
            like: How the model's other version is run, if it has one.

        Raises:
            BundleRejectedError: It failed a check, or can't be loaded at all.
            OSError: A file can't be read, or no process can be started now.
            MemoryError: The process has no memory left.
        """
        started_at = perf_counter()
        try:
            loaded = self._load(directory, hot, like)
        except (BundleRejectedError, OSError, MemoryError):
            raise
        except Exception as error:  # no bundle may affect the others
            log.exception("unexpected error at load", model=directory.parent.name)
            raise BundleRejectedError(
                "unexpected", f"the load failed with {type(error).__name__}; the log has the trace"
            ) from error
        _log_ready(loaded, perf_counter() - started_at)
        return loaded

    def memory_bytes(self, graph_bytes: int) -> int:
        """Estimate how much memory a version will take, by the size of its graph."""
        return memory_bytes(graph_bytes, SESSIONS)

    def _load(self, directory: Path, hot: bool, like: Execution | None) -> LoadedVersion:
        # The library that checks signatures takes 60 MiB, which only the subprocess pays for.
        if hot or self.validator.checks_signatures:
            validated = self.validator.validate(directory, self.stopping)
        else:
            validated = validate_bundle(directory)
        bundle = validated.bundle
        policy, pending_engine = self.policies.of(bundle.manifest.model), None
        if self.engines is not None:
            policy, pending_engine = self.engines.select(
                policy, validated.plain_graph, bundle.manifest.input
            )
        preprocessor = self._preprocessor(bundle)
        # Before the sessions that stay, so that it doesn't add to the peak of the memory.
        golden = GoldenGate(bundle, preprocessor)
        unexplained = _check_explanations(bundle, policy, golden)
        # Opened at most once for each number of threads, by a trial or for serving.
        open_plain = cache(partial(open_session, validated.plain_graph, policy))

        def open_trial(threads: int) -> LoadedVersion:
            trial = Execution(1, threads, threads, 1, "a trial")
            return LoadedVersion(Model(validated, policy, open_plain, trial), preprocessor)

        execution = self.tuner.choose(
            bundle.manifest, open_trial, policy=policy, hot=hot, like=like
        )
        model = Model(validated, policy, open_plain, execution, pending_engine, unexplained)
        maps_only = bundle.manifest.task == pb.TASK_FEATURE_EXTRACTION
        if self.preload_feature_maps:
            model.load_feature_maps()
        explains = bundle.manifest.HasField("explanation") and unexplained is None
        if self.preload_explanations and explains:
            model.load_explanations()
        golden.check(model, feature_maps=self.preload_feature_maps or maps_only)
        return LoadedVersion(model, preprocessor)

    def _preprocessor(self, bundle: Bundle) -> ImagePreprocessor | None:
        spec = bundle.manifest.input
        if spec.kind != pb.INPUT_KIND_IMAGE:
            return None
        height, width, _ = spec.shape
        return self.make_preprocessor(bundle.manifest.preprocessing, height, width)


def _check_explanations(bundle: Bundle, policy: ProviderPolicy, golden: GoldenGate) -> str | None:
    """Compare the golden heat, in a session that is closed again.

    Returns:
        Why the provider can't run the explanations, and None if it can, or if there are none.
        The version serves without them then.

    Raises:
        BundleRejectedError: The heat differs from the reference.
    """
    if not bundle.manifest.HasField("explanation"):
        return None
    try:
        session = open_explained(bundle, policy, policy.cores)
    except BundleRejectedError as error:
        if error.reason != "provider":
            raise
        model, version = bundle.manifest.model, bundle.manifest.version
        log.warning("no explanations", model=model, version=version, reason=error.message)
        return error.message
    golden.check_heat(session)
    return None


def _log_ready(loaded: LoadedVersion, seconds: float) -> None:
    model, execution = loaded.model, loaded.execution
    name, number = loaded.key
    log.info(
        "model ready",
        model=name,
        version=number,
        provider=model.provider,
        nodes=model.nodes,
        runners=execution.runners,
        threads=execution.threads,
        lone_threads=execution.lone_threads,
        max_batch=execution.max_batch,
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
