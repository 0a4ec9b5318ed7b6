"""What an explanation's picture says about it, in words."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Drawable", "facts", "heading", "meaning", "scale_ends"]

MAX_NAME = 32


class Score(Protocol):
    """The attributes of a `ClassScore` that are drawn."""

    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...


class Drawable(Protocol):
    """The attributes of an `Explanation` that are drawn."""

    @property
    def target(self) -> Score: ...
    @property
    def against(self) -> Score | None: ...
    @property
    def method(self) -> str: ...
    @property
    def array(self) -> NDArray[np.float32]: ...
    @property
    def logit(self) -> float: ...
    @property
    def remainder(self) -> float | None: ...
    @property
    def share(self) -> float | None: ...
    @property
    def tensor(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def limit(self) -> float: ...


def heading(explanation: Drawable) -> tuple[str, str]:
    """Return the title of the picture, and a note to it."""
    target, against = explanation.target, explanation.against
    title, note = _name(target), f"{target.probability:.1%}"
    if explanation.method == "eigen-cam":
        return "what the network looks at", f"{title} {note}"
    if against is None:
        return title, note
    return f"{title} rather than {_name(against)}", f"{note} and {against.probability:.1%}"


def meaning(explanation: Drawable) -> str:
    """Return what the colors mean."""
    if explanation.method == "eigen-cam":
        return "the same for all classes"
    target, against = _name(explanation.target), explanation.against
    if against is None:
        return f"orange speaks for {target}, blue against it"
    return f"orange speaks for {target}, blue for {_name(against)}"


def scale_ends(explanation: Drawable) -> tuple[str, str]:
    """Return the meaning of the most negative and of the most positive heat."""
    if explanation.method == "eigen-cam":
        return "less", "more"
    against, high = explanation.against, f"for {_name(explanation.target)}"
    return "against it" if against is None else f"for {_name(against)}", high


def facts(explanation: Drawable) -> list[str]:
    """Return how much of the logit the heat explains."""
    if explanation.method == "eigen-cam":
        return [f"heat in units of {explanation.tensor}"]
    name = "logit" if explanation.against is None else "difference of the logits"
    lines = [f"{name}: {explanation.logit:+.2f}"]
    if explanation.remainder is not None:
        explained, share = explanation.logit - explanation.remainder, explanation.share
        percentage = "" if share is None else f", {share:.0%} of it"
        lines.append(f"sum of the heat: {explained:+.2f}{percentage}")
    return lines


def _name(score: Score) -> str:
    """Return a label, without its end if two would not fit beside each other."""
    label = score.label
    return label if len(label) <= MAX_NAME else f"{label[: MAX_NAME - 3].rstrip()}..."
