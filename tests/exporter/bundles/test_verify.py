import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.tiny import seal, write_signal, write_tiny
from typer.testing import CliRunner

from convscope.bundle.errors import BundleRejectedError
from convscope.exporter.bundles.describe import read_pyramid
from convscope.exporter.bundles.verify import CHECKS, verify
from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb

Array = NDArray[Any]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


@pytest.mark.parametrize("write", [write_tiny, write_signal], ids=["image", "signal"])
def test_a_good_bundle_passes_every_check(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    assert tuple(check.name for check in verify(write(tmp_path))) == CHECKS


def failed_check(bundle: Path) -> tuple[str, str]:
    """The check that stops, and why."""
    checks = verify(bundle)
    for name in CHECKS:
        try:
            assert next(checks).name == name
        except BundleRejectedError as error:
            return name, str(error)
    raise AssertionError("every check passed")


def cut_the_graph(bundle: Path) -> None:
    data = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(data[:-1])


def flip_a_byte(bundle: Path) -> None:
    data = bytearray((bundle / "golden.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "golden.npz").write_bytes(data)


def add_a_file(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("")


def remove_the_golden(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()


def link_to_nothing(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to("elsewhere.onnx")


def spoil_the_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{")


def spoil_the_arrays(bundle: Path) -> None:
    (bundle / "golden.npz").write_bytes(b"nothing")
    seal(bundle)


def spoil_the_graph(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"\x08")
    seal(bundle)


def change_golden(name: str, change: Callable[[Array], Array]) -> Callable[[Path], None]:
    def alter(bundle: Path) -> None:
        with np.load(bundle / "golden.npz") as stored:
            arrays = dict(stored)
        arrays[name] = change(arrays[name])
        np.savez(bundle / "golden.npz", allow_pickle=False, **arrays)
        seal(bundle)

    return alter


DAMAGES = [
    (cut_the_graph, "hashes", r"model\.onnx has .* bytes, the manifest says"),
    (flip_a_byte, "hashes", r"the SHA-256 of golden\.npz is"),
    (add_a_file, "manifest", r"notes\.txt doesn't belong to a bundle"),
    (remove_the_golden, "manifest", r"golden\.npz is missing"),
    (link_to_nothing, "manifest", r"model\.onnx is a link to a file that doesn't"),
    (spoil_the_manifest, "manifest", r"manifest\.json is not a manifest"),
    (spoil_the_arrays, "golden", r"golden\.npz can't be read as arrays"),
    (spoil_the_graph, "graph", "not an ONNX model"),
    (
        change_golden("probabilities", lambda values: np.roll(values, 1, axis=1)),
        "golden",
        "golden input 0 is 'red' here and was 'green'",
    ),
    (
        change_golden("probabilities", lambda values: values * 0.9),
        "golden",
        r"a golden probability differs by 0\.\d+; at most 0\.0300",
    ),
    (
        change_golden("feature_map_means/conv", lambda values: values * 2),
        "golden",
        "a channel mean of 'conv' differs by",
    ),
    (
        change_golden("input_1", lambda values: values[:40]),
        "golden",
        "golden input 1 is not a readable image",
    ),
]


@pytest.mark.parametrize(("damage", "check", "reason"), DAMAGES)
def test_damage_is_found_and_named(
    bundle: Path, damage: Callable[[Path], None], check: str, reason: str
) -> None:
    damage(bundle)
    failed, printed = failed_check(bundle)
    assert failed == check
    assert re.search(reason, printed), printed


def without_activation(manifest: pb.ModelManifest) -> None:
    manifest.activation = pb.ACTIVATION_NONE


def another_version(manifest: pb.ModelManifest) -> None:
    manifest.version = 7


def later_schema(manifest: pb.ModelManifest) -> None:
    manifest.schema_version = 4


def too_few_labels(manifest: pb.ModelManifest) -> None:
    del manifest.labels[-1]


def another_map_size(manifest: pb.ModelManifest) -> None:
    manifest.feature_maps[0].height = 3


def another_stride(manifest: pb.ModelManifest) -> None:
    manifest.feature_maps[0].stride = 2


def small_resize(manifest: pb.ModelManifest) -> None:
    manifest.preprocessing.resize.shortest_edge = 3


def huge_resize(manifest: pb.ModelManifest) -> None:
    manifest.preprocessing.resize.shortest_edge = 2**31 - 1


def unknown_filter(manifest: pb.ModelManifest) -> None:
    manifest.preprocessing.interpolation = 9  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("alter", "check", "reason"),
    [
        (
            without_activation,
            "manifest",
            "the activation is ACTIVATION_NONE; it must be ACTIVATION_SOFTMAX or",
        ),
        (another_version, "manifest", "the manifest is of tiny v7, the directory of tiny v1"),
        (later_schema, "manifest", "the manifest has schema version 4; this release reads 1"),
        (small_resize, "manifest", "images are resized to 3, less than the graph's input of 16x16"),
        (huge_resize, "manifest", "resized to 2,147,483,647 pixels; at most 65,536"),
        (unknown_filter, "manifest", "the interpolation is 9; it must be"),
        (too_few_labels, "graph", r"'logits' is float \[N, 3\], the manifest says float \[N, 2\]"),
        (another_stride, "graph", "that 'conv' has a stride of 2; the graph's is 1"),
        (another_map_size, "graph", r"'conv' is float \[N, 4, 16, 16\]"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_the_graph_is_rejected(
    tmp_path: Path, alter: Callable[[pb.ModelManifest], None], check: str, reason: str
) -> None:
    failed, printed = failed_check(write_tiny(tmp_path, alter_manifest=alter))
    assert failed == check
    assert re.search(reason, printed), printed


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")


def custom(model: onnx.ModelProto) -> None:
    model.graph.node[4].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))


def hidden_output(model: onnx.ModelProto) -> None:
    model.graph.output.pop()


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def mixed_batch(model: onnx.ModelProto) -> None:
    """Each image sees the mean over its batch."""
    model.graph.node[3].output[0] = "own"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    nodes = [
        onnx.helper.make_node("ReduceMean", ["own", "first"], ["shared"]),
        onnx.helper.make_node("Sub", ["own", "own"], ["nothing"]),
        onnx.helper.make_node("Add", ["shared", "nothing"], ["sums"]),
    ]
    rest = list(model.graph.node)[4:]
    del model.graph.node[4:]
    model.graph.node.extend([*nodes, *rest])


@pytest.mark.parametrize(
    ("alter", "check", "reason"),
    [
        (external, "graph", "refers to external data"),
        (custom, "graph", r"operators of the domain 'com\.example'"),
        (hidden_output, "graph", "lacks the output 'conv'"),
        (fixed_batch, "graph", r"'images' is uint8 \[1, 16, 16, 3\]"),
        (mixed_batch, "batches", r"differs by .* in a batch of 2"),
    ],
)
def test_a_graph_against_the_contract_is_rejected(
    tmp_path: Path, alter: Callable[[onnx.ModelProto], None], check: str, reason: str
) -> None:
    failed, printed = failed_check(write_tiny(tmp_path, alter_graph=alter))
    assert failed == check
    assert re.search(reason, printed), printed


def test_a_moved_bundle_is_rejected(tmp_path: Path) -> None:
    moved = tmp_path / "other" / "1"
    shutil.copytree(write_tiny(tmp_path / "models"), moved)
    assert failed_check(moved) == (
        "manifest",
        "the manifest is of tiny v1, the directory of other v1; move the bundle to the directory "
        "of its own model and version, or publish it under another number",
    )


def test_a_models_directory_points_to_its_version(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["describe", str(bundle.parent)])
    assert done.exit_code == 1
    assert f"did you mean {bundle}?" in done.stderr


def test_the_command_prints_a_checklist(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["✓", name] for name in CHECKS
    ]


def test_the_command_ends_with_1_and_the_reason(bundle: Path) -> None:
    flip_a_byte(bundle)
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 1
    assert "✗ hashes" in done.stdout
    assert "- graph     not checked" in done.stdout
    assert "error: the SHA-256 of golden.npz is" in done.stderr


def test_describe_prints_the_pyramid(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["describe", str(bundle), "--json"])
    assert done.exit_code == 0
    reported = json.loads(done.stdout)
    conv, logits = reported["levels"]
    assert (reported["model"], reported["version"], reported["input"]) == ("tiny", 1, [16, 16, 3])
    assert conv == {
        "name": "conv",
        "shape": [4, 16, 16],
        "stride": 1.0,
        "receptive_field": 3,
        "parameters": 4 * 27,
        "multiply_adds": 4 * 27 * 256,
        "source": "conv",
    }
    assert (logits["receptive_field"], logits["parameters"]) == (None, 4 * 27 + 4 * 3)
    table = CliRunner().invoke(app, ["describe", str(bundle)]).stdout
    assert "4 × 16 × 16" in table
    assert "whole input" in table


def test_describe_draws_the_pyramid(bundle: Path, tmp_path: Path, coffee: Path) -> None:
    pictures = [tmp_path / "golden.png", tmp_path / "coffee.png"]
    for picture, photo in zip(pictures, ([], ["--photo", str(coffee)]), strict=True):
        done = CliRunner().invoke(app, ["describe", str(bundle), "--plot", str(picture), *photo])
        assert done.exit_code == 0, done.output
        assert done.stderr == f"saved     {picture}\n"
    golden, other = map(read_picture, pictures)
    assert golden.shape == other.shape
    assert (golden != other).any()
    assert len(np.unique(golden.reshape(-1, 3), axis=0)) > 20


def read_picture(path: Path) -> Array:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_pyramid_of_a_signal_is_drawn_too(tmp_path: Path) -> None:
    bundle = write_signal(tmp_path)
    picture = tmp_path / "signal.png"
    done = CliRunner().invoke(app, ["describe", str(bundle), "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    with Image.open(picture) as drawn:
        assert drawn.width > 100
    assert [level.shape for level in read_pyramid(bundle).levels] == [(2,)]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--plot", "pyramid.unknown"), "can't be written: unknown file extension: .unknown;"),
        (("--plot", "absent/pyramid.png"), "can't be written: No such file or directory;"),
        (("--plot", "p.png", "--photo", "missing.jpg"), "as an image: No such file or directory\n"),
        (
            ("--plot", "p.png", "--photo", __file__),
            "as an image: it is not an image, or it is damaged\n",
        ),
    ],
)
def test_what_cannot_be_drawn_is_explained(
    bundle: Path, arguments: tuple[str, ...], reason: str
) -> None:
    done = CliRunner().invoke(app, ["describe", str(bundle), *arguments])
    assert done.exit_code == 1
    assert reason in done.stderr
    assert done.stderr.count(arguments[-1]) == 1
    assert "saved" not in done.output
