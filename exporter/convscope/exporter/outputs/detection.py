"""Decides what a network's final output means, from its graph and its values.

A wrong decision would publish wrong probabilities, so an unclear case is an error
that names the options.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError, UnclearOutputError
from convscope.exporter.outputs.ending import Ending
from convscope.exporter.outputs.semantics import Activation, ActivationChoice, Form, Semantics

__all__ = ["decide"]

# The largest deviation of a sum of probabilities from 1. Half precision reaches 1e-3.
SUM_TOLERANCE = 2e-3
_SORTING = ("sort", "topk", "TopK")
_OPTIONS = (
    "--activation softmax or sigmoid if the network returns logits (sigmoid if several labels may "
    "be true), log-softmax if it returns log-probabilities, none if it returns probabilities"
)


def decide(
    choice: ActivationChoice, ending: Ending[Any], values: NDArray[np.floating]
) -> Semantics:
    """Return what the final output contains.

    Args:
        choice: The user's choice.
        ending: What the graph shows.
        values: The final outputs for photos, constant images and noise, each
            run alone, [n, outputs].

    Raises:
        ExporterError: The choice contradicts the graph or the values, the
            outputs are several groups, or it isn't clear what they are.
    """
    outputs = values.shape[1]
    if ending.operator in _SORTING:
        raise ExporterError(
            f"the outputs are sorted by {ending.operator}, so none of them belongs to one class; "
            "return the scores of all classes in a fixed order"
        )
    finite = values[np.isfinite(values).all(axis=1)].astype(np.float64)
    if not len(finite):
        raise ExporterError(
            "the network returns NaN or infinity for every image; check its weights and its "
            "preprocessing"
        )
    if ending.kind == "sigmoid" and not _are_within_one(finite):
        ending = Ending("unknown", ending.operator)  # a scaled sigmoid
    if ending.is_limited and ending.kind == "softmax" and not _sum_to_one(finite):
        ending = Ending("unknown", ending.operator)  # limited so much that the sums change
    _check_choice(choice, ending)
    if outputs == 1:
        return _binary(choice, ending, finite)
    _check_groups(finite)
    return _several(choice, ending, finite)


def _check_choice(choice: ActivationChoice, ending: Ending[Any]) -> None:
    fits = {
        "softmax": ("auto", "none", "softmax"),
        "sigmoid": ("auto", "none", "sigmoid"),
        "log-softmax": ("auto", "softmax", "log-softmax"),
        "linear": ("auto", "softmax", "sigmoid", "none", "log-softmax"),
    }
    if choice not in fits.get(ending.kind, (choice,)):
        raise ExporterError(
            f"the network already ends in {ending.kind}, which contradicts --activation {choice}; "
            "remove the option"
        )


def _binary(
    choice: ActivationChoice, ending: Ending[Any], values: NDArray[np.float64]
) -> Semantics:
    if ending.kind in ("softmax", "log-softmax") or choice in ("softmax", "log-softmax"):
        raise ExporterError(
            "the network has one output, and the softmax of a single number is always 1; use a "
            "sigmoid, or one output per class"
        )
    if ending.kind == "sigmoid":
        return Semantics(1, "probabilities", "sigmoid", "the network ends in sigmoid")
    if choice == "none":
        _check_range(values)
        return Semantics(1, "probabilities", "sigmoid", "as chosen, the output is a probability")
    if choice == "sigmoid":
        return Semantics(1, "logits", "sigmoid", "as chosen, applied to the output")
    if ending.kind != "linear":
        raise UnclearOutputError(_unclear(ending, values))
    return Semantics(1, "logits", "sigmoid", "applied to the output, a logit")


def _several(
    choice: ActivationChoice, ending: Ending[Any], values: NDArray[np.float64]
) -> Semantics:
    outputs, sums_to_one = values.shape[1], _sum_to_one(values)

    def found(form: Form, activation: Activation, evidence: str) -> Semantics:
        return Semantics(outputs, form, activation, evidence)

    if ending.kind == "sigmoid":
        return found("probabilities", "sigmoid", "the network ends in sigmoid")
    if ending.kind == "softmax" or (choice == "none" and sums_to_one):
        if not sums_to_one:
            raise ExporterError(
                f"the network ends in softmax, but the outputs of an image add up to "
                f"{_odd_sum(values):.3g} instead of 1; check the axis (dim) of its softmax"
            )
        ends = ending.kind == "softmax"
        evidence = "the network ends in softmax" if ends else "as chosen, already applied"
        return found("probabilities", "softmax", evidence)
    if ending.kind == "log-softmax" or choice == "log-softmax":
        if not _sum_to_one(_exponentials(values)):
            raise ExporterError(
                "the outputs are no log-probabilities of all classes: their exponentials don't "
                "add up to 1 for an image; check the axis (dim) of the log-softmax, or use "
                "--activation softmax"
            )
        return found("log-probabilities", "softmax", "the network returns log-probabilities")
    if choice == "none":
        _check_range(values)
        return found("probabilities", "sigmoid", "as chosen, already applied")
    if choice == "sigmoid":
        return found("logits", "sigmoid", "as chosen, applied to the outputs")
    if sums_to_one and ending.kind != "linear" and _vary(values):
        evidence = "already applied, because the outputs of every image add up to 1"
        return found("probabilities", "softmax", evidence)
    if choice == "softmax":
        return found("logits", "softmax", "as chosen, applied to the outputs")
    if _sum_to_one(_exponentials(values)) and ending.kind != "linear" and _vary(values):
        return found("log-probabilities", "softmax", "the network returns log-probabilities")
    if sums_to_one or ending.kind != "linear":
        raise UnclearOutputError(_unclear(ending, values))
    return found("logits", "softmax", "applied to the outputs, which are logits")


def _check_groups(values: NDArray[np.float64]) -> None:
    """Reject several softmaxes: the outputs of each group add up to 1."""
    outputs = values.shape[1]
    if _sum_to_one(values):
        return
    for size in (size for size in range(2, outputs) if outputs % size == 0):
        blocks = values.reshape(len(values), -1, size)
        strided = values.reshape(len(values), size, -1).transpose(0, 2, 1)
        for groups in (blocks, strided):
            if all(_sum_to_one(groups[:, index]) for index in range(groups.shape[1])):
                raise ExporterError(
                    f"the {outputs} outputs are {outputs // size} groups of {size} classes, and "
                    "the probabilities of each group add up to 1; a bundle has one group of "
                    "classes, so export each group as a network of its own"
                )
    _check_unequal_groups(values)


def _check_unequal_groups(values: NDArray[np.float64]) -> None:
    """Reject consecutive groups of different sizes."""
    if (values < -SUM_TOLERANCE).any() or not _vary(values):
        return
    sizes, start = [], 0
    for end in range(1, values.shape[1] + 1):
        if _sum_to_one(values[:, start:end]):
            sizes.append(end - start)
            start = end
    if start == values.shape[1] and len(sizes) > 1 and max(sizes) > 1:
        named = ", ".join(map(str, sizes))
        raise ExporterError(
            f"the outputs are {len(sizes)} groups of {named} classes, and the probabilities of "
            "each group add up to 1; a bundle has one group of classes, so export each group as "
            "a network of its own"
        )


def _check_range(values: NDArray[np.float64]) -> None:
    if not _are_within_one(values):
        raise ExporterError(
            f"the outputs are between {values.min():.3g} and {values.max():.3g}, so they are no "
            "probabilities; use --activation softmax or sigmoid"
        )


def _exponentials(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exponentials of log-probabilities, which are at most 0; logits may be large."""
    return np.exp(np.minimum(values, 1))


def _sum_to_one(values: NDArray[np.float64]) -> bool:
    sums = values.sum(axis=1)
    return bool((values >= -SUM_TOLERANCE).all() and (np.abs(sums - 1) < SUM_TOLERANCE).all())


def _odd_sum(values: NDArray[np.float64]) -> float:
    sums = values.sum(axis=1)
    return float(sums[np.abs(sums - 1).argmax()])


def _are_within_one(values: NDArray[np.float64]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _vary(values: NDArray[np.float64]) -> bool:
    """Report whether different images have different outputs."""
    return bool((np.ptp(values, axis=0) > SUM_TOLERANCE).any())


def _unclear(ending: Ending[Any], values: NDArray[np.float64]) -> str:
    by = f", computed by {ending.operator}" if ending.operator else ""
    return (
        f"it isn't clear what the outputs are: between {values.min():.3g} and {values.max():.3g} "
        f"for every image{by}; use {_OPTIONS}"
    )
