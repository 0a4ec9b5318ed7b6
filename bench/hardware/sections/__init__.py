"""The sections of the check, in the order in which they run.

Each module has a function `run`, which fills its results while it works, so that they are kept
if it fails. What it lists under `problems` makes the section fail.
"""

from collections.abc import Callable

from bench.hardware.check import Check, Results
from bench.hardware.sections import (
    bundles,
    environment,
    feature_maps,
    gates,
    half_precision,
    in_process,
    parity,
    served,
    swaps,
    tensorrt,
    training,
    workers,
)

__all__ = ["FIRST", "SECTIONS"]

# The others need the bundles, whatever --only names.
FIRST = "bundles"

# By name: what runs, and the largest share of the whole time that it may take.
SECTIONS: dict[str, tuple[Callable[[Check, Results], None], float]] = {
    "environment": (environment.run, 0.1),
    FIRST: (bundles.run, 0.3),
    "gates": (gates.run, 0.2),
    "parity": (parity.run, 0.15),
    "in_process": (in_process.run, 0.15),
    "served": (served.run, 0.25),
    "feature_maps": (feature_maps.run, 0.15),
    "swaps": (swaps.run, 0.3),
    "half_precision": (half_precision.run, 0.1),
    "training": (training.run, 0.2),
    "workers": (workers.run, 0.2),
    # Last, because it builds engines for as long as there is time.
    "tensorrt": (tensorrt.run, 0.3),
}
