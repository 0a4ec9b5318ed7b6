"""Replies of ClassifierService, assembled from parts that are encoded once for each version.

A tree of protobuf messages costs several times as much for each call. Feature maps,
explanations and errors are trees nevertheless: they are rare, or large in comparison.
"""

import struct
from collections.abc import Mapping, Sequence
from time import perf_counter

from convscope.server.errors import ServingError
from convscope.server.frontend.classifier.replies import error_message, write_crop, write_prediction
from convscope.server.frontend.classifier.requests import ReplyPlan
from convscope.server.frontend.wire import field, varint
from convscope.server.inference.requests import InferenceResult
from convscope.server.runtime.versions import Crop, LoadedVersion
from convscope.v1 import inference_pb2 as pb

__all__ = ["ReplyTemplate"]

Outcome = InferenceResult | ServingError

# Tags in `ClassifyResponse` and the messages in it.
_RESULT = b"\x22"
_PREDICTION = b"\x0a"
_CLASS = b"\x0a"
_PROBABILITY = b"\x1d"
_pack_float = struct.Struct("<f").pack
# The field `stage_times` of an InputResult: its tag, its length, and four floats with theirs.
_pack_times = struct.Struct("<2sBfBfBfBf").pack


class ReplyTemplate:
    """The encoded parts of the replies of one version.

    Args:
        version: The version.
    """

    def __init__(self, version: LoadedVersion) -> None:
        model, number = version.key
        self._head = pb.ClassifyResponse(
            model=model, version=number, provider=version.model.provider
        ).SerializeToString()
        self._labels = version.labels
        self._classes: list[bytes] = [b""] * len(version.labels)  # made when they are needed

    def encode(
        self,
        outcomes: Sequence[Outcome],
        plan: ReplyPlan,
        crops: Mapping[int, Crop] | None = None,
    ) -> tuple[bytes, Sequence[float]]:
        """Serialize a ClassifyResponse.

        Args:
            outcomes: The result or the error of each input.
            plan: What the request selects.
            crops: By the index of an input, the part of its image that the network saw.

        Returns:
            The response, and the seconds that each result took.
        """
        parts, all_seconds = [self._head], []
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, ServingError):
                message = pb.InputResult(error=error_message(outcome))
                parts.append(field(4, message.SerializeToString()))
                continue
            started_at = perf_counter()
            if plan.selections or plan.explanations:
                message = pb.InputResult()
                write_prediction(message.prediction, outcome, plan, index)
                if crops and index in crops:
                    write_crop(message.prediction.crop, crops[index])
                body = message.SerializeToString()
            else:
                body = self._prediction(outcome, plan)
            stages = outcome.seconds
            seconds = perf_counter() - started_at
            times = _pack_times(
                b"\x1a\x14", 0x0D, stages.decode, 0x15, stages.queue, 0x1D, stages.infer,
                0x25, seconds,
            )  # fmt: skip
            parts += (_RESULT, varint(len(body) + len(times)), body, times)
            all_seconds.append(seconds)
        return b"".join(parts), all_seconds

    def _prediction(self, result: InferenceResult, plan: ReplyPlan) -> bytes:
        """Serialize the field `prediction` of an InputResult; nothing if it has no classes."""
        classes, minimum = self._classes, plan.min_probability
        parts: list[bytes] = []
        for index, probability in zip(result.classes[: plan.top_k], result.scores, strict=False):
            if probability < minimum:
                break
            parts += (classes[index] or self._class(index), _pack_float(probability))
        body = b"".join(parts)
        return b"".join((_PREDICTION, varint(len(body)), body)) if body else b""

    def _class(self, index: int) -> bytes:
        """Serialize a field `classes` of a Prediction, up to the value of its probability."""
        named = pb.ClassScore(index=index, label=self._labels[index]).SerializeToString()
        size = len(named) + len(_PROBABILITY) + 4
        entry = self._classes[index] = _CLASS + varint(size) + named + _PROBABILITY
        return entry
