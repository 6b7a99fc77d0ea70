"""`medge run` on an emulated aarch64 board decides as it does here, on both shipped bundles.

Run: ``python tests/arm/decisions.py FOLDER``, the folder that machine.sh prints and wheel.sh fills.
Ends with 1 where a decision, a note or a refusal differs, or a score by more than 1e-5.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import demo_studies
from captured_machines import machine
from dicom_files import make

from medge.engine.bundle import find_bundle, open_bundle

MAX_ABS = 1e-5  # of a score, 0..1
REFUSED = 3  # the exit status when some file was; each study has one that must be
LIMIT_S = 3600  # emulated, on a loaded machine
WITNESS = Path(__file__).with_name("witness.py")
RUN = "import sys; from medge.cli import main; sys.exit(main())"
SAME = ("file", "frame", "status", "prediction", "fault", "notes", "precision", "bundle_sha256")
CHEST = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
# Formats of the chest files, and how many times larger than the network's input each is.
FORMATS = {"implicit": 1, "big": 8, "deflated": 16, "rle": 1, "jpeg-ls": 1, "jpeg-2000-lossless": 8}


@dataclass(frozen=True)
class Board:
    """What is emulated: the captured board whose files are read, and QEMU's name of its CPU.

    The files matter: ONNX Runtime chooses kernels by the CPU that /proc/cpuinfo names, and crashes
    on import where it finds an x86 there.
    """

    capture: str
    cpu: str


BOARDS = (Board("jetson_nano", "cortex-a57"), Board("raspberry_pi_5", "cortex-a76"))


def golden_pictures(bundle: str) -> npt.NDArray[np.uint8]:
    """Golden inputs as the pictures they were, shape (n, h, w)."""
    with open_bundle(find_bundle(bundle)) as opened:
        spec, tensors = opened.manifest.inputs[0], next(iter(opened.golden().inputs.values()))
    shown = (tensors[:, 0] * spec.std[0] + spec.mean[0]) * 255
    return np.clip(np.round(shown), 0, 255).astype(np.uint8)


def write_chest(folder: Path) -> None:
    """Write the golden pictures as chest files of several formats, most of them inverted."""
    folder.mkdir()
    for case, picture in enumerate(golden_pictures("chest-x-ray")):
        Image.fromarray(picture).save(folder / f"golden-{case}.png")
        make(folder / f"{case}-jpeg.dcm", syntax="jpeg", pixels=picture, tags=CHEST)
        for syntax, times in FORMATS.items():
            large = np.kron(picture, np.ones((times, times), np.uint16))
            make(
                folder / f"{case}-{syntax}.dcm",
                syntax=syntax,
                photometric="MONOCHROME1",
                pixels=4095 - 16 * large,
                stored=12,
                window=(2047.5, 4096.0),
                tags=CHEST,
            )
    make(folder / "another-modality.dcm", tags=CHEST | {"Modality": "MR"})


def write_breast(folder: Path) -> None:
    """Write the studies of `make demo`, and the golden pictures."""
    demo_studies.main(folder)
    for case, picture in enumerate(golden_pictures("breast-ultrasound")):
        Image.fromarray(picture).save(folder / f"golden-{case}.png")
    cine = folder / "real" / "30-frame-jpeg-cine.dcm"
    (folder / "cut-off.dcm").write_bytes(cine.read_bytes()[:20_000])


def answers(python: str, bundle: str, studies: Path, board: Board | None) -> list[dict[str, Any]]:
    """Results of `medge run` there, one for each frame."""
    options = ["--bundle", bundle, "--backend", "onnxruntime", "--precision", "fp32", "--quiet"]
    return _json(python, ["-I", "-c", RUN, "run", *options, "--json", str(studies)], board)


def _json(python: str, arguments: Sequence[str], board: Board | None) -> Any:
    with tempfile.TemporaryDirectory() as home:
        own = {"MEDGE_HOME": home} | ({"QEMU_CPU": board.cpu} if board else {})
        ended = subprocess.run(
            [python, *arguments],
            env=os.environ | own,
            check=False,
            capture_output=True,
            timeout=LIMIT_S,
        )
    if ended.returncode not in (0, REFUSED):
        words = ended.stderr.decode(errors="replace")[-2000:]
        sys.exit(f"{python} ended with {ended.returncode} on {board or 'this machine'}:\n{words}")
    return json.loads(ended.stdout)


def differences(here: Sequence[Any], there: Sequence[Any]) -> Iterator[str]:
    """Tell in which frames something else was decided, noted or refused, or scored too far off."""
    if len(here) != len(there):
        yield f"{len(here)} frames here, {len(there)} there"
    for one, other in zip(here, there, strict=False):
        name = f"{Path(one['file']).name}, frame {one['frame']}"
        yield from (f"{name}: {key} differs" for key in SAME if one[key] != other[key])
        if [_decided(a) for a in one["answers"]] != [_decided(a) for a in other["answers"]]:
            yield f"{name}: another decision"
        elif not (apart := max_abs([one], [other])) <= MAX_ABS:
            yield f"{name}: a score differs by {apart:.3g}"


def _decided(answer: Mapping[str, Any]) -> tuple[Any, ...]:
    return answer["output"], answer["labels"], answer["abstained"], list(answer["scores"])


def max_abs(here: Sequence[Any], there: Sequence[Any]) -> float:
    """Largest difference of a score."""
    apart = np.abs(np.subtract(_scores(here), _scores(there)))
    return float(np.max(apart, initial=0.0))  # NumPy's: a NaN in any place stays one


def _scores(results: Sequence[Any]) -> list[float]:
    return [s for row in results for answer in row["answers"] for s in answer["scores"].values()]


def faults_of(witness: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Tell what is not an ARM machine with medge's wheel and NEON kernels."""
    if witness["machine"] != "aarch64":
        yield f"the machine is {witness['machine']}, not aarch64"
    if witness["kernels"] != "neon":
        yield f"pixel kernels are {witness['kernels']}, not neon"
    if not witness["medge"].startswith(str(folder)):
        yield "medge does not come from the wheel"


def decisions_line(bundle: str, here: Sequence[Any], there: Sequence[Any], unlike: int) -> str:
    """One row of the table of decisions."""
    labels = sorted({row["prediction"] for row in here if row["prediction"]})
    counted = (f"{sum(row['prediction'] == label for row in here)} {label}" for label in labels)
    files = len({row["file"] for row in here})
    apart = f"{max_abs(here, there):.1e}" if len(here) == len(there) else "-"
    return f"| {bundle} | {files} | {len(here)} | {', '.join(counted)} | {unlike} | {apart} |"


def golden_line(bundle: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """How far raw outputs of the golden cases lie apart, and from those in the bundle."""
    ours, theirs = (_raw(witness["golden"][bundle]["outputs"]) for witness in (here, there))
    distances = (witness["golden"][bundle]["max_abs"] for witness in (here, there))
    apart, largest = np.abs(ours - theirs).max(), np.abs(ours).max()
    return (
        f"{bundle}: golden outputs of up to {largest:.2f} lie {apart:.1e} apart; from those in the "
        "bundle {:.1e} here and {:.1e} there".format(*distances)
    )


def _raw(cases: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    return np.concatenate([np.ravel(case[key]) for case in cases for key in sorted(case)])


def compare(folder: Path, studies: Mapping[str, Path]) -> list[str]:
    """Compare on every board, print what is found, and return what differs."""
    arm, faults = str(folder / "venv" / "bin" / "python"), []
    witness = _json(sys.executable, ["-I", str(WITNESS)], None)
    here = {name: answers(sys.executable, name, at, None) for name, at in studies.items()}
    for board in BOARDS:
        machine(board.capture, folder / "root")
        there = _json(arm, ["-I", str(WITNESS)], board)
        faults += faults_of(there, folder)
        print(f"\n{board.capture}, emulated as {board.cpu}, against {witness['machine']}:")
        for one in (there, witness):
            print(
                "  {machine}: CPython {python}, ONNX Runtime {onnxruntime}, {kernels}".format(**one)
            )
        for name in studies:
            print("  " + golden_line(name, witness, there))
        print("\n| bundle | files | frames | decisions | frames that differ | max abs of a score |")
        print("|---|---|---|---|---|---|")
        for name, at in studies.items():
            results = answers(arm, name, at, board)
            unlike = list(differences(here[name], results))
            print(decisions_line(name, here[name], results, len(unlike)), flush=True)
            faults += [f"{board.capture}, {name}: {one}" for one in unlike]
    return faults


def main(folder: Path) -> int:
    """Make the studies, compare, and return the exit status."""
    with tempfile.TemporaryDirectory() as made:
        studies = {"breast-ultrasound": Path(made, "breast"), "chest-x-ray": Path(made, "chest")}
        with contextlib.redirect_stdout(sys.stderr):
            write_breast(studies["breast-ultrasound"])
        write_chest(studies["chest-x-ray"])
        faults = compare(folder, studies)
    print("\n" + ("\n".join(faults) or "Every decision, note and refusal is the same."))
    return 1 if faults else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve()))
