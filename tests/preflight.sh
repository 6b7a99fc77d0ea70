#!/bin/sh
# Preflight: what building needs, and the one line that adds what is missing.
python=${1:-python3}
packages=''
need() { packages="$packages $1"; echo "missing: $2" >&2; }

if ! command -v "$python" >/dev/null 2>&1; then
    need python3 "$python (CPython 3.10 or newer)"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "found $("$python" --version), need CPython 3.10 or newer: make PYTHON=python3.12 ..." >&2
    exit 2
else
    "$python" -c 'import venv, ensurepip' 2>/dev/null || need python3-venv "Python's venv"
    "$python" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        need python3-dev "Python's headers"
fi
command -v "${CXX:-c++}" >/dev/null 2>&1 || need g++ 'a C++17 compiler'

[ -z "$packages" ] && exit 0
echo "sudo apt-get install -y$packages" >&2
exit 2
