"""Does loading and augmenting limit training? Batches a second of each, on the same images.

    python benchmarks/loading.py --data path/to/cifar10 --photos path/to/jpegs \\
        --out benchmarks/results/loading.json

Measures reading a data set into memory, then batches of 128 with crop and flip from memory and
from worker processes that decode on the fly, and the training step of `mixer_nano` that they
feed. With `--photos`, a folder of full-size pictures, also batches of 128 random crops of 224
pixels from them. In turn, several rounds, medians.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import torch

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Images
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import FileSplit
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.models.registry import create_model
from mlpmixer.randomness import generator
from mlpmixer.runtime import autocast, choose_device, choose_precision, keep_freed_memory, machine
from mlpmixer.training.loss import classification_loss
from mlpmixer.training.optim import Optimizers
from mlpmixer.training.recipe import LossOptions, OptimizerOptions

BATCH = 128


PAD = AugmentOptions(crop="pad")
INCEPTION = AugmentOptions(crop="inception")


def batches(
    images: Images, classes: int
) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
    """Yield augmented batches without end."""
    augmenter = Augmenter(PAD, classes)  # what follows the crop is the same for all
    for step, batch in enumerate(images.training_batches(BATCH, 0, 0)):
        yield augmenter(batch.images, batch.labels, generator(0, "augment", step))


def rate(one_step: Callable[[], object], seconds: float) -> float:
    """Return how often a step runs in a second, after two steps of warm-up."""
    one_step()
    one_step()
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        one_step()
        count += 1
    return count / (time.perf_counter() - begun)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    keep_freed_memory()
    dataset = open_source(options.data)
    split, classes = dataset.splits["train"], len(dataset.class_names)
    begun = time.perf_counter()
    small = Preprocessing(image_size=(32, 32))
    kept = open_images(split, small, DataOptions(cache="memory"), PAD)
    reading = time.perf_counter() - begun
    streamed = {"from_workers": open_images(split, small, DataOptions(cache="none"), INCEPTION)}
    if options.photos is not None:
        files = sorted(file.name for file in options.photos.iterdir())
        files *= -(-BATCH // len(files))  # at least a batch of them
        photos = FileSplit(options.photos, files, [0] * len(files))
        large = Preprocessing(image_size=(224, 224))
        options_of_photos = DataOptions(cache="none")
        streamed["photos_from_workers"] = open_images(photos, large, options_of_photos, INCEPTION)

    device = choose_device("cpu")
    precision = choose_precision("auto", device)
    model = create_model("mixer_nano", image_size=32, num_classes=classes)
    optimizers = Optimizers(model, OptimizerOptions())
    inputs = torch.randn(BATCH, 3, 32, 32)
    targets = torch.full((BATCH, classes), 1 / classes)

    def train() -> None:
        with autocast(device, precision):
            logits = model(inputs)
        classification_loss(logits, targets, LossOptions()).backward()
        optimizers.step(0.0)

    steps: dict[str, Callable[[], object]] = {
        "training_step": train,
        "from_memory": partial(next, batches(kept, classes)),
    }
    rounds = []
    for _ in range(options.rounds):
        rates = {name: rate(step, options.seconds) for name, step in steps.items()}
        for name, images in streamed.items():
            loaded = batches(images, classes)
            rates[name] = rate(partial(next, loaded), options.seconds)
            loaded.close()  # ends the workers, which would take the next step's cores
        rounds.append(rates)
    medians = {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}
    result = {
        "what": "batches a second: 128 images, crop and flip; mixer_nano's training step",
        "command": "python benchmarks/loading.py --data path/to/cifar10 --photos path/to/jpegs "
        "--out benchmarks/results/loading.json",
        "machine": machine(device),
        "images": len(split),
        "reading_into_memory_seconds": round(reading, 2),
        "batches_per_second": medians,
        "share_of_a_step_spent_on_data": round(
            medians["training_step"] / medians["from_memory"], 4
        ),
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
