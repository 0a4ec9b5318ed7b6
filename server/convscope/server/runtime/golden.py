"""The golden gate: a version answers its golden inputs as PyTorch did, or isn't served.

The inputs go the whole way that a request's go, from the encoded bytes through
this server's decoder to the provider in real use, so a difference anywhere
between training and serving shows before the first request.
"""

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import BundleRejectedError, InvalidInputError
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.repository.bundle import Bundle
from convscope.server.runtime.model import BatchItem, BatchOutput, Model
from convscope.v1 import manifest_pb2 as pb

__all__ = ["check_golden"]

# Scaled decoding and another order of additions move a channel's mean a little.
FEATURE_MAP_TOLERANCE = 0.05

_DTYPES = {pb.DATA_TYPE_UINT8: "uint8", pb.DATA_TYPE_FLOAT32: "float32"}


def check_golden(
    model: Model, bundle: Bundle, preprocessor: Preprocessor | None, *, feature_maps: bool
) -> None:
    """Replay the golden inputs and compare with what PyTorch gave for them.

    Args:
        model: The version, on the provider that will serve it.
        bundle: Where the golden inputs and outputs lie.
        preprocessor: The way of an encoded image; None for tensor inputs.
        feature_maps: Whether to compare the feature maps too.

    Raises:
        BundleRejectedError: An answer isn't finite or differs by more than the
            manifest allows, or the golden file isn't complete.
    """
    manifest = bundle.manifest
    golden = bundle.read_golden()
    names = tuple(spec.name for spec in manifest.feature_maps) if feature_maps else ()
    try:
        outputs = [
            model.run_one(
                BatchItem(_golden_input(golden, index, preprocessor, manifest.input), names)
            )
            for index in range(manifest.golden.inputs)
        ]
        if manifest.task == pb.TASK_CLASSIFICATION:
            _compare_probabilities(outputs, _stored(golden, "probabilities"), manifest)
        for name in names:
            _compare_feature_map(name, outputs, _stored(golden, f"feature_map_means/{name}"))
    except KeyError as error:
        raise BundleRejectedError("golden", f"golden.npz lacks {error.args[0]!r}") from error
    except InvalidInputError as error:
        raise BundleRejectedError("golden", f"a golden input is refused: {error}") from error


def _golden_input(
    golden: dict[str, NDArray[np.generic]],
    index: int,
    preprocessor: Preprocessor | None,
    spec: pb.InputSpec,
) -> NDArray[np.generic]:
    stored = golden[f"input_{index}"]
    dtype, shape = np.dtype(_DTYPES[spec.dtype]), tuple(spec.shape)
    ready = preprocessor.decode(stored.tobytes()) if preprocessor else stored
    if ready.dtype != dtype or ready.shape != shape:
        raise BundleRejectedError(
            "golden",
            f"golden input {index} is {ready.dtype} {list(ready.shape)}, "
            f"the model takes {dtype} {list(shape)}",
        )
    return ready[np.newaxis]


def _stored(golden: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.generic]:
    values = golden[name]
    if not np.issubdtype(values.dtype, np.floating):
        raise BundleRejectedError("golden", f"golden.npz has {values.dtype} for {name!r}")
    return values


def _compare_probabilities(
    outputs: list[BatchOutput], expected: NDArray[np.generic], manifest: pb.ModelManifest
) -> None:
    found = np.concatenate([output.probabilities for output in outputs])  # [n, classes]
    if found.shape != expected.shape:
        raise BundleRejectedError(
            "golden", f"golden probabilities are {expected.shape}, the graph's {found.shape}"
        )
    if not np.isfinite(found).all():
        raise BundleRejectedError("golden", "the graph's probabilities are not finite")
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours.argmax() != theirs.argmax():
            raise BundleRejectedError(
                "golden",
                f"golden input {index} is {manifest.labels[int(ours.argmax())]!r} here and was "
                f"{manifest.labels[int(theirs.argmax())]!r} in PyTorch",
            )
    difference = float(np.abs(found - expected).max())
    tolerance = manifest.golden.probability_tolerance
    if not difference <= tolerance:
        raise BundleRejectedError(
            "golden",
            f"a golden probability differs by {difference:.4f}; at most {tolerance:.4f} is allowed",
        )


def _compare_feature_map(
    name: str, outputs: list[BatchOutput], expected: NDArray[np.generic]
) -> None:
    maps = np.concatenate([output.feature_maps[name] for output in outputs])
    means = maps.mean(axis=(2, 3))  # [n, channels]
    if means.shape != expected.shape or not np.isfinite(means).all():
        raise BundleRejectedError(
            "golden",
            f"the channel means of {name!r} are not finite, or {list(means.shape)} where "
            f"golden.npz has {list(expected.shape)}",
        )
    difference = float(np.abs(means - expected).max())
    largest = float(np.abs(expected).max())
    # Not `>`: that would let NaN pass.
    if not difference <= FEATURE_MAP_TOLERANCE * largest:
        raise BundleRejectedError(
            "golden",
            f"a channel mean of {name!r} differs by {difference:.4g}; the largest is "
            f"{largest:.4g}, and at most {FEATURE_MAP_TOLERANCE:.0%} of it is allowed",
        )
