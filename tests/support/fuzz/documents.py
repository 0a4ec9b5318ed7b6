"""Valid texts of each kind that the product reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from convscope.bundle.aliases import parse_aliases
from convscope.bundle.errors import BundleError
from convscope.bundle.history import parse_history
from convscope.bundle.labels import labels_of_metadata, read_labels
from convscope.bundle.manifest import check_manifest, parse_manifest
from convscope.bundle.traffic import parse_traffic
from convscope.server.config.command_line import command_line
from convscope.server.frontend.access.policy_file import read_policy
from convscope.server.frontend.access.policy_values import PolicyError

__all__ = ["Document", "documents"]


@dataclass(frozen=True, slots=True)
class Document:
    """A kind of text.

    Args:
        read: Reads a file with such a text.
        errors: What it may raise, with a message for the reader.
        valid: Texts that it accepts.
        words: Words that mean something in it.
        suffixes: Those of the file.
        max_message: How long a message may be, in characters.
    """

    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    valid: Sequence[str]
    words: Sequence[str] = ()
    suffixes: Sequence[str] = ("",)
    max_message: int = 2000


def _of_bytes(parse: Callable[[bytes], Any]) -> Callable[[Path], Any]:
    return lambda path: parse(path.read_bytes())


def _metadata(path: Path) -> Any:
    text = path.read_text(encoding="utf-8", errors="replace")
    return labels_of_metadata({"names": text, "id2label": text[::-1]})


def _settings(path: Path) -> None:
    arguments = ["--models", "models", "--settings", str(path)]
    command_line(lambda settings: None).main(arguments, standalone_mode=False)


def _flags(path: Path) -> None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    command_line(lambda settings: None).main(["--models", "models", *lines], standalone_mode=False)


def _manifest(path: Path) -> None:
    check_manifest(parse_manifest(path.read_bytes()), "tiny", "1")


_SETTINGS = """\
[server]
max_queue = 512
grpc_address = "127.0.0.1:0"
provider = ["openvino", "cpu"]
versions = 2
no_tuning = true
poll_seconds = 0.5

[providers.openvino]
device_type = "CPU"

[models.digits]
provider = ["openvino", "cpu"]
allow_fallback = true

[models.digits.providers.openvino]
num_of_threads = 2
"""
_FLAGS = """\
--max-queue=512
--grpc-address=127.0.0.1:0
--provider=openvino,cpu
--versions=2
--poll-seconds=0.5
--otlp-endpoint=http://127.0.0.1:4317
--load=digits,resnet*
--threads=2
"""
_POLICY = f"""\
health = "callers"

[callers.web]
tokens = ["sha256:{"0a" * 32}"]
models = ["digits", "team-*"]
rpcs = ["inference", "metadata", "GetStatus"]
images_per_second = 100
bytes_per_second = 10_000_000
burst_seconds = 2.0
concurrent_bytes = 64_000_000

[callers.ops]
certificates = ["URI:spiffe://example/ops", "CN:ops"]
rpcs = ["admin"]

[callers.robot]
subjects = ["robot@example"]

[jwt]
issuer = "https://idp.example"
audience = "convscope"
jwks = "https://idp.example/keys"
leeway_seconds = 30
"""
_LABELS = (
    "cat\ndog\nfish\n",
    "0: cat\n1: dog\n2: fish\n",
    "0,cat\n1,dog\n2,fish\n",
    "id;name\n0;cat\n1;dog\n2;fish\n",
    'index,class_name,count\n0,"cat, small",3\n1,dog,7\n',
    '["cat", "dog", "fish"]',
    '{"0": "cat", "1": "dog"}',
    '{"cat": 0, "dog": 1}',
    '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}',
    '{"names": {"0": "cat", "1": "dog"}, "nc": 2}',
    '[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]',
    "{0: 'cat', 1: 'dog'}",
)
_JSON_WORDS = ('"', "null", "true", "1e999", "-0", "NaN", "[]", "{}", "0.5", "18446744073709551616")


def documents(manifest: str) -> Mapping[str, Document]:
    """Return the kinds of texts.

    Args:
        manifest: A valid manifest of version 1 of the model "tiny".
    """
    own = (BundleError,)
    return {
        "label files": Document(
            read_labels,
            own,
            _LABELS,
            ("cat", "names", "id", "name", "\t", ";", "::"),
            ("", ".txt", ".csv", ".json", ".tsv"),
        ),
        "labels in metadata": Document(_metadata, own, _LABELS, ("names", "cat")),
        "aliases": Document(
            _of_bytes(parse_aliases), own, ['{"champion": 3, "challenger": 4}'], _JSON_WORDS
        ),
        "history": Document(_of_bytes(parse_history), own, ['{"champion": [1, 2]}'], _JSON_WORDS),
        "traffic": Document(
            _of_bytes(parse_traffic),
            own,
            [
                '{"canary": {"to": "challenger", "share": 0.05}}',
                '{"shadow": {"to": 3, "share": 1, "of": "champion"}}',
            ],
            (*_JSON_WORDS, "canary", "shadow", "share", "to", "of"),
        ),
        "manifest": Document(_manifest, own, [manifest], (*_JSON_WORDS, "TASK_UNSPECIFIED")),
        "settings": Document(
            _settings,
            (click.ClickException,),
            [_SETTINGS],
            ("[server]", "cuda", "tensorrt", "=", "true", "[]", "{}", "1e400", "[models.x]", "''"),
            max_message=100_000,  # click shows the value of a flag as it is
        ),
        "policies": Document(
            read_policy,
            (PolicyError,),
            [_POLICY],
            (
                "[callers.x]",
                "admin",
                "Classify",
                "inf",
                "nan",
                "-1",
                "1e400",
                "[]",
                '"*"',
                "'sha256:'",
            ),
        ),
        "flags": Document(
            _flags,
            (click.ClickException,),
            [_FLAGS],
            ("--", "=", "-1", "0", "unix:", "[::1]:0", ":0", "1e400", "inf", "nan", "=3,5"),
            max_message=100_000,
        ),
    }
