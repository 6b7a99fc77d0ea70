#!/usr/bin/env bash
# medge's wheel for aarch64, compiled here, and installed on the machine of machine.sh.
# Usage: tests/arm/wheel.sh PYTHON MACHINE   (MACHINE is the folder that machine.sh prints)
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1 machine=$2
export CXX_ARM=${CXX_ARM:-aarch64-linux-gnu-g++} MEDGE_ARM_ROOT=$machine/root
export PIP_CONSTRAINT=${PIP_CONSTRAINT:-$PWD/constraints.txt} PIP_DISABLE_PIP_VERSION_CHECK=1
unset PIP_BUILD_CONSTRAINT  # the Makefile's; pip refuses it where builds are not isolated
site=$(echo "$machine"/venv/lib/python3.*/site-packages)
there=${site%/site-packages} there=${there##*/python}

tools=$machine/tools  # outside of isolation: there pip itself would take this machine for aarch64
if ! "$tools/bin/python" -c 'import nanobind, scikit_build_core, cmake, ninja' 2>/dev/null; then
    "$python" -m venv --clear "$tools"
    needs=$("$python" - <<'PYTHON'
import re
text = open("pyproject.toml", encoding="utf-8").read()
print(re.search(r'requires = \[(.*)\]', text)[1].replace('"', "").replace(", ", "\n"))
PYTHON
    )
    printf '%s\ncmake\nninja\n' "$needs" >"$machine/tools.txt"
    "$tools/bin/pip" install --quiet --upgrade 'pip>=25.1' --requirement "$machine/tools.txt"
fi

tag=$("$python" -c 'import sys; print("cpython-%d%d" % sys.version_info[:2])')
include=$(echo "$machine/root/usr/include/python$there")
own=(-C "cmake.toolchain-file=$PWD/tests/arm/toolchain.cmake")
# The headers must be those of the Python that compiles; the stable ABI is the same in both.
[ "$tag" = "cpython-${there/./}" ] && own+=(-C "cmake.define.Python_INCLUDE_DIR=$include")
rm -rf build/arm
_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=.$tag-aarch64-linux-gnu.so \
    "$tools/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir build/arm "${own[@]}" .
wheel=$(echo build/arm/medge-*_aarch64.whl)
echo "$(basename "$wheel"): $(stat -c %s "$wheel") bytes"

# From the registry come the wheels that a board would get; nothing is compiled for it here.
platforms=()
for tag in linux manylinux2014 manylinux_2_{17,24,26,27,28,31,34,35}; do
    platforms+=(--platform "${tag}_aarch64")
done
install=("$tools/bin/pip" install --quiet --target "$site" --upgrade --python-version "$there"
    --implementation cp --abi "cp${there/./}" --abi abi3 --abi none --only-binary=:all: "${platforms[@]}")
stamp=$(cat constraints.txt pyproject.toml | sha256sum)
if [ "$(cat "$machine/installed" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$site"
    "${install[@]}" "medge[codecs] @ file://$PWD/$wheel"
    echo "$stamp" >"$machine/installed"
else
    "${install[@]}" --no-deps "$wheel"
fi

"${OBJDUMP_ARM:-aarch64-linux-gnu-objdump}" -T "$site"/medge/_native*.so |
    grep -oE '(GLIBC|GLIBCXX|CXXABI)_[0-9.]+' | sort -Vu |
    awk -F_ '{last[$1] = $2} END {for (name in last) printf " %s %s", name, last[name]; print ""}' |
    sed 's/^/medge._native needs at least/'
