#!/usr/bin/env bash
# Generate the stubs next to their .proto files. The oldest supported version of
# grpcio-tools generates them, so they run with that version and every newer one.
# It sets the lower bounds of grpcio and protobuf in pyproject.toml.
# With --check, generate the stubs in a temporary directory and compare them.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=.venv-proto
if [[ ! -x $tools/bin/protoc-gen-mypy ]]; then
  "${PYTHON:-python3}" -m venv "$tools"
  "$tools/bin/pip" install --quiet grpcio-tools==1.72.1 mypy-protobuf==5.1.0
fi

out=.
if [[ ${1:-} == --check ]]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi

protoc() { PATH="$PWD/$tools/bin:$PATH" python -m grpc_tools.protoc --proto_path=proto "$@"; }
mkdir -p "$out/proto"
protoc --python_out="$out/proto" --mypy_out=quiet:"$out/proto" proto/convscope/v1/*.proto
protoc --grpc_python_out="$out/proto" --mypy_grpc_out=quiet:"$out/proto" proto/convscope/v1/{admin,inference}.proto

# Every package for the Open Inference Protocol uses the same message names, and
# protobuf's default pool accepts a name only once per process. These messages
# therefore use a separate pool, in a package of our own.
oip=proto/convscope/open_inference
mkdir -p "$out/$oip"
protoc --python_out="$out/proto" --mypy_out=quiet:"$out/proto" proto/inference/open_inference.proto
sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' \
  "$out/proto/inference/open_inference_pb2.py"
mv "$out"/proto/inference/open_inference_pb2.py{,i} "$out/$oip"

if [[ $out != . ]]; then
  for stub in {proto/convscope/v1,"$oip"}/*_pb2*.py*; do
    diff -u "$stub" "$out/$stub" || { echo "stubs differ from the .proto files; run: make proto" >&2; exit 1; }
  done
  echo "stubs match the .proto files"
fi
