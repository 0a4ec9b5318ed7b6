"""One version of a model: its sessions, and what a batch of work comes to."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import translate_bundle_errors
from convscope.server.inference.ranking import entropy_ratios, rank
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.providers import Engine, ProviderPolicy, Session, open_session
from convscope.server.runtime.validation import ValidatedBundle
from convscope.v1 import manifest_pb2 as pb

__all__ = ["BatchItem", "BatchOutput", "Model", "memory_bytes"]

Floats = NDArray[np.float32]
ChooseExecution = Callable[[Callable[[int], Session]], Execution]

_PROBABILITIES = ["probabilities"]
_BOTH = ["probabilities", "logits"]


def memory_bytes(graph_bytes: int, sessions: int = 1) -> int:
    """Estimate what a version takes: each session has the weights twice, plain and packed."""
    return 2 * sessions * graph_bytes


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A few inputs that want the same outputs.

    Args:
        inputs: The graph's input, [n, ...].
        feature_maps: The names of the feature maps that are wanted.
        top_k: How many classes are wanted.
        logits: Whether the logits are wanted.
    """

    inputs: NDArray[np.generic]
    feature_maps: tuple[str, ...] = ()
    top_k: int = 0
    logits: bool = False


@dataclass(frozen=True, slots=True)
class BatchOutput:
    """What the graph says of the inputs of one piece of work.

    Args:
        probabilities: float32 [n, classes]; without classes, [n, 0].
        feature_maps: For each wanted name, float32 [n, channels, height, width].
        classes: For each input the indices of the best classes, the best first;
            at least one, if there are any.
        scores: The probabilities of these classes.
        entropy_ratios: How undecided each input is, 0 to 1; empty unless the
            probabilities of an input have a sum of 1.
        logits: float32 [n, classes] if some work of the batch wanted them.
    """

    probabilities: Floats
    feature_maps: Mapping[str, Floats]
    classes: Sequence[Sequence[int]] = ()
    scores: Sequence[Sequence[float]] = ()
    entropy_ratios: Sequence[float] = ()
    logits: Floats | None = None


class Model:
    """Runs one version. Safe to call from several threads.

    ONNX Runtime computes every output of a graph, asked for or not, so there
    are plain sessions, whose graph has no feature maps, and one with all of
    them, made when first needed. A run that is alone gets more threads than one
    of several, and so there may be two plain sessions.

    Args:
        inspected: The version's files, checked.
        policy: What its sessions may run on.
        choose: Chooses how it is run, given a way to open its plain session
            with a number of threads.
        awaited: The engine that is built while another provider stands in;
            None for a version that is run as it is to be.

    Raises:
        BundleRejectedError: The graph can't run.
    """

    def __init__(
        self,
        inspected: ValidatedBundle,
        policy: ProviderPolicy,
        choose: ChooseExecution,
        awaited: Engine | None = None,
    ) -> None:
        self._bundle = inspected.bundle
        self.manifest = inspected.bundle.manifest
        self._policy = policy
        self._full_lock = threading.Lock()
        self._classifies = self.manifest.task == pb.TASK_CLASSIFICATION
        self._one_of_all = self.manifest.activation == pb.ACTIVATION_SOFTMAX
        # Opened at most once for each number of threads, by the choice or here.
        open_plain = cache(partial(open_session, inspected.plain_graph, policy))
        self.execution = choose(open_plain)
        self._session = open_plain(self.execution.threads)
        self._lone_session = open_plain(self.execution.lone_threads)
        self._full_session = None if self._classifies else self._lone_session
        self.provider = self._session.provider
        self.fallback_from = self._session.fallback_from
        self.nodes = self._session.nodes
        self._awaited = awaited
        self._graph_bytes = len(inspected.plain_graph)

    def run(
        self, batch: Sequence[BatchItem], *, concurrent: bool = False
    ) -> list[BatchOutput | Exception]:
        """Run a batch; each kind of session once, whatever the batch mixes.

        Args:
            batch: What is run.
            crowded: Whether other batches run at the same time, or are about to.

        Returns:
            For each piece of work its output, or why the session that it needs
            could not run; the others are not concerned.
        """
        run_plain = partial(self._run_plain, self._session if concurrent else self._lone_session)
        plain = [index for index, work in enumerate(batch) if not work.feature_maps]
        if len(plain) == len(batch):
            return _or_error(run_plain, batch)
        full = [index for index, work in enumerate(batch) if work.feature_maps]
        outputs: dict[int, BatchOutput | Exception] = {}
        for indices, run in ((plain, run_plain), (full, self._run_full)):
            if indices:
                part = _or_error(run, [batch[i] for i in indices])
                outputs.update(zip(indices, part, strict=True))
        return [outputs[index] for index in range(len(batch))]

    def run_one(self, work: BatchItem) -> BatchOutput:
        """Run one piece of work.

        Raises:
            Exception: Why its session could not run.
        """
        (output,) = self.run([work])
        if isinstance(output, Exception):
            raise output
        return output

    @property
    def is_outdated(self) -> bool:
        """Whether the same files can be loaded on a better provider by now."""
        return self._awaited is not None and self._awaited.is_built

    @property
    def awaits_engine(self) -> bool:
        """Whether another provider stands in only until an engine is built."""
        return self._awaited is not None and not self._awaited.build_ended.is_set()

    @property
    def has_feature_map_session(self) -> bool:
        """Whether the session with feature maps was made."""
        return self._full_session is not None

    @property
    def memory_bytes(self) -> int:
        """Roughly what its sessions take."""
        sessions = {id(s) for s in (self._session, self._lone_session, self._full_session) if s}
        return memory_bytes(self._graph_bytes, len(sessions))

    def load_feature_maps(self) -> None:
        """Make the session with feature maps now, so that no request waits for it.

        Raises:
            BundleRejectedError: The graph's bytes changed on disk, or can't run.
        """
        if self._full_session is not None:
            return
        with self._full_lock:
            if self._full_session is None:
                with translate_bundle_errors():
                    graph = self._bundle.read_graph()
                self._full_session = open_session(
                    graph,
                    self._policy.for_graph_without_engine(),
                    self.execution.lone_threads,
                )

    def _run_plain(self, session: Session, batch: Sequence[BatchItem]) -> list[BatchOutput]:
        inputs = _concatenate(batch)
        if not self._classifies:  # nothing was asked for, and there are no classes
            return _outputs(batch, {"probabilities": _no_classes(batch)}, False)
        names = _heads(batch)
        arrays = session.run(names, inputs)
        return _outputs(batch, dict(zip(names, arrays, strict=True)), self._one_of_all)

    def _run_full(self, batch: Sequence[BatchItem]) -> list[BatchOutput]:
        self.load_feature_maps()
        session = self._full_session
        if session is None:
            raise RuntimeError("the session with feature maps was not made")
        names = sorted({name for work in batch for name in work.feature_maps})
        names += _heads(batch) if self._classifies else []
        arrays = session.run(names, _concatenate(batch))
        values = dict(zip(names, arrays, strict=True))
        if not self._classifies:
            values["probabilities"] = _no_classes(batch)
        return _outputs(batch, values, self._classifies and self._one_of_all)


def _or_error(
    run: Callable[[Sequence[BatchItem]], list[BatchOutput]], batch: Sequence[BatchItem]
) -> list[BatchOutput | Exception]:
    try:
        return list(run(batch))
    except Exception as error:  # noqa: BLE001 - each caller is told
        return [error] * len(batch)


def _concatenate(batch: Sequence[BatchItem]) -> NDArray[np.generic]:
    if len(batch) == 1:
        return batch[0].inputs
    return np.concatenate([work.inputs for work in batch])


def _no_classes(batch: Sequence[BatchItem]) -> Floats:
    return np.empty((sum(len(work.inputs) for work in batch), 0), np.float32)


def _heads(batch: Sequence[BatchItem]) -> list[str]:
    return _BOTH if any(work.logits for work in batch) else _PROBABILITIES


def _outputs(
    batch: Sequence[BatchItem], values: Mapping[str, Floats], one_of_all: bool
) -> list[BatchOutput]:
    """Cut the rows of a batch apart again, without a copy of any array.

    Args:
        batch: What was run.
        values: By the output's name, float32 [N, ...], N over all of the batch.
        one_of_all: Whether each row of probabilities has a sum of 1.
    """
    probabilities, logits = values["probabilities"], values.get("logits")
    classes, scores = rank(probabilities, max(1, *(work.top_k for work in batch)))
    entropies = entropy_ratios(probabilities) if one_of_all else ()
    outputs, start = [], 0
    for work in batch:
        rows = slice(start, start + len(work.inputs))
        outputs.append(
            BatchOutput(
                probabilities[rows],
                {name: values[name][rows] for name in work.feature_maps},
                classes[rows],
                scores[rows],
                entropies[rows],
                None if logits is None else logits[rows],
            )
        )
        start = rows.stop
    return outputs
