"""Fixtures for the tests of the exporter."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from support.operators import share_operators

from convscope.exporter.architectures import find_architecture
from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.convert import Conversion, convert
from convscope.exporter.conversion.source import Source

share_operators()


@pytest.fixture
def source() -> Source:
    """The digits network with random weights, and everything else that a bundle needs."""
    return digits_source()


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Its bundle, which no test changes."""
    return convert(digits_source(), tmp_path_factory.mktemp("converted"))


def digits_source() -> Source:
    torch.manual_seed(0)
    row = find_architecture("digits")
    return Source(
        model="digits",
        version=1,
        architecture=row.name,
        network=row.build(10),
        preprocessing=row.preprocessing(),
        labels=tuple("0123456789"),
        feature_maps=row.feature_maps,
        weights=Weights("random", "", ""),
        golden=[_image(seed) for seed in range(4)],
    )


def _image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 30), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
