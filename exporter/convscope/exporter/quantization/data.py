"""The inputs of a quantization: some calibrate it, and the guard measures it on others."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.exporter.bundles.reader import preprocess
from convscope.exporter.errors import DatasetError, ExporterError, ImageError, reason
from convscope.exporter.evaluation.predictions import match_labels
from convscope.exporter.quantization.guard import MIN_CLEAR_INPUTS
from convscope.exporter.quantization.sources import Source, read_source
from convscope.v1 import manifest_pb2 as pb

__all__ = ["CALIBRATION_INPUTS", "HELD_OUT_INPUTS", "Inputs", "QuantizationData", "load_data"]

CALIBRATION_INPUTS = 100
HELD_OUT_INPUTS = 2000
MIN_CALIBRATION_INPUTS = 20
_DECODERS = 4


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs as a graph takes them.

    Args:
        values: uint8 [n, H, W, C] or float32 [n, ...].
        labels: The class of each, int64 [n]; None without labels.
    """

    values: NDArray[Any]
    labels: NDArray[np.int64] | None

    @property
    def digest(self) -> str:
        """A digest of the values, SHA-256 in hexadecimal."""
        return sha256(self.values.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class QuantizationData:
    """The inputs of a quantization.

    Args:
        dataset: The name of the calibration inputs' dataset.
        calibration: The inputs that calibrate.
        held_out: The inputs on which the guard measures.
    """

    dataset: str
    calibration: Inputs
    held_out: Inputs


def load_data(
    manifest: pb.ModelManifest,
    calibration: str,
    held_out: str | None = None,
    limits: tuple[int, int] = (CALIBRATION_INPUTS, HELD_OUT_INPUTS),
    warn: Callable[[str], None] = lambda message: None,
) -> QuantizationData:
    """Read the inputs of a quantization and prepare them for a model.

    Without a second dataset, the inputs of the first that don't calibrate are held out: those of
    its test split, if it has one, otherwise at least half of them, chosen by a fixed seed.

    Args:
        manifest: The model's manifest.
        calibration: The dataset of the calibration inputs, such as "folder:photos".
        held_out: The dataset of the held-out inputs.
        limits: How many inputs calibrate and how many are held out, at most.
        warn: Called with a message for each file that can't be read as an image.

    Raises:
        DatasetError: A dataset can't be read, has too few inputs, or doesn't suit the model.
    """
    first = read_source(calibration)
    if held_out is not None:
        second: Source = read_source(held_out)
        chosen, kept = first.shuffled(), second.shuffled()
    elif first.test is not None:
        chosen, kept = first.shuffled(), first.test.shuffled()
    else:
        both = first.shuffled()
        half = min(limits[0], len(both) // 2)
        chosen, kept = both.part(0, half), both.part(half, len(both))
    chosen, kept = chosen.part(0, limits[0]), kept.part(0, limits[1])
    if len(chosen) < MIN_CALIBRATION_INPUTS:
        # Of a single dataset, half is held out.
        is_single = held_out is None and first.test is None
        wanted = 2 * MIN_CLEAR_INPUTS if is_single else MIN_CALIBRATION_INPUTS
        raise DatasetError(
            f"{calibration} has too few inputs: {len(chosen)} would calibrate, and "
            f"{MIN_CALIBRATION_INPUTS} are needed; pass at least {wanted} images or tensors"
        )
    data = QuantizationData(
        first.name, _prepare(chosen, manifest, warn), _prepare(kept, manifest, warn)
    )
    return _without_calibration(data)


def _without_calibration(data: QuantizationData) -> QuantizationData:
    """Leave inputs out of the held-out ones that also calibrate."""
    seen = {one.tobytes() for one in data.calibration.values}
    kept = [i for i, one in enumerate(data.held_out.values) if one.tobytes() not in seen]
    if not kept:
        raise DatasetError(
            "every held-out input also calibrates, so the guard could not measure anything; pass "
            "other images with --held-out"
        )
    labels = data.held_out.labels
    held_out = Inputs(data.held_out.values[kept], None if labels is None else labels[kept])
    return replace(data, held_out=held_out)


def _prepare(source: Source, manifest: pb.ModelManifest, warn: Callable[[str], None]) -> Inputs:
    with ThreadPoolExecutor(_DECODERS) as pool:
        found = list(pool.map(lambda item: _prepare_one(item, manifest), source.items))
    for one in found:
        if isinstance(one, str):
            warn(one)
    kept = [index for index, one in enumerate(found) if not isinstance(one, str)]
    if not kept:
        raise DatasetError(f"no image of {source.name} can be read")
    values = np.stack([found[index] for index in kept])
    labels = _labels(source, manifest)
    return Inputs(values, None if labels is None else labels[kept])


def _labels(source: Source, manifest: pb.ModelManifest) -> NDArray[np.int64] | None:
    """Return the model's class of each input; None if they are unlabeled."""
    if source.classes is None or source.labels is None:
        return None
    try:
        columns = match_labels(source.classes, manifest.labels, manifest.model)
    except ExporterError:
        return None  # folders with other names only group the images
    return np.asarray(columns, np.int64)[source.labels]


def _prepare_one(item: Path | NDArray[Any], manifest: pb.ModelManifest) -> NDArray[Any] | str:
    """Prepare one input; return a message if it is a file that can't be read."""
    expected = list(manifest.input.shape)
    is_image = manifest.input.kind == pb.INPUT_KIND_IMAGE
    if isinstance(item, Path):
        if not is_image:
            raise DatasetError(
                f"{manifest.model} takes tensors {expected}, but the dataset has images; pass "
                "arrays with npz:FILE"
            )
        try:
            return preprocess(manifest, item.read_bytes())
        except ImageError as error:
            return f"{item.name} is left out: {error}"
        except OSError as error:
            raise DatasetError(f"{item} can't be read: {reason(error)}") from error
    if is_image != (item.dtype == np.uint8) or (not is_image and list(item.shape) != expected):
        kind = "images, uint8 [H, W, C]" if is_image else f"tensors, float32 {expected}"
        raise DatasetError(
            f"the dataset has {item.dtype} {list(item.shape)}, but {manifest.model} takes {kind}"
        )
    if not is_image or list(item.shape) == expected:
        return item
    return preprocess(manifest, _png(item))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    if pixels.shape[2] not in (1, 3):
        raise DatasetError(
            f"the dataset has images of {pixels.shape[2]} channels; they need 1 or 3"
        )
    out = BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(out, "PNG")
    return out.getvalue()
