"""Reads a foreign ONNX model, and brings it into a current, self-contained form."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner, version_converter
from onnx.external_data_helper import load_external_data_for_model

from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.explanations.removal import has_explanation, remove_explanation
from convscope.exporter.foreign.limits import check_file_size, check_model
from convscope.exporter.foreign.output_choice import ChosenOutput, choose_output
from convscope.exporter.graphs.static_graph import opset_version

__all__ = ["ForeignFile", "read"]

# Older opsets lack the broadcasting that the added operators need.
MIN_OPSET = 7
_CONVERTED_OPSET = 13
_FIRST_IR_VERSION = 4  # the first in which a constant needn't be an input as well
_DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A foreign model.

    Args:
        original: The unchanged model, with its external data embedded.
        model: The model in a current form.
        description: The file's name and SHA-256.
        output: The output with the classes, the only one of both models.
    """

    original: onnx.ModelProto
    model: onnx.ModelProto
    description: str
    output: ChosenOutput


def read(path: Path, output: str | None = None, feature_maps: Sequence[str] = ()) -> ForeignFile:
    """Read a model, reduce it to one output, and update outdated forms.

    Args:
        path: The file.
        output: The output with the classes; None for the only one with scores.
        feature_maps: Chosen inner tensors, as TENSOR or TENSOR=NAME.

    Raises:
        ExporterError: The file can't be read, isn't valid ONNX, has no such
            output, or uses operators that the server can't run.
    """
    try:
        check_file_size(path)
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
        check_model(model, path)
        load_external_data_for_model(model, str(path.parent.resolve()))
    except OSError as error:
        if re.match(r"https?:/", str(path)):
            url = str(path).replace(":/", "://", 1)
            raise ExporterError(f"{url} is a URL; download the file first") from error
        raise ExporterError(f"{path} can't be read: {error.strerror or error}") from error
    except ValueError as error:  # a file of external data is shorter than its tensors
        raise ExporterError(
            f"the external data of {path} can't be read: {reason(error)}; copy or export it again"
        ) from error
    except DecodeError as error:
        raise ExporterError(
            f"{path} is not an ONNX model, or a part of it is missing; download or export it again"
        ) from error
    except onnx.checker.ValidationError as error:
        raise ExporterError(
            f"{path} is not an ONNX model: {reason(error)}; download or export it again"
        ) from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise ExporterError(f"{path} is not an ONNX model: it has no graph or no opset")
    if has_explanation(model):
        remove_explanation(model)  # it is added again
    digest = hashlib.sha256(data).hexdigest()
    model = inliner.inline_local_functions(model) if model.functions else model
    chosen = choose_output(model, output, feature_maps)
    original = onnx.ModelProto()
    original.CopyFrom(model)
    return ForeignFile(original, _updated(model), f"{path.name} (sha256 {digest})", chosen)


def _updated(model: onnx.ModelProto) -> onnx.ModelProto:
    domains = {node.domain for node in model.graph.node}
    if custom := sorted(domains.difference(_DEFAULT_DOMAINS)):
        example = next(node.op_type for node in model.graph.node if node.domain == custom[0])
        raise ExporterError(
            f"the graph uses {example} of the domain {custom[0]!r}, but the server only runs "
            "standard operators; export the model again without fused or custom ones"
        )
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    del model.graph.value_info[:]  # they may fix the batch
    model.ir_version = max(model.ir_version, _FIRST_IR_VERSION)
    return _converted(model) if opset_version(model) < MIN_OPSET else model


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, _CONVERTED_OPSET)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise ExporterError(
            f"the graph has opset {opset_version(model)} and can't be converted to "
            f"{_CONVERTED_OPSET}: {reason(error)}; export it again with a newer opset"
        ) from error
