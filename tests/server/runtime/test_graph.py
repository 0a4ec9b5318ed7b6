"""Graphs cut down to the outputs that a session needs."""

import onnx
from support.tiny import tiny_graph, tiny_manifest

from convscope.server.runtime.graph import without_feature_maps


def test_plain_graph_has_no_feature_maps_and_keeps_the_rest() -> None:
    plain = onnx.load_from_string(without_feature_maps(tiny_graph(), tiny_manifest("tiny", 1)))
    assert [value.name for value in plain.graph.output] == ["logits", "probabilities"]
    onnx.checker.check_model(plain)
