from pathlib import Path

import numpy as np
from support.foreign_models import Foreign, manifest_of, source

from convscope.exporter.foreign.importing import import_model
from convscope.exporter.preprocessing.declared import DeclaredResize
from convscope.v1 import manifest_pb2 as pb


def test_the_manifests_normalization_is_red_first_and_in_units_of_one(tmp_path: Path) -> None:
    options = source(
        Foreign().write(tmp_path),
        color="bgr",
        scale=1.0,
        mean=(25.5, 51.0, 76.5),
        std=(255.0,),
        resize=DeclaredResize("20"),
        interpolation="bicubic",
    )
    rule = manifest_of(import_model(options, tmp_path).directory).preprocessing
    np.testing.assert_allclose(rule.mean, [0.3, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rule.std, [1, 1, 1])
    assert rule.color_mode == pb.COLOR_MODE_RGB
    assert (rule.resize.rule, rule.resize.shortest_edge) == (pb.RESIZE_RULE_SHORTEST_EDGE, 20)
    assert rule.interpolation == pb.INTERPOLATION_BICUBIC
