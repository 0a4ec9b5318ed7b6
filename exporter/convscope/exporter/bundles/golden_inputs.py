"""The golden inputs of a bundle, prepared the reference way."""

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import Golden
from convscope.exporter.bundles.reader import preprocess
from convscope.exporter.errors import ImageError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["golden_inputs"]


def golden_inputs(golden: Golden, manifest: pb.ModelManifest) -> NDArray[np.generic]:
    """Return the golden inputs as the graph takes them, uint8 or float32 [n, ...].

    Raises:
        BundleRejectedError: One of them isn't an image, or is too large once resized.
    """
    if manifest.input.kind != pb.INPUT_KIND_IMAGE:
        return np.stack(golden.inputs)
    return np.stack(
        [_prepare(manifest, one.tobytes(), index) for index, one in enumerate(golden.inputs)]
    )


def _prepare(manifest: pb.ModelManifest, encoded: bytes, index: int) -> NDArray[np.uint8]:
    try:
        return preprocess(manifest, encoded)
    except ImageError as error:
        raise BundleRejectedError(
            "golden", f"golden input {index} is not a readable image; export the bundle again"
        ) from error
    except (MemoryError, OverflowError) as error:
        raise BundleRejectedError(
            "golden", f"golden input {index} is too large once resized as the manifest says"
        ) from error
