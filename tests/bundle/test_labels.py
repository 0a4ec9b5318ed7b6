"""Label files, in each of their forms."""

import json
from pathlib import Path

import pytest

from convscope.bundle.errors import InvalidValueError
from convscope.bundle.labels import labels_of_metadata, read_labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lines.txt", "cat\ndog\n"),
        ("windows.txt", "\ufeffcat\r\n  dog \r\n\r\n"),
        ("no_suffix", "cat\n\ndog\n\n \n"),
        ("numbered.txt", "0 cat\n1 dog\n"),  # as Teachable Machine writes it
        ("colons.txt", "1: dog\n0: cat\n"),
        ("indexed.txt", "0,cat\n1,dog\n"),
        ("list.json", '["cat", "dog"]'),
        ("bom.json", '\ufeff["cat", "dog"]'),
        ("CAPITALS.JSON", '["cat", "dog"]'),
        ("list.txt", ' ["cat", "dog"]'),
        ("index.json", '{"0": "cat", "1": "dog"}'),
        ("unordered.json", '{"1": "dog", "0": "cat"}'),
        ("imagenet.json", '{"1": ["n2", "dog"], "0": ["n1", "cat"]}'),
        ("class_indices.json", '{"cat": 0, "dog": 1}'),
        ("records.json", '[{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}]'),
        ("class_numbers.json", '[{"class": 1, "name": "dog"}, {"class": 0, "name": "cat"}]'),
        ("records_without_index.json", '[{"label": "cat"}, {"label": "dog"}]'),
        ("python.txt", "{0: 'cat', 1: 'dog'}"),
        ("one_column.csv", "cat\ndog\n"),
        ("one_column_with_header.csv", "label\ncat\ndog\n"),
        ("rows.csv", "0,cat\n1,dog\n"),
        ("reversed.csv", "dog,1\ncat,0\n"),
        ("header.csv", "id,name\n0,cat\n1,dog\n"),
        ("ROWS.CSV", "\ufeffindex;class\n1;dog\n0;cat\n"),
        ("unknown_header.csv", "nummer,tier\n0,cat\n1,dog\n"),
        ("pandas.csv", ",class\n1,dog\n0,cat\n"),  # DataFrame.to_csv
        ("spelling.csv", "ClassId,Name\n1,dog\n0,cat\n"),
        ("number_and_name.csv", "label,name\n1,dog\n0,cat\n"),
        ("counts.csv", "name,count\ncat,120\ndog,60\n"),
        ("index_last.txt", "dog,1\ncat,0\n"),
        ("identifiers.csv", "n1,cat\nn2,dog\n"),
        ("quoted.csv", '0,"cat"\n1,"dog"\n'),
        ("tabs.tsv", "0\tcat\n1\tdog\n"),
    ],
)
def test_labels_are_read_in_order(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_labels(tmp_path / name) == ("cat", "dog")


@pytest.mark.parametrize(
    "text",
    [
        "tench, Tinca tinca\ngoldfish, Carassius auratus\n",
        "0\n1\n2\n",
        "2 doors\n4 doors\n",
        "cat\n",
    ],
)
def test_lines_are_labels_unless_each_has_its_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    assert read_labels(tmp_path / "labels.txt") == tuple(text.splitlines())


def test_equal_names_get_their_identifiers(tmp_path: Path) -> None:
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({"0": ["n1", "crane"], "1": ["n2", "cat"], "2": ["n3", "crane"]}))
    assert read_labels(path) == ("crane (n1)", "cat", "crane (n3)")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no labels; use a text file"),
        (b"\xef\xbb\xbf\n\n", "has no labels"),
        (b"cat\ndog\ncat\n", "the label 'cat' occurs 2 times, for the classes 0, 2"),
        (b"0,cat\n2,dog\n", "the index 1 is missing; the 2 labels have indices from 0 to 2"),
        (b"0,cat\n1,dog\n1,fox\n", "the index 1 occurs 2 times: 'dog', 'fox'"),
        (b"[1, 2]", "entry 0 is 1, which is no label"),
        (b'[["a"], []]', "entry 1 is \\[\\], which is no label"),
        (b"[", "is not JSON like"),
        (b'{"cat": "dog"}', "the key is 'cat'; indices are 0, 1, 2 and so on"),
        (b'{"1": "cat", "2": "dog", "4": "fox"}', "the index 0 is missing"),
        (b'{"1": "cat", "2": "dog"}', "from 1 to 2, and need 0 to 1; subtract 1 from each"),
        (b'{"0": "cat", "0": "dog"}', "the key '0' occurs 2 times"),
        (b'{"cat": 0, "dog": 0}', "the index 0 occurs 2 times: 'cat', 'dog'"),
        (b'[{"id": 0}]', "record 0 has no name"),
        (b'[{"id": "x", "name": "cat"}]', "the index of record 0 is 'x'"),
        (b"\xff\xfe", "can't be read"),
    ],
)
def test_other_files_are_explained(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(InvalidValueError, match=message):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.json", '"cat"', "neither a list"),
        ("labels.csv", "id,name\n0,cat\n1,\n", "row 3 has no label in column 2"),
        ("labels.csv", "id,name\nx,cat\n", "the index in row 2 is 'x'"),
        ("labels.csv", "label,name\n2,dog\n1,cat\n", "the index 0 is missing"),
    ],
)
def test_the_suffix_decides_what_a_file_must_be(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidValueError, match=message):
        read_labels(tmp_path / name)


@pytest.mark.parametrize(
    "metadata",
    [
        {"names": "{0: 'cat', 1: 'dog'}"},  # as Ultralytics writes it
        {"names": '["cat", "dog"]'},
        {"classes": "cat,dog"},
        {"names": "yes", "id2label": '{"0": "cat", "1": "dog"}'},
    ],
)
def test_labels_of_a_models_metadata(metadata: dict[str, str]) -> None:
    found = labels_of_metadata({"author": "someone"} | metadata)
    assert found == ("cat", "dog")


@pytest.mark.parametrize("metadata", [{}, {"names": ""}, {"names": "80"}, {"task": "cls"}])
def test_metadata_without_labels(metadata: dict[str, str]) -> None:
    assert labels_of_metadata(metadata) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{0: f()}", "it is not JSON"),
        ("{0: 'cat', 1: 'cat'}", "the label 'cat' occurs 2 times"),
        ("{0: 'cat', 2: 'dog'}", "the index 1 is missing"),
    ],
)
def test_unusable_labels_in_metadata_are_named(text: str, problem: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"labels in 'names': {problem}.*--labels FILE"):
        labels_of_metadata({"names": text})


@pytest.mark.parametrize("text", ["1 cat\n2 dog\n3 fox\n", "0: cat\n1: dog\n3: fox\n"])
def test_a_gap_in_numbered_lines_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InvalidValueError, match=r"the index \d is missing.*use a JSON list"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    "text",
    [
        '{"names": {"0": "cat", "1": "dog"}, "nc": 2}',
        '{"labels": ["cat", "dog"]}',
        '{"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}',
    ],
)
def test_labels_in_a_larger_object_are_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert read_labels(tmp_path / "config.json") == ("cat", "dog")


def test_a_class_may_be_named_like_a_container(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"names": 0, "labels": 1}')
    assert read_labels(tmp_path / "labels.json") == ("names", "labels")


def test_the_lines_of_another_format_are_not_labels(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("nc: 2\nnames: ['cat', 'dog']\n")
    with pytest.raises(InvalidValueError, match=r"data\.yaml is yaml; use a text file"):
        read_labels(tmp_path / "data.yaml")


def test_a_gap_is_not_taken_for_labels_from_1(tmp_path: Path) -> None:
    path = tmp_path / "gap.json"
    path.write_text('{"1": "cat", "2": "dog", "4": "fox"}')
    with pytest.raises(InvalidValueError, match=r"indices from 1 to 4, and need 0 to 2$"):
        read_labels(path)


def test_file_that_is_too_large_for_labels_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"a\n" * 2**21 + b"b")
    with pytest.raises(InvalidValueError, match="more than 4,194,304 bytes"):
        read_labels(path)
