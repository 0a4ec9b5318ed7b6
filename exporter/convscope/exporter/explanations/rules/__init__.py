"""The derivative rule of each operator, by family."""

from collections.abc import Mapping

from convscope.exporter.explanations.context import LazyRule, Rule
from convscope.exporter.explanations.rules import (
    activations,
    arithmetic,
    convolutions,
    dense,
    normalization,
    pooling,
    reductions,
    shapes,
)

__all__ = ["LAZY_RULES", "RULES"]

RULES: Mapping[str, Rule] = {
    **activations.RULES,
    **arithmetic.RULES,
    **convolutions.RULES,
    **dense.RULES,
    **normalization.RULES,
    **pooling.RULES,
    **reductions.RULES,
    **shapes.RULES,
}
LAZY_RULES: Mapping[str, LazyRule] = {
    **arithmetic.LAZY_RULES,
    **convolutions.LAZY_RULES,
    **dense.LAZY_RULES,
    **pooling.LAZY_RULES,
    **reductions.LAZY_RULES,
    **shapes.LAZY_RULES,
}
