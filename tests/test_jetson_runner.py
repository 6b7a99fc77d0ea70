"""The runner of a build bundle runs on the oldest Python of a Jetson; its answer is imported."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from command_line import Typed
from jetson_kit import NANO, ORIN, built, ran, resealed, unpacked

from medge.bench.exchange import read_documents
from medge.bench.store import Store
from medge.exporters.jetson.write import SCRIPTS, BuildBundle

RUNNER = Path(__file__).parent.parent / "exporters" / "jetson" / "runner"
OLD_PYTHON = os.environ.get("MEDGE_OLD_PYTHON", "")
NEWER_NAMES = frozenset(  # than Python 3.6: names that a syntax check cannot find
    {
        *("perf_counter_ns", "time_ns", "monotonic_ns", "process_time_ns", "dataclasses"),
        *("capture_output", "removeprefix", "removesuffix", "missing_ok", "cached_property"),
        *("isqrt", "dist", "comb", "readlink", "is_relative_to", "dirs_exist_ok", "breakpoint"),
        *("fromisoformat", "lru_cache_info", "zoneinfo", "graphlib", "unparse", "get_running_loop"),
        *("Literal", "Final", "Protocol", "TypedDict", "annotations", "importlib.metadata"),
    }
)
Change = Callable[[dict[str, Any]], None]
Pythons = pytest.mark.parametrize(
    "python",
    [
        sys.executable,
        pytest.param(
            OLD_PYTHON,
            marks=pytest.mark.skipif(
                not OLD_PYTHON, reason="MEDGE_OLD_PYTHON names no older Python: make test-jetson"
            ),
        ),
    ],
    ids=["this Python", "older Python"],
)


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def orin(tmp_path_factory: pytest.TempPathFactory, _home: Path) -> BuildBundle:
    """Build once; what is kept of it lies in a home that all tests here share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGE_HOME", str(_home))
        return built(tmp_path_factory.mktemp("orin"), ORIN)


@pytest.fixture(scope="module")
def answer(orin: BuildBundle) -> bytes:
    """What ONNX Runtime answers there, through the runner."""
    folder = unpacked(orin)
    code, _, stderr = ran(folder, "--runtime", "onnxruntime", "--duration-s", "0.1", *WARM)
    assert code == 0, stderr
    return (folder / "result.json").read_bytes()


WARM = ("--warm-up-ms", "10")


@pytest.fixture(autouse=True)
def _shared_home(monkeypatch: pytest.MonkeyPatch, _home: Path) -> None:
    monkeypatch.setenv("MEDGE_HOME", str(_home))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_python_of_jetpack_4(name: str) -> None:
    text = (RUNNER / name).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 6))

    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.arg or "" for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names |= {alias.name for node in imported for alias in node.names}
    names |= {node.module or "" for node in imported}
    assert not names & NEWER_NAMES


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_import_what_jetpack_brings_and_no_more(name: str) -> None:
    tree = ast.parse((RUNNER / name).read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])

    assert found - sys.stdlib_module_names <= {"numpy", "gpu_engine", "board"}


@Pythons
def test_the_null_runtime_shows_every_step(orin: BuildBundle, python: str, tmp_path: Path) -> None:
    folder, out = unpacked(orin), tmp_path / "null.json"

    code, stdout, stderr = ran(
        folder, "--runtime", "null", "--duration-s", "0.01", "-o", str(out), *WARM, python=python
    )

    assert code == 0, stderr
    assert "fp32: " in stdout
    assert "nothing proven" in stdout
    result = json.loads(out.read_bytes())["result"]
    assert result["build_sha256"] == orin.digest
    assert [graph["variant"] for graph in result["graphs"]] == ["fp32", "int8"]
    assert all(len(graph["series"]["host_ns"]) >= 10 for graph in result["graphs"])
    found = list(read_documents(out))
    assert [one.result is not None for one in found] == [True, True]
    ran_as = found[0].result
    assert ran_as is not None
    assert ran_as.candidate is not None
    assert ran_as.candidate.backend == "null"  # and never anything that computes
    assert ran_as.sections is not None
    assert ran_as.sections.golden is not None
    assert ran_as.sections.golden.cases == 0


@Pythons
def test_onnxruntime_answers_as_the_golden_cases_do(python: str, tmp_path: Path) -> None:
    """JetPack 4's graphs: an old onnxruntime takes them too."""
    folder, out = unpacked(built(tmp_path, NANO)), tmp_path / "ort.json"
    if subprocess.run([python, "-c", "import onnxruntime"], check=False).returncode:
        pytest.skip("the older Python has no onnxruntime")

    code, stdout, stderr = ran(
        folder,
        *("--runtime", "onnxruntime", "--duration-s", "0.02", "-o", str(out), *WARM),
        python=python,
    )

    assert code == 0, stderr
    assert "off by" in stdout
    assert [one.refused for one in read_documents(out)] == [None]


def test_tensorrt_rtx_builds_the_graphs_and_says_that_no_gpu_is_here(
    orin: BuildBundle, tmp_path: Path
) -> None:
    """The runner's own calls, on the real library: up to the first that needs a GPU."""
    try:
        version = metadata.version("tensorrt-rtx")
    except metadata.PackageNotFoundError:
        pytest.skip("tensorrt-rtx is not installed")
    if Path("/dev/nvidiactl").exists():
        pytest.skip("a GPU is here: the engine would run")
    out = tmp_path / "rtx.json"

    code, stdout, _ = ran(unpacked(orin), "--runtime", "tensorrt-rtx", "-o", str(out))

    assert code == 5
    assert "no-gpu" in stdout
    for graph in json.loads(out.read_bytes())["result"]["graphs"]:
        assert graph["version"].startswith(version.rpartition(".")[0])
        assert graph["rule"] == "no-gpu"
        assert graph["plan_bytes"] > 1000  # it was built
    assert [one.refused and one.refused.rule for one in read_documents(out)] == [
        *("build-not-run", "build-not-run")
    ]


def test_without_tensorrt_it_says_what_to_install(orin: BuildBundle, tmp_path: Path) -> None:
    out = tmp_path / "none.json"
    code, stdout, _ = ran(unpacked(orin), "-o", str(out))

    assert code == 5
    assert (
        "no-tensorrt: tensorrt cannot be imported; install JetPack's python3-libnvinfer" in stdout
    )


def test_a_runtime_that_crashes_is_one_line_of_the_answer(
    orin: BuildBundle, tmp_path: Path
) -> None:
    folder, out = unpacked(orin), tmp_path / "crash.json"
    crashing = tmp_path / "modules"
    crashing.mkdir()
    (crashing / "tensorrt.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")

    done = subprocess.run(
        [sys.executable, str(folder / "run.py"), "-o", str(out)],
        env={**os.environ, "PYTHONPATH": str(crashing)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 5
    assert "fp32: crash: the process that ran it was stopped by signal 11" in done.stdout
    assert "int8: crash" in done.stdout


def started(folder: Path, *words: str | Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, folder / "run.py", "--runtime", "null", *words],
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where a shell started the tests in the background, Ctrl-C is ignored by all below it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread yet
    )


@pytest.mark.parametrize(
    ("hanging", "words", "kept"),
    [("fp32", "stopped; there is 0 of 2 graphs", 0), ("int8", "out.json holds 1 of 2 graphs", 1)],
)
def test_what_is_done_is_kept_when_the_rest_is_stopped(
    orin: BuildBundle, tmp_path: Path, hanging: str, words: str, kept: int
) -> None:
    modules, place = tmp_path / "modules", tmp_path / "place"
    modules.mkdir()
    place.mkdir()
    (modules / "sitecustomize.py").write_text(
        f"import sys, time\n{hanging!r} in sys.argv and '--one' in sys.argv and time.sleep(3600)\n"
    )
    out = place / "out.json"
    asked = ("--duration-s", "0.01", "-o", out, *WARM)
    with started(unpacked(orin), *asked, PYTHONPATH=str(modules)) as stopped:
        assert stopped.stderr is not None
        while f"{hanging}: building" not in stopped.stderr.readline():
            assert stopped.poll() is None
        time.sleep(0.5)
        stopped.send_signal(signal.SIGINT)
        _, told = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert words in told
    assert [path.name for path in place.iterdir()] == ["out.json"][:kept]  # and nothing half done
    assert not kept or [one.refused for one in read_documents(out)] == [None]


def test_a_place_that_cannot_be_written_is_told_before_anything_is_built(
    orin: BuildBundle, tmp_path: Path
) -> None:
    code, stdout, stderr = ran(unpacked(orin), "-o", str(tmp_path / "nowhere" / "x.json"))
    assert (code, stdout) == (5, "")
    assert "x.json cannot be written: No such file or directory; name another with -o" in stderr
    assert "building" not in stderr


def test_a_clock_that_was_never_set_is_told_before_anything_is_built(
    orin: BuildBundle, tmp_path: Path
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text("import time\ntime.time = lambda: 60.0\n")
    with started(unpacked(orin), PYTHONPATH=str(modules)) as refused:
        _, told = refused.communicate(timeout=60)
    assert refused.returncode == 5
    assert "; set it: sudo date -s" in told


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"files": {"a": 1}}', b'{"files": []}', b"\xff"])
def test_a_build_that_is_cut_off_is_damaged(tmp_path: Path, raw: bytes) -> None:
    folder = unpacked(built(tmp_path, ORIN))
    (folder / "build.json").write_bytes(raw)

    code, _, stderr = ran(folder, "--check")

    assert code == 4
    assert "build.json is damaged; copy it again" in stderr


def test_one_engine_that_answers_nan_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    folder, out = unpacked(built(tmp_path, ORIN)), tmp_path / "nan.json"
    runner = (folder / "run.py").read_text()
    spoilt = "return dict(zip(self.names, self.session.run(self.names, inputs)))"
    assert spoilt in runner
    rows = "[row * self.times for row in self.session.run(self.names, inputs)]"
    runner = runner.replace(spoilt, f"return dict(zip(self.names, {rows}))")
    marked = "return OnnxSession(session)"
    times = 'float("nan") if _graph["variant"] == "int8" else 1'
    runner = runner.replace(marked, f"OnnxSession.times = {times}; {marked}")
    build = json.loads((folder / "build.json").read_text())
    build["files"]["run.py"]["sha256"] = hashlib.sha256(runner.encode()).hexdigest()
    (folder / "run.py").write_text(runner)
    (folder / "build.json").write_text(json.dumps(build))

    code, stdout, stderr = ran(
        folder, "--runtime", "onnxruntime", "--duration-s", "0.02", "-o", str(out), *WARM
    )

    assert code == 8, stderr
    assert "int8: not-finite: golden case 1 is answered with NaN or infinity" in stdout
    first, second = json.loads(out.read_bytes())["result"]["graphs"]
    assert first["passed"]
    assert second["rule"] == "not-finite"


@pytest.mark.parametrize("name", ["fp32.onnx", "golden.npz", "gpu_engine.py"])
def test_a_file_that_was_changed_is_refused_before_it_is_used(tmp_path: Path, name: str) -> None:
    folder = unpacked(built(tmp_path, ORIN))
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")

    code, _, stderr = ran(folder, "--check")

    assert code == 4
    assert f"{name} is damaged or was changed" in stderr


def test_usage_is_told_by_the_exit_code(orin: BuildBundle) -> None:
    folder = unpacked(orin)

    assert ran(folder, "--check")[:2] == (0, f"{len(orin.build.files)} files are whole\n")
    assert ran(folder, "--variant", "fp64")[0] == 2
    assert ran(folder, "--duration-s", "0")[0] == 2


def test_an_answer_is_imported_once(answer: bytes, tmp_path: Path, typed: Typed) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(answer)

    first = json.loads(typed("results", "import", str(path), "--json").out)["documents"]
    again = json.loads(typed("results", "import", str(path), "--json").out)["documents"]

    assert [one["outcome"] for one in first] == ["added", "added"]
    assert [one["outcome"] for one in again] == ["already-there", "already-there"]
    with Store.open() as store:
        kept = store.get(first[0]["result"])
    assert kept.sections is not None
    assert kept.sections.golden is not None
    assert kept.sections.golden.cases == 2
    assert 0 < kept.sections.golden.max_abs < 1e-4
    assert kept.measurements[0].stage == "infer"
    assert any("no measurement of a Jetson" in one for one in kept.sections.evidence.deviations)


def refused(raw: bytes, tmp_path: Path) -> list[str | None]:
    path = tmp_path / "result.json"
    path.write_bytes(raw)
    return [one.refused and one.refused.rule for one in read_documents(path)]


def at(*path: str | int, to: Any) -> Change:
    """Put a value at a place of the answer."""

    def apply(result: dict[str, Any]) -> None:
        place: Any = result
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return apply


FORGED: dict[str, tuple[Change, str]] = {
    "another answer": (at("graphs", 0, "outputs", "scores", 0, 0, to=9.0), "build-golden"),
    "a case less": (at("graphs", 0, "outputs", "scores", to=[[0.0, 0.0]]), "build-golden"),
    "no answer": (at("graphs", 0, "outputs", to={}), "build-golden"),
    "too few calls": (at("graphs", 0, "series", "host_ns", to=[5_000_000] * 9), "document-numbers"),
    "too fast": (at("graphs", 0, "series", "host_ns", to=[1] * 100), "document-numbers"),
    "ended early": (at("graphs", 0, "lasted_ns", to=50_000_000), "document-numbers"),
    "longer than it lasted": (
        at("graphs", 0, "series", "host_ns", to=[10**9] * 100),
        "document-numbers",
    ),
    "no time": (at("graphs", 0, "series", "host_ns", to=[0] * 100), "document-numbers"),
    "no warm-up": (at("graphs", 0, "warm_up_calls_ns", to=[]), "document-numbers"),
    "another variant": (at("graphs", 0, "variant", to="fp16"), "document-numbers"),
    "in the future": (at("taken", to="2099-01-01T00:00:00Z"), "document-numbers"),
    "another bundle": (at("bundle_sha256", to="0" * 64), "build-stale"),
    "another build": (at("build_sha256", to="0" * 64), "build-unknown"),
    "a fact more": (at("clock_mhz", to=5000), "document-numbers"),
    "null that answers": (at("runtime", to="null"), "document-numbers"),
    "a GPU's name": (at("runtime", to="tensorrt"), "build-board"),
    "a call of ages": (at("graphs", 0, "series", "host_ns", to=[10**30] * 100), "document-numbers"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_or_stale_answer_is_refused(name: str, answer: bytes, tmp_path: Path) -> None:
    change, rule = FORGED[name]

    assert refused(answer, tmp_path) == [None, None]
    assert refused(resealed(answer, change), tmp_path)[0] == rule


def test_an_answer_whose_digest_is_wrong_is_damaged(answer: bytes, tmp_path: Path) -> None:
    assert refused(answer.replace(b'"cpus":', b'"cpus":1'), tmp_path) == ["document-damaged"]
    newer = answer.replace(b"medge.build-result/1", b"medge.build-result/2")
    assert refused(newer, tmp_path) == ["document-newer"]


def gpu_answer(result: dict[str, Any]) -> None:
    """Make of what ONNX Runtime answered what an Orin would write; only the form is proven so."""
    result["runtime"] = "tensorrt"
    result["board"] |= {
        "machine": "aarch64",
        "cpus": 12,
        "cpuinfo": "model name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd asimddp",
        "files": {
            "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n",
            "var/lib/nvpmodel/status": "pmode:0000\n",
        },
    }
    for graph in result["graphs"]:
        host = [400_000] * 1000
        graph["version"] = "10.3.0"
        graph["lasted_ns"] = 500_000_000
        graph["gpu"] = {
            "compute_capability": "8.7",
            "sm_count": 16,
            "memory_bytes": 64 << 30,
            "cuda": 12060,
        }
        graph["series"] = {
            "host_ns": host,
            "enqueue_ns": [50_000] * 1000,
            "copy_in_ns": [20_000] * 1000,
            "compute_ns": [300_000] * 1000,
            "copy_out_ns": [10_000] * 1000,
        }
        tensor = {"Name": "x", "Format/Datatype": "Row major linear FP32"}
        layer = {"Name": "conv", "LayerType": "Convolution", "Inputs": [tensor]}
        graph["layers"] = json.dumps({"Layers": [layer]})
        clock = "sys/class/devfreq/17000000.gpu/"
        bounds = {f"{clock}{end}_freq": "1300500000" for end in ("min", "max")}
        graph["states"] = {"before": bounds, "after": bounds}


def test_what_an_orin_would_write_has_its_board_and_its_clocks(
    answer: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "orin.json"
    path.write_bytes(resealed(answer, gpu_answer))

    found = [one.result for one in read_documents(path)]

    first = found[0]
    assert first is not None
    assert first.device.name == "ARMv8 Processor rev 1 (v8l)"
    assert first.device.tier == "neon-dot"
    assert first.device.gpu is not None
    assert first.device.gpu.name == "NVIDIA Jetson AGX Orin Developer Kit"
    assert first.candidate is not None
    assert (first.candidate.backend, first.candidate.device) == ("tensorrt", "nvidia:0")
    stages = {one.stage: one for one in first.measurements}
    assert set(stages) == {
        *("infer", "infer: GPU alone", "infer: copy in", "infer: copy out", "infer: enqueue")
    }
    assert stages["infer: GPU alone"].procedure.clock == "cuda-event"
    assert not stages["infer: GPU alone"].procedure.copies_in
    assert first.sections is not None
    versions = first.sections.evidence.versions
    assert (versions["cuda"], versions["l4t"], versions["jetpack"]) == ("12.6", "36.4.3", "6.2")
    assert any("power mode: 0 MAXN; clocks: fixed at" in w
               for w in first.sections.evidence.deviations)  # fmt: skip
    assert first.sections.golden is not None
    assert first.sections.golden.shares == {"fp32": 1.0}


def test_int8_that_computes_in_fp32_is_doubted(answer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "orin.json"
    path.write_bytes(resealed(answer, gpu_answer))
    wide, narrow = (one.result for one in read_documents(path))
    assert wide is not None
    assert narrow is not None
    assert wide.sections is not None
    assert narrow.sections is not None
    assert "precision" not in {one.name for one in wide.sections.doubts.get("infer", ())}
    assert "precision" in {one.name for one in narrow.sections.doubts["infer"]}


ODD: dict[str, Change] = {
    "half a letter": at("board", "files", "proc/device-tree/model", to="Orin \ud800"),
    "a clock of many digits": at(
        "graphs", 0, "states", "after", "sys/class/devfreq/17000000.gpu/min_freq", to="9" * 5000
    ),
    "a clock a little apart": at("graphs", 0, "series", "compute_ns", to=[370_300] * 1000),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_and_harmless_is_imported(name: str, answer: bytes, tmp_path: Path) -> None:
    assert refused(resealed(answer, gpu_answer, ODD[name]), tmp_path) == [None, None]


FORGED_ON_GPU: dict[str, tuple[Change, str]] = {
    "another board": (at("graphs", 0, "gpu", "compute_capability", to="7.2"), "build-board"),
    "an older TensorRT": (at("graphs", 0, "version", to="8.5.2"), "build-board"),
    "no Jetson": (at("board", "machine", to="x86_64"), "build-board"),
    "faster than light": (
        at("graphs", 0, "series", "compute_ns", to=[0] * 1000),
        "document-numbers",
    ),
    "parts longer than the whole": (
        at("graphs", 0, "series", "compute_ns", to=[500_000] * 1000),
        "document-numbers",
    ),
    "half a series": (at("graphs", 0, "series", "copy_in_ns", to=[1] * 10), "document-numbers"),
}


@pytest.mark.parametrize("name", FORGED_ON_GPU)
def test_what_no_gpu_can_do_is_refused(name: str, answer: bytes, tmp_path: Path) -> None:
    change, rule = FORGED_ON_GPU[name]

    assert refused(resealed(answer, gpu_answer), tmp_path) == [None, None]
    assert refused(resealed(answer, gpu_answer, change), tmp_path)[0] == rule
