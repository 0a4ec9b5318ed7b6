"""Finds the activation at the end of a network, in the operations that compute its output.

PyTorch networks and ONNX graphs are described by the same operations, so that one rule
decides for both.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Ending", "Operation", "classify"]

# Operators that change the shape or type of the outputs, but not their values or order.
_TRANSPARENT = frozenset(
    {
        *("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Dropout"),
        *("QuantizeLinear", "DequantizeLinear"),
    }
)
_LAYERS = frozenset(
    {
        *("Gemm", "MatMul", "Conv", "ConvTranspose", "Einsum"),
        *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
    }
)
# Operators that leave a layer's result unbounded.
_UNBOUNDED = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Neg", "Sum", "Mean", "BatchNormalization", "QLinearAdd"),
        *("AveragePool", "GlobalAveragePool", "MaxPool", "GlobalMaxPool"),
        *("ReduceMean", "ReduceSum", "ReduceMax", "Relu", "LeakyRelu", "PRelu"),
        *("Transpose", "Expand", "Slice", "Split", "Gather"),
    }
)
_SIGMOID = ("Reciprocal", "Add", "Exp")


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation that depends on the image.

    Args:
        name: The operator, by its name in ONNX if it has one.
        arguments: The operations of the arguments that depend on the image.
        argument: The first argument's tensor, for graphs with names.
    """

    name: str
    arguments: tuple["Operation", ...] = ()
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a network shows about its final output.

    Args:
        kind: The activation that computes it; "linear" for the unbounded
            result of dense or convolutional layers; "unknown" for anything else.
        operator: The last operator.
        argument: The tensor to which the activation is applied, for graphs with names.
    """

    kind: Literal["softmax", "sigmoid", "log-softmax", "linear", "unknown"]
    operator: str = ""
    argument: str = ""


def classify(last: Operation | None) -> Ending:
    """Return what computes the final output.

    Args:
        last: The last operation; None if it isn't known.
    """
    last = _visible(last)
    if last is None:
        return Ending("unknown")
    if last.name == "Softmax":
        return Ending("softmax", last.name, last.argument)
    if last.name == "Sigmoid":
        return Ending("sigmoid", last.name, last.argument)
    if last.name == "LogSoftmax" or _names(last)[:2] == ("Log", "Softmax"):
        return Ending("log-softmax", last.name)
    if _is_written_sigmoid(last):
        return Ending("sigmoid", last.name)
    return Ending("linear" if _is_linear(last) else "unknown", last.name)


def _visible(operation: Operation | None) -> Operation | None:
    while operation is not None and operation.name in _TRANSPARENT and operation.arguments:
        operation = operation.arguments[0]
    return operation


def _names(operation: Operation | None) -> tuple[str, ...]:
    """Return the operators from one backward, each followed by its only argument."""
    names: list[str] = []
    while operation is not None:
        names.append(operation.name)
        only = operation.arguments[0] if len(operation.arguments) == 1 else None
        operation = _visible(only)
    return tuple(names)


def _is_written_sigmoid(last: Operation) -> bool:
    """Recognize 1 / (1 + exp(-x)), in which PyTorch multiplies a reciprocal by 1."""
    names = _names(last)
    start = 1 if names[0] == "Mul" else 0
    end = start + len(_SIGMOID)
    return names[start:end] == _SIGMOID and names[end : end + 1] in (("Neg",), ("Mul",))


def _is_linear(last: Operation) -> bool:
    """Report whether every way back from the output meets a layer first.

    A bounded function in between, such as a scaled sigmoid, makes the outputs something
    else than logits. So does a concatenation, which may join several heads.
    """
    waiting, seen = [last], {id(last)}
    while waiting:
        operation = waiting.pop()
        if operation.name in _LAYERS:
            continue
        if operation.name not in _UNBOUNDED | _TRANSPARENT or not operation.arguments:
            return False
        if operation.name == "Div" and len(operation.arguments) > 1:
            return False  # divided by its own sum or norm
        new = [one for one in operation.arguments if id(one) not in seen]
        seen.update(map(id, new))
        waiting += new
    return True
