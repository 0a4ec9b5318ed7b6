"""The settings file: flags, and what each model may run on.

    [server]                          # any flag, with _ for -
    max_queue = 512

    [providers.openvino]              # options of a provider, by ONNX Runtime's names
    device_type = "CPU"

    [models.digits]                   # of one model, over --provider and --allow-fallback
    provider = ["openvino", "cpu"]
    allow_fallback = true

    [models.digits.providers.openvino]
    num_of_threads = 2

A key that doesn't exist is an error: a setting that is silently none has cost
many an hour.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.bundle.layout import is_model_name
from convscope.bundle.suggestions import unknown
from convscope.server.runtime.providers import OPTIONS, PROVIDERS, ProviderPolicies, ProviderPolicy

__all__ = ["ModelSettings", "SettingsFile", "SettingsFileError", "read_settings_file"]

Table = Mapping[str, Any]
Options = Mapping[str, Mapping[str, str]]

# Flags that take several names; a list of them may stand for what commas separate.
LISTS = ("load", "provider")
_TYPES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


class SettingsFileError(ValueError):
    """The file can't be used; the message names the place, what is wrong and the repair."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a file says of one model; None leaves it to the flags.

    Args:
        preference: The execution providers, the preferred first.
        allow_fallback: As the flag.
        options: By provider, over those for every model.
    """

    preference: tuple[str, ...] | None = None
    allow_fallback: bool | None = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """What a file says.

    Args:
        path: Where it lies.
        server: Flags by name, with _ for -.
        options: By provider, for every model.
        models: By name.
    """

    path: Path
    server: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.path)

    def policies(self, default: ProviderPolicy) -> ProviderPolicies:
        """Give the policy of each model.

        Args:
            default: What the flags say.
        """

        def policy(own: ModelSettings) -> ProviderPolicy:
            options = {
                name: {**self.options.get(name, {}), **own.options.get(name, {})}
                for name in {*self.options, *own.options}
            }
            fallback = default.allow_fallback if own.allow_fallback is None else own.allow_fallback
            preference = own.preference or default.preference
            return ProviderPolicy(preference, fallback, options, default.cores)

        models = {name: policy(own) for name, own in self.models.items()}
        return ProviderPolicies(policy(ModelSettings()), models)


def read_settings_file(path: Path, flags: Mapping[str, Any]) -> SettingsFile:
    """Read a settings file.

    Args:
        path: Where it lies.
        flags: The type of each flag.

    Raises:
        SettingsFileError: It can't be read, or says something that means nothing.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsFileError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise SettingsFileError(f"{path} is not TOML: {error}") from error
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


def _read_models(table: Table) -> Mapping[str, ModelSettings]:
    models = {}
    for name, value in table.items():
        where = f"models.{name}"
        if not is_model_name(name):
            raise SettingsFileError(
                f"{where}: {name!r} can't be a model's name; one has up to 63 of a-z, 0-9, _ and -"
            )
        own = _table(value, where)
        _check_keys(own, ("provider", "allow_fallback", "providers"), "key", where)
        fallback = own.get("allow_fallback")
        if fallback is not None:
            _check_type(fallback, bool, f"{where}.allow_fallback")
        preference = None
        if "provider" in own:
            preference = tuple(_names(own["provider"], f"{where}.provider"))
            _check_providers(preference, f"{where}.provider")
        of_providers = _table(own.get("providers", {}), f"{where}.providers")
        options = _read_options(of_providers, f"{where}.providers")
        models[name] = ModelSettings(preference, fallback, options)
    return models


def _read_options(table: Table, where: str) -> Options:
    """Read tables of options, as ONNX Runtime takes them: texts."""
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
            place = f"{where}.{name}" if where else name
            if not known:
                raise SettingsFileError(f"{place}: {where.rpartition('.')[2]} has no options")
            raise SettingsFileError(f"{place}: {unknown(kind, name, known)}")


def _check_providers(names: Collection[str], where: str) -> None:
    for name in names:
        if name not in PROVIDERS:
            message = unknown("execution provider", name, PROVIDERS)
            raise SettingsFileError(f"{where}: {message}")
    if not names:
        raise SettingsFileError(f"{where}: it names no provider; there are: {', '.join(PROVIDERS)}")


def _check_type(value: Any, expected: Any, where: str) -> Any:
    """Give a value back if it is of a flag's type; TOML itself tells 1 from true."""
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
    return SettingsFileError(f"{where} is {value!r}, and must be {expected}")
