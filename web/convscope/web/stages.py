"""The stages of a network: its feature maps by resolution."""

from collections.abc import Sequence

from convscope.client import FeatureMapInfo

__all__ = ["is_last_of_stage", "stage_numbers"]


def stage_numbers(feature_maps: Sequence[FeatureMapInfo]) -> list[int]:
    """Return the stage of each feature map, from 1: a new stage has another resolution."""
    numbers: list[int] = []
    before: tuple[int, int] | None = None
    for spec in feature_maps:
        size = spec.height, spec.width
        numbers.append((numbers[-1] if numbers else 0) + (size != before))
        before = size
    return numbers


def is_last_of_stage(feature_maps: Sequence[FeatureMapInfo]) -> list[bool]:
    """Return whether each feature map is the last one of its stage."""
    numbers = stage_numbers(feature_maps)
    return [n + 1 == len(numbers) or numbers[n + 1] != number for n, number in enumerate(numbers)]
