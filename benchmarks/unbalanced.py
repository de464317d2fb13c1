"""What `--balance` does where classes have 400 to 8 training images.

    python benchmarks/unbalanced.py --data TINY --out benchmarks/results/unbalanced.json

Ten classes of Tiny ImageNet become a folder: a class has a fixed share fewer training images than
the one before it, and 150 others of each class are tested on. For each seed the classes change
places, so that it is not always the same one that is rare. All trainings make the same number of
steps from the same weights, and the last weights are tested.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mlpmixer.data.sources import open_source
from mlpmixer.files import write_json
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime, machine
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.train import train

CLASSES, MOST, LEAST, TESTED = 10, 400, 8, 150
RARE = 3
"""The classes with fewest images, whose accuracy is told apart."""
BALANCES = ("none", "sampling", "weights")
TINY = {"model": "mixer_nano", "image_size": 32, "depth": 4, "crop": "inception"}
COUNTS = np.geomspace(MOST, LEAST, CLASSES).round().astype(int)


def skewed_folder(data: str, root: Path, seed: int) -> NDArray[np.int64]:
    """Write the folder train/CLASS, test/CLASS; return the training images of each class, (K,)."""
    splits = open_source(data).splits
    known = len(np.unique(splits["train"].labels))
    chosen = np.arange(CLASSES) * (known // CLASSES)
    counts = np.roll(COUNTS, seed * (CLASSES // 3))
    for place, label in enumerate(chosen.tolist()):
        images = [
            splits[name].encoded(int(index))
            for name in ("train", "validation")
            for index in np.flatnonzero(splits[name].labels == label)
        ]
        tested, trained = images[-TESTED:], images[: counts[place]]
        assert len(tested) + len(trained) <= len(images)
        for split, members in (("train", trained), ("test", tested)):
            folder = root / split / f"class{place}"
            folder.mkdir(parents=True)
            for number, image in enumerate(members):
                assert isinstance(image, bytes)
                (folder / f"{number:03}.jpg").write_bytes(image)
    return counts


def accuracies(folder: Path, counts: NDArray[np.int64], **options: Any) -> dict[str, float]:
    """Train on a folder and return the accuracies, in [0, 1]."""
    with tempfile.TemporaryDirectory() as place:
        recipe = find_recipe("small").override(
            {**TINY, **options, "data": str(folder), "evaluations": 0, "validation_fraction": 0.0}
        )
        train(recipe, Path(place) / "run", Console.silent(), Runtime.choose("cpu"))
        measured = json.loads((Path(place) / "run" / "evaluation.json").read_text())
    of_class = np.array([measured["per_class"][f"class{n}"] for n in range(CLASSES)])
    return {
        "mean of classes": float(of_class.mean()),
        "as frequent as in training": float((of_class * counts).sum() / counts.sum()),
        f"the {RARE} rarest classes": float(of_class[np.argsort(counts)[:RARE]].mean()),
        "worst class": float(of_class.min()),
    }


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="Tiny ImageNet, as any source of --data")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {balance: [] for balance in BALANCES}
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as place:
            counts = skewed_folder(given.data, Path(place), seed)
            for balance, found in runs.items():
                options = {"seed": seed, "steps": given.steps, "batch_size": given.batch_size}
                found.append(accuracies(Path(place), counts, balance=balance, **options))
                print(f"seed {seed}, {balance}: {found[-1]}", flush=True)
    rows = {
        balance: {
            name: {
                "mean": round(statistics.mean(one[name] for one in found), 4),
                "deviation": round(statistics.stdev(one[name] for one in found), 4),
            }
            for name in found[0]
        }
        for balance, found in runs.items()
        if len(found) > 1
    }
    for balance, row in rows.items():
        shown = (f"{100 * v['mean']:.1f} ± {100 * v['deviation']:.1f} %" for v in row.values())
        print(balance, "|", " | ".join(shown))
    if given.out:
        write_json(
            given.out,
            {
                "what": f"{CLASSES} classes of {MOST} to {LEAST} training images, {TESTED} tested",
                "command": "python benchmarks/unbalanced.py --data TINY --out "
                "benchmarks/results/unbalanced.json",
                "machine": machine(torch.device("cpu")),
                "steps": given.steps,
                "batch_size": given.batch_size,
                "accuracies": rows,
                "runs": runs,
            },
        )


if __name__ == "__main__":
    main()
