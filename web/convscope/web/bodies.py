"""The images in the body of a request: raw, multipart or JSON."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from convscope.client import ImageLike
from convscope.web.arrays import NPY, read_array
from convscope.web.errors import invalid, too_large, unsupported
from convscope.web.settings import MAX_IMAGE_BYTES, MAX_IMAGES

__all__ = ["is_raw", "read_images"]

FIELD = b"image"
MULTIPART, JSON = "multipart/form-data", "application/json"
_MAX_PARTS = 256
_MAX_HEADER_BYTES = 16 * 1024
_TEXT = re.compile(rb"[\s!-~]*")
# Every image file has some of these. curl's -d removes them from a file.
_STRIPPED = (b"\n", b"\r", b"\0")
ACCEPTED = (
    "an image as the body, a multipart form with the field 'image', or the JSON "
    '{"images": [BASE64, ...]}'
)


def is_raw(content_type: str) -> bool:
    """Report whether the whole body is one image."""
    return media_type(content_type) not in (MULTIPART, JSON)


def media_type(content_type: str) -> str:
    """Return a content type without its options."""
    return content_type.partition(";")[0].strip().lower()


def read_images(body: bytes, content_type: str) -> Sequence[ImageLike]:
    """Return the images of a request.

    Raises:
        HttpError: The body can't be read, or has no image, or too many.
    """
    kind = media_type(content_type)
    # curl's --data-binary states this type for files, too.
    if kind == "application/x-www-form-urlencoded" and _TEXT.fullmatch(body[:64]):
        raise unsupported(f"the body is {kind}; give {ACCEPTED}")
    if kind == "application/x-www-form-urlencoded" and not any(map(body.__contains__, _STRIPPED)):
        raise invalid(
            "the image has neither a line break nor a null byte, which curl's -d @FILE removes; "
            "send it with --data-binary @FILE, or in a form with -F image=@FILE"
        )
    if kind == MULTIPART:
        parts: Sequence[bytes] = _multipart(body, content_type)
    elif kind == JSON:
        parts = _json(body)
    else:
        parts = (body,) if body else ()
    if not parts:
        raise invalid(f"the request has no image; give {ACCEPTED}")
    if len(parts) > MAX_IMAGES:
        raise invalid(f"the request has {len(parts)} images; the limit is {MAX_IMAGES}")
    return [_image(part) for part in parts]


def _image(data: bytes) -> ImageLike:
    if data.startswith(NPY):
        return read_array(data)
    if not data:
        raise invalid("an image is empty, which is no image file; check the path of the upload")
    if len(data) > MAX_IMAGE_BYTES:
        raise too_large(
            f"the image has {len(data):,} bytes; the limit of an image is {MAX_IMAGE_BYTES:,} "
            "bytes; scale the image down, or save it as JPEG",
            is_read=True,
        )
    return data


def _json(body: bytes) -> list[bytes]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is no JSON: {error}") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise invalid('the JSON has no list "images"; give {"images": [BASE64, ...]}')
    _reject_others("the JSON", [name for name in content if name != "images"])
    return [_base64(index, text) for index, text in enumerate(images)]


def _base64(index: int, text: object) -> bytes:
    if not isinstance(text, str):
        raise invalid(f"image {index} is no string; give the file's bytes in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"image {index} is no base64: {error}") from error


def _multipart(body: bytes, content_type: str) -> list[bytes]:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise invalid("the multipart form has no boundary; let the HTTP client set Content-Type")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise invalid(f"the multipart form can't be read: {error}") from error
    if not form.is_complete:
        raise invalid("the multipart form has no end; the upload may have been cut short")
    if not form.images and form.names:
        found = _quoted([name.decode(errors="replace") for name in form.names])
        raise invalid(f"the multipart form has no field 'image', only {found}; rename the field")
    others = [name.decode(errors="replace") for name in form.names if name != FIELD]
    _reject_others("the multipart form", others)
    return form.images


def _reject_others(what: str, names: Sequence[str]) -> None:
    """Reject fields beside the images: a parameter there would silently have no effect."""
    if names:
        raise invalid(
            f"{what} has {_quoted(names)} beside the images; parameters belong in the URL, "
            "such as :classify?top_k=1"
        )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:5])


class _Form:
    """Collects the parts of a form that are images."""

    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.names: list[bytes] = []
        self.is_complete = False
        self._name = b""
        self._field = b""
        self._value = b""
        self._disposition = b""
        self._data: list[memoryview] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_data,
            "on_part_end": self._on_end,
            "on_end": self._on_complete,
        }

    def _begin(self) -> None:
        self._field = self._value = self._disposition = b""
        self._data = []
        if len(self.names) >= _MAX_PARTS:
            raise invalid(f"the multipart form has more than {_MAX_PARTS} parts")

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_header()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._field) + len(self._value) > _MAX_HEADER_BYTES:
            raise invalid("a header of the multipart form is too long")

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(memoryview(data)[start:end])

    def _on_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"")
        self.names.append(name)
        if name == FIELD:
            self.images.append(b"".join(self._data))

    def _on_complete(self) -> None:
        self.is_complete = True
