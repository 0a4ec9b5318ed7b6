"""Reads the metric names and labels out of PromQL, as far as the dashboard uses it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.samples import Sample

_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^()]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(?:\{([^{}]*)\}|(?![\w:]|\s*\())")
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)')
_OPERATORS = {"and", "or", "unless", "bool"}


@dataclass(frozen=True)
class Selector:
    """A metric and the conditions on its labels: (label, operator, value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def select(self, samples: Iterable[Sample]) -> list[Sample]:
        """Find the samples that it means; a condition on a label that isn't there is an error."""
        named = [sample for sample in samples if sample.name == self.metric]
        return [s for s in named if all(_holds(s.labels, *matcher) for matcher in self.matchers)]


def selectors(expression: str) -> list[Selector]:
    """Every selector of an expression."""
    text = _RANGE.sub("", _GROUPING.sub("", expression))
    found = [m for m in _SELECTOR.finditer(text) if m[1] not in _OPERATORS]
    return [Selector(match[1], _matchers(match[2] or "")) for match in found]


def grouping_labels(expression: str) -> set[str]:
    """Every label that an expression groups or joins by."""
    lists = _GROUPING.findall(expression)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}


def _matchers(text: str) -> tuple[tuple[str, str, str], ...]:
    if _MATCHER.sub("", text).strip():
        raise ValueError(f"not understood as label conditions: {text}")
    return tuple((m[1], m[2], m[3]) for m in _MATCHER.finditer(text))


def _holds(labels: dict[str, str], label: str, operator: str, value: str) -> bool:
    actual = labels[label]
    match operator:
        case "=":
            return actual == value
        case "!=":
            return actual != value
        case "=~":
            return re.fullmatch(value, actual) is not None
        case _:
            return re.fullmatch(value, actual) is None
