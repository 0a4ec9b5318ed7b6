from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from support.foreign_models import Foreign, manifest_of, run_bundle, some_images, source

from convscope.exporter.errors import UnknownNameError
from convscope.exporter.foreign.importing import import_model


def test_inner_tensors_become_feature_maps_with_chosen_names(tmp_path: Path) -> None:
    foreign = Foreign()
    chosen = ("relu=early", "pool")
    imported = import_model(source(foreign.write(tmp_path), feature_maps=chosen), tmp_path)
    early, pool = manifest_of(imported.directory).feature_maps
    assert (early.name, early.module, early.stride) == ("early", "relu", 1)
    assert (pool.name, pool.channels, pool.height, pool.width, pool.stride) == ("pool", 6, 8, 8, 2)
    images = some_images()
    values = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    (relu,) = ReferenceEvaluator(show(foreign, "relu")).run(["relu"], {"x": values[:1]})
    ours = run_bundle(imported.directory, images[:1])["early"]
    np.testing.assert_allclose(ours, np.asarray(relu), atol=1e-5)


def show(foreign: Foreign, name: str) -> onnx.ModelProto:
    model = foreign.model()
    model.graph.output.append(helper.make_empty_tensor_value_info(name))
    return model


def test_a_feature_map_with_channels_last_is_transposed(tmp_path: Path) -> None:
    foreign = Foreign()
    foreign.nodes.insert(3, helper.make_node("Transpose", ["pool"], ["turned"], perm=[0, 2, 3, 1]))
    options = source(foreign.write(tmp_path), feature_maps=("turned",))
    (turned,) = manifest_of(import_model(options, tmp_path).directory).feature_maps
    assert (turned.channels, turned.height, turned.width) == (6, 8, 8)


def test_the_stages_of_the_pyramid_are_the_default_feature_maps(
    tmp_path: Path,
) -> None:
    directory = import_model(source(Foreign().write(tmp_path)), tmp_path).directory
    names = [(spec.name, spec.module, spec.stride) for spec in manifest_of(directory).feature_maps]
    assert names == [("stage1", "relu", 1), ("stage2", "pool", 2)]


def test_an_unknown_tensor_is_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        import_model(source(Foreign().write(tmp_path), feature_maps=("nothing",)), tmp_path)
