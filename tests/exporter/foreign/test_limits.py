"""Foreign models of newer versions, without their files, or too large."""

import os
from pathlib import Path

import onnx
import pytest
from support.foreign_models import Foreign

from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.reading import read


def rejection(path: Path) -> str:
    with pytest.raises(ExporterError) as caught:
        read(path)
    return str(caught.value)


def test_a_newer_ir_version_is_named(tmp_path: Path) -> None:
    path = Foreign().write(tmp_path)
    model = onnx.load(path)
    model.ir_version = onnx.IR_VERSION + 1
    path.write_bytes(model.SerializeToString())
    assert f"has IR version {onnx.IR_VERSION + 1}; this release knows up to" in rejection(path)


def test_a_newer_opset_is_named(tmp_path: Path) -> None:
    path = Foreign().write(tmp_path)
    model = onnx.load(path)
    model.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    path.write_bytes(model.SerializeToString())
    assert "this release knows up to" in rejection(path)


def test_a_missing_external_file_is_named(tmp_path: Path) -> None:
    model = onnx.load(Foreign().write(tmp_path))
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert "stores its weights in the file 'weights.bin', which is missing" in rejection(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    path.touch()
    os.truncate(path, 2**31)  # a sparse file
    assert "has 2.0 GiB; a bundle's graph is one ONNX file of at most 1 GiB" in rejection(path)
