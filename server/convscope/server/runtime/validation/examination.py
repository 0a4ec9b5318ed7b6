"""What is done with a version in a process of its own: every check, every session, a full batch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from time import perf_counter, process_time

from convscope.bundle.reader import Bundle, read_bundle
from convscope.bundle.signatures import TrustedSigners
from convscope.server.errors import BundleRejectedError, translate_bundle_errors
from convscope.server.observability.out_of_memory import is_out_of_memory
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.explained import open_explained
from convscope.server.runtime.figures import Figures
from convscope.server.runtime.golden import GoldenGate
from convscope.server.runtime.measurement import BATCHES, MAX_BATCH_SECONDS
from convscope.server.runtime.model import Model
from convscope.server.runtime.providers import CPU, ProviderPolicy
from convscope.server.runtime.providers.session import open_session
from convscope.server.runtime.tuning import Measurements
from convscope.server.runtime.validated import ValidatedBundle, plain_graph
from convscope.server.runtime.validation.limits import Limits
from convscope.server.runtime.validation.memory import (
    Meter,
    lift_memory_limit,
)
from convscope.server.runtime.versions import ImagePreprocessor, PreprocessorFactory
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Examination", "Findings", "check_bundle", "check_explanations", "make_preprocessor"]

# A batch that would take longer is measured by a smaller one.
BATCH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found about a version that passed.

    Args:
        manifest_sha256: The hash of its manifest, which has the hashes of its other files.
        figures: What it took.
        unexplained: Why its explanations can't run; None if they can, or if it has none.
        remembered: Whether this is from an earlier examination of the same files.
    """

    manifest_sha256: str
    figures: Figures
    unexplained: str | None = None
    remembered: bool = False


@dataclass(frozen=True, slots=True)
class Examination:
    """A version to validate, and how it will be run.

    Args:
        directory: Its directory.
        policy: Which providers its sessions may use.
        make_preprocessor: Makes the preprocessor of a model that takes images.
        measurements: The stored measurements, which have the size of a full batch.
        max_batch: The inputs of a full batch that the operator has set; None if measured.
        unmeasured_batch: Those of a version that isn't measured; None if it will be.
        compares_feature_maps: Whether the golden feature maps are compared.
        limits: What this may take.
        hot: Whether the server serves requests meanwhile, which then have priority.
        trusted: One of these must have signed the version; None to ignore signatures.
    """

    directory: Path
    policy: ProviderPolicy
    make_preprocessor: PreprocessorFactory
    measurements: Measurements
    max_batch: int | None
    unmeasured_batch: int | None
    compares_feature_maps: bool = False
    limits: Limits = field(default_factory=Limits)
    hot: bool = True
    trusted: TrustedSigners | None = None

    def run(self, enter: Callable[[str], None]) -> Findings:
        """Do everything that the server will do with the version.

        Args:
            enter: Called with what is done next.

        Raises:
            BundleRejectedError: The version failed a check.
            OSError: A file can't be read.
            MemoryError: It takes more memory than this process may.
        """
        meter, started_at = Meter(), perf_counter()
        enter("checking its files")
        checked = check_bundle(self.directory, self.trusted)
        bundle = checked.bundle
        enter("decoding its golden inputs")
        golden = GoldenGate(bundle, make_preprocessor(bundle, self.make_preprocessor))
        enter("opening a session")
        before, (model, policy) = meter.now_bytes(), self._open(checked)
        opened = meter.now_bytes()
        session_bytes = max(0, opened - before)
        batch, batch_bytes = self._run(model, golden, meter, enter, opened)
        if model.classifies and model.maps:
            enter("computing its feature maps")
            if self.compares_feature_maps:
                self._replay(golden, model, feature_maps=True)
            else:
                model.run(golden.batch(1), feature_maps=model.maps)
        enter("explaining its golden inputs")
        unexplained = self._explain(bundle, policy, golden)
        figures = Figures(
            session_bytes=session_bytes,
            batch_bytes=batch_bytes,
            peak_bytes=max(meter.highest_bytes(), session_bytes + batch_bytes),
            batch=batch,
            seconds=round(perf_counter() - started_at, 3),
            cpu_seconds=round(process_time(), 3),
        )
        return Findings(bundle.manifest_sha256, figures, unexplained)

    def wanted_batch(self, manifest: pb.ModelManifest) -> int | None:
        """Return the inputs of a full batch; None if they aren't measured yet."""
        known = self.measurements.known(manifest, self.policy)
        stored = None if known is None else known.max_batch
        return self.max_batch or stored or self.unmeasured_batch

    def _open(self, checked: ValidatedBundle) -> tuple[Model, ProviderPolicy]:
        """Open the plain session on the CPU, or on the wanted provider if the CPU can't run it."""
        cpu = ProviderPolicy((CPU,), allow_fallback=False, cores=self.policy.cores)
        try:
            return _model(checked, cpu), cpu
        except BundleRejectedError as error:
            if self._on_cpu or is_out_of_memory(error):
                raise
        lift_memory_limit()  # a GPU's libraries reserve much more than they take
        wanted = self.policy.for_graph_without_engine()
        return _model(checked, wanted), wanted

    @property
    def _on_cpu(self) -> bool:
        return self.policy.wanted == CPU

    def _run(
        self,
        model: Model,
        golden: GoldenGate,
        meter: Meter,
        enter: Callable[[str], None],
        opened_bytes: int,
    ) -> tuple[int, int]:
        """Run the golden inputs and a full batch; return its inputs and the memory it takes."""
        enter("running its golden inputs")
        meter.reset()
        started_at = perf_counter()
        self._replay(golden, model, feature_maps=not model.classifies)
        seconds = (perf_counter() - started_at) / golden.size
        batch = self._full_batch(model.manifest, seconds)
        sample = min(batch, max(1, int(BATCH_SECONDS / seconds)))
        if sample > 1:  # otherwise the golden inputs were such batches
            enter(f"running a batch of {sample}")
            meter.reset()
            model.run(golden.batch(sample), feature_maps=() if model.classifies else model.maps)
        # A session keeps what its runs take, so that the runs before are a part of it.
        grown = max(0, meter.peak_bytes() - opened_bytes)
        return batch, grown * batch // sample

    def _full_batch(self, manifest: pb.ModelManifest, seconds: float) -> int:
        """Return the inputs of a full batch, if one input takes so many seconds."""
        if (batch := self.wanted_batch(manifest)) is not None:
            return batch
        return max((n for n in BATCHES if n * seconds <= MAX_BATCH_SECONDS), default=1)

    def _replay(self, golden: GoldenGate, model: Model, *, feature_maps: bool) -> None:
        """Run the golden inputs, and compare the outputs if the CPU will serve them."""
        try:
            golden.check(model, feature_maps=feature_maps)
        except BundleRejectedError as error:
            if error.reason != "golden" or self._on_cpu:
                raise

    def _explain(self, bundle: Bundle, policy: ProviderPolicy, golden: GoldenGate) -> str | None:
        try:
            return check_explanations(bundle, policy, golden)
        except BundleRejectedError as error:
            if error.reason != "golden" or self._on_cpu:
                raise
            return None


def check_bundle(directory: Path, trusted: TrustedSigners | None = None) -> ValidatedBundle:
    """Check the manifest, the signature, the hashes and the graph.

    Args:
        directory: The version's directory.
        trusted: One of these must have signed the bundle; None to ignore signatures.

    Raises:
        BundleRejectedError: One of them is invalid.
        OSError: A file can't be read.
    """
    # Imported here, because a server that never checks a graph itself doesn't need the library.
    from convscope.bundle.graph_contract import check_graph, parse_graph

    with translate_bundle_errors():
        bundle = read_bundle(directory, trusted)
        data = bundle.read_graph()
        check_graph(parse_graph(data), bundle.manifest)
    return ValidatedBundle(bundle, plain_graph(data, bundle.manifest))


def check_explanations(bundle: Bundle, policy: ProviderPolicy, golden: GoldenGate) -> str | None:
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
        if error.reason != "provider" or is_out_of_memory(error):
            raise
        return error.message
    golden.check_heat(session)
    return None


def _model(checked: ValidatedBundle, policy: ProviderPolicy) -> Model:
    open_plain = cache(partial(open_session, checked.plain_graph, policy))
    execution = Execution(1, policy.cores, policy.cores, 1, "validation")
    return Model(checked, policy, open_plain, execution)


def make_preprocessor(bundle: Bundle, make: PreprocessorFactory) -> ImagePreprocessor | None:
    """Make the preprocessor of a version; None if it takes tensors."""
    spec = bundle.manifest.input
    if spec.kind != pb.INPUT_KIND_IMAGE:
        return None
    height, width, _ = spec.shape
    return make(bundle.manifest.preprocessing, height, width)
