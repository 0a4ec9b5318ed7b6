"""Checks early whether a foreign model can become a bundle: its files, size and versions."""

from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from convscope.bundle.layout import MAX_FILE_BYTES
from convscope.exporter.errors import ExporterError

__all__ = ["check_file_size", "check_model"]

_LIMIT = f"a bundle's graph is one ONNX file of at most {MAX_FILE_BYTES / 2**30:g} GiB"


def check_file_size(path: Path) -> None:
    """Check the size of a model's own file before it is read.

    Raises:
        ExporterError: It is too large for a bundle.
        OSError: There is no such file.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ExporterError(f"{path} has {size / 2**30:.1f} GiB; {_LIMIT}")


def check_model(model: onnx.ModelProto, path: Path) -> None:
    """Check the versions of a model, and the files of its external data.

    Raises:
        ExporterError: This release doesn't know a version, a file is missing, or all
            the files together are too large.
    """
    if model.ir_version > onnx.IR_VERSION:
        raise ExporterError(
            f"{path} has IR version {model.ir_version}; this release knows up to "
            f"{onnx.IR_VERSION}, so export the model again with an older version of onnx"
        )
    known = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > known:
            raise ExporterError(
                f"{path} has opset {entry.version}; this release knows up to {known}, so export "
                f"the model again with opset {known} or earlier"
            )
    size = path.stat().st_size + sum(
        _external_bytes(tensor, path) for tensor in model.graph.initializer
    )
    if size > MAX_FILE_BYTES:
        raise ExporterError(f"{path} and its external data have {size / 2**30:.1f} GiB; {_LIMIT}")


def _external_bytes(tensor: TensorProto, path: Path) -> int:
    if not uses_external_data(tensor):
        return 0
    info = ExternalDataInfo(tensor)
    file = path.parent / info.location
    if not file.is_file():
        raise ExporterError(
            f"{path} stores its weights in the file {info.location!r}, which is missing; put it "
            f"into the folder of {path.name}, or export the model as a single file"
        )
    return int(info.length or file.stat().st_size)
