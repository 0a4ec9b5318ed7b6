#!/usr/bin/env bash
# Create the environment of Ray if it is missing, and print the path of its Python.
# It has the packages of .venv, and before them Ray with what Ray needs in other versions.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/.cache/ray
if [[ ! $venv/.ready -nt pyproject.toml ]]; then
  rm -rf "$venv"
  .venv/bin/python -m venv --without-pip "$venv"
  packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  own=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # Each process of Ray imports jsonschema, which imports this package if it is there: for seconds.
  { echo "import sys; sys.modules['rfc3987_syntax'] = None"
    echo "import site; site.addsitedir('$packages')"; } > "$own/developers.pth"
  mapfile -t extra < <(.venv/bin/python -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
print(*(one for one in extras["ray"] if not one.startswith("convscope[")), sep="\n")')
  .venv/bin/python -m pip --python "$venv/bin/python" install --quiet --no-compile "${extra[@]}" >&2
  touch "$venv/.ready"
fi
echo "$venv/bin/python"
