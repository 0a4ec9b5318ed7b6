"""The command `to-fp16`: an FP16 version that keeps the results, or none."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from support.bundles import check_bundle
from support.quantizable import write_quantizable
from support.tiny import write_extractor
from typer.testing import CliRunner, Result

from convscope.exporter.bundles.verify import verify
from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An FP16 bundle with explanations, and what was printed."""
    repository = tmp_path_factory.mktemp("fp16")
    assert run("explain", write_quantizable(repository)).exit_code == 0
    done = run("to-fp16", repository / "blocks" / "2")
    assert done.exit_code == 0, done.output
    return repository / "blocks" / "3", done.stdout


def test_the_version_is_fp16_and_passes_every_check(printed: tuple[Path, str]) -> None:
    directory, output = printed
    assert "times that of FP32 on one thread of this CPU; it is meant for GPUs" in output
    bundle, model, _ = check_bundle(directory)
    manifest = bundle.manifest
    assert manifest.precision == pb.PRECISION_FP16
    assert manifest.provenance.parent == "blocks/2"
    assert manifest.HasField("explanation")
    assert 0.03 < manifest.golden.probability_tolerance <= 0.05
    types = {one.name: one.data_type for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {types[name] for node in convolutions for name in node.input[1:]} == {
        TensorProto.FLOAT16
    }
    # The normalization of the pixels, and what is differentiated, stay in FP32.
    for op_type in ("Sub", "Gemm"):
        node = next(node for node in model.graph.node if node.op_type == op_type)
        assert types[node.input[1]] == TensorProto.FLOAT
    assert list(verify(directory))


def test_the_file_has_half_the_size(printed: tuple[Path, str]) -> None:
    directory, _ = printed

    def convolutions(version: int) -> int:
        model = onnx.load(directory.parent / str(version) / "model.onnx")
        reads = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input}
        return sum(
            np.asarray(onnx.numpy_helper.to_array(one)).nbytes
            for one in model.graph.initializer
            if one.name in reads
        )

    assert 2 * convolutions(3) == convolutions(2)


def test_a_network_that_exceeds_the_range_is_not_published(tmp_path: Path) -> None:
    done = run("to-fp16", write_quantizable(tmp_path, scale=1e5))
    assert done.exit_code == 1
    assert "a value inside the network, 'conv1', is " in done.stderr
    assert "and FP16 ends at 65,504; serve it in FP32" in done.stderr
    assert not (tmp_path / "blocks" / "2").exists()


def test_a_version_in_fp16_is_not_converted_again(printed: tuple[Path, str]) -> None:
    done = run("to-fp16", printed[0])
    assert (done.exit_code, done.stderr) == (1, "error: blocks/3 is fp16 already; use blocks/2\n")


def test_a_filter_bank_can_be_converted(tmp_path: Path) -> None:
    bundle = write_extractor(tmp_path, "filters")
    done = run("to-fp16", bundle)
    assert done.exit_code == 0, done.output
    manifest = check_bundle(bundle.parent / "2")[0].manifest
    assert (manifest.task, manifest.precision) == (
        pb.TASK_FEATURE_EXTRACTION,
        pb.PRECISION_FP16,
    )
