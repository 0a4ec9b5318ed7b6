"""The reference of the server's settings: each flag, variable and key, and the providers."""

from typing import Any

from convscope.server.config.command_line import command_line
from convscope.server.config.flags import PANELS
from convscope.server.frontend.access import policy_file
from convscope.server.runtime.providers import OPTIONS, PROVIDERS
from scripts.reference.commands import readable
from scripts.reference.markdown import code, definition, sentence

__all__ = ["settings_page"]

_INTRODUCTION = """# Settings of the server

Every setting of `convscope-server` is a flag, an environment variable, and a key of the table
`[server]` in the file of `--settings`. A flag overrides a variable, which overrides the file.
[Running a server](../operations/running.md) describes how they work together, and
`convscope-server --help` prints this list. A wrong name or value is an error at start.
[`convscope web`](cli.md#convscope-web) has settings of its own.

`--workers` divides `--max-memory-mb`, `--max-memory-in-flight`, `--cores` and the rates of a
policy among the workers. """
_FILE = """## The settings file

```toml
{example}
```

An unknown key, option or provider is an error that names its place and similar names.
"""


def settings_page() -> str:
    """Return the page."""
    command = command_line(lambda settings: None)
    options = {option.name: option for option in command.params}
    lines = [_INTRODUCTION]
    for panel, flags in PANELS.items():
        lines.append(f"## {panel}\n")
        lines += [_entry(options[flag.name]) for flag in flags]
    lines += ["## Other\n", _entry(options["settings"], is_key=False)]
    lines += [_FILE.format(example=_example_of(_settings_file_docstring())), _providers()]
    lines += [_policy()]
    return "\n".join(lines)


def _entry(option: Any, *, is_key: bool = True) -> str:
    default = option.default
    if option.required:
        shown = "**Required**"
    elif isinstance(option.show_default, str):
        shown = f"Default: {readable(option.show_default)}"
    elif isinstance(default, bool) or default is None or option.is_flag:
        shown = ""
    else:
        shown = f"Default: {code(_with_unit(default))}"
    variables = option.envvar if isinstance(option.envvar, list) else [option.envvar]
    facts = [shown, ", ".join(code(name) for name in variables if name)]
    facts += [code(option.name)] if is_key else []
    metavar = "" if option.is_flag else f" *{option.metavar or option.type.name}*"
    return definition(
        f"`{option.opts[0]}`{metavar} {{ #{option.opts[0].lstrip('-')} }}",
        sentence(readable(option.help or "")),
        " · ".join(filter(None, facts)),
    )


def _with_unit(value: object) -> str:
    """Return a default; bytes in MiB where they are whole ones."""
    mib = 2**20
    if isinstance(value, int) and value >= mib and value % mib == 0:
        return f"{value} ({value // mib} MiB)"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _settings_file_docstring() -> str:
    from convscope.server.config import file

    return file.__doc__ or ""


def _example_of(docstring: str) -> str:
    """Return the indented lines of a docstring."""
    lines = docstring.splitlines()
    shown = [line[4:] for line in lines if line.startswith("    ") or not line.strip()]
    return "\n".join(shown).strip()


def _providers() -> str:
    lines = ["## Options of the providers\n"]
    lines.append(
        "`[providers.NAME]` sets the options of an execution provider by ONNX Runtime's names, for "
        "all models; `[models.MODEL.providers.NAME]` sets those of one model.\n"
    )
    for name in PROVIDERS:
        options = ", ".join(code(option) for option in sorted(OPTIONS[name])) or "It has none."
        lines.append(definition(f"`{name}` *{PROVIDERS[name]}*", options))
    return "\n".join(lines)


def _policy() -> str:
    example = _example_of(policy_file.__doc__ or "")
    return (
        f"## The policy file\n\n```toml\n{example}\n```\n\n"
        "[Access control](../operations/access.md) explains the keys. "
        "An unknown key is an error.\n"
    )
