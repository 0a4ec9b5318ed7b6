"""The network in the form that the server runs: with preprocessing and feature maps."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from convscope.bundle.light_graph import without_large_weights
from convscope.bundle.suggestions import or_near
from convscope.exporter.conversion.final_argument import FinalArgument
from convscope.exporter.conversion.heads import add_heads
from convscope.exporter.conversion.torch_errors import conversion_errors
from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.outputs.semantics import Semantics

__all__ = [
    "ExportedGraph",
    "FeatureMapShape",
    "ServableNetwork",
    "export_graph",
    "feature_map_shapes",
]

HEADS = ("logits", "probabilities")
# Above 1, because a dimension of 1 would become a constant.
EXAMPLE_BATCH = 2
_MAP_DIMENSIONS = (3, 4, 5)


@dataclass(frozen=True, slots=True)
class FeatureMapShape:
    """The static shape of one feature map."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class ExportedGraph:
    """A network as one self-contained ONNX graph.

    Args:
        model: The graph.
        data: The same graph, serialized, which takes long for a large network.
    """

    model: onnx.ModelProto
    data: bytes


class ServableNetwork(nn.Module):
    """Wraps a network so that its graph fulfills the bundle's contract.

    Input: uint8 [N, H, W, C] for images, float32 [N, C, ...] otherwise.
    Outputs: of a classifier, logits and probabilities, float32 [N, K]; then
    each feature map, float32 [N, channels, height, width]. A 1-D feature map
    has a height of 1; a 3-D one is the mean over its frames.

    Args:
        network: The network, float32 [N, C, ...] to [N, K], or to [N].
        mean: The mean of each image channel, in units of 0 to 1; empty for other
            inputs, which aren't normalized.
        std: The standard deviation of each image channel, likewise.
        feature_maps: The path of each feature map's module by the feature map's
            name.
        classifies: Whether the network has classes.
        semantics: What the network returns; logits of a softmax by default.

    Raises:
        UnknownNameError: The network lacks one of the modules.

    A network that ends in an activation has its argument as logits, if it is recognized and
    the activation of it equals the network's output.

    Attributes:
        uses_argument: Whether the logits are the argument of the network's own activation.
    """

    heads: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        feature_maps: Mapping[str, str],
        *,
        classifies: bool = True,
        semantics: Semantics | None = None,
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.feature_map_names = tuple(feature_maps)
        self.feature_map_paths = dict(feature_maps)
        self.heads = HEADS if classifies else ()
        self.semantics = semantics
        self.uses_argument = False
        self.takes_images = bool(mean)
        # On uint8's scale, which saves a division by 255.
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).reshape(1, -1, 1, 1))
        self._recorded: dict[str, Tensor] = {}
        for module in self.network.modules():
            if isinstance(module, nn.AdaptiveAvgPool2d):
                module.register_forward_pre_hook(_make_contiguous)
        for name, path in feature_maps.items():
            find_module(self.network, path).register_forward_hook(self._recorder(name))

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Normalize and classify; return the heads and the recorded feature maps."""
        self._recorded.clear()
        output, argument = self.run(inputs)
        maps = [_as_planes(self._recorded[name]) for name in self.feature_map_names]
        return (*add_heads(output, self.semantics, argument), *maps) if self.heads else tuple(maps)

    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the network's final output, and the argument of its activation if it is used."""
        planes = self._normalize(inputs)
        if not self.uses_argument:
            return self.network(planes), None
        with FinalArgument(planes) as recorded:
            output = self.network(planes)
        return output, recorded.of(output)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs in order."""
        return self.heads + self.feature_map_names

    def _normalize(self, inputs: Tensor) -> Tensor:
        if not self.takes_images:
            return inputs
        planes = inputs.permute(0, 3, 1, 2).contiguous().to(torch.float32)  # [N, C, H, W]
        return (planes - self.mean) / self.std

    def _recorder(self, name: str) -> Any:
        def record(module: nn.Module, inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or output.ndim not in _MAP_DIMENSIONS:
                found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ExporterError(
                    f"the output of {name!r} is {found}, not [N, channels, height, width]; "
                    "choose a module before the head"
                )
            # A later in-place activation would overwrite the recorded tensor.
            self._recorded[name] = output.clone()

        return record


def _make_contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Make the inputs of a pool contiguous.

    For a permuted memory layout, PyTorch exports pooling as a Gather of every
    cell.
    """
    return tuple(value.contiguous() for value in inputs)


def _as_planes(feature_map: Tensor) -> Tensor:
    """Reshape a 1-D or 3-D feature map to [N, channels, height, width]."""
    if feature_map.ndim == 3:
        return feature_map.unsqueeze(2)  # [N, C, L] to [N, C, 1, L]
    return feature_map.mean(dim=2) if feature_map.ndim == 5 else feature_map


@torch.inference_mode()
def feature_map_shapes(network: ServableNetwork, example: Tensor) -> dict[str, FeatureMapShape]:
    """Run an example, with its batch, and return the shape of each feature map.

    Raises:
        ExporterError: A module's output is no feature map, or the network doesn't run it.
    """
    try:
        outputs = dict(zip(network.output_names, network(example), strict=True))
    except KeyError as error:
        raise ExporterError(
            f"the network doesn't run the module of the feature map {error.args[0]!r}; "
            "choose another module"
        ) from error
    return {name: FeatureMapShape(*outputs[name].shape[1:]) for name in network.feature_map_names}


def export_graph(
    network: ServableNetwork, example: Tensor, input_name: str = "images"
) -> ExportedGraph:
    """Convert a network to one self-contained ONNX graph.

    Args:
        network: The network.
        example: An input with its batch, of which only the shape and type matter.
        input_name: The name of the graph's input.

    Raises:
        ExporterError: The network can't be converted, the batch dimension isn't
            dynamic, or another dimension is.
    """
    example = torch.cat([example[:1]] * EXAMPLE_BATCH)
    with conversion_errors():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=[input_name],
            output_names=list(network.output_names),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    if program is None:
        raise ExporterError("torch.onnx returned no graph")
    model: onnx.ModelProto = program.model_proto
    del model.metadata_props[:]
    _strip_node_metadata(model)
    data = model.SerializeToString()
    onnx.checker.check_model(without_large_weights(model))
    _check_dimensions(model)
    return ExportedGraph(model, data)


def _check_dimensions(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        batch, *rest = value.type.tensor_type.shape.dim
        if not batch.dim_param:
            raise ExporterError(
                f"the graph takes exactly {EXAMPLE_BATCH} images ({value.name!r} has a fixed "
                "batch): the network fixes the batch dimension, for example by test-time "
                "augmentation with torch.cat and chunk, or by view with a number of images; "
                "remove the augmentation, and use x.shape[0] or -1"
            )
        if any(not dim.HasField("dim_value") for dim in rest):
            raise ExporterError(
                f"the shape of {value.name!r} isn't fixed except for the batch; the network must "
                "not choose a shape by the values of the image"
            )


def _strip_node_metadata(model: onnx.ModelProto) -> None:
    """Remove metadata, which includes stack traces with paths of this machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]


def find_module(network: nn.Module, path: str) -> nn.Module:
    """Return a module of a network by its path.

    Raises:
        UnknownNameError: There is none.
    """
    try:
        return network.get_submodule(path)
    except AttributeError as error:
        modules = dict(network.named_modules())
        known = ", ".join(name for name, _ in network.named_children())
        hint = or_near(path, modules) or f"; its top-level modules are: {known}"
        raise UnknownNameError(f"the network has no module {path!r}{hint}") from error
