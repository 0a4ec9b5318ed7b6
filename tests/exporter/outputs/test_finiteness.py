"""The gate for finite results."""

import numpy as np
import pytest

from convscope.exporter.errors import ExporterError
from convscope.exporter.outputs.finiteness import check_finite


def test_a_network_that_is_finite_for_constant_images_only_is_rejected() -> None:
    outputs = {"logits": np.array([[0.0, 1.0], [np.nan, 0.0]], np.float32)}
    with pytest.raises(ExporterError, match="for every image but constant ones"):
        check_finite(outputs, ["a black image", "photo 1"], allow=True)
