"""Read the Dockerfile, and run the steps of a builder stage without Docker.

Only the steps that the Dockerfile uses are supported. Any other step raises
UnknownStepError, so that no step stays untested.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

VENV = "/opt/venv"
# It builds the package, and no image copies it.
BUILD_VENV = "/opt/build"
_VENVS = (VENV, BUILD_VENV)
_BUILD_COMMANDS = (
    *(("python", "-m", "venv", venv) for venv in _VENVS),
    *((f"{venv}/bin/python", "-m", "pip", "install") for venv in _VENVS),
    (f"{BUILD_VENV}/bin/python", "-m", "pip", "wheel"),
    (f"{VENV}/bin/python", "-m", "pip", "check"),
)
_ACCOUNT_COMMANDS = ("useradd", "install")
_SHELL_SYNTAX = re.compile(r"[$`;&|<>()*?~#]")


class UnknownStepError(Exception):
    """The Dockerfile has a step that this module doesn't support; add it here."""


@dataclass(frozen=True)
class Step:
    """One instruction of a stage."""

    instruction: str
    text: str

    @property
    def unknown(self) -> UnknownStepError:
        return UnknownStepError(f"{self.instruction} {self.text}")


@dataclass
class Stage:
    """A stage and its base, which is another stage or an image."""

    base: str
    steps: list[Step] = field(default_factory=list)


class Dockerfile:
    """The stages of a Dockerfile.

    Args:
        path: The file.
        arguments: The values of build arguments, instead of their defaults.
    """

    def __init__(self, path: Path, **arguments: str) -> None:
        self.stages: dict[str, Stage] = {}
        for step in _steps(path.read_text()):
            if step.instruction == "ARG" and not self.stages:
                name, _, default = step.text.partition("=")
                arguments.setdefault(name, default)
            elif step.instruction == "FROM":
                text = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], step.text)
                match = re.fullmatch(r"(\S+) AS (\S+)", text)
                if not match:
                    raise step.unknown
                stage = self.stages[match[2]] = Stage(match[1])
            else:
                stage.steps.append(step)

    def steps(self, stage: str) -> list[Step]:
        """Return the steps of a stage, preceded by those of its base stages."""
        if stage not in self.stages:
            return []
        return [*self.steps(self.stages[stage].base), *self.stages[stage].steps]

    def image(self, stage: str) -> str:
        """Return the image at the bottom of a stage."""
        while stage in self.stages:
            stage = self.stages[stage].base
        return stage


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            instruction, _, rest = line.partition(" ")
            yield Step(instruction, rest.strip())


class Builder:
    """Run the steps of a builder stage below a directory.

    Args:
        context: The build context.
        root: The directory that represents the image's root.
    """

    def __init__(self, context: Path, root: Path) -> None:
        self._context = context
        self._root = root
        self._workdir = root
        self._rules = _ignore_rules(context / ".dockerignore")
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }
        # Compiling every installed module takes longer than it saves in the tests.
        self._environment["PIP_COMPILE"] = "0"

    @property
    def venv(self) -> Path:
        return self._root / VENV.lstrip("/")

    def build(self, steps: Iterable[Step]) -> None:
        """Run every step."""
        actions = {
            "ENV": self._set_environment,
            "WORKDIR": self._change_directory,
            "COPY": self._copy,
            "RUN": self._run,
        }
        for step in steps:
            if step.instruction not in actions:
                raise step.unknown
            actions[step.instruction](step)

    def _set_environment(self, step: Step) -> None:
        self._environment.update(parse_environment(step, {}))

    def _change_directory(self, step: Step) -> None:
        if not re.fullmatch(r"/[\w/]+", step.text):
            raise step.unknown
        self._workdir = self._root / step.text.lstrip("/")
        self._workdir.mkdir(parents=True)

    def _copy(self, step: Step) -> None:
        *sources, target = step.text.split()
        folder = self._workdir / target
        if (
            not sources
            or not target.endswith("/")
            or any(s.startswith(("-", "/")) for s in sources)
        ):
            raise step.unknown
        for name in sources:
            source = self._context / name
            files = [p for p in source.rglob("*") if p.is_file()] if source.is_dir() else [source]
            top = source if source.is_dir() else source.parent
            for file in files:
                if not is_ignored(file.relative_to(self._context).as_posix(), self._rules):
                    copy = folder / file.relative_to(top)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(file, copy)

    def _run(self, step: Step) -> None:
        command = re.sub(r"^--mount=type=cache,target=\S+\s+", "", step.text)
        words = shlex.split(command)
        known = any(tuple(words[: len(known)]) == known for known in _BUILD_COMMANDS)
        if not known or _SHELL_SYNTAX.search(command):
            raise step.unknown
        for venv in _VENVS:
            place = str(self._root / venv.lstrip("/"))
            words = [word.replace(venv, place) for word in words]
        subprocess.run(
            _with_pip_of_the_tests(words), cwd=self._workdir, env=self._environment, check=True
        )


def _with_pip_of_the_tests(words: list[str]) -> list[str]:
    """Return a command that needs no pip in an environment, which takes five seconds of CPU."""
    python, _, module, *arguments = words
    if module == "venv":
        return [sys.executable, "-m", "venv", "--without-pip", *arguments]
    return [sys.executable, "-m", "pip", "--python", python, *arguments]


@dataclass
class Image:
    """The configuration with which a container of a final stage starts."""

    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_command: list[str] = field(default_factory=list)
    builder: str = ""
    ports: list[str] = field(default_factory=list)
    stop_signal: str = ""
    user: str = ""


def read_image(steps: Iterable[Step]) -> Image:
    """Read a final stage, which must copy one virtual environment and install nothing else."""
    image = Image(environment={"PATH": "/usr/local/bin:/usr/bin:/bin"})
    for step in steps:
        match step.instruction:
            case "ENV":
                image.environment |= parse_environment(step, image.environment)
            case "ENTRYPOINT":
                image.entrypoint = json.loads(step.text)
            case "CMD":
                image.command = json.loads(step.text)
            case "HEALTHCHECK":
                image.health_command = json.loads(step.text.partition("CMD ")[2])
            case "COPY":
                image.builder = _copied_builder(step, image)
            case "EXPOSE":
                image.ports = step.text.split()
            case "STOPSIGNAL":
                image.stop_signal = step.text
            case "USER":
                image.user = step.text
            case "RUN":
                _check_account_step(step)
            case "WORKDIR":
                pass
            case _:
                raise step.unknown
    return image


def parse_environment(step: Step, before: dict[str, str]) -> dict[str, str]:
    """Read an ENV step. $PATH is replaced by the previous PATH."""
    pairs = [word.partition("=") for word in shlex.split(step.text)]
    values = {name: value.replace("$PATH", before.get("PATH", "$")) for name, _, value in pairs}
    if any("$" in value for value in values.values()) or not all(equals for _, equals, _ in pairs):
        raise step.unknown
    return values


def _copied_builder(step: Step, image: Image) -> str:
    match = re.fullmatch(rf"--from=(\S+) {VENV} {VENV}", step.text)
    if not match or image.builder:
        raise step.unknown
    return match[1]


def _check_account_step(step: Step) -> None:
    """Check that a final stage runs nothing but the creation of its user and a folder."""
    commands = [shlex.split(command) for command in step.text.split("&&")]
    if any(words[0] not in _ACCOUNT_COMMANDS for words in commands):
        raise step.unknown


Rule = tuple[bool, re.Pattern[str]]


def is_ignored(path: str, rules: Iterable[Rule]) -> bool:
    """Return whether .dockerignore excludes a file. The last matching rule decides."""
    parts = path.split("/")
    prefixes = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    ignored = False
    for ignores, pattern in rules:
        if any(pattern.fullmatch(prefix) for prefix in prefixes):
            ignored = ignores
    return ignored


def _ignore_rules(path: Path) -> list[Rule]:
    lines = [line.strip() for line in path.read_text().splitlines()]
    return [
        (not line.startswith("!"), _glob(line.removeprefix("!").strip("/")))
        for line in lines
        if line and not line.startswith("#")
    ]


def _glob(pattern: str) -> re.Pattern[str]:
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(translated.get(part, re.escape(part)) for part in parts))
