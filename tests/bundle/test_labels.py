"""Label files, in each of their forms."""

from pathlib import Path

import pytest

from convscope.bundle.errors import InvalidValueError
from convscope.bundle.labels import read_labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lines.txt", "cat\ndog\n"),
        ("windows.txt", "\ufeffcat\r\n  dog \r\n\r\n"),
        ("list.json", '["cat", "dog"]'),
        ("list.txt", ' ["cat", "dog"]'),
        ("imagenet.json", '{"1": ["n2", "dog"], "0": ["n1", "cat"]}'),
    ],
)
def test_labels_are_read_in_order(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_labels(tmp_path / name) == ("cat", "dog")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no labels; write one a line"),
        (b"[1, 2]", "holds no JSON list of strings"),
        (b'[["a"], []]', "holds no JSON list of strings"),
        (b"[", "is not JSON like"),
        (b'{"cat": "dog"}', "is not JSON like"),
        (b"\xff\xfe", "can't be read"),
    ],
)
def test_other_files_are_explained(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(InvalidValueError, match=message):
        read_labels(tmp_path / "labels.txt")


def test_json_by_its_name_must_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('"cat"')
    with pytest.raises(InvalidValueError, match="no JSON list of strings"):
        read_labels(tmp_path / "labels.json")
