"""One version of a model: its sessions, and the arrays that they return."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import translate_bundle_errors
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.explained import ExplainedSession, Heat, open_explained
from convscope.server.runtime.graph import LOGITS, PROBABILITIES, cut, without_heat
from convscope.server.runtime.providers import ProviderPolicy
from convscope.server.runtime.providers.engines import Engine
from convscope.server.runtime.providers.session import Session, open_session
from convscope.server.runtime.validated import ValidatedBundle
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Model", "ModelOutput", "OpenSession", "memory_bytes"]

Floats = NDArray[np.float32]
OpenSession = Callable[[int], Session]


def memory_bytes(graph_bytes: int, sessions: int = 1) -> int:
    """Estimate the memory of a version; each session has the weights twice, plain and packed."""
    return 2 * sessions * graph_bytes


class ModelOutput(NamedTuple):
    """The arrays that a model computes for a batch of n inputs.

    Args:
        probabilities: float32 [n, classes]; without classes, [n, 0].
        feature_maps: By name, float32 [n, channels, height, width].
        logits: float32 [n, classes], if they were requested.
        heat: What explains classes, if that was requested.
    """

    probabilities: Floats
    feature_maps: Mapping[str, Floats]
    logits: Floats | None
    heat: Heat | None = None


class Model:
    """Runs one version. Safe to call from several threads.

    ONNX Runtime computes every output of a graph, requested or not. So there are
    plain sessions, whose graph has neither feature maps nor explanations, one session
    with all feature maps, and one with explanations, which are opened on first use. A
    run without other runs gets more threads than one of several, so there may be two
    plain sessions. Feature maps and explanations, which show how a network computes, are
    computed in FP32 if the plain sessions use a reduced precision.

    Args:
        validated: The version's files, after validation.
        policy: Which providers its sessions may use.
        open_plain: Opens its plain session with a number of threads; the same one for
            the same number.
        execution: How it is run.
        pending_engine: The engine that is being built while another provider
            serves as the fallback; None if no engine is being built.
        unexplained: Why this provider can't run the graph's explanations; None if it can.
        fallback_from: The provider that this one replaces, if the policy isn't the first choice.

    Raises:
        BundleRejectedError: The graph can't run.
    """

    def __init__(
        self,
        validated: ValidatedBundle,
        policy: ProviderPolicy,
        open_plain: OpenSession,
        execution: Execution,
        pending_engine: Engine | None = None,
        unexplained: str | None = None,
        fallback_from: str = "",
    ) -> None:
        self.unexplained = unexplained
        self._bundle = validated.bundle
        self.manifest = validated.bundle.manifest
        self._policy = policy
        self._full_lock = threading.Lock()
        self._explained_lock = threading.Lock()
        self._explained_session: ExplainedSession | None = None
        self.classifies = self.manifest.task == pb.TASK_CLASSIFICATION
        """Whether it has classes, and not only feature maps."""
        self.sums_to_one = self.classifies and self.manifest.activation == pb.ACTIVATION_SOFTMAX
        """Whether the probabilities of an input have a sum of 1."""
        self.execution = execution
        self._session = open_plain(execution.threads)
        self._single_session = open_plain(execution.lone_threads)
        self._full_session = None if self.classifies else self._single_session
        self.provider = self._session.provider
        self.fallback_from = self._session.fallback_from or fallback_from
        self.nodes = self._session.nodes
        self.on_gpu = self._session.on_gpu
        self.compute_precision = self._session.compute_precision
        """The precision of FP32 operations in a plain session, such as "fp32" or "bf16"."""
        self._pending_engine = pending_engine
        self._graph_bytes = len(validated.plain_graph)

    def run(
        self,
        inputs: NDArray[np.generic],
        *,
        feature_maps: Sequence[str] = (),
        logits: bool = False,
        concurrent: bool = False,
    ) -> ModelOutput:
        """Run a batch.

        Args:
            inputs: The graph's input, [n, ...].
            feature_maps: The names of the feature maps to compute.
            logits: Whether to return the logits of a classifier.
            concurrent: Whether other batches run at the same time, or are about to.

        Raises:
            BundleRejectedError: The session with feature maps can't be opened.
            Exception: The session could not run.
        """
        names = list(feature_maps)
        if self.classifies:
            names += [PROBABILITIES, LOGITS] if logits else [PROBABILITIES]
        values: dict[str, Floats] = {}
        if names:
            session = self._session if concurrent else self._single_session
            arrays = (self._full() if feature_maps else session).run(names, inputs)
            values = dict(zip(names, arrays, strict=True))
        probabilities, found_logits = values.pop(PROBABILITIES, None), values.pop(LOGITS, None)
        if probabilities is None:
            probabilities = np.empty((len(inputs), 0), np.float32)
        return ModelOutput(probabilities, values, found_logits)

    def explain(
        self,
        inputs: NDArray[np.generic],
        classes: NDArray[np.int64],
        *,
        tensor: bool = False,
        feature_maps: Sequence[str] = (),
    ) -> ModelOutput:
        """Run a batch with explanations; feature maps take a run of their own session.

        Args:
            inputs: The graph's input, [n, ...].
            classes: The classes to explain, [n, T]: an index, or -1 for the best class, -2 for
                the second etc.
            tensor: Whether to return the tensor whose positions the heat has.
            feature_maps: The names of the feature maps to compute.

        Raises:
            BundleRejectedError: A session can't be opened.
            Exception: A session could not run.
        """
        probabilities, logits, heat = self._explained().run(inputs, classes, tensor=tensor)
        maps: dict[str, Floats] = {}
        if feature_maps:
            maps = dict(zip(feature_maps, self._full().run(feature_maps, inputs), strict=True))
        return ModelOutput(probabilities, maps, logits, heat)

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of its feature maps."""
        return tuple(spec.name for spec in self.manifest.feature_maps)

    @property
    def is_outdated(self) -> bool:
        """Whether the same files can now be loaded on a better provider."""
        return self._pending_engine is not None and self._pending_engine.is_built

    @property
    def awaits_engine(self) -> bool:
        """Whether another provider serves as the fallback until an engine is built."""
        return self._pending_engine is not None and not self._pending_engine.build_ended.is_set()

    @property
    def has_feature_map_session(self) -> bool:
        """Whether the session with feature maps is open."""
        return self._full_session is not None

    @property
    def has_explained_session(self) -> bool:
        """Whether the session with explanations is open."""
        return self._explained_session is not None

    @property
    def memory_bytes(self) -> int:
        """The approximate memory of its sessions."""
        optional = (self._full_session, self._explained_session)
        sessions = {id(s) for s in (self._session, self._single_session, *optional) if s}
        return memory_bytes(self._graph_bytes, len(sessions))

    def load_feature_maps(self) -> None:
        """Open the session with feature maps now, so that no request waits for it.

        Raises:
            BundleRejectedError: The graph's bytes changed on disk, or can't run.
        """
        self._full()

    def load_explanations(self) -> None:
        """Open the session with explanations now, so that no request waits for it.

        Raises:
            BundleRejectedError: The graph's bytes changed on disk, or can't run.
        """
        self._explained()

    def _explained(self) -> ExplainedSession:
        if self._explained_session is not None:
            return self._explained_session
        with self._explained_lock:
            if self._explained_session is None:
                # With all cores for each run, concurrent ones cost a fifth more CPU time.
                self._explained_session = open_explained(
                    self._bundle, self._policy, self.execution.threads
                )
            return self._explained_session

    def _full(self) -> Session:
        if self._full_session is not None:
            return self._full_session
        with self._full_lock:
            if self._full_session is None:
                with translate_bundle_errors():
                    graph = self._bundle.read_graph()
                if self.manifest.HasField("explanation"):
                    outputs = without_heat(self.manifest, feature_maps=True)
                    graph = cut(graph, self.manifest.input.name, outputs)
                self._full_session = open_session(
                    graph,
                    self._policy.for_graph_without_engine().in_fp32(),
                    self.execution.lone_threads,
                )
            return self._full_session
