"""The accuracy guard: what a quantized graph must keep of the results in FP32."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.clear_results import CLEAR_MARGIN, THRESHOLD, margins, named_classes

__all__ = ["Fidelity", "compare_results"]

MIN_KEPT = 0.99
MAX_PROBABILITY_CHANGE = 0.025
MAX_ACCURACY_LOSS = 0.005
MIN_CLEAR_INPUTS = 50

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What a quantized graph keeps of the results in FP32, on held-out inputs.

    Args:
        inputs: The number of held-out inputs.
        clear: How many of them have a clear result in FP32: a margin of at least CLEAR_MARGIN.
        kept: The share of all inputs whose best class is the same; of independent classes, all
            those that are probable.
        kept_where_clear: The share of the clear ones.
        probability_change: The mean change of the probability of FP32's best class, and of the
            other ones that it names.
        accuracy: The share of right results; None without labels.
        accuracy_change: The difference from FP32's accuracy; None without labels.
        independent: Whether each class has a probability of its own.
    """

    inputs: int
    clear: int
    kept: float
    kept_where_clear: float
    probability_change: float
    accuracy: float | None = None
    accuracy_change: float | None = None
    independent: bool = False

    def problems(self) -> Iterator[str]:
        """Yield what the guard doesn't accept."""
        if self.clear < MIN_CLEAR_INPUTS:
            clear = f"a best class that leads by {CLEAR_MARGIN:g}"
            if self.independent:
                clear = f"no class within {CLEAR_MARGIN / 2:g} of the probability {THRESHOLD:g}"
            yield (
                f"only {self.clear} of the {self.inputs} held-out inputs have {clear} in FP32, and "
                f"the guard needs {MIN_CLEAR_INPUTS}; pass more inputs, of the kind that the "
                "network was trained on"
            )
            return
        if not self.kept_where_clear >= MIN_KEPT:
            what = "results keep all their classes" if self.independent else "best classes are kept"
            yield (
                f"{self.kept_where_clear:.1%} of the clear {what}; at least {MIN_KEPT:.0%} are "
                "needed"
            )
        if not self.probability_change <= MAX_PROBABILITY_CHANGE:
            yield (
                f"the probability of the best class changes by {self.probability_change:.3f} on "
                f"average; at most {MAX_PROBABILITY_CHANGE:g} is allowed"
            )
        if self.accuracy_change is not None and not self.accuracy_change >= -MAX_ACCURACY_LOSS:
            yield (
                f"the accuracy falls by {-100 * self.accuracy_change:.1f} points; at most "
                f"{100 * MAX_ACCURACY_LOSS:g} are allowed"
            )

    @property
    def is_measurable(self) -> bool:
        """Whether the inputs suffice for a verdict."""
        return self.clear >= MIN_CLEAR_INPUTS


def compare_results(
    expected: Values,
    found: Values,
    labels: NDArray[np.int64] | None = None,
    *,
    independent: bool = False,
) -> Fidelity:
    """Compare the probabilities of a quantized graph with those in FP32.

    Args:
        expected: The probabilities in FP32, [n, K].
        found: Those of the quantized graph, [n, K].
        labels: The right class of each input, [n], if it is known.
        independent: Whether each class has a probability of its own.
    """
    best, ours = expected.argmax(axis=1), found.argmax(axis=1)
    named = named_classes(expected, independent=independent)  # [n, K]
    same = (named == named_classes(found, independent=independent)).all(axis=1)
    clear = margins(expected, independent=independent) >= CLEAR_MARGIN
    compared = named | named_classes(expected)  # a result may name no class
    change = np.abs(expected - found).mean(axis=1, where=compared)
    accuracy = None if labels is None else float((ours == labels).mean())
    before = None if labels is None else float((best == labels).mean())
    return Fidelity(
        inputs=len(expected),
        clear=int(clear.sum()),
        kept=float(same.mean()),
        kept_where_clear=float(same[clear].mean()) if clear.any() else 0.0,
        probability_change=float(change.mean()),
        accuracy=accuracy,
        accuracy_change=None if accuracy is None or before is None else accuracy - before,
        independent=independent,
    )
