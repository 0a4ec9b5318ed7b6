"""Messages as the values of JSON, with every field, and with integers as numbers."""

from typing import Any

from google.protobuf.message import Message

__all__ = ["plain"]

_SINGLE = (Message, str, bytes, bool, int, float)


def plain(message: Message) -> dict[str, Any]:
    """Return the fields of a message by name; those of a oneof only if they are set."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.containing_oneof is None or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, _SINGLE):
        return _one(field, value)
    return [_one(field, each) for each in value]


def _one(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value
