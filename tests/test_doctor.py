"""`medge doctor`: a verdict from runtimes that were really started, and facts with sources."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from command_line import Typed

from medge import doctor
from medge.doctor import Examination, examine
from medge.engine import probe
from medge.engine.backends import presence
from medge.engine.kept import kept_facts, kept_problems
from medge.engine.probe import Found, Runtime, runtimes
from medge.pages.doctor import doctor_object, doctor_text, exit_code, fact_text
from medge.profiles.facts import Fact, Problem

ROOT = Path(__file__).parent.parent
RUNS = Runtime(
    backend="onnxruntime",
    installed=True,
    runs=True,
    version="1.31.1",
    devices={"cpu": ("fp32",)},
    cases=4,
)
BROKEN = Runtime(
    backend="onnxruntime",
    installed=True,
    runs=False,
    version="1.31.1",
    rule="runtime-crash",
    message="It crashed with SIGILL.",
    command="python -m pip install x",
)


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """Return what this machine is said to be, examined and measured once."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(doctor_object(examine())))
    return found


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    return Typed(monkeypatch, capfd)


def examined(runtime: Runtime, **more: Any) -> Examination:
    facts = {
        "cpu": {
            "model": Fact(
                "Intel(R) Xeon(R) Platinum 8480+, a name that is long", "", "/proc/cpuinfo"
            ),
            "tier": Fact("amx", "", "/proc/cpuinfo"),
            "smt": Fact(False, "", "/sys/devices/system/cpu/smt/active"),
            "l2_cache": Fact(2 << 20, "bytes", "/sys/devices/system/cpu/cpu0/cache/index2/size"),
        }
    }
    return Examination(
        sections=facts,
        runtimes=(runtime,),
        problems=more.get("problems", ()),
        additions=more.get("additions", ()),
    )


def test_a_runtime_runs_here_because_it_has_answered_golden_cases(said: dict[str, Any]) -> None:
    default = said["runtimes"][0]
    assert default["backend"] == "onnxruntime"
    assert (default["runs"], default["installed"], default["rule"]) == (True, True, "")
    assert default["cases"] >= 1
    assert default["devices"]["cpu"] == ["fp32"]
    assert (said["schema"], said["exit_code"], said["runs"]) == ("medge.doctor/1", 0, True)


def test_every_fact_has_a_value_a_unit_and_a_source(said: dict[str, Any]) -> None:
    assert {"cpu", "memory", "runtimes", "codecs", "medge"} <= set(said["facts"])
    for section in said["facts"].values():
        for fact in section.values():
            assert set(fact) == {"value", "unit", "source"}
            assert fact["value"] not in (None, "")
            assert fact["source"]


def test_bandwidth_is_called_measured_with_its_threads(said: dict[str, Any]) -> None:
    fact = said["facts"]["memory"]["bandwidth"]
    assert fact["unit"] == "GB/s"
    assert fact["value"] > 0
    assert fact["source"].startswith("measured: ")
    assert re.search(r"\d+ threads?", fact["source"])


def test_where_nothing_runs_the_page_is_shown_and_the_exit_code_is_5(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "runtimes", lambda: (BROKEN,))
    shown = typed("doctor", "--no-measure")
    assert shown.code == 5
    assert "no backend can run a network" in shown.out
    assert "runtime-crash" in shown.out
    assert "bandwidth" not in shown.out
    said = json.loads(typed("doctor", "--no-measure", "--json").out)
    assert (said["exit_code"], said["runs"]) == (5, False)


def test_warnings_do_not_change_the_exit_code() -> None:
    problem = Problem("busy", "It is.", "Wait.")
    assert exit_code(examined(RUNS, problems=(problem,), additions=(problem,))) == 0
    assert exit_code(examined(BROKEN)) == 5


def test_the_verdict_comes_first_and_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    problem = Problem("governor", "The governor is powersave.", "Set it.", "sudo cpupower x")
    text = doctor_text("table", examined(RUNS, problems=(problem,)), terminal=False)
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith("runs here  onnxruntime 1.31.1")
    assert "(amx)" in text
    assert "sudo cpupower x" in " ".join(text.split())
    assert text.index("governor") < text.index("/proc/cpuinfo")
    assert re.search(r"l2 cache\s+2 MiB", text)
    assert re.search(r"smt\s+no", text)


@pytest.mark.parametrize(
    ("fact", "name", "text"),
    [
        (Fact(49152, "bytes", "x"), "l1d_cache", "48 KiB"),
        (Fact(37486592, "bytes", "x"), "l3_cache", "36608 KiB"),
        (Fact(25276514304, "bytes", "x"), "total", "25.3 GB"),
        (Fact(2499.998, "MHz", "x"), "frequency", "2499.998 MHz"),
        (Fact(True, "", "x"), "smt", "yes"),
        (Fact(("fp32", "bf16"), "", "x"), "cpu", "fp32, bf16"),
        (Fact((), "", "x"), "cpu", "none"),
    ],
)
def test_values_are_written_with_their_units(fact: Fact, name: str, text: str) -> None:
    assert fact_text(fact, name) == text


def test_csv_and_markdown_hold_verdict_and_facts_in_one_table(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "runtimes", lambda: (RUNS,))
    rows = typed("doctor", "--no-measure", "--format", "csv").out.splitlines()
    assert rows[0] == "part,what,value,read from"
    assert rows[1].startswith("runs here,onnxruntime 1.31.1,")
    assert any(row.endswith(",/proc/meminfo MemTotal") for row in rows)
    file = tmp_path / "page.md"
    assert typed("doctor", "--no-measure", "--format", "md", "-o", file).out == ""
    assert file.read_text().startswith("| part | what | value | read from |\n")


def test_an_unknown_option_is_a_usage_error_with_a_next_step(typed: Typed) -> None:
    shown = typed("doctor", "--measure-less")
    assert shown.code == 2
    assert "medge doctor --help" in shown.err


def test_both_packages_of_one_runtime_are_a_conflict_with_one_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "_version", lambda name: "1.31.1" if "onnx" in name else None)
    shown = {each.backend: each for each in runtimes()}  # nothing is started for either
    default = shown["onnxruntime"]
    assert (default.runs, default.installed, default.rule) == (False, True, "backend-conflict")
    assert default.command == (
        "python -m pip uninstall -y onnxruntime onnxruntime-gpu && "
        'python -m pip install "onnxruntime>=1.17"'
    )
    assert shown["openvino"].installed is False
    problems = list(doctor._runtime_problems(tuple(shown.values())))
    assert [problem.rule for problem in problems] == ["backend-conflict"]
    (addition,) = doctor._missing_runtimes(tuple(shown.values()), ())
    assert addition.command == 'python -m pip install "medge[openvino]"'


def child(code: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-c", code]
    return subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)


def test_a_runtime_that_crashes_is_told_by_its_signal() -> None:
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})"
    shown = probe._runtime("onnxruntime", child(code))
    assert (shown.runs, shown.rule) == (False, "runtime-crash")
    assert "SIGILL (an instruction that this CPU does not have)" in shown.message
    assert "--force-reinstall" in shown.command


def test_a_runtime_that_fails_to_start_is_told_without_its_words() -> None:
    shown = probe._runtime("onnxruntime", child("raise ImportError('secret words')"))
    assert (shown.runs, shown.rule) == (False, "runtime-import")
    assert "secret" not in shown.message


def test_a_runtime_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT_S", 0.2)
    shown = probe._runtime("onnxruntime", child("import signal; signal.pause()"))
    assert (shown.runs, shown.rule) == (False, "runtime-hangs")


def test_no_package_brings_a_gpu_or_a_driver() -> None:
    for rule in ("cuda-driver", "cuda-device", "cuda-failed", "device", "graph"):
        assert probe._command("tensorrt-rtx", rule) == ""
    assert "--force-reinstall" in probe._command("tensorrt-rtx", "runtime-import")


def test_only_the_last_line_is_the_answer_and_it_is_read_strictly() -> None:
    raw = msgspec.json.encode(Found(version="1", devices={"cpu": ("fp32",)}, cases=2))
    assert probe._answer(b"noise of a runtime\n" + raw + b"\n", 0).cases == 2
    assert probe._answer(raw + b"\nnoise\n", 0).rule == "runtime-import"
    assert probe._answer(b'{"cases": -1}', 0).rule == "runtime-import"
    assert probe._answer(b"", 0).rule == "runtime-import"


def test_folders_that_cannot_be_written_are_a_problem_with_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGE_HOME", str(tmp_path / "new"))
    facts = kept_facts()
    assert facts["state_folder"] == Fact(str(tmp_path / "new"), "", "MEDGE_HOME")
    assert facts["state_writable"].value is True
    assert "state_size" not in facts
    assert list(kept_problems(facts)) == []
    (tmp_path / "new/cache").mkdir(parents=True)
    (tmp_path / "new/cache/x.engine").write_bytes(bytes(1000))
    assert kept_facts()["cache_size"].value == 1000
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDGE_HOME", str(tmp_path / "file"))
    problems = list(kept_problems(kept_facts()))
    assert [problem.rule for problem in problems] == ["state-folder", "cache-folder"]
    assert all("MEDGE_HOME" in problem.command for problem in problems)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    for name in ("MEDGE_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert "state_folder" not in kept_facts()
    assert [problem.rule for problem in kept_problems(kept_facts())] == [
        "state-folder",
        "cache-folder",
    ]


def test_missing_codecs_are_one_addition_for_each_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    commands = [addition.command for addition in doctor._missing_codecs()]
    assert sorted(commands) == [
        'python -m pip install "medge[codecs]"',
        'python -m pip install "medge[gdcm]"',
    ]


def test_a_busy_machine_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0))
    assert list(doctor._busy()) == []
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    assert [problem.rule for problem in doctor._busy()] == ["busy"]


SOURCES = [
    ROOT / "medge/doctor.py",
    ROOT / "medge/pages/doctor.py",
    *(ROOT / "engine" / name for name in ("kept.py", "probe.py")),
    *sorted((ROOT / "profiles").glob("*.py")),
]


def test_every_extra_in_a_command_is_one_of_medge() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"^(\w+) = \[", text.partition("[project.optional-dep")[2], re.M))
    asked = {
        name
        for path in SOURCES
        for name in re.findall(r"medge\[(\w+)\]", path.read_text(encoding="utf-8"))
    }
    assert asked | set(doctor._ADDED_BY.values()) <= extras
    assert asked


def test_every_problem_is_listed_in_the_documentation() -> None:
    cells = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs/doctor.md").read_text("utf-8"), re.M)
    listed = {rule for cell in cells for rule in re.findall(r"`([\w-]+)`", cell)}
    made = {"intel-gpu", "intel-npu", "state-folder", "cache-folder", "backend-conflict"}
    made |= {"nvidia-mismatch", "nvidia-library", "backend-missing"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "Problem" and isinstance(node.args[0], ast.Constant):
                made.add(str(node.args[0].value))
            if node.func.id == "Found":
                made |= {
                    str(word.value.value)
                    for word in node.keywords
                    if word.arg == "rule" and isinstance(word.value, ast.Constant)
                }
    assert made - {""} <= listed
    assert len(made) > 15
