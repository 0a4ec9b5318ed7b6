"""The geometry of convolutions and pools."""

import math
from dataclasses import dataclass

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["Windows", "backward", "windows"]


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a node, with a number for each axis of positions.

    Args:
        kernel: The cells of a window.
        strides: The distance of two windows.
        dilations: The distance of two cells of a window.
        before: The padding before the first cell.
        after: The padding after the last cell.
        sizes: The positions of the input.
        outputs: The positions of the output.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    sizes: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def covers_all(self) -> bool:
        """Whether the only window is the whole input."""
        if math.prod(self.outputs) != 1 or self.kernel != self.sizes or any(self.before):
            return False
        pairs = zip(self.kernel, self.dilations, strict=True)
        return all(cells == 1 or dilation == 1 for cells, dilation in pairs)

    @property
    def are_disjoint(self) -> bool:
        """Whether no cell of the input belongs to several windows."""
        pairs = zip(self.kernel, self.strides, strict=True)
        return all(cells <= stride for cells, stride in pairs) and set(self.dilations) == {1}

    @property
    def copies(self) -> bool:
        """Whether each window is one cell of the input, in order."""
        return math.prod(self.kernel) == 1 and self.sizes == self.outputs and not any(self.before)


def windows(context: Context, node: onnx.NodeProto, kernel: tuple[int, ...]) -> Windows:
    """Return the windows of a node."""
    sizes = context.fixed(node.input[0])[1:]
    outputs = context.fixed(node.output[0])[1:]
    ones = (1,) * len(sizes)
    strides = tuple(attribute(node, "strides", ones))
    dilations = tuple(attribute(node, "dilations", ones))
    pads = tuple(attribute(node, "pads", (0,) * 2 * len(sizes)))
    before, after = pads[: len(sizes)], pads[len(sizes) :]
    automatic = attribute(node, "auto_pad", b"NOTSET").decode()
    if automatic.startswith("SAME"):
        total = [
            max((out - 1) * stride + (cells - 1) * dilation + 1 - size, 0)
            for out, stride, cells, dilation, size in zip(
                outputs, strides, kernel, dilations, sizes, strict=True
            )
        ]
        smaller = tuple(one // 2 for one in total)
        larger = tuple(one - one // 2 for one in total)
        before, after = (smaller, larger) if automatic == "SAME_UPPER" else (larger, smaller)
    return Windows(kernel, strides, dilations, before, after, sizes, outputs)


def backward(context: Context, gradient: str, weights: str, shape: Windows, groups: int) -> str:
    """Add a transposed convolution onto exactly the positions of the input."""
    surplus = [
        stride * (out - 1) + (cells - 1) * dilation + 1 - begin - size
        for stride, out, cells, dilation, begin, size in zip(
            shape.strides,
            shape.outputs,
            shape.kernel,
            shape.dilations,
            shape.before,
            shape.sizes,
            strict=True,
        )
    ]
    missing = [max(-one, 0) for one in surplus]
    if any(begin < 0 for begin in shape.before):
        raise ExplanationError("this padding is negative")
    result = context.build.add(
        "ConvTranspose",
        gradient,
        weights,
        group=groups,
        strides=shape.strides,
        dilations=shape.dilations,
        kernel_shape=shape.kernel,
        pads=[*shape.before, *(max(one, 0) for one in surplus)],
    )
    return context.build.pad(result, [0] * (2 + len(missing)), [0, 0, *missing])
