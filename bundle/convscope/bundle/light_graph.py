"""A copy of a graph without its large weights, for checks that need only their shapes."""

import math

import onnx

__all__ = ["without_large_weights"]

# Smaller tensors may be shapes, axes or sizes, on which the shapes of other tensors depend.
_LARGE_BYTES = 65_536
_WEIGHT_FIELDS = {"name", "dims", "data_type", "raw_data", "doc_string"}
# Before this version of the format, every weight had to be an input too.
_FREE_INITIALIZERS = 4
_ELEMENT_BYTES: dict[int, int] = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.FLOAT16: 2,
    onnx.TensorProto.INT8: 1,
    onnx.TensorProto.UINT8: 1,
}


def without_large_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model; each large weight becomes an input of the same type and shape.

    ONNX's checker serializes the model, parses it and copies it again: seconds, and twice
    the memory, for some hundred megabytes of weights. A tensor that isn't a valid weight
    with exactly as many bytes as its shape requires stays, so that the checker rejects it.
    """
    if model.ir_version < _FREE_INITIALIZERS:
        return model
    graph = onnx.GraphProto(
        name=model.graph.name,
        node=model.graph.node,
        input=model.graph.input,
        output=model.graph.output,
        value_info=model.graph.value_info,
        sparse_initializer=model.graph.sparse_initializer,
    )
    inputs = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        if not _is_large_weight(tensor):
            graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in inputs:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
        metadata_props=model.metadata_props,
        training_info=model.training_info,
        graph=graph,
    )


def _is_large_weight(tensor: onnx.TensorProto) -> bool:
    size = _ELEMENT_BYTES.get(tensor.data_type, 0) * math.prod(tensor.dims)
    if size < _LARGE_BYTES or min(tensor.dims) < 1:
        return False
    fields = {field.name: value for field, value in tensor.ListFields()}  # this copies the bytes
    return fields.keys() <= _WEIGHT_FIELDS and len(fields.get("raw_data", b"")) == size
