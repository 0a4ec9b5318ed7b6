"""The protocol's messages keep out of the way of every other package that has them."""

import subprocess
import sys

import pytest

OURS = "from convscope.open_inference import open_inference_pb2 as pb"
# What every generated module of the protocol does: it enters its names into the default pool.
THEIRS = """
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(
    name="grpc_service.proto", package="inference", syntax="proto3"
)
for name in ("ModelInferRequest", "ModelInferResponse", "ServerLiveRequest"):
    file.message_type.add(name=name)
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
"""
CHECK = """
message = pb.ModelInferRequest(model_name="tiny")
assert pb.ModelInferRequest.FromString(message.SerializeToString()).model_name == "tiny"
theirs = descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
assert not theirs.fields
"""


@pytest.mark.parametrize(
    "parts", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours-first", "theirs-first"]
)
def test_messages_live_beside_others_of_the_same_names(parts: tuple[str, str]) -> None:
    code = "\n".join((*parts, CHECK))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_client_does_not_know_them() -> None:
    code = "import sys, convscope.client; print([m for m in sys.modules if 'open_inference' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
