"""The client whose calls block: each method encodes, calls and decodes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import grpc

from convscope.client._calls.all_feature_maps import (
    as_sequence,
    selects_all,
    with_all_names,
)
from convscope.client._calls.image_encoder import ImageEncoder
from convscope.client._calls.image_stream import ImageStream
from convscope.client._calls.learned_limits import ASK_SECONDS
from convscope.client._calls.local import LocalClients
from convscope.client._calls.options import ClassifyManyOptions, Selector
from convscope.client._calls.requests import (
    encode_template,
)
from convscope.client._calls.server_calls import ServerCalls
from convscope.client._calls.single_request import SingleRequest
from convscope.client._calls.sync_driver import Sender, stream_outcomes
from convscope.client._connection.options import ConnectionOptions, Pem
from convscope.client._connection.retries import DEFAULT_RETRIES, Retries, to_retries
from convscope.client._connection.tokens import Token
from convscope.client._inputs.arguments import Oversize
from convscope.client._inputs.checks import CheckedMetadata, Metadata, check_metadata
from convscope.client._results.results import Outcome
from convscope.client._results.server_info import ServerLimits
from convscope.client._results.stream import ResultStream
from convscope.client.types import (
    Classification,
    ClassLike,
    ExplainLike,
    FeatureMapSelection,
    ImageLike,
    ModelInfo,
    Priority,
)

__all__ = ["Client"]


class Client(ServerCalls, LocalClients):
    """Calls a Convscope server and waits for each reply.

    It connects on first use, and may be shared between threads. Every call has a
    deadline. If the server is busy or unavailable, a call is tried up to three
    times before its deadline.

    A process that was forked connects again, and so does a client that was pickled. A
    fork waits for the calls of other threads, but at most five seconds. A client with a
    token can only be pickled if it has a `token_file`.

    Args:
        target: The server's HOST:PORT, or another target that gRPC accepts. Calls are
            spread over all addresses of a name, such as `dns:///convscope:8001`, and of
            a list, such as `ipv4:10.0.0.1:8001,10.0.0.2:8001`.
        timeout_seconds: How long a call may take, connecting and retries included.
        connect_timeout_seconds: How long an attempt to connect to an address may take.
        connection_age_seconds: After this time, the addresses of a name or list are looked
            up again, so that servers that were added get their share; None for never. It
            has no effect once `channel` was used.
        retries: How often a call is tried again while the server is busy or
            unavailable: a number, or `Retries`; 0 turns retries off.
        model: The model of calls that name none. Without it, they use the server's only
            model.
        metadata: Headers to send with each call. Those of a call replace them.
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
        connect_timeout_seconds: float = 10.0,
        connection_age_seconds: float | None = 300.0,
        retries: Retries | int = DEFAULT_RETRIES,
        model: str | None = None,
        metadata: Metadata = (),
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
            timeout_seconds=timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            connection_age_seconds=connection_age_seconds,
            retries=to_retries(retries),
            model=model,
            metadata=check_metadata(metadata),
            tls=tls,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            token=token,
            token_file=token_file,
            allow_insecure_token=allow_insecure_token,
            oversize=oversize,
        )
        self._open(target, options)

    def _open(self, target: str, options: ConnectionOptions) -> None:
        self._process_encoder = ImageEncoder(options.oversize, self._describe, self._ask_limits)
        super()._open(target, options)

    @property
    def _encoder(self) -> ImageEncoder:
        """The encoder of this process: a lock of the parent's may never be released here."""
        self._follow_fork()
        return self._process_encoder

    def classify(
        self,
        image: ImageLike,
        *,
        model: str | None = None,
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
            image: A path, an encoded image (JPEG, PNG, WebP, BMP or GIF) as bytes or as a
                file that is open for reading, a PIL image, uint8 pixels [H, W, C] or
                [H, W] of any size, or the model's own input as `Tensor(array)`. A file is
                read from its position, and stays open. `from_float` converts pixels with
                values from 0 to 1.
            model: The model's name; by default the client's model, or the server's only one.
            timeout_seconds: How long this call may take; by default the client's
                timeout.
            version: The version to use; by default the latest.
            alias: The version to use, by one of its aliases.
            top_k: How many classes to return, the most probable first; by default 5.
            min_probability: Classes below this are left out; by default 0.
            feature_maps: The feature maps to return, by name or by
                `FeatureMapSelection`; by default none. "all" means all of the model's,
                whose names the client asks the server for.
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
        name = self._model_name(model, metadata)
        feature_maps = as_sequence(feature_maps)
        if selects_all(feature_maps):
            info = self.model(
                name,
                version=version,
                alias=alias,
                timeout_seconds=timeout_seconds,
                metadata=metadata,
            )
            feature_maps = with_all_names(feature_maps, info)
        template = encode_template(
            name,
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
        sent = self._metadata(metadata)
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
    ) -> ResultStream[Classification]: ...
    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: bool,
        **options: Unpack[ClassifyManyOptions],
    ) -> ResultStream[Outcome]: ...
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        model: str | None = None,
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
    ) -> ResultStream[Any]:
        """Classify any number of images, several at a time, and return the results in order.

        The results arrive while you iterate over them. To get them all as a list or a table, call
        `collect()` or `to_pandas()` of what this method returns.

        Small images with quick results share requests, up to 64 each. Images are
        taken from the iterable only as fast as results arrive: at most `window`
        requests ahead.

        Args:
            images: Any number of images, each as for `classify`.
            model: As for `classify`.
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
            ConvscopeError: An image failed; raised by iterating. Its `image` and `index` state
                which one.

        Example:
            >>> photos = sorted(Path("digits").glob("*.png"))
            >>> results = client.classify_many(photos, model="digits")
            >>> " ".join(result.top.label for result in results)
            '0 1 2 3 4 5 6 7 8 9'
            >>> table = client.classify_many(photos, model="digits").to_pandas()
            >>> table["label"].tolist()[:3]
            ['0', '1', '2']
        """
        timeout = self._timeout(timeout_seconds)
        name = self._model_name(model, metadata)
        feature_maps = as_sequence(feature_maps)
        if selects_all(feature_maps):
            info = self.model(
                name,
                version=version,
                alias=alias,
                timeout_seconds=timeout_seconds,
                metadata=metadata,
            )
            feature_maps = with_all_names(feature_maps, info)
        template = encode_template(
            name,
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
            metadata=self._metadata(metadata),
            retries=self._options.retries,
        )
        sender = Sender(
            lambda batch: self._stub.Classify.future(
                batch.request(), timeout=timeout, metadata=batch.metadata
            ),
            partial(self._translate_errors, timeout),
        )
        outcomes = stream_outcomes(stream, sender)
        if progress:
            from convscope.client._calls.progress import with_progress

            outcomes = with_progress(outcomes, images)
        return ResultStream(outcomes, template.selector.model)

    def _describe(self, selector: Selector, metadata: CheckedMetadata) -> ModelInfo:
        name, version, alias = selector.model, selector.version, selector.alias
        return self.model(name, version=version, alias=alias, metadata=metadata)

    def _ask_limits(self, metadata: CheckedMetadata) -> ServerLimits:
        timeout = min(self._timeout_seconds, ASK_SECONDS)
        return self.server_info(timeout_seconds=timeout, metadata=metadata).limits
