"""Bad bundles of every kind, published while a server serves: each is rejected, no call fails."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.alterations import Arrays, change_weight, flip_byte, rewrite_golden
from support.calls import connected, image_request, sample, wait_until
from support.server import ServerProcess
from support.tiny import seal, write_tiny

from convscope.v1 import admin_pb2, admin_pb2_grpc
from convscope.v1 import manifest_pb2 as pb

GRAPH, GOLDEN, MANIFEST = "model.onnx", "golden.npz", "manifest.json"
Damage = Callable[[Path], object]


# Files


def truncate(name: str) -> Damage:
    return lambda directory: os.truncate(directory / name, (directory / name).stat().st_size // 2)


def remove(name: str) -> Damage:
    return lambda directory: (directory / name).unlink()


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def link(directory: Path) -> None:
    (directory / GRAPH).unlink()
    (directory / GRAPH).symlink_to("elsewhere.onnx")


def pipe(directory: Path) -> None:
    (directory / GRAPH).unlink()
    os.mkfifo(directory / GRAPH)


def folder(directory: Path) -> None:
    (directory / GRAPH).unlink()
    (directory / GRAPH).mkdir()


def add(name: str) -> Damage:
    return lambda directory: (directory / name).write_text("")


def overwrite(name: str, data: bytes, *, sealed: bool = True) -> Damage:
    def damage(directory: Path) -> None:
        (directory / name).write_bytes(data)
        if sealed:
            seal(directory)

    return damage


# What the files say


def manifest(change: Callable[[pb.ModelManifest], Any]) -> Callable[[Path], Path]:
    return lambda root: write_tiny(root, version=2, alter_manifest=change)


def graph(change: Callable[[onnx.ModelProto], Any]) -> Callable[[Path], Path]:
    return lambda root: write_tiny(root, version=2, alter_graph=change)


def files(change: Damage) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        directory = write_tiny(root, version=2)
        change(directory)
        return directory

    return write


def golden(change: Callable[[Arrays], object]) -> Callable[[Path], Path]:
    return files(lambda directory: rewrite_golden(directory, change))


def outside(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"


def in_a_constant(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "far")
    outside(tensor)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["far"], value=tensor))


def in_a_sparse_weight(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.array([0]), "indices")
    outside(values)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1]))


def in_a_branch(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "far")
    outside(tensor)
    output = helper.make_tensor_value_info("near", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["near"], value=tensor)
    branch = helper.make_graph([constant], "branch", [], [output])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.insert(
        0, helper.make_node("If", ["always"], ["out"], then_branch=branch, else_branch=branch)
    )


def custom_domain(model: onnx.ModelProto) -> None:
    model.graph.node[4].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def drop_output(model: onnx.ModelProto) -> None:
    model.graph.output.pop()


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def nan_weights(weights: Any) -> Any:
    return np.full_like(weights, np.nan)


def huge_map(stated: pb.ModelManifest) -> None:
    stated.feature_maps[0].channels = 2**31 - 1


def huge_input(stated: pb.ModelManifest) -> None:
    stated.input.shape[0] = 2**31 - 1


def set_field(path: str, value: object) -> Callable[[pb.ModelManifest], None]:
    def change(stated: pb.ModelManifest) -> None:
        *parents, name = path.split(".")
        message: Any = stated
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, name, value)

    return change


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated graph": (files(truncate(GRAPH)), "hash"),
    "truncated golden": (files(truncate(GOLDEN)), "hash"),
    "truncated manifest": (files(truncate(MANIFEST)), "manifest"),
    "flipped byte of the graph": (files(lambda d: flip_byte(d / GRAPH, 99)), "hash"),
    "flipped byte of the golden": (files(lambda d: flip_byte(d / GOLDEN, 99)), "hash"),
    "wrong hash": (manifest(lambda m: setattr(m.files[0], "sha256", "0" * 64)), "hash"),
    "no graph": (files(remove(GRAPH)), "files"),
    "no golden": (files(remove(GOLDEN)), "files"),
    "no manifest": (files(remove(MANIFEST)), "files"),
    "empty directory": (files(empty), "files"),
    "link to nothing": (files(link), "files"),
    "pipe for a graph": (files(pipe), "files"),
    "folder for a graph": (files(folder), "files"),
    "extra file": (files(add("run.sh")), "files"),
    "manifest that is no JSON": (files(overwrite(MANIFEST, b"{", sealed=False)), "manifest"),
    "manifest of deep JSON": (files(overwrite(MANIFEST, b"[" * 10**5, sealed=False)), "manifest"),
    "manifest of another model": (files(lambda d: _rename(d, "tiny", "other")), "manifest"),
    "manifest of another version": (manifest(set_field("version", 3)), "manifest"),
    "later schema": (manifest(set_field("schema_version", 9)), "manifest"),
    "no labels": (manifest(lambda m: m.ClearField("labels")), "manifest"),
    "no golden inputs": (manifest(set_field("golden.inputs", 0)), "manifest"),
    "tolerance of everything": (
        manifest(set_field("golden.probability_tolerance", 1.0)),
        "manifest",
    ),
    "huge claimed feature map": (manifest(huge_map), "graph"),
    "huge claimed input": (manifest(huge_input), "manifest"),
    "too few labels": (manifest(lambda m: m.labels.pop()), "graph"),
    "no ONNX": (files(overwrite(GRAPH, b"\x08")), "graph"),
    "external weight": (graph(lambda m: outside(m.graph.initializer[1])), "graph"),
    "external constant": (graph(in_a_constant), "graph"),
    "external sparse weight": (graph(in_a_sparse_weight), "graph"),
    "external tensor of a branch": (graph(in_a_branch), "graph"),
    "custom domain": (graph(custom_domain), "graph"),
    "missing output": (graph(drop_output), "graph"),
    "fixed batch": (graph(fixed_batch), "graph"),
    "NaN weights": (graph(change_weight("dense", nan_weights)), "golden"),
    "turned classes": (graph(change_weight("dense", lambda w: w[:, ::-1])), "golden"),
    "golden without an input": (golden(lambda arrays: arrays.pop("input_1")), "golden"),
    "golden input that is no image": (
        golden(lambda arrays: arrays.update(input_1=np.zeros(9, np.uint8))),
        "golden",
    ),
    "golden that is no archive": (files(overwrite(GOLDEN, b"PK")), "golden"),
}


def _rename(directory: Path, old: str, new: str) -> None:
    path = directory / MANIFEST
    path.write_text(path.read_text().replace(f'"model": "{old}"', f'"model": "{new}"'))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ServerProcess]]:
    root = tmp_path_factory.mktemp("bad")
    write_tiny(root)
    address = f"unix:{root / '.admin.sock'}"
    with ServerProcess(root, "--poll-seconds", "0.1", "--admin-address", address) as running:
        yield root, running


@pytest.mark.one_transport("validates bundles")
@pytest.mark.parametrize("kind", BAD)
def test_bad_bundle_is_rejected_with_its_reason_and_the_old_version_serves(
    kind: str, server: tuple[Path, ServerProcess]
) -> None:
    (root, running), (write, reason) = server, BAD[kind]
    made = write(root / ".making")
    made.rename(root / "tiny" / "2")
    with connected(running) as stub:
        wait_until(
            lambda: (
                sample(running, "convscope_model_refused", model="tiny", version="2") == 1
                and stub.Classify(image_request(model="tiny"), timeout=30).version == 1
            )
        )
        status = _status(root)
        assert (status.reason, status.state) == (reason, admin_pb2.VERSION_STATE_REFUSED)
        assert status.message
        assert str(root) not in status.message
        shutil.rmtree(root / "tiny" / "2")
        wait_until(lambda: sample(running, "convscope_model_refused", model="tiny") == 0)
        assert stub.Classify(image_request(model="tiny"), timeout=30).version == 1


def _status(root: Path) -> admin_pb2.VersionStatus:
    with grpc.insecure_channel(f"unix:{root / '.admin.sock'}") as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        reply = stub.GetStatus(admin_pb2.GetStatusRequest(model="tiny"), timeout=10)
    return reply.models[0].versions[0]
