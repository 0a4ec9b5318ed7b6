"""Finds the class that an explanation is for."""

from collections.abc import Mapping, Sequence

from convscope.bundle.suggestions import or_near
from convscope.server.errors import InvalidInputError
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb

__all__ = ["class_choice"]

# So many labels are all compared with an unknown one.
_FEW_LABELS = 100


def class_choice(target: pb.ClassTarget, version: LoadedVersion) -> int:
    """Return a class as the graph's input states it: an index, or minus a rank.

    Raises:
        InvalidInputError: The version has no such class, or several.
    """
    kind = target.WhichOneof("selector")
    model, number = version.key
    classes = len(version.labels)
    if kind == "class_index":
        if not 0 <= target.class_index < classes:
            raise InvalidInputError(
                f"no class {target.class_index} in {model} v{number}; "
                f"it has the classes 0 to {classes - 1}"
            )
        return target.class_index
    if kind == "rank":
        if not 1 <= target.rank <= classes:
            raise InvalidInputError(
                f"the rank is {target.rank}; for {model} v{number} it is 1, the most probable "
                f"class, to {classes}, the least probable one"
            )
        return -target.rank
    if kind == "label":
        return _labeled(target.label, version)
    raise InvalidInputError(
        "a class of an explanation is not set; set one of class_index, label and rank"
    )


def _labeled(label: str, version: LoadedVersion) -> int:
    indices = _label_indices(version).get(label, ())
    model, number = version.key
    if not indices:
        shown = label[:80]
        near = or_near(shown, _alike(shown, version.labels))
        raise InvalidInputError(
            f"no class {shown!r} in {model} v{number}{near or '; GetModel lists its labels'}"
        )
    if len(indices) > 1:
        raise InvalidInputError(
            f"{len(indices)} classes of {model} v{number} are named {label[:80]!r}; select "
            f"one by its index, such as {indices[0]}"
        )
    return indices[0]


def _label_indices(version: LoadedVersion) -> Mapping[str, Sequence[int]]:
    """Return the classes of each label."""
    found: dict[str, list[int]] | None = version.derived.get(_label_indices)
    if found is None:
        found = {}
        for index, label in enumerate(version.labels):
            found.setdefault(label, []).append(index)
        version.derived[_label_indices] = found
    return found


def _alike(label: str, labels: Sequence[str]) -> list[str]:
    """Return the labels that are worth a comparison, which takes long for all of thousands."""
    if len(labels) <= _FEW_LABELS:
        return list(labels)
    start, text = label[:1].casefold(), label.casefold()
    return [one for one in labels if one[:1].casefold() == start or text in one.casefold()]
