#!/usr/bin/env bash
# Generates the stubs beside their .proto files. The oldest grpcio-tools that we
# support writes them, so that they run with it and with every newer runtime;
# its version sets the lower bounds of grpcio and protobuf in pyproject.toml.
# With --check, the stubs are generated elsewhere and compared with those here.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=.venv-proto
if [[ ! -x $tools/bin/protoc-gen-mypy ]]; then
  "${PYTHON:-python3}" -m venv "$tools"
  "$tools/bin/pip" install --quiet grpcio-tools==1.72.1 mypy-protobuf==5.1.0
fi

out=proto
if [[ ${1:-} == --check ]]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi

protoc() { PATH="$PWD/$tools/bin:$PATH" python -m grpc_tools.protoc --proto_path=proto "$@"; }
protoc --python_out="$out" --mypy_out=quiet:"$out" proto/convscope/v1/*.proto
protoc --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" proto/convscope/v1/{admin,inference}.proto

if [[ $out != proto ]]; then
  for stub in proto/convscope/v1/*_pb2*.py*; do
    diff -u "$stub" "$out/${stub#proto/}" || { echo "stubs differ from the .proto files; run: make proto" >&2; exit 1; }
  done
  echo "stubs match the .proto files"
fi
