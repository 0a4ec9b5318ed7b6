"""One version of a model: its sessions, and what a batch of work comes to."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.server.bundle import Bundle
from convscope.server.graph import check_graph, parse_graph, without_feature_maps
from convscope.server.providers import ProviderPolicy, open_session, provider_in_use
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Model", "Output", "Work"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Work:
    """A few inputs that want the same outputs.

    Args:
        inputs: The graph's input, [n, ...].
        feature_maps: The names of the feature maps that are wanted.
    """

    inputs: NDArray[np.generic]
    feature_maps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What the graph says of the inputs of one piece of work.

    Args:
        probabilities: float32 [n, classes]; without classes, [n, 0].
        feature_maps: For each wanted name, float32 [n, channels, height, width].
    """

    probabilities: Floats
    feature_maps: Mapping[str, Floats]


class Model:
    """Runs one version. Safe to call from several threads.

    ONNX Runtime computes every output of a graph, asked for or not, so there
    are two sessions: a plain one, whose graph has no feature maps, and one with
    all of them, made when first needed.

    Args:
        bundle: Where the version lies.
        policy: What its sessions may run on.

    Raises:
        BundleRefusedError: The graph is not the manifest's, or can't run.
    """

    def __init__(self, bundle: Bundle, policy: ProviderPolicy) -> None:
        self.manifest = bundle.manifest
        self._bundle = bundle
        self._policy = policy
        self._lock = threading.Lock()
        self._classifies = self.manifest.task == pb.TASK_CLASSIFICATION
        data = bundle.read_graph()
        graph = parse_graph(data)
        check_graph(graph, self.manifest)
        plain = without_feature_maps(graph, self.manifest) if self._classifies else data
        self._plain_session = open_session(plain, policy)
        self._full_session = None if self._classifies else self._plain_session
        self.provider = provider_in_use(self._plain_session)

    def run(self, batch: Sequence[Work]) -> list[Output | Exception]:
        """Run a batch; each kind of session once, whatever the batch mixes.

        Returns:
            For each piece of work its output, or why the session that it needs
            could not run; the others are not concerned.
        """
        plain = [index for index, work in enumerate(batch) if not work.feature_maps]
        full = [index for index, work in enumerate(batch) if work.feature_maps]
        outputs: dict[int, Output | Exception] = {}
        for indices, run in ((plain, self._run_plain), (full, self._run_full)):
            if indices:
                try:
                    outputs.update(zip(indices, run([batch[i] for i in indices]), strict=True))
                except Exception as error:  # noqa: BLE001 - of these only
                    outputs.update(dict.fromkeys(indices, error))
        return [outputs[index] for index in range(len(batch))]

    def run_one(self, work: Work) -> Output:
        """Run one piece of work.

        Raises:
            Exception: Why its session could not run.
        """
        (output,) = self.run([work])
        if isinstance(output, Exception):
            raise output
        return output

    def load_feature_maps(self) -> None:
        """Make the session with feature maps now, so that no request waits for it.

        Raises:
            BundleRefusedError: The graph's bytes changed on disk, or can't run.
        """
        with self._lock:
            if self._full_session is None:
                self._full_session = open_session(self._bundle.read_graph(), self._policy)

    def _run_plain(self, batch: Sequence[Work]) -> list[Output]:
        inputs = _concatenate(batch)
        if not self._classifies:  # nothing was asked for, and there are no classes
            return [_without_classes(work, {}) for work in batch]
        (probabilities,) = self._plain_session.run(
            ["probabilities"], {self.manifest.input.name: inputs}
        )
        return [Output(rows, {}) for rows in _split(probabilities, batch)]

    def _run_full(self, batch: Sequence[Work]) -> list[Output]:
        self.load_feature_maps()
        session = self._full_session
        if session is None:
            raise RuntimeError("the session with feature maps was not made")
        names = sorted({name for work in batch for name in work.feature_maps})
        heads = ["probabilities"] if self._classifies else []
        arrays = session.run(heads + names, {self.manifest.input.name: _concatenate(batch)})
        by_name = {
            name: _split(array, batch) for name, array in zip(heads + names, arrays, strict=True)
        }
        outputs = []
        for index, work in enumerate(batch):
            maps = {name: by_name[name][index] for name in work.feature_maps}
            outputs.append(
                Output(by_name["probabilities"][index], maps)
                if self._classifies
                else _without_classes(work, maps)
            )
        return outputs


def _concatenate(batch: Sequence[Work]) -> NDArray[np.generic]:
    if len(batch) == 1:
        return batch[0].inputs
    return np.concatenate([work.inputs for work in batch])


def _split(array: Floats, batch: Sequence[Work]) -> list[Floats]:
    """Cut the rows of a batch apart again, without a copy."""
    if len(batch) == 1:
        return [array]
    ends = np.cumsum([len(work.inputs) for work in batch])
    return np.split(array, ends[:-1])


def _without_classes(work: Work, feature_maps: Mapping[str, Floats]) -> Output:
    return Output(np.empty((len(work.inputs), 0), np.float32), feature_maps)
