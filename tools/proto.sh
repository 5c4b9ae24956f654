#!/bin/sh
# Writes realtime_svc/wire/centrifuge_pb2.py and its .pyi anew from centrifuge.proto. The compiler is one of protobuf 6.31:
# what it makes runs with that version and every later one up to the next major but one, so it is no newer than the
# runtime that pyproject.toml asks for. Nothing of it is needed to run or to test.
#
#   tools/proto.sh <scratch virtual environment>
set -eu
cd "$(dirname "$0")/.."

scratch=$1
compiler_version=1.80.0

python3 -m venv "$scratch"
"$scratch/bin/python" -m pip install --quiet --disable-pip-version-check "grpcio-tools==$compiler_version"
"$scratch/bin/python" -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. realtime_svc/wire/centrifuge.proto
echo "wrote realtime_svc/wire/centrifuge_pb2.py and realtime_svc/wire/centrifuge_pb2.pyi"
