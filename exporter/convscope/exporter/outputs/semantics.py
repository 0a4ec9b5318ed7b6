"""What a network's final output means, and the probabilities that follow from it."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "ALMOST_ONE",
    "BINARY_NOTE",
    "TINY",
    "Activation",
    "ActivationChoice",
    "Form",
    "Semantics",
    "class_count",
]

ActivationChoice = Literal["auto", "softmax", "sigmoid", "log-softmax", "none"]
Activation = Literal["softmax", "sigmoid"]
Form = Literal["logits", "log-probabilities", "probabilities"]

# Probabilities are kept between these two before a logarithm: the smallest normal
# float32, and the largest float32 below 1.
TINY = np.float32(1.1754944e-38)
ALMOST_ONE = np.float32(1 - 2**-24)

# A larger difference means that a supposed argument of the final activation is another tensor.
_ARGUMENT_TOLERANCE = 1e-4
_HALF_ARGUMENT_TOLERANCE = 2e-3  # of half precision

# For errors about the number of labels.
BINARY_NOTE = (
    ": it has one output per image, which separates two classes; the first label is for low "
    "outputs, the second for high ones"
)

Floats: TypeAlias = NDArray[np.float32]


def class_count(outputs: int) -> int:
    """Return the number of classes for a number of outputs; one output separates two classes."""
    return 2 if outputs == 1 else outputs


@dataclass(frozen=True, slots=True)
class Semantics:
    """What the final output of a network contains.

    Args:
        outputs: The numbers per image; 1 for a binary classifier.
        form: What these numbers are.
        activation: The function of which they are the argument or the result.
        evidence: The reason, for the report.
    """

    outputs: int
    form: Form = "logits"
    activation: Activation = "softmax"
    evidence: str = "as chosen"

    @property
    def is_binary(self) -> bool:
        """Whether one number separates two classes: its probability p belongs to the second."""
        return self.outputs == 1

    @property
    def classes(self) -> int:
        """The number of classes."""
        return class_count(self.outputs)

    @property
    def manifest_activation(self) -> "pb.Activation.ValueType":
        """The activation that turns the bundle's logits into its probabilities.

        A binary classifier's logits are [-z/2, z/2], and the softmax of these is
        [1 - sigmoid(z), sigmoid(z)].
        """
        if self.activation == "sigmoid" and not self.is_binary:
            return pb.ACTIVATION_SIGMOID
        return pb.ACTIVATION_SOFTMAX

    def describe(self) -> str:
        """Return the semantics in one line."""
        kind = (
            "binary, sigmoid of one output"
            if self.is_binary
            else "sigmoid, independent labels"
            if self.activation == "sigmoid"
            else "softmax"
        )
        return f"{kind}: {self.evidence}"

    def probabilities(self, values: NDArray[np.floating]) -> Floats:
        """Compute the probabilities of the classes from final outputs, [n, outputs].

        This is the reference of the gate, so it is computed in double precision.
        """
        values = values.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.form == "log-probabilities":
                values = np.exp(values)
            elif self.form == "logits" and (self.activation == "sigmoid" or self.is_binary):
                values = 1 / (1 + np.exp(-values))
            elif self.form == "logits":
                powers = np.exp(values - values.max(axis=1, keepdims=True))
                values = powers / powers.sum(axis=1, keepdims=True)
        if self.is_binary:
            values = np.concatenate([1 - values, values], axis=1)
        return values.astype(np.float32)

    def has_argument(self, argument: NDArray[np.floating], values: NDArray[np.floating]) -> bool:
        """Report whether an activation of one tensor is what the network returns.

        Args:
            argument: The supposed argument of the final activation, [n, outputs].
            values: The final outputs, [n, outputs]. Rows with NaN or infinity don't count.
        """
        if self.form == "logits" or argument.shape != values.shape:
            return False
        rows = np.isfinite(values).all(axis=1)
        if not np.isfinite(argument[rows]).all():
            return False  # such as that of masked classes; the logits must be finite
        expected = self.probabilities(values[rows])
        ours = replace(self, form="logits").probabilities(argument[rows])
        is_half = np.float16 in (argument.dtype, values.dtype)
        tolerance = _HALF_ARGUMENT_TOLERANCE if is_half else _ARGUMENT_TOLERANCE
        if self.activation == "softmax":
            # The probabilities of many classes are all small.
            tolerance = tolerance * np.clip(expected.max(axis=1, keepdims=True), 0.01, 1)
        return bool((np.abs(ours - expected) <= tolerance).all())

    def logits(self, values: NDArray[np.floating], argument: NDArray[np.floating] | None) -> Floats:
        """Compute the logits of the classes.

        Args:
            values: The final outputs, [n, outputs].
            argument: The argument of the final activation, [n, outputs], if it is known.
        """
        known = values if self.form == "logits" else argument
        if known is None and self.form == "log-probabilities":
            known = values
        if known is not None:
            both = np.concatenate([-known / 2, known / 2], axis=1) if self.is_binary else known
            return np.asarray(both, np.float32)
        probabilities = self.probabilities(values)
        logits = np.log(np.maximum(probabilities, TINY))
        if self.activation == "sigmoid" and not self.is_binary:
            logits -= np.log(1 - np.minimum(probabilities, ALMOST_ONE))
        return logits
