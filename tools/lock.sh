#!/bin/sh
# Writes requirements/run.lock and requirements/dev.lock anew from the ranges in pyproject.toml, at their newest, and
# tests/integration/node/package-lock.json from the package.json beside it. The only step that may change a version.
#
#   tools/lock.sh <scratch virtual environment>
set -eu
cd "$(dirname "$0")/.."

scratch=$1
uv_version=0.13.9

# One lock for every machine and Python we support, wheels only: one without a compiler can install it.
compile() {
    out=$1
    shift
    "$scratch/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 --only-binary :all: --upgrade \
        --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "$out" "$@" pyproject.toml
    echo "wrote $out"
}

python3 -m venv "$scratch"
"$scratch/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
compile requirements/run.lock --group install
compile requirements/dev.lock --group install --group dev --constraints requirements/run.lock

# Without the addresses of a registry: `npm ci` takes the one it is configured for and checks the hashes.
cd tests/integration/node
npm install --package-lock-only --omit-lockfile-registry-resolved=true --no-audit --no-fund --loglevel=error
echo "wrote tests/integration/node/package-lock.json"
