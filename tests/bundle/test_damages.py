"""A bundle that is damaged in one of forty ways is rejected, and a whole one isn't.

The golden inputs are replayed with onnx's own evaluator: the exporter and the
server replay them with ONNX Runtime, each with its own preprocessing.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from support.alterations import change_weight, flip_byte, rewrite_golden
from support.bundles import check_bundle
from support.tiny import reference_preprocess, seal, write_extractor, write_signal, write_tiny

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden_comparison import compare_feature_maps, compare_probabilities
from convscope.v1 import manifest_pb2 as pb

Damage = Callable[[Path], object]
MEANS = "feature_map_means/conv"


def check(directory: Path) -> None:
    """Apply every check of the room, and replay the golden inputs."""
    bundle, model, golden = check_bundle(directory)
    image = bundle.manifest.input.kind == pb.INPUT_KIND_IMAGE
    inputs = np.stack([decode(one) if image else one for one in golden.inputs])
    names = [value.name for value in model.graph.output]
    found = ReferenceEvaluator(model).run(names, {bundle.manifest.input.name: inputs})
    outputs = dict(zip(names, found, strict=True))
    if bundle.manifest.task == pb.TASK_CLASSIFICATION:
        compare_probabilities(outputs["probabilities"], golden, bundle.manifest)
    maps = {name: outputs[name] for name in golden.feature_map_means}
    compare_feature_maps(maps, golden, bundle.manifest)


def decode(encoded: NDArray[np.generic]) -> NDArray[np.uint8]:
    try:
        return reference_preprocess(encoded.tobytes())
    except OSError as error:
        raise BundleRejectedError("golden", "not an image") from error


def test_whole_bundles_pass(tmp_path: Path) -> None:
    check(write_tiny(tmp_path))
    check(write_signal(tmp_path))
    check(write_extractor(tmp_path, "filters"))


def manifest(change: Callable[[pb.ModelManifest], object]) -> Damage:
    """Change the manifest."""

    def damage(bundle: Path) -> None:
        path = bundle / "manifest.json"
        read = json_format.Parse(path.read_text(), pb.ModelManifest())
        change(read)
        path.write_text(json_format.MessageToJson(read, preserving_proto_field_name=True))

    return damage


def graph(change: Callable[[onnx.ModelProto], object]) -> Damage:
    """Change the graph, and seal the bundle again."""

    def damage(bundle: Path) -> None:
        model = onnx.load(bundle / "model.onnx")
        change(model)
        (bundle / "model.onnx").write_bytes(model.SerializeToString())
        seal(bundle)

    return damage


def golden(name: str, change: Callable[[Any], Any]) -> Damage:
    """Change one golden array, and seal the bundle again."""
    return lambda bundle: rewrite_golden(
        bundle, lambda arrays: arrays.update({name: change(arrays[name])})
    )


def without(name: str) -> Damage:
    """Remove one golden array, and seal the bundle again."""
    return lambda bundle: rewrite_golden(bundle, lambda arrays: arrays.pop(name))


def later_enum(field: str) -> Damage:
    """Write a number of some later schema where the manifest has the name of an enum."""

    def damage(bundle: Path) -> None:
        path = bundle / "manifest.json"
        content = json.loads(path.read_text())
        place = content if field in content else content["preprocessing"]
        place[field] = 9
        path.write_text(json.dumps(content))

    return damage


def pad_the_manifest(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text() + " " * 5_000_000)


def link_to_nothing(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to("elsewhere.onnx")


def add_to_the_archive(bundle: Path) -> None:
    with zipfile.ZipFile(bundle / "golden.npz", "a") as archive:
        archive.writestr("notes.txt", "not an array")
    seal(bundle)


def store_one_array(bundle: Path) -> None:
    with (bundle / "golden.npz").open("wb") as file:
        np.save(file, np.zeros(3), allow_pickle=False)
    seal(bundle)


def store_objects(bundle: Path) -> None:
    with (bundle / "golden.npz").open("wb") as file:
        np.savez(file, probabilities=np.array([print], dtype=object))
    seal(bundle)


def compress_unknown(bundle: Path) -> None:
    """Mark the first array as compressed in an unknown way."""
    path = bundle / "golden.npz"
    data = bytearray(path.read_bytes())
    data[8] = data[data.find(b"PK\x01\x02") + 10] = 99
    path.write_bytes(data)
    seal(bundle)


def point_outside(model: onnx.ModelProto) -> None:
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")


def use_another_domain(model: onnx.ModelProto) -> None:
    model.graph.node[4].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))


def fix_the_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def widen_the_map(model: onnx.ModelProto) -> None:
    model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 7


DAMAGES: dict[str, Damage] = {
    # Files
    "a flipped byte": lambda bundle: flip_byte(bundle / "model.onnx", 200),
    "a missing file": lambda bundle: (bundle / "golden.npz").unlink(),
    "a file too many": lambda bundle: (bundle / "model.onnx.data").write_bytes(b""),
    "a link to nothing": link_to_nothing,
    # The manifest
    "no JSON": lambda bundle: (bundle / "manifest.json").write_text("{"),
    "a manifest of megabytes": pad_the_manifest,
    "a file listed twice": manifest(lambda m: m.files.append(m.files[0])),
    "a later schema": manifest(lambda m: setattr(m, "schema_version", 4)),
    "another version": manifest(lambda m: setattr(m, "version", 7)),
    "a later precision": later_enum("precision"),
    "a later colour mode": later_enum("color_mode"),
    "no activation": manifest(lambda m: m.ClearField("activation")),
    "a label too few": manifest(lambda m: m.labels.pop()),
    "a tolerance of NaN": manifest(lambda m: setattr(m.golden, "probability_tolerance", np.nan)),
    "a resize below the input": manifest(
        lambda m: setattr(m.preprocessing.resize, "shortest_edge", 3)
    ),
    "two maps of one name": manifest(lambda m: m.feature_maps.append(m.feature_maps[0])),
    "more golden inputs than stored": manifest(lambda m: setattr(m.golden, "inputs", 99)),
    # The graph
    "external data": graph(point_outside),
    "another domain": graph(use_another_domain),
    "a fixed batch": graph(fix_the_batch),
    "a missing output": graph(lambda model: model.graph.output.pop()),
    "an unknown operator": graph(lambda model: setattr(model.graph.node[4], "op_type", "Conjure")),
    "a later opset": graph(lambda model: setattr(model.opset_import[0], "version", 999)),
    "a map of other channels": graph(widen_the_map),
    "other weights": graph(change_weight("dense", lambda dense: dense * np.float32(0.5))),
    "weights of NaN": graph(change_weight("dense", lambda dense: dense * np.float32(np.nan))),
    # The golden samples
    "one array": store_one_array,
    "objects": store_objects,
    "a text among the arrays": add_to_the_archive,
    "an unknown compression": compress_unknown,
    "a missing input": without("input_1"),
    "a missing answer": without("probabilities"),
    "missing means": without(MEANS),
    "an image cut short": golden("input_1", lambda encoded: encoded[:-60]),
    "an answer too few": golden("probabilities", lambda values: values[:2]),
    "answers of text": golden("probabilities", lambda values: values.astype(str)),
    "answers of NaN": golden("probabilities", lambda values: values * np.float32(np.nan)),
    "means twice as large": golden(MEANS, lambda values: values * np.float32(2)),
    "means of text": golden(MEANS, lambda values: values.astype(str)),
    "means of nothing but zeros": golden(MEANS, np.zeros_like),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_rejected(tmp_path: Path, name: str) -> None:
    bundle = write_tiny(tmp_path)
    DAMAGES[name](bundle)
    with pytest.raises(BundleRejectedError) as rejected:
        check(bundle)
    assert rejected.value.reason in ("files", "manifest", "hash", "graph", "golden")
    assert 0 < len(str(rejected.value)) < 400
    assert "\n" not in str(rejected.value)
    assert str(tmp_path) not in str(rejected.value)


@pytest.mark.parametrize(
    "dtype", [np.float64, np.uint8, np.complex64], ids=lambda dtype: dtype.__name__
)
def test_tensor_of_another_type_is_rejected(tmp_path: Path, dtype: type[np.generic]) -> None:
    bundle = write_signal(tmp_path)
    golden("input_0", lambda signal: signal.astype(dtype))(bundle)
    with pytest.raises(BundleRejectedError, match="golden input 0 is"):
        check(bundle)
