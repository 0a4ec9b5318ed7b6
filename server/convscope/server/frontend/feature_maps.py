"""Checks the feature maps that a request selects, and computes their size."""

from collections.abc import Sequence

import numpy as np

from convscope.bundle.suggestions import it_has
from convscope.server.errors import InvalidInputError
from convscope.server.frontend.tensors import DTYPES
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["check_selections"]


def check_selections(
    selections: Sequence[pb.FeatureMapSelection],
    inputs: int,
    manifest: mpb.ModelManifest,
    max_bytes: int,
) -> int:
    """Check the selected feature maps, and that they will not be too large.

    Args:
        selections: The feature maps of each input.
        inputs: The number of inputs.
        manifest: The manifest of the version.
        max_bytes: The limit of one reply.

    Returns:
        Their size in bytes.

    Raises:
        InvalidInputError: A selection is invalid, or they would exceed `max_bytes`.
    """
    specs = {spec.name: spec for spec in manifest.feature_maps}
    seen: set[str] = set()
    size = 0
    for selection in selections:
        spec = specs.get(selection.name)
        if spec is None:
            raise InvalidInputError(
                f"no feature map {selection.name[:80]!r} in {manifest.model} "
                f"v{manifest.version}; {it_has(list(specs))}"
            )
        if selection.name in seen:
            raise InvalidInputError(f"the feature map {selection.name!r} is selected twice")
        seen.add(selection.name)
        channels = _channel_count(selection, spec)
        size += channels * spec.height * spec.width * _dtype(selection).itemsize
    size *= inputs
    if size > max_bytes:
        raise InvalidInputError(
            f"the feature maps would take {size:,} bytes; at most {max_bytes:,} are sent in one "
            "reply; ask for fewer images, fewer channels, or uint8"
        )
    return size


def _dtype(selection: pb.FeatureMapSelection) -> np.dtype[np.generic]:
    """Return the type in which a feature map is sent.

    Raises:
        InvalidInputError: The selection's type is unknown.
    """
    dtype = DTYPES.get(selection.dtype or mpb.DATA_TYPE_FLOAT32)
    if dtype is None:
        raise InvalidInputError(
            f"no dtype {selection.dtype} for a feature map; it is UINT8, FLOAT16 or FLOAT32"
        )
    return dtype


def _channel_count(selection: pb.FeatureMapSelection, spec: mpb.FeatureMapSpec) -> int:
    kind = selection.WhichOneof("channels")
    if kind == "mean" and selection.mean:
        return 1
    if kind == "strongest":
        if not 1 <= selection.strongest <= spec.channels:
            raise InvalidInputError(
                f"strongest is {selection.strongest}; {spec.name} has {spec.channels} channels"
            )
        return selection.strongest
    if kind == "indices":
        indices = selection.indices.values
        if len(indices) > spec.channels:
            raise InvalidInputError(
                f"{len(indices):,} channels are selected; {spec.name} has {spec.channels}"
            )
        wrong = [index for index in indices if not 0 <= index < spec.channels]
        if wrong or not indices:
            raise InvalidInputError(
                f"channel {wrong[0] if wrong else 'list is empty'}; {spec.name} has the channels "
                f"0 to {spec.channels - 1}"
            )
        return len(indices)
    return spec.channels
