"""The calls of Triton's perf_analyzer, in its order, with its messages.

It reads the metadata, the configuration and the extensions, makes requests of random tensors for
every output with a fixed number in flight, and compares the statistics before and after.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest
from support.calls import TIMEOUT_SECONDS
from support.oip import Stub
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.open_inference import open_inference_pb2 as pb

CONCURRENCY = 6
REQUESTS = 20  # of each caller
DTYPES: dict[str, Any] = {"UINT8": np.uint8, "FP32": np.float32}
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

Requests = Callable[[str], pb.ModelInferRequest]
Responses = list[pb.ModelInferResponse]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root: Path = tmp_path_factory.mktemp("models")
    write_tiny(root)
    write_signal(root)
    with ServerProcess(root, "--no-access-log") as server:
        yield server


def channel(server: ServerProcess, **options: Any) -> grpc.Channel:
    return grpc.insecure_channel(server.target, OPTIONS, **options)


def ids(caller: int) -> list[str]:
    return [str(caller << 48 | number) for number in range(REQUESTS)]


# Kinds of load


def synchronous(server: ServerProcess, request: Requests, **options: Any) -> Responses:
    """--sync: each thread waits for the reply to its request."""

    def call(caller: int) -> Responses:
        with channel(server, **options) as opened:
            infer = Stub(opened).ModelInfer
            return [infer(request(id), timeout=TIMEOUT_SECONDS) for id in ids(caller)]

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return [response for found in pool.map(call, range(CONCURRENCY)) for response in found]


def asynchronous(server: ServerProcess, request: Requests, **options: Any) -> Responses:
    """--async: the requests in flight share a connection."""
    waiting = [id for caller in range(CONCURRENCY) for id in ids(caller)]
    ended: SimpleQueue[Any] = SimpleQueue()
    responses: Responses = []
    with channel(server, **options) as opened:
        infer: Any = Stub(opened).ModelInfer

        def begin() -> None:
            call = infer.future(request(waiting.pop()), timeout=TIMEOUT_SECONDS)
            call.add_done_callback(ended.put)

        for _ in range(CONCURRENCY):
            begin()
        while len(responses) < CONCURRENCY * REQUESTS:
            responses.append(ended.get(timeout=TIMEOUT_SECONDS).result())
            if waiting:
                begin()
    return responses


def streaming(server: ServerProcess, request: Requests, **options: Any) -> Responses:
    """--streaming: each stream has one request in flight, which its final response ends."""

    def call(caller: int) -> Responses:
        answered: SimpleQueue[None] = SimpleQueue()

        def requests() -> Iterator[pb.ModelInferRequest]:
            for id in ids(caller):
                asked = request(id)
                asked.parameters["triton_enable_empty_final_response"].bool_param = True
                yield asked
                answered.get(timeout=TIMEOUT_SECONDS)

        responses = []
        with channel(server, **options) as opened:
            for reply in Stub(opened).ModelStreamInfer(requests(), timeout=TIMEOUT_SECONDS):
                assert not reply.error_message
                assert reply.infer_response.parameters["triton_final_response"].bool_param
                responses.append(reply.infer_response)
                answered.put(None)
        return responses

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return [response for found in pool.map(call, range(CONCURRENCY)) for response in found]


LOADS = [synchronous, asynchronous, streaming]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    ("model", "batch"), [("tiny", 1), ("tiny", 16), ("tiny.features", 1), ("signal", 4)]
)
def test_a_run_of_perf_analyzer(
    server: ServerProcess, load: Callable[..., Responses], model: str, batch: int
) -> None:
    run(server, load, model, batch)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    "compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"]
)
def test_a_run_with_compressed_requests(
    server: ServerProcess, load: Callable[..., Responses], compression: grpc.Compression
) -> None:
    run(server, load, "tiny", 4, compression=compression)


def run(
    server: ServerProcess, load: Callable[..., Responses], model: str, batch: int, **options: Any
) -> None:
    with channel(server) as opened:
        oip = Stub(opened)
        metadata = oip.ModelMetadata(pb.ModelMetadataRequest(name=model), timeout=TIMEOUT_SECONDS)
        found = oip.ModelConfig(pb.ModelConfigRequest(name=model), timeout=TIMEOUT_SECONDS)
        assert found.config.max_batch_size >= batch  # so it leaves out the first dimension
        told = oip.ServerMetadata(pb.ServerMetadataRequest(), timeout=TIMEOUT_SECONDS)
        assert "statistics" in told.extensions
        before = statistics(oip, model)
        responses = load(server, requests_for(metadata, batch), **options)
        after = statistics(oip, model)
    expected = sorted(id for caller in range(CONCURRENCY) for id in ids(caller))
    assert sorted(response.id for response in responses) == expected
    shapes = {output.name: [batch, *output.shape[1:]] for output in metadata.outputs}
    for response in responses:
        assert {output.name: list(output.shape) for output in response.outputs} == shapes
        sizes = [4 * int(np.prod(output.shape)) for output in response.outputs]
        assert [len(raw) for raw in response.raw_output_contents] == sizes
    counts_agree(before, after, calls=len(responses), batch=batch)


def counts_agree(
    before: pb.ModelStatistics, after: pb.ModelStatistics, calls: int, batch: int
) -> None:
    assert after.inference_count - before.inference_count == batch * calls
    assert 0 < after.execution_count - before.execution_count <= batch * calls
    spent, spent_before = after.inference_stats, before.inference_stats
    assert spent.success.count - spent_before.success.count == calls
    assert spent.fail.count == spent_before.fail.count
    for stage in ("success", "queue", "compute_infer", "compute_output"):
        assert getattr(spent, stage).ns > getattr(spent_before, stage).ns


def statistics(oip: Stub, model: str) -> pb.ModelStatistics:
    request = pb.ModelStatisticsRequest(name=model)
    found: pb.ModelStatistics
    (found,) = oip.ModelStatistics(request, timeout=TIMEOUT_SECONDS).model_stats
    assert (found.name, found.version) == (model, "1")
    return found


def requests_for(metadata: pb.ModelMetadataResponse, batch: int) -> Requests:
    """Make requests for every output, with random raw tensors in the shape of the metadata."""
    (tensor,) = metadata.inputs
    shape = [batch, *tensor.shape[1:]]
    values = np.random.default_rng(0).integers(0, 256, shape).astype(DTYPES[tensor.datatype])

    def request(id: str) -> pb.ModelInferRequest:
        made = pb.ModelInferRequest(
            model_name=metadata.name, id=id, raw_input_contents=[values.tobytes()]
        )
        made.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        for output in metadata.outputs:
            made.outputs.add(name=output.name)
        return made

    return request
