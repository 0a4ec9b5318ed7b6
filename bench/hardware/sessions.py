"""Sessions in this process, and how far the results of two of them differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bench.hardware.bundles import Tested
from convscope.server.runtime.cores import available_cores
from convscope.server.runtime.graph import cut
from convscope.server.runtime.providers import CPU, ON_GPU, PROVIDERS, ProviderPolicy
from convscope.server.runtime.providers.cuda import load_libraries, why_not_started
from convscope.server.runtime.providers.session import Session, open_session
from convscope.server.runtime.validated import plain_graph

__all__ = ["differences", "graph_with_maps", "open_as_server", "open_raw"]

Arrays = Sequence[NDArray[np.generic]]


def graph_with_maps(tested: Tested) -> bytes:
    """Return the graph with classes and feature maps, without the explanation."""
    manifest, data = tested.bundle.manifest, tested.bundle.read_graph()
    return cut(data, manifest.input.name, tested.outputs) if tested.classifies else data


def open_as_server(
    graph: bytes,
    provider: str,
    options: Mapping[str, str] | None = None,
    *,
    allow_fallback: bool = False,
) -> Session:
    """Open a session as the server does.

    Raises:
        BundleRejectedError: The provider can't run the whole graph, and no fallback is allowed.
    """
    policy = ProviderPolicy((provider,), allow_fallback, {provider: options or {}})
    return open_session(graph, policy, available_cores() if provider == CPU else 1)


def open_raw(tested: Tested, provider: str, graph: bytes | None = None) -> ort.InferenceSession:
    """Open ONNX Runtime's own session, which is what a program without a server would use.

    Args:
        tested: The bundle.
        provider: The short name of the provider.
        graph: Another graph than the bundle's.

    Raises:
        RuntimeError: The provider does not start.
    """
    if provider in ON_GPU:
        load_libraries()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = available_cores() if provider == CPU else 1
    data = graph or plain_graph(tested.bundle.read_graph(), tested.bundle.manifest)
    session = ort.InferenceSession(
        data, options, providers=[PROVIDERS[provider]], enable_fallback=0
    )
    if PROVIDERS[provider] not in session.get_providers():
        raise RuntimeError(f"{provider} does not start; {why_not_started(provider)}")
    return session


def differences(names: Sequence[str], found: Arrays, expected: Arrays) -> dict[str, Any]:
    """Return the largest difference of each output, relative to the largest expected value."""
    outputs = {}
    for name, one, other in zip(names, found, expected, strict=True):
        a, b = one.astype(np.float64), other.astype(np.float64)
        scale = float(np.abs(b).max()) or 1.0
        outputs[name] = float(np.abs(a - b).max()) / scale if np.isfinite(a).all() else None
    finite = [value for value in outputs.values() if value is not None]
    report: dict[str, Any] = {
        "finite": len(finite) == len(outputs),
        "largest": max(finite, default=None),
        "outputs": outputs,
    }
    if "logits" in names:
        place = list(names).index("logits")
        same = found[place].argmax(1) == expected[place].argmax(1)
        report["same_top_class"] = float(same.mean())
    return report
