"""ModelStatistics while requests are answered: the counts of one snapshot agree."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from support.calls import TIMEOUT_SECONDS
from support.oip import oip_connected, pixels, raw_request
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.open_inference import open_inference_pb2 as pb

CALLERS = 6
SNAPSHOTS = 400


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root: Path = tmp_path_factory.mktemp("statistics")
    write_tiny(root)
    with ServerProcess(root, "--no-access-log") as server:
        yield server


@pytest.mark.parametrize("model", ["tiny", "tiny.features"])
def test_counts_of_every_snapshot_agree(server: ServerProcess, model: str) -> None:
    done = Event()

    def call(seed: int) -> None:
        with oip_connected(server) as oip:
            while not done.is_set():
                oip.ModelInfer(raw_request(pixels(seed=seed), model=model), timeout=TIMEOUT_SECONDS)

    with ThreadPoolExecutor(CALLERS) as pool, oip_connected(server) as oip:
        callers = [pool.submit(call, seed) for seed in range(CALLERS)]
        request = pb.ModelStatisticsRequest(name=model, version="1")
        try:
            snapshots = [
                oip.ModelStatistics(request, timeout=TIMEOUT_SECONDS).model_stats[0]
                for _ in range(SNAPSHOTS)
            ]
        finally:
            done.set()
        for caller in callers:
            caller.result()
    assert [counts for counts in map(counts_of, snapshots) if len(set(counts)) > 1] == []
    assert snapshots[-1].inference_count > snapshots[0].inference_count


def counts_of(found: pb.ModelStatistics) -> list[int]:
    """The counts of requests with one input each."""
    stats = found.inference_stats
    stages = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    return [found.inference_count, stats.success.count, *(stage.count for stage in stages)]


def test_request_that_fails_is_counted_in_no_stage(server: ServerProcess) -> None:
    request = pb.ModelStatisticsRequest(name="tiny", version="1")
    bad = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[b"\x04\0\0\0text" * 2])
    bad.inputs.add(name="images", datatype="BYTES", shape=[2])
    with oip_connected(server) as oip:
        (before,) = oip.ModelStatistics(request, timeout=TIMEOUT_SECONDS).model_stats
        with pytest.raises(Exception, match="input 0 of 2"):
            oip.ModelInfer(bad, timeout=TIMEOUT_SECONDS)
        (after,) = oip.ModelStatistics(request, timeout=TIMEOUT_SECONDS).model_stats
    assert counts_of(after) == counts_of(before)
    assert after.inference_stats.fail.count == before.inference_stats.fail.count + 1
