#!/usr/bin/env bash
# The kernels on aarch64, under emulation: NEON and scalar must equal tests/reference.py bit for bit.
# Usage: tests/arm/kernels.sh PYTHON   (a Python in which medge is installed)
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
compiler=${CXX_ARM:-aarch64-linux-gnu-g++}
emulator=${QEMU_ARM:-qemu-aarch64-static}

for tool in "$compiler" "$emulator"; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is not here; on Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static" >&2
        exit 1
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plain=(-std=c++17 -O3 -DNDEBUG -Wall -Wextra -ffp-contract=off -Icpp_ext -c)
# The flags of CMakeLists.txt.
kernels=(-Wno-psabi -fno-trapping-math -ffinite-math-only -fno-signed-zeros)
for source in axis plan plan_file histogram enhance kernels; do
    "$compiler" "${plain[@]}" "cpp_ext/$source.cpp" -o "$work/$source.o"
done
"$compiler" "${plain[@]}" "${kernels[@]}" -fno-tree-vectorize -fno-tree-slp-vectorize \
    cpp_ext/kernels_scalar.cpp -o "$work/kernels_scalar.o"
"$compiler" "${plain[@]}" "${kernels[@]}" cpp_ext/kernels_neon.cpp -o "$work/kernels_neon.o"
"$compiler" "${plain[@]}" tests/arm/driver.cpp -o "$work/driver.o"
"$compiler" -static "$work"/*.o -o "$work/driver"

"$python" tests/arm/vectors.py "$work/vectors" "${CASES:-600}"
for build in neon scalar; do
    "$emulator" "$work/driver" "$build" "$work/vectors"
done
