"""The settings file: flags, and the execution providers of each model.

    [server]                          # any flag, with _ instead of -
    max_queue = 512

    [providers.openvino]              # options of a provider, by ONNX Runtime's names
    device_type = "CPU"

    [models.digits]                   # for one model, overrides three flags
    provider = ["openvino", "cpu"]
    allow_fallback = true
    precision = "bf16"

    [models.digits.providers.openvino]
    num_of_threads = 2

An unknown key is an error: a setting without effect is hard to find.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.bundle.errors import InvalidValueError
from convscope.bundle.layout import is_model_name
from convscope.bundle.suggestions import shown, unknown
from convscope.bundle.toml_files import read_toml
from convscope.server.runtime.providers import (
    AUTO,
    OPTIONS,
    PRECISIONS,
    PROVIDERS,
    unknown_provider,
)
from convscope.server.runtime.settings import ModelProviders, Options

__all__ = ["SettingsFile", "SettingsFileError", "read_settings_file"]

Table = Mapping[str, Any]

# Flags that take several names: a list is as good as a text with commas.
LISTS = ("load", "provider")
_MAX_SHOWN_CHARACTERS = 80
_TYPES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


class SettingsFileError(ValueError):
    """The file is wrong; the message names the place, the error and the repair."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The content of a settings file.

    Args:
        path: The file.
        server: Flags by name, with _ instead of -.
        provider_options: By provider, for all models.
        model_providers: By model.
    """

    path: Path
    server: Mapping[str, Any] = field(default_factory=dict)
    provider_options: Options = field(default_factory=dict)
    model_providers: Mapping[str, ModelProviders] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.path)


def read_settings_file(path: Path, flags: Mapping[str, Any]) -> SettingsFile:
    """Read a settings file.

    Args:
        path: The file.
        flags: The Python type of each flag.

    Raises:
        SettingsFileError: It can't be read, or has an unknown key or a wrong value.
    """
    try:
        content = read_toml(path)
    except InvalidValueError as error:
        raise SettingsFileError(str(error)) from error
    try:
        _check_keys(content, ("server", "providers", "models"), "section", "")
        tables = {name: _table(content.get(name, {}), name) for name in content}
        return SettingsFile(
            path,
            _read_server(tables.get("server", {}), flags),
            _read_options(tables.get("providers", {}), "providers"),
            _read_models(tables.get("models", {})),
        )
    except SettingsFileError as error:
        raise SettingsFileError(f"{path}: {error}") from None


def _read_server(table: Table, flags: Mapping[str, Any]) -> Table:
    _check_keys(table, flags, "flag", "server")
    values = {}
    for name, value in table.items():
        where = f"server.{name}"
        if name in LISTS and isinstance(value, list):
            values[name] = ",".join(_names(value, where))
        else:
            values[name] = _check_type(value, flags[name], where)
        if name == "provider":
            _check_providers([one.strip() for one in values[name].split(",")], where)
    return values


def _read_models(table: Table) -> Mapping[str, ModelProviders]:
    models = {}
    for name, value in table.items():
        where = _place("models", name)
        if not is_model_name(name):
            raise SettingsFileError(
                f"{where}: {shown(name)} is not a model's name; a name has up to 63 of a-z, 0-9, "
                "_ and -"
            )
        own = _table(value, where)
        _check_keys(own, ("provider", "allow_fallback", "precision", "providers"), "key", where)
        fallback = own.get("allow_fallback")
        if fallback is not None:
            _check_type(fallback, bool, f"{where}.allow_fallback")
        preference = None
        if "provider" in own:
            preference = tuple(_names(own["provider"], f"{where}.provider"))
            _check_providers(preference, f"{where}.provider")
        of_providers = _table(own.get("providers", {}), f"{where}.providers")
        options = _read_options(of_providers, f"{where}.providers")
        precision = own.get("precision")
        if precision is not None and precision not in PRECISIONS:
            raise _wrong_type(f"{where}.precision", f"one of {', '.join(PRECISIONS)}", precision)
        models[name] = ModelProviders(preference, fallback, options, precision)
    return models


def _read_options(table: Table, where: str) -> Options:
    """Read tables of options; ONNX Runtime takes their values as texts."""
    _check_keys(table, PROVIDERS, "execution provider", where)
    options: dict[str, Mapping[str, str]] = {}
    for provider, value in table.items():
        place = f"{where}.{provider}"
        own = _table(value, place)
        _check_keys(own, OPTIONS[provider], f"option of {provider}", place)
        for name, setting in own.items():
            if not isinstance(setting, str | int | float):
                raise _wrong_type(f"{place}.{name}", "a text, a number, true or false", setting)
        options[provider] = {name: str(setting) for name, setting in own.items()}
    return options


def _check_keys(table: Table, known: Collection[str], kind: str, where: str) -> None:
    for name in table:
        if name not in known:
            place = _place(where, name)
            if not known:
                raise SettingsFileError(f"{place}: {where.rpartition('.')[2]} has no options")
            raise SettingsFileError(f"{place}: {unknown(kind, name, known)}")


def _place(where: str, name: str) -> str:
    """Return the place of a key, which may be anything."""
    key = name[:_MAX_SHOWN_CHARACTERS]
    return f"{where}.{key}" if where else key


def _check_providers(names: Collection[str], where: str) -> None:
    if list(names) == [AUTO]:
        return
    for name in names:
        if name == AUTO:
            raise SettingsFileError(f"{where}: {AUTO} chooses among all providers; use it alone")
        if name not in PROVIDERS:
            raise SettingsFileError(f"{where}: {unknown_provider(name)}")
    if not names:
        raise SettingsFileError(f"{where}: no provider is named; there are: {', '.join(PROVIDERS)}")


def _check_type(value: Any, expected: Any, where: str) -> Any:
    """Return a value if it has the type of its flag; TOML distinguishes 1 from true."""
    kind = next((kind for kind in _TYPES if expected in (kind, kind | None)), str)  # str: a path
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # versions = 2
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise _wrong_type(where, _TYPES[kind], value)
    return value


def _table(value: Any, where: str) -> Table:
    if not isinstance(value, dict):
        raise _wrong_type(where, f"a table, written [{where}]", value)
    return value


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _wrong_type(where, 'a list of names, such as ["cuda", "cpu"]', value)
    return value


def _wrong_type(where: str, expected: str, value: Any) -> SettingsFileError:
    return SettingsFileError(f"{where} is {shown(value)}, and must be {expected}")
