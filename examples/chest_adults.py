"""Judge the built-in chest X-ray bundle on pictures from elsewhere: what its card says of adults.

Usage: python examples/chest_adults.py FILE.npz

FILE.npz holds ``train_images`` and ``val_images``, uint8 (n, h, w), and their ``_labels``: 0 is no
finding, 1 pneumonia; other classes are left out.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from accuracy import area_under_curve

import medge


def main() -> None:
    """Print the AUC for pneumonia with its interval."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("file", type=Path, help="pictures and labels, as MedMNIST has them")
    with np.load(asked.parse_args().file) as arrays:
        pictures = np.concatenate((arrays["train_images"], arrays["val_images"]))
        labels = np.concatenate((arrays["train_labels"], arrays["val_labels"])).reshape(-1)
    chosen = labels <= 1
    with medge.open("chest-x-ray") as classifier:
        results = [classifier.run(picture)[0] for picture in pictures[chosen]]
    chances = [result.answers[0].scores["pneumonia"] for result in results]
    # The log-odds order as the probabilities do, and keep apart what is rounded near 0 and 1.
    scores = np.array([math.log(chance / (1 - chance)) for chance in chances])
    figure = area_under_curve(scores, labels[chosen] == 1)
    print(f"{len(scores)} pictures, {int((labels == 1).sum())} with pneumonia: AUC {figure}")


if __name__ == "__main__":
    main()
