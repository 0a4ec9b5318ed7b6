"""Describes the server and its models."""

from collections.abc import Iterable
from importlib.metadata import version

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import Contract, TensorSpec
from convscope.server.frontend.open_inference.parameters import INTERACTIVE, PRIORITY_LEVELS
from convscope.server.runtime.execution import Execution

__all__ = ["EXTENSIONS", "describe_config", "describe_model", "describe_server"]

EXTENSIONS = (
    "classification",
    "statistics",
    "model_configuration",
    "parameters",
    "binary_tensor_data",
    "schedule_policy",
)
# From the protocol's list of formats.
_PLATFORM = "onnx_onnxv1"
_ANY = -1
_KINDS = {
    "cuda": pb.ModelInstanceGroup.KIND_GPU,
    "tensorrt": pb.ModelInstanceGroup.KIND_GPU,
}


def describe_server() -> pb.ServerMetadataResponse:
    """Name the server and its extensions."""
    return pb.ServerMetadataResponse(
        name="convscope", version=version("convscope"), extensions=EXTENSIONS
    )


def describe_model(contract: Contract, versions: Iterable[int]) -> pb.ModelMetadataResponse:
    """Describe a model's inputs and outputs, each with the batch as its first dimension.

    Args:
        contract: Its inputs and outputs.
        versions: The versions that can be requested.
    """
    return pb.ModelMetadataResponse(
        name=contract.name,
        versions=map(str, versions),
        platform=_PLATFORM,
        inputs=map(_metadata, _inputs(contract)),
        outputs=map(_metadata, contract.outputs.values()),
    )


def describe_config(
    contract: Contract,
    execution: Execution,
    *,
    provider: str,
    max_inputs: int,
) -> pb.ModelConfig:
    """Describe how a model is run.

    Args:
        contract: Its inputs and outputs.
        execution: How many batches run at once.
        provider: The execution provider.
        max_inputs: The largest number of inputs of one request.
    """
    image_format = pb.ModelInput.FORMAT_NONE
    if contract.accepts_images:
        image_format = pb.ModelInput.FORMAT_NHWC
    instances = pb.ModelInstanceGroup(
        name=contract.name,
        count=max(1, execution.runners),
        kind=_KINDS.get(provider, pb.ModelInstanceGroup.KIND_CPU),
    )
    return pb.ModelConfig(
        name=contract.name,
        platform=_PLATFORM,
        max_batch_size=max_inputs,
        input=[
            pb.ModelInput(
                name=spec.name,
                data_type=spec.datatype.config,
                format=image_format if spec is contract.input else pb.ModelInput.FORMAT_NONE,
                dims=spec.shape,
            )
            for spec in _inputs(contract)
        ],
        output=[
            pb.ModelOutput(name=o.name, data_type=o.datatype.config, dims=o.shape)
            for o in contract.outputs.values()
        ],
        instance_group=[instances],
        dynamic_batching=pb.ModelDynamicBatching(
            priority_levels=PRIORITY_LEVELS, default_priority_level=INTERACTIVE
        ),
    )


def _inputs(contract: Contract) -> list[TensorSpec]:
    return [contract.input, *([] if contract.classes is None else [contract.classes])]


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype.name, shape=(_ANY, *spec.shape)
    )
