from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper
from support.foreign_models import (
    Foreign,
    source,
)

from convscope.exporter.errors import ParityError
from convscope.exporter.foreign.importing import import_model
from convscope.exporter.foreign.join import join


def test_altered_weights_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def alter(model: onnx.ModelProto, *rest: Any) -> onnx.ModelProto:
        joined = join(model, *rest)
        (kernel,) = (one for one in joined.graph.initializer if one.name == "model/kernel")
        kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * 1.02, kernel.name))
        return joined

    monkeypatch.setattr("convscope.exporter.foreign.importing.join", alter)
    with pytest.raises(ParityError, match="differs from the original in"):
        import_model(source(Foreign().write(tmp_path)), tmp_path)
