"""Random protobuf messages, and mutations of valid ones, from their descriptors."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from support.fuzz.values import FLOATS, TEXTS, damage_bytes, integer

__all__ = ["fill", "mutate", "within"]

Words = Mapping[str, Sequence[Any]]
"""Values that mean something, by the name of the field."""

_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_MAX_DEPTH = 5
_MAX_ITEMS = 40  # of a repeated field that a mutation lengthens


def fill(message: Message, random: Random, words: Words, depth: int = 0) -> Message:
    """Set some fields of an empty message.

    Args:
        message: The message.
        random: The randomness.
        words: Values that mean something; the others are random.
        depth: How deeply the message is nested.
    """
    for field in message.DESCRIPTOR.fields:
        if random.random() < 0.35:
            continue
        if _is_map(field):
            _fill_map(message, field, random, words)
        elif field.is_repeated:
            for _ in range(random.choice((0, 1, 1, 2, 5))):
                _append(message, field, random, words, depth)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            if depth < _MAX_DEPTH:
                inner = getattr(message, field.name)
                inner.SetInParent()
                fill(inner, random, words, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, random, words))
    return message


def mutate(message: Message, random: Random, words: Words) -> None:
    """Change a few fields of a message, however deeply nested, in place."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        place = random.choice(list(within(message)))
        if place.DESCRIPTOR.fields:
            _mutate_field(place, random.choice(place.DESCRIPTOR.fields), random, words)


def within(message: Message) -> Iterator[Message]:
    """Return a message and all within it, except for maps."""
    yield message
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and not _is_map(field):
            for inner in value if field.is_repeated else (value,):
                yield from within(inner)


def _mutate_field(message: Message, field: Any, random: Random, words: Words) -> None:
    if _is_map(field):
        _fill_map(message, field, random, words)
    elif field.is_repeated:
        _mutate_items(message, field, random, words)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        if random.random() < 0.5:
            message.ClearField(field.name)
        else:
            fill(getattr(message, field.name), random, words, _MAX_DEPTH - 1)
    elif random.random() < 0.2:
        message.ClearField(field.name)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.type == field.TYPE_BYTES:
        setattr(message, field.name, damage_bytes(getattr(message, field.name), random))
    else:
        setattr(message, field.name, _scalar(field, random, words))


def _mutate_items(message: Message, field: Any, random: Random, words: Words) -> None:
    items = getattr(message, field.name)
    at = random.randrange(len(items)) if len(items) else None
    match random.randrange(5):
        case 0 if at is not None:
            del items[at]
        case 1 if at is not None:  # an item occurs again, perhaps often
            for _ in range(min(random.choice((1, 1, 2, 30)), _MAX_ITEMS - len(items))):
                items.append(items[at])
        case 2 if at is not None and len(items) > 1:
            kept = list(items)
            random.shuffle(kept)
            copies = [_copy(item) for item in kept]
            del items[:]
            items.extend(copies)
        case 3 if at is not None and field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
            items[at] = _scalar(field, random, words)
        case _:
            if len(items) < _MAX_ITEMS:
                _append(message, field, random, words, _MAX_DEPTH - 1)


def _copy(item: Any) -> Any:
    if not isinstance(item, Message):
        return item
    copy = type(item)()
    copy.CopyFrom(item)
    return copy


def _append(message: Message, field: Any, random: Random, words: Words, depth: int) -> None:
    items = getattr(message, field.name)
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        if depth < _MAX_DEPTH:
            fill(items.add(), random, words, depth + 1)
    else:
        items.append(_scalar(field, random, words))


def _fill_map(message: Message, field: Any, random: Random, words: Words) -> None:
    key, value = field.message_type.fields
    items = getattr(message, field.name)
    for _ in range(random.choice((1, 1, 2))):
        name = _scalar(key, random, words)
        if value.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            fill(items[name], random, words, _MAX_DEPTH - 1)
        else:
            items[name] = _scalar(value, random, words)


def _is_map(field: Any) -> bool:
    kind = field.message_type
    return bool(kind is not None and kind.GetOptions().map_entry)


def _scalar(field: Any, random: Random, words: Words) -> Any:
    known = [value for value in words.get(field.name, ()) if _fits(field, value)]
    if known and random.random() < 0.7:
        return random.choice(known)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return random.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            known_or_not = [] if field.enum_type.is_closed else [99]
            return random.choice([*field.enum_type.values_by_number, *known_or_not])
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return random.choice(FLOATS)
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return random.randbytes(random.choice((0, 1, 4, 128, 3072)))
        case FieldDescriptor.CPPTYPE_STRING:
            return random.choice(TEXTS)
        case kind:
            return integer(random, *_RANGES[kind])


def _fits(field: Any, value: Any) -> bool:
    """Return whether a word has the type of a field: `version` is a number, or a text."""
    if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        low, high = _RANGES.get(field.cpp_type, (0, -1))
        return isinstance(value, int) and low <= value <= high
    return isinstance(value, bytes if field.type == FieldDescriptor.TYPE_BYTES else str)
