"""Networks whose results depend on the batch, or aren't finite, are not published."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.foreign_models import manifest_of
from support.small_networks import (
    SIDE,
    End,
    SmallNetwork,
    Standardizing,
    TrainingBatchNorm,
    network_source,
)

from convscope.exporter.conversion.convert import convert
from convscope.exporter.datasets import Split
from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.resizing import ShortestEdge


@pytest.mark.parametrize(
    ("network", "cause"),
    [
        (SmallNetwork(3, End("batch mean")), "mean, sum or maximum over the batch axis"),
        (TrainingBatchNorm(), "batch normalization in training mode"),
        (SmallNetwork(3, End("standardized")), "over the batch axis"),
    ],
    ids=["batch mean", "batch norm", "standardized"],
)
def test_a_network_that_mixes_the_images_of_a_batch_is_rejected_with_the_cause(
    tmp_path: Path, network: SmallNetwork, cause: str
) -> None:
    with pytest.raises(ExporterError, match=f"depends on the other images in its batch.*{cause}"):
        convert(network_source(network), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_network_that_returns_nan_for_one_color_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ExporterError, match="is NaN or infinite for a black image"):
        convert(network_source(Standardizing()), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("mean", [0.5, 0.3])
def test_a_network_that_returns_nan_is_published_on_request_and_says_so(
    tmp_path: Path, mean: float
) -> None:
    """With some means, the rounding of a division by almost zero differs from PyTorch's."""
    expects = ImagePreprocessing(SIDE, SIDE, (mean,) * 3, (1.0,) * 3, resize=ShortestEdge(SIDE))
    network = network_source(Standardizing())
    source = replace(network, preprocessing=expects, allow_nonfinite=True)
    manifest = manifest_of(convert(source, tmp_path).directory)
    assert manifest.nonfinite_results
    assert "a black image" in manifest.nonfinite_inputs
    assert all(name.endswith("image") for name in manifest.nonfinite_inputs)


def test_an_input_without_a_finite_result_has_no_part_in_the_accuracy(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    images[:3] = 128  # these have no result, and aren't of the first class for that
    expects = ImagePreprocessing(SIDE, SIDE, (0.5,) * 3, (1.0,) * 3, resize=ShortestEdge(SIDE))
    network = network_source(Standardizing())
    source = replace(network, preprocessing=expects, allow_nonfinite=True)
    measured = replace(source, test=("noise", Split(images, np.array([0, 0, 0, 1, 1]))))
    alone = replace(source, version=2, test=("noise", Split(images[3:], np.array([1, 1]))))
    first, second = (convert(one, tmp_path).metrics for one in (measured, alone))
    assert first == second


def test_a_finite_network_is_not_marked(tmp_path: Path) -> None:
    source = replace(network_source(SmallNetwork()), allow_nonfinite=True)
    manifest = manifest_of(convert(source, tmp_path).directory)
    assert (manifest.nonfinite_results, list(manifest.nonfinite_inputs)) == (False, [])
