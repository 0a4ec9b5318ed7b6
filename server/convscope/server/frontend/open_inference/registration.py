"""Registers the methods of the Open Inference Protocol at a server."""

from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.open_inference.servicer import OpenInferenceServicer
from convscope.server.frontend.transport.calls import Transport
from convscope.server.inference.handler import InferenceHandler

__all__ = ["SERVICE", "UNSUPPORTED", "add_to_server"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

_BY_OPERATORS = (
    "models are loaded and unloaded through convscope.v1.AdminService, on the server's "
    "--admin-address, or by changing the repository's files"
)
_NO_SHARED_MEMORY = "tensors travel in the messages only; call without shared memory"
# The methods of Triton's superset that are not supported, and the alternatives.
UNSUPPORTED = {
    "RepositoryModelLoad": _BY_OPERATORS,
    "RepositoryModelUnload": _BY_OPERATORS,
    "SystemSharedMemoryStatus": _NO_SHARED_MEMORY,
    "SystemSharedMemoryRegister": _NO_SHARED_MEMORY,
    "SystemSharedMemoryUnregister": _NO_SHARED_MEMORY,
    "CudaSharedMemoryStatus": _NO_SHARED_MEMORY,
    "CudaSharedMemoryRegister": _NO_SHARED_MEMORY,
    "CudaSharedMemoryUnregister": _NO_SHARED_MEMORY,
    "TraceSetting": "traces are set by the server's flags; see --otlp-endpoint",
    "LogSettings": "the log is set by the server's flags; see --no-access-log",
}


def add_to_server(
    servicer: OpenInferenceServicer,
    handler: InferenceHandler,
    guarded: Accounting,
    transport: Transport,
) -> None:
    """Register every method of the protocol.

    Args:
        servicer: Handles the supported methods.
        handler: Takes the requests of ModelInfer.
        guarded: Where the supported methods are added.
        transport: Where the other methods are added, which explain why they are not
            supported. Like unknown methods they are not counted: they would
            double the number of time series.
    """
    guarded.add_group_method(
        SERVICE.full_name,
        "ModelInfer",
        pb.ModelInferRequest.FromString,
        servicer.infer_endpoint,
        handler,
    )
    served = {
        method.name: _serve(method, servicer)
        for method in SERVICE.methods
        if method.name != "ModelInfer"
    }
    guarded.add_registered_method_handlers(SERVICE.full_name, served)
    rejected = {name: _reject(name, advice) for name, advice in UNSUPPORTED.items()}
    transport.add_registered_method_handlers(SERVICE.full_name, rejected)


def _serve(method: MethodDescriptor, servicer: OpenInferenceServicer) -> "Handler":
    make = (
        grpc.stream_stream_rpc_method_handler
        if method.client_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    handler: Handler = make(
        getattr(servicer, method.name),
        request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
        response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
    )
    return handler


def _reject(name: str, advice: str) -> "Handler":
    async def reject(request: bytes, context: "Context") -> NoReturn:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"this server has no {name}: {advice}")

    return grpc.unary_unary_rpc_method_handler(reject)
