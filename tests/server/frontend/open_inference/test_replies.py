"""Assembled ModelInferResponses are those that protobuf serializes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import FP32, TensorSpec
from convscope.server.frontend.open_inference.outputs import RequestedOutput
from convscope.server.frontend.open_inference.replies import encode_response
from convscope.server.frontend.wire import field, varint
from convscope.server.inference.requests import InferenceResult
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.model import ModelOutput

CLASSES = 4
LABELS = ("cat", "dog", "ö", "")
PROBABILITIES = TensorSpec("probabilities", FP32, (CLASSES,))
LOGITS = TensorSpec("logits", FP32, (CLASSES,))
CONV = TensorSpec("conv", FP32, (2, 3, 3))


def batch(rows: int, seed: int) -> ModelOutput:
    def draw(*shape: int) -> NDArray[np.float32]:
        return rng.normal(size=(rows, *shape)).astype(np.float32)

    rng = np.random.default_rng(seed)
    return ModelOutput(draw(CLASSES), {"conv": draw(2, 3, 3)}, draw(CLASSES))


def results_of(*rows: tuple[ModelOutput, int]) -> list[InferenceResult]:
    return [InferenceResult([], [], None, output, row, StageSeconds()) for output, row in rows]


def output_of(output: ModelOutput, name: str) -> NDArray[np.float32]:
    if name == "conv":
        return output.feature_maps["conv"]
    found = output.logits if name == "logits" else output.probabilities
    assert found is not None
    return found


FIRST, SECOND = batch(5, 1), batch(3, 2)
RESULTS = {
    "one input": results_of((FIRST, 2)),
    "a part of a batch": results_of((FIRST, 1), (FIRST, 2), (FIRST, 3)),
    "two batches": results_of((FIRST, 4), (SECOND, 0), (SECOND, 1)),
    "the same row": results_of((FIRST, 1), (FIRST, 1)),
}


@pytest.mark.parametrize("rows", RESULTS)
def test_tensors_are_those_of_each_input(rows: str) -> None:
    results = RESULTS[rows]
    head = pb.ModelInferResponse(model_name="m", model_version="1", id="ö")
    expected = pb.ModelInferResponse()
    expected.CopyFrom(head)
    outputs = [RequestedOutput(spec) for spec in (LOGITS, CONV, PROBABILITIES)]
    for output in outputs:
        name = output.spec.name
        arrays = [output_of(r.output, name)[r.row] for r in results]
        shape = (len(results), *output.spec.shape)
        expected.outputs.add(name=name, datatype="FP32", shape=shape)
        expected.raw_output_contents.append(np.stack(arrays).tobytes())
    found = encode_response(head.SerializeToString(), outputs, results, LABELS)
    assert pb.ModelInferResponse.FromString(found) == expected


def test_classes_are_texts() -> None:
    results = RESULTS["a part of a batch"]
    found = pb.ModelInferResponse.FromString(
        encode_response(b"", [RequestedOutput(PROBABILITIES, 2)], results, LABELS)
    )
    (output,), (raw,) = found.outputs, found.raw_output_contents
    assert (output.datatype, list(output.shape)) == ("BYTES", [3, 2])
    best = [int(result.probabilities.argmax()) for result in results]
    texts = [f"{r.probabilities[i]:f}:{i}:{LABELS[i]}" for r, i in zip(results, best, strict=True)]
    assert all(text.encode() in raw for text in texts)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 16_383, 16_384, 2**31, 2**40])
def test_varint_is_that_of_protobuf(value: int) -> None:
    message = pb.ModelInferResponse.InferOutputTensor(shape=[value])
    packed = varint(value)
    assert message.SerializeToString() == field(3, packed)
