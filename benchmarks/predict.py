"""Does reading pictures hold a model up? Images a second of `mixer predict` and of the model alone.

    python benchmarks/predict.py --photos path/to/jpegs --out benchmarks/results/predict.json

Mixer-B/16 with random weights. Three things in turn, several rounds, medians: the bare model on
batches whose pixels lie ready (`Predictor.probabilities`); a whole prediction from the files, as
`mixer predict` runs it, with its rows on disk; and reading alone, in as many threads, to show what
there was to hide. The photos are repeated up to `--images`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from mlpmixer.data.picture import pixels_for
from mlpmixer.data.unlabelled import Pictures, find_pictures
from mlpmixer.deploy.predict import PredictionOptions, PredictionRun
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.kernels.native import PRECISIONS
from mlpmixer.models.registry import create_model
from mlpmixer.runtime import Runtime, machine


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(
    predictor: Predictor, pictures: Pictures, batch_size: int, workers: int, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds that each of the three took in each round."""
    preprocessing = predictor.model.preprocessing
    count = len(pictures)

    def read(index: int) -> Tensor:
        return pixels_for(pictures, index, preprocessing)

    def bare() -> None:
        for begin in range(0, count, batch_size):
            predictor.probabilities(ready[: count - begin])

    def reading() -> None:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(read, range(count)):
                pass

    ready = torch.stack([read(index) for index in range(min(batch_size, count))])
    predictor.probabilities(ready)  # warm-up
    how = PredictionOptions(5, batch_size, workers, {})
    took: dict[str, list[float]] = {"bare": [], "predict": [], "reading": []}
    for _ in range(rounds):
        took["bare"].append(seconds(bare))
        with (
            tempfile.TemporaryDirectory() as folder,
            PredictionRun(predictor, pictures, how, out=Path(folder) / "x.csv") as prediction,
        ):
            took["predict"].append(seconds(prediction.run))
        took["reading"].append(seconds(reading))
    return took


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="mixer_b16")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--images", type=int, default=288)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    photos = sorted(str(path) for path in options.photos.iterdir())
    photos *= -(-options.images // len(photos))
    pictures = find_pictures(photos[: options.images]).pictures
    runtime = Runtime.choose("auto", "float32")
    results = {}
    for precision in options.precisions:
        model = create_model(options.model, num_classes=1000)
        predictor = Predictor(model, runtime, precision=precision)
        took = measure(predictor, pictures, options.batch_size, options.workers, options.rounds)
        shares = [bare / whole for bare, whole in zip(took["bare"], took["predict"], strict=True)]
        results[precision] = {
            "engine": predictor.model.engine.description,
            "images_per_second": {
                name: round(len(pictures) / statistics.median(times), 2)
                for name, times in took.items()
            },
            "share_of_bare": round(statistics.median(shares), 4),
            "shares_of_rounds": [round(share, 4) for share in shares],
        }
        print(precision, json.dumps(results[precision]), flush=True)
    result = {
        "what": f"images a second, {options.model}, {options.images} photos, "
        f"batch {options.batch_size}, {options.workers} threads that read",
        "command": "python benchmarks/predict.py --photos path/to/jpegs "
        "--out benchmarks/results/predict.json",
        "machine": machine(runtime.device),
        "rounds": options.rounds,
        "precisions": results,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
