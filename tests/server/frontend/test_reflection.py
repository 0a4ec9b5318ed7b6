"""Reflection, by a client that knows nothing of the server but reflection itself."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from support.calls import TIMEOUT_SECONDS, run_to_end
from support.server import ServerProcess, serving
from support.transports import serving as serving_transport

SERVICES = {
    "convscope.v1.ClassifierService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
}


def generic_call(channel: grpc.Channel, service: str, method: str) -> Callable[..., Any]:
    """Make the call of a method from what reflection reports about it."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    described = pool.FindServiceByName(service).methods_by_name[method]
    request = message_factory.GetMessageClass(described.input_type)
    reply = message_factory.GetMessageClass(described.output_type)
    multi_callable: Any = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=request.SerializeToString,
        response_deserializer=reply.FromString,
    )
    return lambda **fields: multi_callable(request(**fields), timeout=TIMEOUT_SECONDS)


def test_every_service_is_listed(tiny_server: ServerProcess) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        assert set(ProtoReflectionDescriptorDatabase(channel).get_services()) == SERVICES


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_is_described(tiny_server: ServerProcess, service: str) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        assert pool.FindServiceByName(service).methods


def test_a_generic_client_calls_every_service(tiny_server: ServerProcess) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        assert generic_call(channel, "inference.GRPCInferenceService", "ServerLive")().live
        metadata = generic_call(channel, "inference.GRPCInferenceService", "ModelMetadata")
        assert metadata(name="tiny").inputs[0].name == "images"
        models = generic_call(channel, "convscope.v1.ClassifierService", "ListModels")().models
        assert [model.model for model in models] == ["signal", "tiny"]
        assert generic_call(channel, "grpc.health.v1.Health", "Check")(service="tiny").status == 1


def test_a_service_that_is_off_is_not_described(tiny_repository: Path) -> None:
    with (
        serving(tiny_repository, "--no-open-inference") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert services == SERVICES - {"inference.GRPCInferenceService"}


# An invalid varint, bytes that no message is, and text that isn't UTF-8.
INVALID = (b"\xff", b"not a message", b"\x22\x02\xff\xfe")
VERSIONS = ("v1", "v1alpha")


def raw_reflection(channel: Any, version: str) -> Any:
    return channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
async def test_invalid_bytes_are_an_invalid_argument(transport: str, version: str) -> None:
    async with serving_transport(transport) as served:
        for message in INVALID:
            call = raw_reflection(served.channel, version)(iter([message]), timeout=TIMEOUT_SECONDS)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "can't be parsed" in (caught.value.details() or "")


@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
async def test_random_bytes_are_answered_or_an_invalid_argument(transport: str) -> None:
    draw = random.Random(15)
    codes = set()
    async with serving_transport(transport) as served:
        for _ in range(200):
            # Each field of a request, with text or with anything.
            tag = bytes([draw.choice((0x0A, 0x1A, 0x22, 0x2A, 0x32, 0x3A))])
            message = tag + draw.choice((b"\x04name", b"\x02\x08\x01", draw.randbytes(8)))
            call = raw_reflection(served.channel, "v1")(iter([message]), timeout=TIMEOUT_SECONDS)
            with suppress(grpc.aio.AioRpcError):
                await call.read()
                call.cancel()
            codes.add(await call.code())
    assert codes == {grpc.StatusCode.CANCELLED, grpc.StatusCode.INVALID_ARGUMENT}


@pytest.mark.parametrize(
    ("flags", "offered"),
    [
        ((), False),
        (("--reflection",), True),
        (("--grpc-address", "127.0.0.1:0"), True),
        (("--grpc-address", "127.0.0.1:0", "--no-reflection"), False),
    ],
)
def test_reflection_is_off_beyond_loopback(
    tiny_repository: Path, flags: tuple[str, ...], offered: bool
) -> None:
    beyond = ("--grpc-address", "0.0.0.0:0", "--allow-insecure")
    with (
        serving(tiny_repository, *beyond, *flags) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        for version in VERSIONS:
            call = raw_reflection(channel, version)(iter([b"\x3a\x01*"]), timeout=TIMEOUT_SECONDS)
            if offered:
                assert b"grpc.health.v1.Health" in next(call)
                continue
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_is_not_both_on_and_off(tiny_repository: Path) -> None:
    code, _, err = run_to_end("--models", tiny_repository, "--reflection", "--no-reflection")
    assert code == 1
    assert "--reflection and --no-reflection exclude each other" in err
