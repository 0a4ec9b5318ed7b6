"""The command `quantize`: an INT8 version that keeps the results, or none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from support.bundles import check_bundle
from support.quantizable import LAYERS, images, labels_of, write_quantizable
from support.tiny import write_extractor, write_tiny
from typer.testing import CliRunner, Result

from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.reader import read_bundle
from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def succeeded(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def failed(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    return done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "inputs.npz"
    np.savez(path, x=images(200))
    return f"npz:{path}"


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, data: str) -> tuple[Path, str]:
    """An INT8 bundle with explanations, and what was printed."""
    repository = tmp_path_factory.mktemp("quantized")
    succeeded("explain", write_quantizable(repository))
    printed = succeeded("quantize", repository / "blocks" / "2", "--calibration", data)
    return repository / "blocks" / "3", printed


def figures(manifest: pb.ModelManifest) -> dict[str, float]:
    return {one.name: one.value for one in manifest.quantization.figures}


def test_the_version_is_int8_and_records_its_origin(quantized: tuple[Path, str]) -> None:
    directory, printed = quantized
    assert "data      100 inputs of npz:inputs.npz calibrate, 100 are held out, without" in printed
    manifest = read_bundle(directory).manifest
    assert (manifest.schema_version, manifest.precision) == (3, pb.PRECISION_INT8)
    assert manifest.provenance.parent == "blocks/2"
    record = manifest.quantization
    assert (record.calibration_inputs, record.held_out_inputs) == (100, 100)
    assert (record.layers, record.fp32_layers) == (LAYERS, 0)
    assert "GPTQ" in record.method
    assert len(record.digest) == 64
    assert figures(manifest)["top1_kept_where_clear"] >= 0.99
    assert figures(manifest)["probability_change"] <= 0.025
    assert manifest.golden.probability_tolerance >= 0.03


def test_every_convolution_is_quantized(quantized: tuple[Path, str]) -> None:
    bundle = read_bundle(quantized[0])
    model = parse_graph(bundle.read_graph())
    check_graph(model, bundle.manifest)
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "Conv":
            read = [made_by[name].op_type for name in node.input]
            assert read == ["DequantizeLinear"] * 3
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    pixels = made_by[first.input[0]]
    assert made_by[pixels.input[0]].op_type == "Transpose"  # no conversion, no normalization
    assert onnx.numpy_helper.to_array(stored[pixels.input[1]]) == 1


def test_the_quantized_bundle_passes_every_check(quantized: tuple[Path, str]) -> None:
    bundle, _, golden = check_bundle(quantized[0])
    assert golden.heat is not None
    assert bundle.manifest.explanation.positions == [16, 16]
    assert "✓ batches" in succeeded("verify", quantized[0])


def test_without_explanations_the_dense_layer_is_quantized_too(
    quantized: tuple[Path, str], data: str
) -> None:
    parent = quantized[0].parent / "2"
    options = ("--calibration", data, "--no-explanations", "--version", 9)
    assert "heat" not in succeeded("quantize", parent, *options)
    bundle, model, golden = check_bundle(parent.parent / "9")
    assert (bundle.manifest.quantization.layers, golden.heat) == (LAYERS + 1, None)
    made_by = {name: node for node in model.graph.node for name in node.output}
    assert made_by["logits"].op_type == "Gemm"  # its output isn't rounded
    assert made_by[made_by["logits"].input[1]].op_type == "DequantizeLinear"


def test_describe_shows_the_precision(quantized: tuple[Path, str]) -> None:
    printed = succeeded("describe", quantized[0])
    assert (
        "precision      int8, all 4 layers, from blocks/2, 100.0% of clear results kept" in printed
    )


def test_labels_add_the_accuracy(tmp_path: Path) -> None:
    bundle = write_quantizable(tmp_path)
    values = images(200)
    classes = np.array([f"kind {number}" for number in range(4)])
    labels = labels_of(bundle, values)
    np.savez(tmp_path / "d.npz", x_train=values, y_train=labels, classes=classes)
    printed = succeeded("quantize", bundle, "--calibration", f"npz:{tmp_path / 'd.npz'}")
    assert "are held out, with labels" in printed
    manifest = read_bundle(tmp_path / "blocks" / "2").manifest
    assert figures(manifest)["accuracy"] >= 0.99
    assert [one.name for one in manifest.provenance.metrics] == ["top1_accuracy"]


def test_a_folder_of_photos_calibrates(tmp_path: Path) -> None:
    bundle = write_quantizable(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, pixels in enumerate(images(160)):
        Image.fromarray(pixels).resize((40, 40)).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no image")
    printed = succeeded("quantize", bundle, "--calibration", f"folder:{folder}")
    assert "warning   broken.png is left out: it is not an image" in printed
    assert read_bundle(tmp_path / "blocks" / "2").manifest.quantization.dataset == "folder:photos"


def test_layers_stay_in_fp32_until_the_guard_accepts(tmp_path: Path, data: str) -> None:
    bundle = write_quantizable(tmp_path, outlier_after=1)
    printed = succeeded("quantize", bundle, "--calibration", data)
    assert printed.count("rejects: ") == 2
    assert printed.count("accepts") == 1
    manifest = read_bundle(tmp_path / "blocks" / "2").manifest
    assert manifest.quantization.fp32_layers == 2
    assert figures(manifest)["top1_kept_where_clear"] >= 0.99


def test_a_network_that_loses_its_results_is_rejected_with_the_curve(
    tmp_path: Path, data: str
) -> None:
    done = run("quantize", write_quantizable(tmp_path, outlier_after=3), "--calibration", data)
    assert done.exit_code == 1
    assert done.stdout.count("rejects: ") == 3  # 0, 1 and 2 layers in FP32
    assert "the guard rejects the INT8 versions of this network; with 2 of" in done.stderr
    assert "nothing was published" in done.stderr
    assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["1"]


def no_images(folder: Path) -> str:
    return f"folder:{folder}"


def too_few(folder: Path) -> str:
    np.savez(folder / "few.npz", x=images(30))
    return f"npz:{folder / 'few.npz'}"


def other_kind(folder: Path) -> str:
    np.savez(folder / "signals.npz", x=np.zeros((100, 1, 32), np.float32))
    return f"npz:{folder / 'signals.npz'}"


def not_finite(folder: Path) -> str:
    np.savez(folder / "nan.npz", x=np.full((100, 1, 32), np.nan, np.float32))
    return f"npz:{folder / 'nan.npz'}"


def all_alike(folder: Path) -> str:
    np.savez(folder / "gray.npz", x=np.full((100, 16, 16, 3), 128, np.uint8))
    return f"npz:{folder / 'gray.npz'}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_images, "has no images; put some into it"),
        (too_few, "15 would calibrate, and 20 are needed; pass at least 100"),
        (other_kind, "the dataset has float32 [1, 32], but blocks takes images, uint8 [H, W, C]"),
        (not_finite, "has NaN or infinite values"),
        (all_alike, "every held-out input also calibrates"),
        (lambda folder: "npz:missing.npz", "there is no file 'missing.npz'"),
        (lambda folder: "folder:missing", "there is no folder 'missing'"),
        (lambda folder: "imagenet", "no dataset 'imagenet'"),
    ],
)
def test_unsuitable_inputs_are_rejected(
    tmp_path: Path, make: Callable[[Path], str], message: str
) -> None:
    bundle = write_quantizable(tmp_path / "models")
    (tmp_path / "data").mkdir()
    assert message in failed("quantize", bundle, "--calibration", make(tmp_path / "data"))


def test_an_unsure_network_can_not_be_measured(tmp_path: Path, data: str) -> None:
    few = tmp_path / "few.npz"
    np.savez(few, x=images(40, seed=5))
    error = failed(
        "quantize", write_quantizable(tmp_path), "--calibration", data, "--held-out", f"npz:{few}"
    )
    assert "of the 40 held-out inputs have a best class that leads by 0.1" in error


def test_what_has_no_classes_or_is_quantized_is_rejected(
    tmp_path: Path, quantized: tuple[Path, str], data: str
) -> None:
    for bundle, message in (
        (write_extractor(tmp_path, "bank"), "bank/1 has no classes, by which the accuracy guard"),
        (quantized[0], "blocks/3 is int8 already; use blocks/2"),
    ):
        assert message in failed("quantize", bundle, "--calibration", data)


def test_a_network_that_does_not_get_faster_is_reported(tmp_path: Path) -> None:
    """The tiny network's only convolution takes microseconds, so conversions cost more."""
    bundle = write_tiny(tmp_path)
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (200, 1, 1, 3)) + random.integers(-9, 10, (200, 16, 16, 3))
    np.savez(tmp_path / "x.npz", x=np.clip(colors, 0, 255).astype(np.uint8))
    printed = succeeded("quantize", bundle, "--calibration", f"npz:{tmp_path / 'x.npz'}")
    assert "not faster " in printed
    assert "serve " in printed
