"""The session that explains classes: the graph with heat, but without feature maps."""

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.reader import Bundle
from convscope.server.errors import BundleRejectedError, translate_bundle_errors
from convscope.server.runtime.graph import (
    CLASSES,
    HEAT,
    HEAT_CLASSES,
    LOGITS,
    PROBABILITIES,
    cut,
)
from convscope.server.runtime.providers import ProviderPolicy
from convscope.server.runtime.providers.session import Session, open_session
from convscope.v1 import manifest_pb2 as pb

__all__ = ["BEST", "ExplainedSession", "Heat", "open_explained"]

Floats = NDArray[np.float32]

# The best class, as the graph's input `classes` states it; -2 is the second etc.
BEST = -1


class Heat(NamedTuple):
    """What explains the classes of n inputs.

    Args:
        values: Signed Grad-CAM of each class, float32 [n, T, positions...].
        classes: The index of each class, int64 [n, T].
        tensor: The tensor whose positions the heat has, float32 [n, channels, positions...],
            if it was requested.
    """

    values: Floats
    classes: NDArray[np.int64]
    tensor: Floats | None


class ExplainedSession:
    """A session with explanations. Safe to run from several threads.

    Args:
        session: The session.
        images: The name of the graph's input.
        spec: The tensor whose positions the heat has.
    """

    def __init__(self, session: Session, images: str, spec: pb.ExplanationSpec) -> None:
        self._session = session
        self._images = images
        self._tensor = spec.tensor
        self._channels_first = (spec.channels, *spec.positions)

    def run(
        self, inputs: NDArray[np.generic], classes: NDArray[np.int64], *, tensor: bool = False
    ) -> tuple[Floats, Floats, Heat]:
        """Run a batch.

        Args:
            inputs: The graph's input, [n, ...].
            classes: The classes to explain, [n, T].
            tensor: Whether to return the tensor whose positions the heat has.

        Returns:
            The probabilities and the logits, float32 [n, classes] each, and the heat.
        """
        names = [PROBABILITIES, LOGITS, HEAT, HEAT_CLASSES, *([self._tensor] if tensor else [])]
        feeds = {self._images: inputs, CLASSES: classes}
        probabilities, logits, heat, chosen, *rest = self._session.run_with(names, feeds)
        found = Heat(
            cast("Floats", heat),
            cast("NDArray[np.int64]", chosen),
            self._as_channels_first(rest[0]) if rest else None,
        )
        return cast("Floats", probabilities), cast("Floats", logits), found

    def _as_channels_first(self, tensor: NDArray[np.generic]) -> Floats:
        """Convert the tensor, which may have its channels last, and another float type."""
        if tensor.shape[1:] != self._channels_first:
            tensor = np.moveaxis(tensor, -1, 1)
        return tensor.astype(np.float32, copy=False)


def open_explained(bundle: Bundle, policy: ProviderPolicy, threads: int) -> ExplainedSession:
    """Open the session with explanations of a bundle that has them.

    The heat's nodes also compute shapes, from the number of classes, which a GPU's provider
    leaves to the CPU. So the preferred provider need not run all nodes, even if the policy is
    strict, but it must run the network. It computes in FP32, because heat is a difference of large
    terms.

    Args:
        bundle: The bundle.
        policy: Which providers the session may use.
        threads: Threads of one run on the CPU.

    Raises:
        BundleRejectedError: The graph's bytes changed on disk, or no provider can run it.
    """
    policy = policy.for_graph_without_engine().in_fp32()
    wanted = next(name for name in policy.preference if name != policy.deferred)
    if wanted == "tensorrt":
        raise BundleRejectedError(
            "provider",
            "TensorRT would build an engine for the explanations, which takes minutes; add cuda "
            "to the providers, and explanations run there",
        )
    spec = bundle.manifest.explanation
    with translate_bundle_errors():
        graph = bundle.read_graph()
    images = bundle.manifest.input.name
    graph = cut(graph, images, [LOGITS, PROBABILITIES, HEAT, HEAT_CLASSES, spec.tensor])
    session = open_session(graph, policy.with_small_nodes_on_cpu(), threads)
    if not policy.allow_fallback and wanted not in session.provider.split("+"):
        raise BundleRejectedError(
            "provider", f"{wanted} can't run the graph with explanations; allow the fallback"
        )
    return ExplainedSession(session, images, spec)
