from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.foreign_models import SIDE, Foreign, manifest_of, run_bundle, some_images, source

from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.importing import import_model


@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.UINT8])
def test_other_input_types_are_supported(tmp_path: Path, element: int) -> None:
    foreign = Foreign(element=TensorProto.FLOAT16 if element == TensorProto.FLOAT16 else 1)
    if element == TensorProto.UINT8:
        foreign.element = element
        foreign.nodes.insert(0, helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT))
        foreign.nodes.insert(1, helper.make_node("Div", ["c", "white"], ["normal"]))
        foreign.nodes[2].input[0] = "normal"
        foreign.weights["white"] = np.array(255, np.float32)
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    plain = import_model(source(Foreign().write(tmp_path), model="plain"), tmp_path).directory
    images = some_images()
    ours, theirs = (run_bundle(path, images)["probabilities"] for path in (directory, plain))
    np.testing.assert_allclose(ours, theirs, atol=2e-2 if element == TensorProto.FLOAT16 else 1e-5)


def test_a_dynamic_size_is_chosen(tmp_path: Path) -> None:
    path = Foreign(size="any", batch="N").write(tmp_path)
    with pytest.raises(ExporterError, match="so its size is dynamic; choose one with --crop"):
        import_model(source(path), tmp_path)
    directory = import_model(source(path, size=(SIDE, SIDE)), tmp_path).directory
    assert list(manifest_of(directory).input.shape) == [SIDE, SIDE, 3]
