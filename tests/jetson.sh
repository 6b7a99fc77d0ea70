#!/bin/sh
# The runner of build bundles on the oldest Python that can be found, as JetPack 4 and 5 have it.
# Usage: jetson.sh BIN FOLDER [PYTHON]   (make test-jetson OLD=/path/to/python3.6)
set -eu
bin=$1 asked=${3:-}
mkdir -p "$2"
folder=$(cd "$2" && pwd)

works() { "$1" -c 'import sys, ssl, ctypes; sys.exit(not (3, 6) <= sys.version_info[:2] < (3, 10))' 2>/dev/null; }

old=
for python in $asked "$HOME"/.pyenv/versions/3.[6789]*/bin/python3 python3.6 python3.7 python3.8 python3.9; do
    if command -v "$python" >/dev/null && works "$python"; then
        old=$python
        break
    fi
done
if [ -z "$old" ]; then
    echo "No Python 3.6 to 3.9 is here: name one, make test-jetson OLD=/path/to/python3.6" >&2
    exit 2
fi
# Not the project's own pins: they are of newer Pythons.
unset PIP_CONSTRAINT PIP_BUILD_CONSTRAINT
if [ ! -x "$folder/bin/python" ]; then
    "$old" -m venv "$folder"
    # The pip that comes with 3.6 does not know today's wheels.
    "$folder/bin/python" -m pip install --quiet --upgrade 'pip<22'
    "$folder/bin/python" -m pip install --quiet --only-binary :all: numpy onnxruntime 'protobuf<3.20'
fi
"$folder/bin/python" -c 'import sys, numpy, onnxruntime; print("Python", sys.version.split()[0], "numpy", numpy.__version__, "onnxruntime", onnxruntime.__version__)'
# onnxruntime of that age writes to stderr where a container hides the CPUs.
MEDGE_OLD_PYTHON=$folder/bin/python "$bin/pytest" -q tests/test_jetson_runner.py
