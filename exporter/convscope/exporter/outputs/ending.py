"""Finds the activation at the end of a network, in the operations that compute its output.

PyTorch networks and ONNX graphs are described by the same operations, so that one rule
decides for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

__all__ = ["Ending", "Operation", "classify", "saturating"]

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
# Flat where their argument is large.
_SATURATING = frozenset(
    {
        *("Softmax", "LogSoftmax", "Log", "Sigmoid", "HardSigmoid", "Tanh", "Softsign", "Erf"),
        *("Clip", "Min"),
    }
)
_SIGMOID = ("Reciprocal", "Add", "Exp")
_NEGATIONS = (("Neg",), ("Mul",))
_LOG_SUM_EXP = (("Log", "ReduceSum", "Exp"), ("ReduceLogSumExp",))
_LIMITS = ("Clip", "Max", "Min")

_Tensor = TypeVar("_Tensor")


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[_Tensor]):
    """One operation that depends on the image.

    Args:
        name: The operator, by its name in ONNX if it has one.
        arguments: The operations of the arguments that depend on the image.
        argument: The tensor of the first of these arguments, if it is known: its name in
            a graph, or the tensor itself.
    """

    name: str
    arguments: tuple["Operation[_Tensor]", ...] = ()
    argument: _Tensor | None = None


@dataclass(frozen=True, slots=True)
class Ending(Generic[_Tensor]):
    """What a network shows about its final output.

    Args:
        kind: The activation that computes it; "linear" for the unbounded
            result of dense or convolutional layers; "unknown" for anything else.
        operator: The last operator.
        argument: The tensor to which the activation is applied, if it is known. The maximum
            that a softmax written by hand subtracts is left out.
    """

    kind: Literal["softmax", "sigmoid", "log-softmax", "linear", "unknown"]
    operator: str = ""
    argument: _Tensor | None = None

    @property
    def is_limited(self) -> bool:
        """Whether the result of the activation is limited to an interval."""
        return self.operator in _LIMITS


def classify(last: Operation[_Tensor] | None) -> Ending[_Tensor]:
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
    if last.name == "LogSoftmax":
        return Ending("log-softmax", last.name, last.argument)
    if last.name == "Log" and _only(last) is not None:
        inner = classify(_only(last))
        if inner.kind == "softmax":
            return Ending("log-softmax", last.name, inner.argument)
    if last.name in _LIMITS and _only(last) is not None:
        inner = classify(_only(last))
        if inner.kind in ("softmax", "sigmoid"):
            return replace(inner, operator=last.name)
    written = _written_sigmoid(last) or _written_softmax(last) or _written_log_softmax(last)
    if written is not None:
        return written
    return Ending("linear" if _is_linear(last) else "unknown", last.name)


def saturating(last: Operation[_Tensor] | None) -> str | None:
    """Return the operator between the last layer and the final output that is flat somewhere.

    A product with such a function isn't flat, so the arguments of a Mul don't count.
    """
    waiting, seen = [last] if last else [], set[int]()
    while waiting:
        operation = waiting.pop()
        if operation.name in _SATURATING:
            return operation.name
        is_product = operation.name == "Mul" and len(operation.arguments) > 1
        if operation.name in _LAYERS or is_product or id(operation) in seen:
            continue
        seen.add(id(operation))
        # A divisor may be limited, so that it isn't zero.
        waiting += operation.arguments[: 1 if operation.name == "Div" else None]
    return None


def _visible(operation: Operation[_Tensor] | None) -> Operation[_Tensor] | None:
    while operation is not None and operation.name in _TRANSPARENT and operation.arguments:
        operation = operation.arguments[0]
    return operation


def _only(operation: Operation[_Tensor]) -> Operation[_Tensor] | None:
    """Return the operation of the only argument; None if several depend on the image."""
    return _visible(operation.arguments[0]) if len(operation.arguments) == 1 else None


def _chain(operation: Operation[_Tensor] | None) -> list[Operation[_Tensor]]:
    """Return the operations from one backward, each followed by that of its only argument."""
    found: list[Operation[_Tensor]] = []
    while operation is not None:
        found.append(operation)
        operation = _only(operation)
    return found


def _written_sigmoid(last: Operation[_Tensor]) -> Ending[_Tensor] | None:
    """Recognize 1 / (1 + exp(-x)), in which PyTorch multiplies a reciprocal by 1."""
    chain = _chain(last)
    chain = chain[1:] if last.name == "Mul" else chain
    end = len(_SIGMOID)
    if _names(chain[:end]) != _SIGMOID or _names(chain[end : end + 1]) not in _NEGATIONS:
        return None
    return Ending("sigmoid", last.name, chain[end].argument)


def _written_softmax(last: Operation[_Tensor]) -> Ending[_Tensor] | None:
    """Recognize exp(x) / sum(exp(x)) and exp(x) / (1 + exp(x))."""
    power, total = _pair(last, "Div")
    if power is None or total is None or power.name != "Exp":
        return None
    if not _are_equal(_only(total), power):
        return None
    if total.name == "ReduceSum":
        source = _shifted(_only(power))
        return Ending("softmax", last.name, power.argument if source is None else source)
    return Ending("sigmoid", last.name, power.argument) if total.name == "Add" else None


def _written_log_softmax(last: Operation[_Tensor]) -> Ending[_Tensor] | None:
    """Recognize x - log(sum(exp(x)))."""
    values, total = _pair(last, "Sub")
    if values is None or total is None:
        return None
    chain = _chain(total)
    sums = next((names for names in _LOG_SUM_EXP if _names(chain[: len(names)]) == names), None)
    if sums is None or _only(chain[len(sums) - 1]) is not values:
        return None
    source = _shifted(values)
    return Ending("log-softmax", last.name, last.argument if source is None else source)


def _shifted(operation: Operation[_Tensor] | None) -> _Tensor | None:
    """Return x from x - max(x), which would make the largest logit a constant."""
    if operation is None:
        return None
    values, largest = _pair(operation, "Sub")
    if largest is None or largest.name != "ReduceMax" or _only(largest) is not values:
        return None
    return operation.argument


def _are_equal(one: Operation[_Tensor] | None, other: Operation[_Tensor]) -> bool:
    """Return whether two operations without attributes compute the same."""
    if one is None or one.name != other.name or len(one.arguments) != len(other.arguments):
        return False
    pairs = zip(one.arguments, other.arguments, strict=True)
    return one is other or all(_visible(a) is _visible(b) for a, b in pairs)


def _pair(
    operation: Operation[_Tensor], name: str
) -> tuple[Operation[_Tensor] | None, Operation[_Tensor] | None]:
    """Return the operations of both arguments of an operator; None if it is another one."""
    if operation.name != name or len(operation.arguments) != 2:
        return None, None
    left, right = map(_visible, operation.arguments)
    return left, right


def _names(operations: Sequence[Operation[_Tensor]]) -> tuple[str, ...]:
    return tuple(one.name for one in operations)


def _is_linear(last: Operation[_Tensor]) -> bool:
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
