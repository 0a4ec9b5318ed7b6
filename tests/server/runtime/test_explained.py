"""The session with explanations."""

from pathlib import Path

import numpy as np
import pytest
from support.explained import write_explained
from support.loading import load
from support.tiny import CHANNELS, LABELS, SIDE, write_tiny
from support.unsupported_heat import write_unsupported_heat

from convscope.bundle.reader import read_bundle
from convscope.server.errors import BundleRejectedError
from convscope.server.repository.catalog import Target
from convscope.server.runtime.explained import BEST, open_explained
from convscope.server.runtime.providers import ProviderPolicy

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)


@pytest.mark.parametrize("targets", [1, 3])
def test_classes_may_differ_between_inputs(tmp_path: Path, targets: int) -> None:
    bundle = read_bundle(write_explained(tmp_path))
    session = open_explained(bundle, ProviderPolicy(("cpu",), allow_fallback=False), 1)
    classes = np.array([[0, -1, 2], [1, -2, 0], [2, -3, 1]])[:, :targets]
    probabilities, logits, heat = session.run(IMAGES, classes, tensor=True)
    assert probabilities.shape == logits.shape == (3, len(LABELS))
    assert heat.classes[:, 0].tolist() == [0, 1, 2]
    assert heat.values.shape == (3, targets, SIDE, SIDE)
    assert heat.tensor is not None
    assert heat.tensor.shape == (3, CHANNELS, SIDE, SIDE)
    sums = heat.values.sum(axis=(2, 3))
    chosen = logits[np.arange(3)[:, np.newaxis], heat.classes]
    np.testing.assert_allclose(sums, chosen, rtol=1e-4)


def test_preloaded_explanations_do_not_need_the_file(tmp_path: Path) -> None:
    write_explained(tmp_path)
    write_tiny(tmp_path, "bare")
    write_unsupported_heat(tmp_path, "odd")
    catalog = load(tmp_path, preload_explanations=True)
    opened = {version.key[0]: version.model.has_explained_session for version in catalog}
    assert opened == {"bare": False, "odd": False, "tiny": True}
    (tmp_path / "tiny" / "1" / "model.onnx").unlink()
    best = np.full((3, 1), BEST, np.int64)
    assert catalog.resolve(Target("tiny")).model.explain(IMAGES, best).heat is not None


def test_explanations_build_no_engine(tmp_path: Path) -> None:
    bundle = read_bundle(write_explained(tmp_path))
    with pytest.raises(BundleRejectedError, match="add cuda to the providers") as caught:
        open_explained(bundle, ProviderPolicy(("tensorrt",), allow_fallback=False), 1)
    assert caught.value.reason == "provider"
