#!/bin/sh
# The Node packages of the integration tests, as their lock says. Quick when there is nothing to do.
set -eu
cd "$(dirname "$0")/../tests/integration/node"

fail() {
    echo "error: $*" >&2
    exit 1
}

stamp=node_modules/.lock-$(cat package.json package-lock.json | sha256sum | cut -c1-16)
if [ -e "$stamp" ]; then exit 0; fi

command -v node >/dev/null || fail "node not found: the integration tests need Node 20 or newer"
command -v npm >/dev/null || fail "npm not found: the integration tests need it to install Node packages"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
    fail "node is $(node --version), but 20 or newer is needed"

echo "Installing Node packages: $(node -p 'Object.entries(require("./package.json").devDependencies).map((p) => p.join(" ")).join(", ")'), and what they need"
npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
touch "$stamp"
