"""One version of a model: its sessions, and the arrays that they return."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import translate_bundle_errors
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.providers import Engine, ProviderPolicy, Session, open_session
from convscope.server.runtime.validation import ValidatedBundle
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Model", "ModelOutput", "memory_bytes"]

Floats = NDArray[np.float32]
OpenSession = Callable[[int], Session]

PROBABILITIES, LOGITS = "probabilities", "logits"


def memory_bytes(graph_bytes: int, sessions: int = 1) -> int:
    """Estimate the memory of a version; each session has the weights twice, plain and packed."""
    return 2 * sessions * graph_bytes


class ModelOutput(NamedTuple):
    """The arrays that a model computes for a batch of n inputs.

    Args:
        probabilities: float32 [n, classes]; without classes, [n, 0].
        feature_maps: By name, float32 [n, channels, height, width].
        logits: float32 [n, classes], if they were requested.
    """

    probabilities: Floats
    feature_maps: Mapping[str, Floats]
    logits: Floats | None


class Model:
    """Runs one version. Safe to call from several threads.

    ONNX Runtime computes every output of a graph, requested or not. So there are
    plain sessions, whose graph has no feature maps, and one session with all
    feature maps, which is opened on first use. A run without other runs gets more
    threads than one of several, so there may be two plain sessions.

    Args:
        validated: The version's files, after validation.
        policy: Which providers its sessions may use.
        open_plain: Opens its plain session with a number of threads; the same one for
            the same number.
        execution: How it is run.
        pending_engine: The engine that is being built while another provider
            serves as the fallback; None if no engine is being built.

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
    ) -> None:
        self._bundle = validated.bundle
        self.manifest = validated.bundle.manifest
        self._policy = policy
        self._full_lock = threading.Lock()
        self._classifies = self.manifest.task == pb.TASK_CLASSIFICATION
        self.sums_to_one = self._classifies and self.manifest.activation == pb.ACTIVATION_SOFTMAX
        """Whether the probabilities of an input have a sum of 1."""
        self.execution = execution
        self._session = open_plain(execution.threads)
        self._single_session = open_plain(execution.lone_threads)
        self._full_session = None if self._classifies else self._single_session
        self.provider = self._session.provider
        self.fallback_from = self._session.fallback_from
        self.nodes = self._session.nodes
        self.on_gpu = self._session.on_gpu
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
        if self._classifies:
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
    def memory_bytes(self) -> int:
        """The approximate memory of its sessions."""
        sessions = {id(s) for s in (self._session, self._single_session, self._full_session) if s}
        return memory_bytes(self._graph_bytes, len(sessions))

    def load_feature_maps(self) -> None:
        """Open the session with feature maps now, so that no request waits for it.

        Raises:
            BundleRejectedError: The graph's bytes changed on disk, or can't run.
        """
        self._full()

    def _full(self) -> Session:
        if self._full_session is not None:
            return self._full_session
        with self._full_lock:
            if self._full_session is None:
                with translate_bundle_errors():
                    graph = self._bundle.read_graph()
                self._full_session = open_session(
                    graph,
                    self._policy.for_graph_without_engine(),
                    self.execution.lone_threads,
                )
            return self._full_session
