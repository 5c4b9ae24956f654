#!/bin/sh
# The programs the integration tests drive. What is missing is installed from Debian; without root, it is named.
set -eu

missing=""
need() { # need <Debian package> <program>...: one of the programs is enough
    package=$1
    shift
    for program in "$@"; do
        if command -v "$program" >/dev/null; then return; fi
    done
    missing="$missing $package"
}

need chromium chromium chromium-browser google-chrome
need libnss3-tools certutil
need faketime faketime
if [ -z "$missing" ]; then exit 0; fi

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "error: the tests need these Debian packages:$missing" >&2
    echo "install them as root: apt-get update && apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "Installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # several words are meant
apt-get install -qq --yes --no-install-recommends $missing >/dev/null
