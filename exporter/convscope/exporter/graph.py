"""A network as the server runs it: preprocessing inside, feature maps beside the classes."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from convscope.exporter.errors import ExporterError, UnknownNameError

__all__ = ["FeatureMapShape", "ServableNetwork", "export_graph"]

HEADS = ("logits", "probabilities")
# Above 1: a dimension of 1 would be taken for a constant.
EXAMPLE_BATCH = 2


@dataclass(frozen=True, slots=True)
class FeatureMapShape:
    """The static shape of one feature map."""

    channels: int
    height: int
    width: int


class ServableNetwork(nn.Module):
    """Wraps a classifier so that its graph fulfils the bundle's contract.

    Input: uint8 [N, H, W, C]. Outputs: logits and probabilities, float32
    [N, K], then each feature map, float32 [N, channels, height, width].

    Args:
        network: The classifier, float32 [N, C, H, W] to logits [N, K].
        mean: For each channel, in units of 0 to 1.
        std: For each channel, in units of 0 to 1.
        feature_maps: The name of each feature map, and the path of its module.

    Raises:
        UnknownNameError: The network has no such module.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        feature_maps: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.feature_map_names = tuple(feature_maps)
        # On uint8's scale, so that no division by 255 is left to do.
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).reshape(1, -1, 1, 1))
        self._recorded: dict[str, Tensor] = {}
        for name, path in feature_maps.items():
            self._module(path).register_forward_hook(self._recorder(name))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalise and classify."""
        self._recorded.clear()
        planes = images.permute(0, 3, 1, 2).to(torch.float32)  # [N, C, H, W]
        logits = self.network((planes - self.mean) / self.std)
        maps = [self._recorded[name] for name in self.feature_map_names]
        return logits, logits.softmax(dim=1), *maps

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs, in their order."""
        return HEADS + self.feature_map_names

    def _module(self, path: str) -> nn.Module:
        try:
            return self.network.get_submodule(path)
        except AttributeError as error:
            known = ", ".join(name for name, _ in self.network.named_children())
            raise UnknownNameError(
                f"the network has no module {path!r}; its outermost are: {known}"
            ) from error

    def _recorder(self, name: str) -> Any:
        def record(module: nn.Module, inputs: object, output: Tensor) -> None:
            # An activation in place, further on, would write into what is recorded.
            self._recorded[name] = output.clone()

        return record


@torch.inference_mode()
def feature_map_shapes(network: ServableNetwork, example: Tensor) -> dict[str, FeatureMapShape]:
    """Run an example, uint8 [N, H, W, C], and see the shape of each feature map.

    Raises:
        ExporterError: A module's output is no feature map.
    """
    shapes = {}
    for name, value in zip(network.output_names[2:], network(example)[2:], strict=True):
        if value.ndim != 4:
            raise ExporterError(
                f"the output of {name!r} is {list(value.shape)}, not [N, channels, height, width]; "
                "choose a module before the head"
            )
        shapes[name] = FeatureMapShape(*value.shape[1:])
    return shapes


def export_graph(network: ServableNetwork, example: Tensor, path: Path) -> onnx.ModelProto:
    """Convert a network to one self-contained ONNX file.

    Args:
        network: What to convert.
        example: uint8 [N, H, W, C], of which only the shape and type matter.
        path: Where the file goes.

    Raises:
        ExporterError: The graph's batch isn't dynamic, or another dimension is.
    """
    example = example[:1].repeat(EXAMPLE_BATCH, 1, 1, 1)
    with _without_noise():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=list(network.output_names),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    if program is None:
        raise ExporterError("torch.onnx gave no graph")
    model: onnx.ModelProto = program.model_proto
    del model.metadata_props[:]
    _strip_node_metadata(model)
    onnx.checker.check_model(model)
    _check_dimensions(model)
    path.write_bytes(model.SerializeToString())
    return model


def _check_dimensions(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        batch, *rest = value.type.tensor_type.shape.dim
        if not batch.dim_param or any(not dim.HasField("dim_value") for dim in rest):
            raise ExporterError(f"the shape of {value.name!r} isn't dynamic in the batch alone")


def _strip_node_metadata(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: they hold stack traces with paths of this machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]


@contextmanager
def _without_noise() -> Any:
    """Keep what torch's exporter says to its own developers from our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
