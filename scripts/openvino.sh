#!/usr/bin/env bash
# Create the environment of a server on OpenVINO if it is missing, and print the path of its Python.
# onnxruntime-openvino replaces onnxruntime, so one environment can't contain both.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/.cache/openvino
if [[ ! $venv/.ready -nt pyproject.toml ]]; then
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --no-compile --editable '.[server-openvino]' >&2
  touch "$venv/.ready"
fi
echo "$venv/bin/python"
