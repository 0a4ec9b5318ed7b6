"""Compare the heat of every network with others': `python -m bench.explanation_parity`.

The table goes to docs/explanations.md. Finished rows are kept in bench/results/explanations.json,
so that a run can be interrupted; `--fresh` starts again. Networks have random weights and random
statistics of batch normalization; a row of its own has the real EfficientNet-Lite0. The columns
of Captum and pytorch-grad-cam need both packages: `pip install captum grad-cam`.
"""

import argparse
import contextlib
import io
import json
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.errors import BenchError
from bench.performance_page import between
from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.architectures.rows import ARCHITECTURES
from convscope.exporter.conversion.golden import golden_inputs, golden_noise
from convscope.exporter.conversion.graph import ServableNetwork, export_graph
from convscope.exporter.conversion.heat_reference import SAME_TENSOR, torch_heat
from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.errors import ExporterError
from convscope.exporter.explanations.attach import attach
from convscope.exporter.explanations.checks import check_differences
from convscope.exporter.explanations.running import HeatRun, HeatRunner
from convscope.exporter.graphs.static_graph import static_graph
from convscope.exporter.preprocessing import ImagePreprocessing

__all__ = ["PAGE", "prepared", "quiet"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanations.md"
RESULTS = ROOT / "bench" / "results" / "explanations.json"
BEGIN, END = "<!-- parity -->\n", "<!-- /parity -->\n"
REAL = "efficientnet_lite0 (real weights)"
# The best class, the second, and the same class for every input.
TARGETS = (-1, -2, 0)
# Those that Captum and pytorch-grad-cam explain, too.
OTHERS = [0, 2]
INPUTS = 2

Row = dict[str, Any]
Floats = NDArray[np.float32]


def measure(name: str) -> Row:
    """Return one row of the table."""
    architecture = ARCHITECTURES[REAL.partition(" ")[0] if name == REAL else name]
    network, inputs, classes = prepared(architecture, real=name == REAL)
    with quiet():
        model = export_graph(network, torch.from_numpy(inputs[:1]), _input_name(network)).model
    try:
        explanation = attach(model, static_graph(model), classes)
    except ExporterError as error:
        return {"rejected": str(error)}
    run = HeatRunner(model.SerializeToString(), explanation).run(inputs, TARGETS)
    expected = torch_heat(network, inputs, run.tensor, run.classes, explanation.cut.channel_axis)
    row: Row = {
        "positions": " × ".join(map(str, explanation.cut.positions)),
        "linear": explanation.heat.linear,
        "autograd": _difference(run.heat, expected),
    }
    if expected is None:
        row["differences"] = check_differences(model, explanation, inputs, run)
    if explanation.cut.channel_axis == 1 and run.tensor.ndim == 4:
        row |= _others(network, inputs, run)
    return row


def prepared(
    architecture: Architecture, *, real: bool
) -> tuple[ServableNetwork, NDArray[np.generic], int]:
    """Return a network, its inputs, and the number of its classes."""
    torch.manual_seed(0)
    expects = architecture.expects(architecture.channels[0] if architecture.channels else 3)
    is_image = isinstance(expects, ImagePreprocessing)
    channels = expects.channels if isinstance(expects, ImagePreprocessing) else expects.shape[0]
    classes = len(architecture.labels()) or 10
    module = architecture.make(classes, channels)
    if real and architecture.published is not None:
        module.load_state_dict(dict(architecture.published().tensors))
    else:
        _randomize(module)
    encoded = golden_photos() if is_image and channels == 3 else golden_noise(expects)[:INPUTS]
    inputs = golden_inputs(encoded if real else encoded[:INPUTS], expects)
    network = ServableNetwork(module, expects.mean, expects.std, {}).eval()
    return network, inputs, classes


def _randomize(module: nn.Module) -> None:
    """Give batch normalizations statistics as after a training."""
    for one in module.modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                one.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
                one.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
                one.weight.uniform_(0.5, 1.5)
                one.bias.normal_(0, 0.2)


def _input_name(network: ServableNetwork) -> str:
    return "images" if network.takes_images else "signal"


def _others(network: ServableNetwork, inputs: NDArray[np.generic], run: HeatRun) -> Row:
    """Return the differences from Captum and pytorch-grad-cam, if they can be computed."""
    try:
        from captum.attr import LayerGradCam
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        print("without Captum or pytorch-grad-cam, which aren't installed", flush=True)
        return {}

    planes = network._normalize(torch.from_numpy(inputs))
    # An activation in place behind the layer would overwrite what the packages record.
    for module in network.network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    layer = _layer(network.network, planes, torch.from_numpy(run.tensor))
    if layer is None:
        return {}

    class Signed(GradCAM):  # type: ignore[misc]
        """Keeps the map before its ReLU, its scaling and its resizing."""

        def get_cam_image(self, *args: Any, **kwargs: Any) -> Any:
            self.signed = super().get_cam_image(*args, **kwargs)
            return self.signed

    # The gradient begins at the layer, which takes less time.
    network.network.requires_grad_(False)
    handle = layer.register_forward_hook(lambda module, inputs, output: output.requires_grad_())
    captum = LayerGradCam(network.network, layer)
    cam = Signed(model=network.network, target_layers=[layer])
    by_captum, by_cam = [], []
    for column in run.classes[:, OTHERS].T:
        classes = torch.from_numpy(column.copy())
        by_captum.append(captum.attribute(planes, classes)[:, 0].detach().numpy())
        cam(planes, [ClassifierOutputTarget(int(one)) for one in column])
        by_cam.append(cam.signed)
    cam.activations_and_grads.release()
    handle.remove()
    heat = run.heat[:, OTHERS]
    return {
        "captum": _difference(heat, np.stack(by_captum, axis=1)),
        "pytorch-grad-cam": _difference(heat, np.stack(by_cam, axis=1)),
    }


def _layer(network: nn.Module, planes: Tensor, tensor: Tensor) -> nn.Module | None:
    """Return the module whose output the tensor is."""
    found: list[nn.Module] = []

    def watch(module: nn.Module, inputs: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.shape != tensor.shape:
            return
        if float((output - tensor).abs().max()) <= SAME_TENSOR * float(tensor.abs().max()):
            found.append(module)

    handles = [one.register_forward_hook(watch) for path, one in network.named_modules() if path]
    with torch.no_grad():
        network(planes)
    for handle in handles:
        handle.remove()
    return found[-1] if found else None


def _difference(found: Floats, expected: Floats | None) -> float | None:
    """Return the largest difference, relative to the largest magnitude."""
    if expected is None:
        return None
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def table(rows: dict[str, Row]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| network | map | linear head | autograd | Captum | pytorch-grad-cam |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        if "rejected" in row:
            lines.append(f"| {name} | none: {row['rejected']} | | | | |")
            continue
        cells = [_cell(row.get(key)) for key in ("autograd", "captum", "pytorch-grad-cam")]
        if "differences" in row and row["autograd"] is None:
            cells[0] = f"none; {row['differences']:.0e} from central differences"
        linear = "yes" if row["linear"] else "no"
        lines.append(f"| {' | '.join((name, row['positions'], linear, *cells))} |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}"


def main() -> None:
    """Measure the missing rows, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="measure every row again")
    parser.add_argument("--only", default="", help="the names of networks, with commas")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    names = [REAL, *(row.name for row in ARCHITECTURES.values() if row.classifies)]
    only = [name for name in options.only.split(",") if name] or names
    if unknown := set(only) - set(names):
        raise BenchError(f"unknown networks: {', '.join(sorted(unknown))}")
    if options.fresh:
        RESULTS.unlink(missing_ok=True)
    for name in only:
        if name in _finished() and not options.only:
            continue
        start = time.monotonic()
        row = measure(name)
        found = _finished() | {name: row}  # of another process, too
        found = {one: found[one] for one in names if one in found}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {row} ({time.monotonic() - start:.0f} s)", flush=True)
    PAGE.write_text(between(PAGE.read_text(), BEGIN, END, table(_finished())))


def _finished() -> dict[str, Row]:
    rows: dict[str, Row] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return rows


if __name__ == "__main__":
    main()
