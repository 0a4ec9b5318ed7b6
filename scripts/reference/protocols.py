"""The reference of messages and services, from the comments of the .proto files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.reference.markdown import code, definition, prose

__all__ = ["Declaration", "Member", "parse_proto", "protocol_page"]

_OPEN = re.compile(r"(message|enum|service|oneof)\s+(\w+)\s*\{(\})?")
_RPC = re.compile(r"rpc (\w+)\((stream )?([\w.]+)\) returns \((stream )?([\w.]+)\)")
_FIELD = re.compile(r"(optional |repeated )?(map<[^>]+>|[\w.]+) (\w+) = (\d+)(?: \[.*\])?;")
_VALUE = re.compile(r"(\w+) = (\d+);")


@dataclass
class Member:
    """A field, a value of an enum or an RPC.

    Args:
        name: Its name.
        kind: Its type, as written.
        number: Its number; empty for an RPC.
        comment: Its comment.
        group: The name of the `oneof` around it, if there is one.
    """

    name: str
    kind: str
    number: str
    comment: str
    group: str = ""


@dataclass
class Declaration:
    """A message, an enum or a service.

    Args:
        kind: Which of them.
        name: Its name, with those of the messages around it.
        comment: Its comment.
        members: What it contains.
    """

    kind: str
    name: str
    comment: str
    members: list[Member] = field(default_factory=list)


def protocol_page(title: str, introduction: str, *files: Path) -> str:
    """Return a page with the declarations of some files.

    Args:
        title: The heading.
        introduction: What precedes the declarations.
        files: The .proto files.
    """
    declarations = [found for path in files for found in parse_proto(path.read_text())]
    names = {each.name for each in declarations}
    lines = [f"# {title}\n", f"{introduction}\n"]
    for kind, heading in (("service", "Services"), ("message", "Messages"), ("enum", "Enums")):
        members = [each for each in declarations if each.kind == kind]
        if members:
            lines.append(f"## {heading}\n")
            lines += [_section(each, names) for each in members]
    return "\n".join(lines)


def parse_proto(text: str) -> Iterator[Declaration]:
    """Yield the declarations of a file in the style of this repository, one member a line."""
    stack: list[Declaration | str] = []
    comment: list[str] = []
    statement = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("//"):
            comment.append(line[2:].strip())
            continue
        if not line:
            comment = []
            continue
        statement = f"{statement} {line}".strip()
        if not statement.endswith((";", "{", "}")):
            continue
        opened = _OPEN.match(statement)
        if opened and opened[1] == "oneof":
            stack.append(opened[2])
        elif opened:
            outer = [each.name for each in stack if isinstance(each, Declaration)]
            name = ".".join([*outer[-1:], opened[2]])
            stack.append(Declaration(opened[1], name, " ".join(comment)))
        else:
            _add_member(stack, statement, " ".join(comment))
        if statement == "}" or (opened and opened[3]):
            closed = stack.pop()
            if isinstance(closed, Declaration):
                yield closed
        statement, comment = "", []


def _add_member(stack: list[Declaration | str], statement: str, comment: str) -> None:
    owners = [each for each in stack if isinstance(each, Declaration)]
    if not owners:
        return
    owner = owners[-1]
    group = stack[-1] if isinstance(stack[-1], str) else ""
    if rpc := _RPC.search(statement):
        kind = f"{rpc[2] or ''}{rpc[3]} → {rpc[4] or ''}{rpc[5]}"
        owner.members.append(Member(rpc[1], kind, "", comment))
    elif owner.kind == "enum" and (value := _VALUE.match(statement)):
        owner.members.append(Member(value[1], "", value[2], comment))
    elif found := _FIELD.match(statement):
        owner.members.append(
            Member(found[3], f"{found[1] or ''}{found[2]}", found[4], comment, group)
        )


def _section(declaration: Declaration, names: set[str]) -> str:
    lines = [f"### {declaration.name}\n", f"{prose(declaration.comment)}\n"]
    for member in declaration.members:
        kind = _linked(member.kind, names)
        number = f" = {member.number}" if member.number else ""
        group = f" · one of {code(member.group)}" if member.group else ""
        lines.append(
            definition(f"{code(member.name)} {kind}{number}{group}".rstrip(), prose(member.comment))
        )
    if not declaration.members:
        lines.append("It has no fields.\n")
    return "\n".join(lines)


def _linked(kind: str, names: set[str]) -> str:
    """Return a type in which the messages of the page are links."""

    def link(found: re.Match[str]) -> str:
        name = found[0]
        return f"[{name}](#{name.lower().replace('.', '')})" if name in names else name

    escaped = kind.replace("<", "‹").replace(">", "›")
    return re.sub(r"[A-Za-z_][\w.]*", link, escaped)
