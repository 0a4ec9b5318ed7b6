"""One module for each kind of measurement. Importing this package registers them all."""

from bench.keys import (  # noqa: F401
    abuse,
    efficiency,
    explanations,
    fairness,
    feature_maps,
    int8,
    jpeg,
    memory,
    oip,
    openvino,
    overload,
    peers,
    precision,
    sdk,
    start,
    swap,
    tiny,
)
