"""The golden file: a few inputs, and the reference outputs for them.

    input_0, input_1, …        uint8 [bytes], an encoded image; or the float32 tensor itself
    logits, probabilities      float32 [n, K], of a classifier
    feature_map_means/NAME     float32 [n, channels]
    heat/-1                    float32 [n, positions...], of the best class, if the graph has heat

Channel means are small enough to travel and enough to detect a wrong feature map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden_archive import GoldenArchive
from convscope.bundle.layout import GOLDEN
from convscope.v1 import manifest_pb2 as pb

__all__ = ["HEAT", "Golden", "golden_arrays", "parse_golden"]

HEAT = "heat/-1"


@dataclass(frozen=True, slots=True)
class Golden:
    """The content of a golden file, checked against the manifest.

    Args:
        inputs: uint8 [bytes] of each encoded image, or float32 tensors of the
            input's shape.
        probabilities: float32 [n, K]; None for a model without classes.
        feature_map_means: float32 [n, channels] of each feature map.
        heat: float32 [n, positions...] of the best class; None for a model without
            explanations.
    """

    inputs: tuple[NDArray[np.generic], ...]
    probabilities: NDArray[np.float32] | None
    feature_map_means: Mapping[str, NDArray[np.float32]]
    heat: NDArray[np.float32] | None = None


def golden_arrays(
    inputs: Sequence[bytes | NDArray[np.float32]],
    outputs: Mapping[str, NDArray[np.float32]],
    heat: NDArray[np.float32] | None = None,
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a golden file.

    Args:
        inputs: The inputs: encoded images, or tensors as the graph takes them.
        outputs: The reference outputs for them, maybe with further rows: [n, K]
            under "logits" and "probabilities", [n, C, H, W] under the names of
            feature maps.
        heat: The reference heat of the best classes, [n, positions...], maybe with
            further rows.
    """
    count = len(inputs)
    arrays: dict[str, NDArray[np.generic]] = {
        _input_name(index): np.frombuffer(one, np.uint8) if isinstance(one, bytes) else one
        for index, one in enumerate(inputs)
    }
    for name, values in outputs.items():
        if name in ("logits", "probabilities"):
            arrays[name] = values[:count]
        else:
            arrays[_means_name(name)] = values[:count].mean(axis=(2, 3))
    if heat is not None:
        arrays[HEAT] = heat[:count]
    return arrays


def parse_golden(data: bytes, manifest: pb.ModelManifest) -> Golden:
    """Parse the bytes of golden.npz.

    Args:
        data: The bytes, which have the manifest's hash.
        manifest: A manifest that passed `check_manifest`.

    Raises:
        BundleRejectedError: They aren't plain arrays, or not those that the
            manifest calls for.
    """
    arrays, count = GoldenArchive(data), manifest.golden.inputs
    classifies = manifest.task == pb.TASK_CLASSIFICATION
    shape = (count, len(manifest.labels))
    return Golden(
        inputs=tuple(_input(arrays, index, manifest.input) for index in range(count)),
        probabilities=_outputs(arrays, "probabilities", shape) if classifies else None,
        feature_map_means={
            spec.name: _outputs(arrays, _means_name(spec.name), (count, spec.channels))
            for spec in manifest.feature_maps
        },
        heat=(
            _outputs(arrays, HEAT, (count, *manifest.explanation.positions))
            if manifest.HasField("explanation")
            else None
        ),
    )


def _input(arrays: GoldenArchive, index: int, spec: pb.InputSpec) -> NDArray[np.generic]:
    with arrays.open(_input_name(index)) as stored:
        image = spec.kind == pb.INPUT_KIND_IMAGE
        dtype = np.uint8 if image else np.float32
        fits = len(stored.shape) == 1 if image else stored.shape == tuple(spec.shape)
        if stored.dtype != dtype or not fits:
            expected = "uint8 [bytes], an encoded image" if image else f"float32 {[*spec.shape]}"
            raise _wrong(f"golden input {index} is {stored.dtype} {[*stored.shape]}", expected)
        return stored.read()


def _outputs(arrays: GoldenArchive, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    with arrays.open(name) as stored:
        found = f"{GOLDEN} has {stored.dtype} {list(stored.shape)} for {name!r}"
        if not np.issubdtype(stored.dtype, np.floating) or stored.shape != shape:
            raise _wrong(found, f"float32 {list(shape)}")
        array = stored.read()
    with np.errstate(over="ignore"):  # becomes infinite, which is rejected below
        values = np.asarray(array, np.float32)
    if not np.isfinite(values).all():
        raise _wrong(f"{GOLDEN} has values for {name!r} that are not finite", "finite numbers")
    return values


def _wrong(found: str, expected: str) -> BundleRejectedError:
    return BundleRejectedError(
        "golden", f"{found}; the manifest calls for {expected}; export the bundle again"
    )


def _input_name(index: int) -> str:
    return f"input_{index}"


def _means_name(feature_map: str) -> str:
    return f"feature_map_means/{feature_map}"
