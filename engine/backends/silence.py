"""Import the runtimes without their telemetry; nothing else in medge may import them."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import cast

ORT_OPT_OUT = "ORT_DISABLE_TELEMETRY"


def silent_onnxruntime() -> ModuleType:
    """Import onnxruntime so that it collects, stores and sends nothing.

    Since 1.29 its Linux builds upload facts about process, models and sessions, and keep an
    identifier and a queue under the home folder, unless this variable is set before the import
    (onnxruntime pull request 27379). Where a program has imported it already, only what is called
    non-essential can still be stopped.
    """
    os.environ.setdefault(ORT_OPT_OUT, "1")
    onnxruntime = importlib.import_module("onnxruntime")
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def silent_openvino() -> ModuleType:
    """Import openvino without its telemetry, which asks a name server and writes files at home.

    The telemetry module stays blocked in this process: openvino and nncf do without it.
    """
    cast("dict[str, ModuleType | None]", sys.modules).setdefault("openvino_telemetry", None)
    return importlib.import_module("openvino")
