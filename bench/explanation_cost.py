"""Measure what heat costs in process: `python -m bench.explanation_cost`.

ONNX Runtime runs in this process with one thread. Calls without heat, with one class and with
five alternate, and the CPU time of each is counted, so that other programs hardly matter. The
table goes to docs/explanations.md.
"""

import argparse
import logging
import random
import time

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from bench.explanation_parity import PAGE, prepared, quiet
from bench.performance_page import between
from convscope.exporter.architectures import find_architecture
from convscope.exporter.conversion.graph import export_graph
from convscope.exporter.explanations.attach import attach
from convscope.exporter.explanations.heat import CLASSES, HEAT
from convscope.exporter.graphs.static_graph import static_graph

BEGIN, END = "<!-- cost -->\n", "<!-- /cost -->\n"
# The dense layers of timm's VGG are convolutions.
NETWORKS = ("efficientnet_lite0", "mobilenet_v3_small", "resnet50", "vgg11", "timm/vgg11")
BATCHES = (1, 4)
CLASS_COUNTS = (0, 1, 5)


class Runs:
    """A network with and without heat.

    Args:
        name: The network.
    """

    def __init__(self, name: str) -> None:
        network, inputs, classes = prepared(find_architecture(name), real=False)
        self._inputs = inputs
        with quiet():
            model = export_graph(network, torch.from_numpy(inputs[:1])).model
        self._plain = _session(model)
        attach(model, static_graph(model), classes)
        self._explained = _session(model)

    def seconds(self, batch: int, classes: int) -> float:
        """Return the CPU time of a batch with the heat of some classes, of none without heat."""
        images = np.resize(self._inputs, (batch, *self._inputs.shape[1:]))
        ranks: NDArray[np.int64] = np.tile(-1 - np.arange(classes), (batch, 1))
        start = time.process_time()
        if classes:
            self._explained.run(["probabilities", HEAT], {"images": images, CLASSES: ranks})
        else:
            self._plain.run(["probabilities"], {"images": images})
        return time.process_time() - start


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    data = model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def measure(name: str, repetitions: int) -> list[str]:
    """Return the lines of a network in the table."""
    runs, lines = Runs(name), []
    for batch in BATCHES:
        found: dict[int, list[float]] = {count: [] for count in CLASS_COUNTS}
        for repetition in range(repetitions + 1):
            for count in random.sample(CLASS_COUNTS, len(CLASS_COUNTS)):
                seconds = runs.seconds(batch, count)
                if repetition:  # the first one warms up
                    found[count].append(seconds)
        plain, one, five = (float(np.median(found[count])) for count in CLASS_COUNTS)
        cells = [name, str(batch), f"{1000 * plain:.0f} ms", f"{one / plain:.2f}"]
        lines.append(f"| {' | '.join((*cells, f'{five / one:.2f}'))} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=9)
    repetitions = parser.parse_args().repetitions
    logging.disable(logging.WARNING)
    lines = [
        "| network | batch | CPU without heat | one class / none | five classes / one |",
        "| --- | --- | --- | --- | --- |",
        *(line for name in NETWORKS for line in measure(name, repetitions)),
    ]
    PAGE.write_text(between(PAGE.read_text(), BEGIN, END, "\n".join(lines)))


if __name__ == "__main__":
    main()
