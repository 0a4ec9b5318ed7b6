"""The registry rows of the banks of fixed filters."""

from convscope.exporter.architectures.registry import Architecture, deferred
from convscope.exporter.preprocessing import ImagePreprocessing, ShortestEdge

__all__ = ["ROWS"]

SIDE = 224


def _row(name: str, summary: str) -> Architecture:
    return Architecture(
        name=name,
        summary=summary,
        make=deferred("filter_banks", name),
        expects=lambda channels: ImagePreprocessing(
            height=SIDE, width=SIDE, mean=(0.0,), std=(1.0,), resize=ShortestEdge(SIDE)
        ),
        channels=(1,),
        feature_maps=(f"filters={name}",),
        classifies=False,
    )


ROWS = (
    _row("edge_filters", "the fixed 3×3 vertical and horizontal edge kernels"),
    _row("leung_malik", "the Leung-Malik bank of 48 fixed 49×49 filters"),
)
