"""The analysis of a foreign graph that only serves its feature maps.

It never stops an import: if it fails, the bundle has no feature maps.
"""

import math
from collections.abc import Mapping, Sequence

import onnx

from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.foreign.maps import ForeignMap, named_maps, stage_maps
from convscope.exporter.graphs.static_graph import static_graph
from convscope.exporter.pyramid.facts import FeatureMapFacts, feature_map_facts

__all__ = ["find_facts", "find_maps", "parameter_count"]

# What a graph that contradicts an assumption of the analysis may raise.
_FAILURES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def find_maps(model: onnx.ModelProto, chosen: Sequence[str] | None) -> list[ForeignMap]:
    """Return the tensors that become feature maps.

    Args:
        model: The graph, with a dynamic batch.
        chosen: The user's choice; None for one per stage of the pyramid, or
            none if the graph can't be analyzed.

    Raises:
        ExporterError: A chosen tensor can't become a feature map.
    """
    try:
        graph = static_graph(model)
        return stage_maps(graph) if chosen is None else named_maps(graph, chosen)
    except ExporterError:
        if chosen is not None:
            raise
    except _FAILURES as error:
        if chosen is not None:
            raise ExporterError(
                f"the graph can't be analyzed for feature maps: {reason(error)}; import it "
                "without --feature-map"
            ) from error
    return []


def find_facts(
    joined: onnx.ModelProto, maps: Sequence[ForeignMap]
) -> Mapping[str, FeatureMapFacts] | None:
    """Return the facts of the logits and the feature maps; None if the analysis fails."""
    try:
        return feature_map_facts(joined, ["logits", *(one.name for one in maps)])
    except (ExporterError, *_FAILURES):
        return None


def parameter_count(model: onnx.ModelProto) -> int:
    """Return the number of all constant elements, as an estimate of the parameters."""
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
