"""The accuracy guard: what a quantized graph must keep of the results in FP32."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.clear_results import CLEAR_MARGIN, margins

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
        clear: How many of them have a clear result in FP32: the best class leads by at least
            CLEAR_MARGIN.
        kept: The share of all inputs whose best class is the same.
        kept_where_clear: The share of the clear ones.
        probability_change: The mean change of the probability of FP32's best class.
        accuracy: The share of right results; None without labels.
        accuracy_change: The difference from FP32's accuracy; None without labels.
    """

    inputs: int
    clear: int
    kept: float
    kept_where_clear: float
    probability_change: float
    accuracy: float | None = None
    accuracy_change: float | None = None

    def problems(self) -> Iterator[str]:
        """Yield what the guard doesn't accept."""
        if self.clear < MIN_CLEAR_INPUTS:
            yield (
                f"only {self.clear} of the {self.inputs} held-out inputs have a best class that "
                f"leads by {CLEAR_MARGIN:g} in FP32, and the guard needs {MIN_CLEAR_INPUTS}; pass "
                "more inputs, of the kind that the network was trained on"
            )
            return
        if not self.kept_where_clear >= MIN_KEPT:
            yield (
                f"{self.kept_where_clear:.1%} of the clear best classes are kept; at least "
                f"{MIN_KEPT:.0%} are needed"
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
    expected: Values, found: Values, labels: NDArray[np.int64] | None = None
) -> Fidelity:
    """Compare the probabilities of a quantized graph with those in FP32.

    Args:
        expected: The probabilities in FP32, [n, K].
        found: Those of the quantized graph, [n, K].
        labels: The right class of each input, [n], if it is known.
    """
    rows = np.arange(len(expected))
    best, ours = expected.argmax(axis=1), found.argmax(axis=1)
    clear, same = margins(expected) >= CLEAR_MARGIN, best == ours
    accuracy = None if labels is None else float((ours == labels).mean())
    before = None if labels is None else float((best == labels).mean())
    return Fidelity(
        inputs=len(expected),
        clear=int(clear.sum()),
        kept=float(same.mean()),
        kept_where_clear=float(same[clear].mean()) if clear.any() else 0.0,
        probability_change=float(np.abs(expected[rows, best] - found[rows, best]).mean()),
        accuracy=accuracy,
        accuracy_change=None if accuracy is None or before is None else accuracy - before,
    )
