"""From a file to a decision with ResNet-50: a DX against two rivals, then every readable file.

Run: ``python tests/benchmarks/file_to_decision.py [--files] [--rest-s S] [FOLDER...]``. ``--files``
adds every file of pydicom and of FOLDER, each against the pipeline written by hand, in pairs.
``--rest-s 0`` lets calls follow at once: whoever comes next pays for threads that still spin.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import torch

sys.path.insert(0, str(Path(__file__).parent))
from networks import resnet50_bundle
from pairs import Ratio, ratio, sample, show, verdict
from pictures import write_dx
from rivals import Tensor, frames_of, opencv_tensor, pillow_tensor

import medge
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.classify import Classifier

THREADS = 2
REST_S = 0.06  # until the threads of the others have stopped spinning
BUDGET_S = 6.0  # for one file, both pipelines together


class ByHand:
    """pydicom, OpenCV and onnxruntime, as a good engineer would write it in an afternoon."""

    def __init__(self, model: bytes, name: str) -> None:
        onnxruntime = silent_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self.name = name

    def __call__(self, path: Path) -> list[int]:
        """Return the most probable class of every frame."""
        return [self._class(opencv_tensor(*frame)) for frame in frames_of(path)]

    def _class(self, tensor: Tensor) -> int:
        logits = self.session.run(None, {self.name: tensor})[0][0]
        exponents = np.exp(logits - logits.max())
        return int((exponents / exponents.sum()).argmax())


def eager(network: torch.nn.Module, path: Path) -> list[int]:
    """Run the usual Python pipeline with torch."""
    found = []
    with torch.inference_mode():
        for frame in frames_of(path):
            logits = network(torch.from_numpy(pillow_tensor(*frame)))
            found.append(int(torch.softmax(logits, 1).argmax()))
    return found


def dx(
    classifier: Classifier,
    by_hand: ByHand,
    network: torch.nn.Module,
    folder: Path,
    rest_s: float,
) -> None:
    """Measure the single large picture."""
    path = write_dx(folder / "dx.dcm")
    found = sample(
        {
            "medge": lambda: classifier.run(path),
            "torch eager + usual pipeline": lambda: eager(network, path),
            "pydicom + OpenCV + onnxruntime": lambda: by_hand(path),
        },
        rounds=31,
        rest_s=rest_s,
    )
    print(f"DX 2500 x 2048 -> decision, ResNet-50 fp32, {THREADS} threads, {rest_s:g} s of rest")
    show(found, "medge")
    usual = ratio(found["torch eager + usual pipeline"], found["medge"]).median
    hand = ratio(found["pydicom + OpenCV + onnxruntime"], found["medge"]).median
    verdict("times faster than torch eager", usual, ">= 6", usual >= 6)
    verdict("times faster than by hand", hand, ">= 1.15", hand >= 1.15)


def every_file(classifier: Classifier, by_hand: ByHand, paths: list[Path]) -> None:
    """Measure each file that both can read, in pairs, and print all ratios."""
    worst = 0.0
    over = skipped = 0
    for path in paths:
        results = classifier.run(path)
        if any(result.fault is not None for result in results):
            skipped += 1
            continue
        try:
            by_hand(path)
        except Exception as error:  # a file that their pipeline cannot read is told, not measured
            print(f"  {path.name:<52} by hand: {type(error).__name__}, medge reads it")
            continue
        pair = _pairs(lambda p=path: classifier.run(p), lambda p=path: by_hand(p))
        over += pair.median > 1.02
        worst = max(worst, pair.median)
        print(f"  {path.name:<52}{len(results):4} frames  {pair}", flush=True)
    print(f"{skipped} files are refused by medge (no picture, damaged, or opt-in)")
    verdict("largest paired median ratio to by hand", worst, "<= 1.02", worst <= 1.02)
    verdict("files above 1.02", over, "0", over == 0)


def _pairs(ours: Callable[[], object], theirs: Callable[[], object]) -> Ratio:
    start = time.perf_counter()
    sample({"ours": ours, "theirs": theirs}, rounds=1, warm=1, rest_s=REST_S)
    once_s = (time.perf_counter() - start) / 2
    rounds = int(min(41, max(5, BUDGET_S / once_s)))
    found = sample({"ours": ours, "theirs": theirs}, rounds=rounds, warm=0, rest_s=REST_S)
    return ratio(found["ours"], found["theirs"])


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--files", action="store_true")
    asked.add_argument("--rest-s", type=float, default=REST_S)
    asked.add_argument("folders", nargs="*", type=Path)
    options = asked.parse_args()
    cv2.setNumThreads(THREADS)
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as place:
        path, network = resnet50_bundle(Path(place))
        with medge.open(path, threads=THREADS) as classifier:
            by_hand = ByHand((path / "model.onnx").read_bytes(), "image")
            dx(classifier, by_hand, network, Path(place), options.rest_s)
            if options.files:
                own = Path(pydicom.__file__).parent / "data"
                paths = [p for folder in (own, *options.folders) for p in folder.rglob("*.dcm")]
                print(f"every readable file of pydicom and {len(options.folders)} folders")
                every_file(classifier, by_hand, sorted(paths, key=lambda p: p.name))


if __name__ == "__main__":
    main()
