"""BF16 is measured on processors that have AMX, and on others the reason is reported."""

from pathlib import Path

import pytest

from bench.context import Bench
from bench.errors import BenchError
from bench.keys import precision


@pytest.mark.parametrize("measure", [precision.bf16_speed, precision.auto_provider_speed])
def test_a_processor_without_amx_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, measure: object
) -> None:
    assert callable(measure)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : fpu avx2 avx512f\n")
    monkeypatch.setattr(precision, "CPUINFO", cpuinfo)
    with pytest.raises(BenchError, match="no AMX"):
        measure(Bench(tmp_path))
