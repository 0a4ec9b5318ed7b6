from pathlib import Path

import onnx
import pytest
from onnx import helper
from support.foreign_models import Foreign, source

from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.importing import import_model


def test_constants_that_old_files_list_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    foreign = Foreign(opset=9)
    model = foreign.model()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        shape = list(tensor.dims)
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, shape)
        )
    onnx.save(model, tmp_path / "old.onnx")
    directory = import_model(source(tmp_path / "old.onnx"), tmp_path).directory
    graph = onnx.load(directory / "model.onnx").graph
    assert [value.name for value in graph.input] == ["images"]


def test_weights_in_an_external_file_are_embedded(tmp_path: Path) -> None:
    path = tmp_path / "beside.onnx"
    onnx.save(Foreign().model(), path, save_as_external_data=True, size_threshold=0)
    directory = import_model(source(path), tmp_path).directory
    graph = onnx.load(directory / "model.onnx", load_external_data=False).graph
    assert not any(tensor.external_data for tensor in graph.initializer)


def test_a_custom_operator_is_named(tmp_path: Path) -> None:
    model = Foreign().model()
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, tmp_path / "custom.onnx")
    with pytest.raises(ExporterError, match=r"uses Relu of the domain 'com\.example'"):
        import_model(source(tmp_path / "custom.onnx"), tmp_path)


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08"])
def test_a_file_that_is_no_model_is_rejected(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "text.onnx").write_bytes(data)
    with pytest.raises(ExporterError, match="is not an ONNX model"):
        import_model(source(tmp_path / "text.onnx"), tmp_path)
