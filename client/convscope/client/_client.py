"""The client that blocks: each method encodes, calls and decodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Literal, Self, Unpack, overload

from convscope.client._channel import sync_channel
from convscope.client._codec import (
    Outcome,
    answer_or_raise,
    decode_results,
    encode_image,
    encode_request,
)
from convscope.client._connection import ClassifyOptions, Connection
from convscope.client._models import decode_model, decode_models
from convscope.client._pipeline import Plan, pipeline
from convscope.client._question import encode_get_model
from convscope.client.types import (
    Classification,
    FeatureMapSelection,
    ImageLike,
    ModelInfo,
    ModelSummary,
    Priority,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["Client"]


class Client(Connection):
    """Calls a Convscope server, and waits for each answer.

    It connects when it is first used, and may be shared between threads. Every
    call has a deadline. What the server is too busy for is tried up to three
    times within it.

    Args:
        target: The server's HOST:PORT, or another target that gRPC knows.
        timeout_seconds: How long a call may take, retries included.
        tls: What to secure the connection with, such as
            `grpc.ssl_channel_credentials()`. Without it and without
            `root_certificates`, the connection is not secured.
        root_certificates: To secure the connection to a server whose
            certificate these PEM certificates vouch for: their path, or bytes.

    Raises:
        InvalidInputError: An argument can't be used.
    """

    def _open(self) -> None:
        self._channel = sync_channel(self._target, self._credentials)
        self._stub = inference_pb2_grpc.ClassifierServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def classify(
        self,
        image: ImageLike,
        *,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        top_k: int = 5,
        min_probability: float = 0.0,
        feature_maps: Iterable[str | FeatureMapSelection] = (),
        timeout_seconds: float | None = None,
        priority: Priority = "interactive",
        routing_key: str = "",
    ) -> Classification:
        """Classify one image.

        Args:
            image: A path, an encoded image (JPEG, PNG, WebP, BMP or GIF), a PIL
                image, uint8 pixels [H, W, C] or [H, W] of any size, or the
                model's own input as `Tensor(array)`.
            model: The model's name.
            version: Which version answers; by default the latest.
            alias: Which version answers, by one of its aliases.
            top_k: How many classes to answer with, the most probable first.
            min_probability: Leave out classes below this.
            feature_maps: Also answer with these, by name or by selection.
            timeout_seconds: How long this call may take, instead of the client's own.
            priority: "interactive" if somebody waits for the answer; "bulk" if
                it may come after those that somebody waits for.
            routing_key: What the request is recognised by, such as a user: while
                a canary answers a share of the requests, the same key always
                gets the same version.

        Raises:
            InvalidInputError: The image or an argument can't be used.
            NotFoundError: There is no such model, version or alias.
            ConvscopeError: The call failed; see `convscope.client.errors`.
        """
        timeout = self._timeout(timeout_seconds)
        question = self._question(
            model=model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            priority=priority,
            routing_key=routing_key,
        )
        request = encode_request(question, [encode_image(question, image)])
        with self._translate_errors(timeout):
            response = self._stub.Classify(request, timeout=timeout)
        (outcome,) = decode_results(response, 1)
        return answer_or_raise(outcome)

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: Literal[False] = False,
        **options: Unpack[ClassifyOptions],
    ) -> Iterator[Classification]: ...
    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: bool,
        **options: Unpack[ClassifyOptions],
    ) -> Iterator[Outcome]: ...
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        top_k: int = 5,
        min_probability: float = 0.0,
        feature_maps: Iterable[str | FeatureMapSelection] = (),
        timeout_seconds: float | None = None,
        priority: Priority = "bulk",
        routing_key: str = "",
        window: int = 8,
        return_errors: bool = False,
        progress: bool = False,
    ) -> Iterator[Outcome]:
        """Classify any number of images, several at a time, and give the answers in order.

        Small images that are answered quickly share requests, up to 32 each.
        Images are taken from the iterable only as fast as they are answered: at
        most `window` requests ahead.

        Args:
            images: As for `classify`, any number of them.
            model: As for `classify`, like all that isn't named here.
            version: As for `classify`.
            alias: As for `classify`.
            top_k: As for `classify`.
            min_probability: As for `classify`.
            feature_maps: As for `classify`.
            timeout_seconds: How long one request may take.
            priority: As for `classify`, but "bulk" by default.
            routing_key: As for `classify`.
            window: How many requests may be in flight.
            return_errors: Give the error of an image in the place of its
                answer, and go on. Otherwise the first one is raised, and no
                more images are sent.
            progress: Show a progress bar on the error output.

        Raises:
            InvalidInputError: An argument can't be used.
        """
        timeout = self._timeout(timeout_seconds)
        question = self._question(
            model=model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            priority=priority,
            routing_key=routing_key,
        )
        outcomes = pipeline(
            Plan(question, images, window, return_errors),
            lambda request: self._stub.Classify.future(request, timeout=timeout),
            partial(self._translate_errors, timeout),
        )
        if not progress:
            return outcomes
        from convscope.client._progress import with_progress

        return with_progress(outcomes, images)

    def models(self) -> list[ModelSummary]:
        """List every version that is ready, by name and then by version.

        Raises:
            ConvscopeError: The call failed.
        """
        timeout = self._timeout_seconds
        with self._translate_errors(timeout):
            response = self._stub.ListModels(pb.ListModelsRequest(), timeout=timeout)
        return decode_models(response)

    def model(
        self, name: str, *, version: int | None = None, alias: str | None = None
    ) -> ModelInfo:
        """Describe one version in full: its input, labels, feature maps and provenance.

        Args:
            name: The model's name.
            version: Which version; by default the latest.
            alias: Which version, by one of its aliases.

        Raises:
            NotFoundError: There is no such model, version or alias.
            ConvscopeError: The call failed.
        """
        request, timeout = encode_get_model(name, version, alias), self._timeout_seconds
        with self._translate_errors(timeout):
            response = self._stub.GetModel(request, timeout=timeout)
        return decode_model(response)
