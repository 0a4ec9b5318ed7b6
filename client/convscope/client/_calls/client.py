"""The client whose calls block: each method encodes, calls and decodes."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, Unpack, overload

import grpc

from convscope.client._calls.image_encoder import ImageEncoder, Oversize
from convscope.client._calls.image_stream import ImageStream
from convscope.client._calls.options import (
    ClassifyManyOptions,
    Selector,
)
from convscope.client._calls.requests import (
    encode_get_model,
    encode_template,
)
from convscope.client._calls.single_request import SingleRequest
from convscope.client._calls.sync_driver import Sender, stream_outcomes
from convscope.client._connection.channel import sync_channel
from convscope.client._connection.connection import BlockingConnection
from convscope.client._connection.options import ConnectionOptions, Pem
from convscope.client._connection.tokens import Token
from convscope.client._inputs.checks import CheckedMetadata, Metadata, check_metadata
from convscope.client._results.models import decode_model, decode_models
from convscope.client._results.results import Outcome
from convscope.client.types import (
    Classification,
    ClassLike,
    ExplainLike,
    FeatureMapSelection,
    ImageLike,
    ModelInfo,
    ModelSummary,
    Priority,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["Client"]


class Client(BlockingConnection):
    """Calls a Convscope server and waits for each reply.

    It connects on first use, and may be shared between threads. Every call has a
    deadline. If the server is busy or unavailable, a call is tried up to three
    times before its deadline.

    Args:
        target: The server's HOST:PORT, or another target that gRPC accepts.
        timeout_seconds: How long a call may take, retries included.
        tls: The credentials of a secure connection, such as
            `grpc.ssl_channel_credentials()`. Without them and without
            `root_certificates`, the connection is not secured.
        root_certificates: The PEM certificates to trust, as a path or as bytes,
            for a secure connection.
        client_certificate: The client's own PEM certificate chain, as a path or as
            bytes, for a server that asks for one.
        client_key: The private key of that certificate.
        token: The token to send with each call, or a function that returns one. The
            function is called for the first call, before a JWT expires, and when the
            server rejects a token; it may block, also for an `AsyncClient`.
        token_file: A file with the token, which is read again when it changes.
        allow_insecure_token: Whether the token may be sent without TLS to another
            machine, where others may read it on the way.
        oversize: What happens to an image beyond the server's limits, such as a photo of 20
            megapixels. With "shrink", the default, the client scales it down to several times
            the model's input, which changes probabilities by at most a few hundredths, and the
            result has a `sent_size`. With "error" it is an error.

    Raises:
        InvalidInputError: An argument is invalid.

    Example:
        >>> with Client("localhost:8001") as client:
        ...     client.classify("coffee.png", model="efficientnet_lite0").top.label
        'espresso'
    """

    def __init__(
        self,
        target: str = "localhost:8001",
        *,
        timeout_seconds: float = 30.0,
        tls: grpc.ChannelCredentials | None = None,
        root_certificates: Pem | None = None,
        client_certificate: Pem | None = None,
        client_key: Pem | None = None,
        token: Token | None = None,
        token_file: str | Path | None = None,
        allow_insecure_token: bool = False,
        oversize: Oversize = "shrink",
    ) -> None:
        options = ConnectionOptions(
            tls=tls,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            token=token,
            token_file=token_file,
            allow_insecure_token=allow_insecure_token,
        )
        super().__init__(target, timeout_seconds, options)
        self._channel = sync_channel(self._target, self._credentials, self._tokens)
        self._stub = inference_pb2_grpc.ClassifierServiceStub(self._channel)
        self._encoder = ImageEncoder(oversize, self._describe)

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
        explain: ExplainLike = None,
        against: ClassLike | None = None,
        priority: Priority = "interactive",
        routing_key: str = "",
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> Classification:
        """Classify one image.

        Args:
            image: A path, an encoded image (JPEG, PNG, WebP, BMP or GIF), a PIL
                image, uint8 pixels [H, W, C] or [H, W] of any size, or the
                model's own input as `Tensor(array)`.
            model: The model's name.
            timeout_seconds: How long this call may take; by default the client's
                timeout.
            version: The version to use; by default the latest.
            alias: The version to use, by one of its aliases.
            top_k: How many classes to return, the most probable first; by default 5.
            min_probability: Classes below this are left out; by default 0.
            feature_maps: The feature maps to return, by name or by
                `FeatureMapSelection`; by default none.
            explain: The classes to explain, by default none: how many of the most
                probable ones, or a list of labels and indices, such as
                `["tiger cat", 281]`. `Rank` and `Explain` have more options.
            against: A class to contrast each explained class with, by its label,
                index or `Rank`. The explanations then show what speaks for the one
                rather than for the other.
            priority: "interactive" (the default), or "bulk" if the request may
                wait for interactive ones.
            routing_key: A key such as a user's id. While a canary gets a share
                of the requests, the same key always gets the same version.
            metadata: Further headers of the call. Its own "authorization" replaces the
                client's token: `[("authorization", "Bearer ...")]`.

        Raises:
            InvalidInputError: The image or an argument is invalid.
            NotFoundError: The server has no such model, version or alias.
            ConvscopeError: The call failed; see `convscope.client.errors`.

        Example:
            >>> result = client.classify("coffee.png", model="efficientnet_lite0", top_k=2)
            >>> [(score.label, round(score.probability, 1)) for score in result.classes]
            [('espresso', 1.0), ('cup', 0.0)]
        """
        template = encode_template(
            model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            explain=explain,
            against=against,
            priority=priority,
            routing_key=routing_key,
        )
        sent = check_metadata(metadata)
        encoded = self._encoder.encode(template, image, sent, keeps_image=True)
        with SingleRequest(template, encoded, sent) as call:
            return call.result(
                self._call(self._stub.Classify, call.message, timeout_seconds, call.metadata)
            )

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: Literal[False] = False,
        **options: Unpack[ClassifyManyOptions],
    ) -> Iterator[Classification]: ...
    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: bool,
        **options: Unpack[ClassifyManyOptions],
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
        explain: ExplainLike = None,
        against: ClassLike | None = None,
        priority: Priority = "bulk",
        routing_key: str = "",
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
        window: int = 8,
        return_errors: bool = False,
        progress: bool = False,
    ) -> Iterator[Outcome]:
        """Classify any number of images, several at a time, and yield the results in order.

        Small images with quick results share requests, up to 64 each. Images are
        taken from the iterable only as fast as results arrive: at most `window`
        requests ahead.

        Args:
            images: Any number of images, each as for `classify`.
            model: The model's name.
            timeout_seconds: How long one request may take.
            window: How many requests may be in flight.
            return_errors: Yield an image's error in the place of its result, and
                continue. By default the first error is raised, and no more
                images are sent.
            progress: Show a progress bar on the error output.
            version: As for `classify`.
            alias: As for `classify`.
            top_k: As for `classify`.
            min_probability: As for `classify`.
            feature_maps: As for `classify`.
            explain: As for `classify`.
            against: As for `classify`.
            priority: As for `classify`, but "bulk" by default.
            routing_key: As for `classify`.
            metadata: As for `classify`.

        Raises:
            InvalidInputError: An argument is invalid.

        Example:
            >>> photos = sorted(Path("digits").glob("*.png"))
            >>> results = client.classify_many(photos, model="digits")
            >>> " ".join(result.top.label for result in results)
            '0 1 2 3 4 5 6 7 8 9'
        """
        timeout = self._timeout(timeout_seconds)
        template = encode_template(
            model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            explain=explain,
            against=against,
            priority=priority,
            routing_key=routing_key,
        )
        stream = ImageStream(
            template,
            images,
            window=window,
            return_errors=return_errors,
            encoder=self._encoder,
            metadata=check_metadata(metadata),
        )
        sender = Sender(
            lambda batch: self._stub.Classify.future(
                batch.request(), timeout=timeout, metadata=batch.metadata
            ),
            partial(self._translate_errors, timeout),
        )
        outcomes = stream_outcomes(stream, sender)
        if not progress:
            return outcomes
        from convscope.client._calls.progress import with_progress

        return with_progress(outcomes, images)

    def models(
        self, *, timeout_seconds: float | None = None, metadata: Metadata = ()
    ) -> list[ModelSummary]:
        """List every version that is ready, by name and then by version.

        Args:
            timeout_seconds: How long this call may take; by default the client's timeout.
            metadata: As for `classify`.

        Raises:
            ConvscopeError: The call failed.

        Example:
            >>> [(one.model, one.version) for one in client.models()]
            [('digits', 1), ('efficientnet_lite0', 1)]
        """
        request = pb.ListModelsRequest()
        return decode_models(self._call(self._stub.ListModels, request, timeout_seconds, metadata))

    def model(
        self,
        name: str,
        *,
        version: int | None = None,
        alias: str | None = None,
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> ModelInfo:
        """Describe one version in full: its input, labels, feature maps and provenance.

        Args:
            name: The model's name.
            version: The version; by default the latest.
            alias: The version, by one of its aliases.
            timeout_seconds: How long this call may take; by default the client's timeout.
            metadata: As for `classify`.

        Raises:
            NotFoundError: The server has no such model, version or alias.
            ConvscopeError: The call failed.

        Example:
            >>> info = client.model("digits")
            >>> info.input.shape, [one.name for one in info.feature_maps]
            ((28, 28, 1), ['conv1', 'pool1', 'conv2', 'pool2'])
        """
        request = encode_get_model(Selector(name, version, alias))
        return decode_model(self._call(self._stub.GetModel, request, timeout_seconds, metadata))

    @property
    def channel(self) -> grpc.Channel:
        """The connection, for other services of the server; it closes with the client."""
        return self._channel

    def _describe(self, selector: Selector, metadata: CheckedMetadata) -> ModelInfo:
        name, version, alias = selector.model, selector.version, selector.alias
        return self.model(name, version=version, alias=alias, metadata=metadata)
