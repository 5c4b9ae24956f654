#!/bin/sh
# Brings the virtual environment to what the locks say. Quick when there is nothing to do.
#
#   tools/environment.sh <venv> run|dev
#
# run: what the server needs, and the server itself (editable). dev: besides, what checks and tests need.
# PYTHON names the interpreter (default python3). A stamp in the environment, named after a hash of all that counts,
# says that it is complete; so an interrupted installation is taken up again.
set -eu
cd "$(dirname "$0")/.."

venv=$1
wanted=$2
python=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
    echo "error: $*" >&2
    exit 1
}

stamp_of() { # the files that count, and where we are: the editable install points here
    ours="setup.py pyproject.toml realtime_svc/__init__.py realtime_svc/transports/_kernel.c"
    # shellcheck disable=SC2086 # several words are meant
    hash=$({ pwd; cat $ours "requirements/$1.lock"; } | sha256sum)
    echo "$venv/.$1-$(echo "$hash" | cut -c1-16)"
}

make_venv() {
    command -v "$python" >/dev/null || fail "$python not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is $("$python" --version 2>&1), but 3.11 or newer is needed: make PYTHON=python3.12"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)"
    echo "Making a virtual environment in $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
}

names_in() { # "project version, ..." of a lock, without what is for other systems than ours
    sed -n "/ == 'PyPy'\| != 'CPython'\| == 'nt'/d; s/^\([A-Za-z0-9._-]*\)==\([^ ]*\).*/\1 \2/p" "$1" |
        paste -sd, | sed 's/,/, /g' | fold -s -w 116 | sed 's/^/    /; s/ $//'
}

install_lock() {
    echo "Installing into $venv, from requirements/$1.lock:"
    names_in "requirements/$1.lock"
    "$venv/bin/python" -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r "requirements/$1.lock"
}

install_ourselves() {
    echo "Installing realtime_svc itself (editable)"
    rm -f realtime_svc/transports/_kernel.*.so # of another source; it would stay where nothing can be compiled
    "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
    "$venv/bin/python" -c "import realtime_svc.transports._kernel" 2>/dev/null ||
        echo "note: the compiled part could not be built: it needs a C compiler and Python's headers." \
            "The server does the same in Python, more slowly."
}

"$venv/bin/python" -c "import pip" 2>/dev/null || make_venv

for part in run dev; do
    stamp=$(stamp_of "$part")
    if [ ! -e "$stamp" ]; then
        rm -f "$venv/.$part-"*
        install_lock "$part"
        if [ "$part" = run ]; then install_ourselves; fi
        touch "$stamp"
    fi
    if [ "$part" = "$wanted" ]; then exit 0; fi
done
