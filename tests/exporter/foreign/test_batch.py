from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from support.foreign_models import CLASSES, Foreign, run_bundle, some_images, source

from convscope.exporter.foreign.importing import import_model


@pytest.mark.parametrize("batch", [1, 4, "N"])
@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
def test_any_batch_runs_whatever_batch_the_foreign_graph_has(
    tmp_path: Path, batch: int | str, opset: int
) -> None:
    foreign = Foreign(batch=batch, opset=opset)
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    images = some_images()
    together = run_bundle(directory, images)
    for name, values in together.items():
        alone = np.concatenate([run_bundle(directory, image[np.newaxis])[name] for image in images])
        np.testing.assert_allclose(values, alone, atol=1e-5)
    graph = onnx.load(directory / "model.onnx")
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_reshape_to_the_fixed_batch_becomes_dynamic(tmp_path: Path) -> None:
    """As PyTorch writes it, where a 0 in the shape would mean nothing."""
    foreign = Foreign(opset=18)
    foreign.nodes[3].attribute.append(helper.make_attribute("allowzero", 1))
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    assert run_bundle(directory, some_images())["logits"].shape == (3, CLASSES)


def test_a_squeeze_keeps_the_batch(tmp_path: Path) -> None:
    foreign = Foreign(ends_in=None)
    foreign.weights["head"] = np.random.default_rng(0).normal(size=(CLASSES, 6, 1, 1)).astype("f")
    foreign.nodes[3:] = [
        helper.make_node("GlobalAveragePool", ["pool"], ["mean"]),
        helper.make_node("Conv", ["mean", "head"], ["cells"]),
        helper.make_node("Squeeze", ["cells"], ["scores"]),
    ]
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    assert run_bundle(directory, some_images())["logits"].shape == (3, CLASSES)
