#!/usr/bin/env bash
# An aarch64 machine in a folder: Debian's CPython, run by qemu-user. No root, no mount, no daemon.
# Usage: tests/arm/machine.sh PYTHON   (builds what is missing, prints the folder)
#
# FOLDER/root is Debian, unpacked and never configured; FOLDER/venv/bin/python runs its CPython, and
# is what sys.executable names there, so that programs which start themselves again work too.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
compiler=${CXX_ARM:-aarch64-linux-gnu-g++}
emulator=${QEMU_ARM:-qemu-aarch64-static}
cache=${MEDGE_ARM:-${XDG_CACHE_HOME:-$HOME/.cache}/medge-arm64}

missing=
for tool in "$compiler:g++-aarch64-linux-gnu" "$emulator:qemu-user-static" mmdebstrap:mmdebstrap; do
    command -v "${tool%%:*}" >/dev/null || missing="$missing ${tool#*:}"
done
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
if [ -n "$missing" ]; then
    echo "needed and not here; on Debian and Ubuntu: sudo apt-get install -y$missing" >&2
    exit 2
fi

# The wheel is built for the CPython that builds it; from 3.12 on it fits every later one.
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
    3.11) suite=bookworm there=3.11 ;;
    3.12 | 3.13) suite=trixie there=3.13 ;;
    *)
        echo "$python is CPython $version; Debian has 3.11 and 3.13 for aarch64: make VENV=.venv-arm PYTHON=python3.11" >&2
        exit 2
        ;;
esac

folder=$cache/$suite
if [ ! -e "$folder/root" ]; then
    mkdir -p "$folder"
    work=$(mktemp -d "$folder/new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # `extract` runs nothing of the packages, hence no emulation and no rights are needed for it.
    mmdebstrap --quiet --mode=chrootless --variant=extract --architectures=arm64 \
        --include=python3-minimal,libpython3-stdlib,libpython3-dev,libstdc++6,zlib1g \
        "$suite" "$work/root.tar" >&2
    mkdir "$work/root"
    tar -C "$work/root" --exclude='./dev/*' -xf "$work/root.tar"
    # Where all libraries lie in usr/lib, a configured system has this link.
    [ -e "$work/root/lib" ] || ln -s usr/lib "$work/root/lib"
    mv "$work/root" "$folder/root"
fi

venv=$folder/venv
mkdir -p "$venv/bin" "$venv/lib/python$there/site-packages"
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$venv/pyvenv.cfg"
cat >"$venv/bin/python" <<LAUNCHER
#!/bin/sh
exec $emulator -L '$folder/root' -0 '$venv/bin/python' '$folder/root/usr/bin/python$there' "\$@"
LAUNCHER
chmod +x "$venv/bin/python"
echo "$folder"
