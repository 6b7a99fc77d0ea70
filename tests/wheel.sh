#!/bin/sh
# The wheel as users get it: built, installed in an empty environment, weighed, and tested.
# Usage: tests/wheel.sh BIN PYTHON, where BIN is the bin folder of an environment with the tests' needs.
set -eu
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd) python=${2:-python3}
empty=$(pwd)/build/empty
rm -rf "$empty" dist

"$bin/pip" wheel --quiet --no-deps --wheel-dir dist .
"$python" -m venv "$empty"
"$empty/bin/pip" install --quiet dist/medge-*.whl
"$empty/bin/python" -I - <<'PYTHON'
"""Count and weigh what the base install brought, pip itself left out."""
import importlib.metadata as metadata
import pathlib
import sys

found = [d for d in metadata.distributions() if d.name not in ("pip", "setuptools")]
files = {pathlib.Path(d.locate_file(f)).resolve() for d in found for f in d.files or ()}
# Bytecode is written by pip at installation; it is on the disk, so it is counted.
size_mb = sum(f.stat().st_size for f in files if f.is_file()) / 1e6
print(f"base install: {len(found)} packages, {size_mb:.1f} MB (bars: 16 packages, 225 MB)")
for one in sorted(found, key=lambda d: d.name.lower()):
    print(f"  {one.name} {one.version}")
sys.exit(len(found) > 16 or size_mb > 225)
PYTHON

# The tests' own needs are lent from the other environment; medge itself must come from the wheel.
"$bin/python" -c 'import site; print(site.getsitepackages()[0])' \
    > "$("$empty/bin/python" -c 'import site; print(site.getsitepackages()[0])')/lent.pth"
"$empty/bin/python" -I - "$empty" <<'PYTHON'
import sys
import medge
if not medge.__file__.startswith(sys.argv[1]):
    sys.exit(f"medge was imported from {medge.__file__}, not from the wheel")
PYTHON
"$empty/bin/python" -I -m pytest
