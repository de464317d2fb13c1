"""What is the best way to run a trained Mixer at another image size? By accuracy.

    python benchmarks/resolution.py --from RUN --data path/to/tiny-imagenet-100 --out FILE

Takes a Mixer trained at one size, and images that are larger than it. For every factor the images
are scaled to the new size, once, and the Mixer is brought to them in every way that there is:

- images: not at all; the images are resized to the Mixer's old size
- interpolate, tiles: the patch size stays, the grid changes (`mlpmixer.resize`)
- patch, patch by pseudo-inverse: the grid stays, the stem gets larger or smaller patches
- fresh: the grid changes, token mixing starts anew

Measured on the validation images, directly and after a short fine-tune of a fixed number of steps.
"""

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.image_sizes import common_size
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.random_crops import RandomCrop
from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.classify import accuracy
from mlpmixer.files import write_json
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.models.resize import resize
from mlpmixer.randomness import generator
from mlpmixer.runtime import Runtime, keep_freed_memory, machine
from mlpmixer.training.loss import classification_loss
from mlpmixer.training.optim import Optimizers
from mlpmixer.training.recipe import LossOptions, OptimizerOptions, ScheduleOptions
from mlpmixer.training.schedule import learning_rate_factor
from mlpmixer.weights.checkpoint import load

FACTORS = (0.5, 0.75, 1.25, 1.5, 2.0)
BATCH = 128
OPTIMIZER = OptimizerOptions(optimizer="muon", learning_rate=1e-3, matrix_learning_rate=0.005)


def ways(model: Mixer, side: int) -> dict[str, Callable[[], Mixer]]:
    """Return how the Mixer can be brought to images of that side."""
    old = model.image_size[0]
    patch = model.config.patch_size * side // old
    found: dict[str, Callable[[], Mixer]] = {
        "images": lambda: copy.deepcopy(model),
        "interpolate": lambda: resize(model, side, method="interpolate"),
        "patch": lambda: resize(model, side, patch_size=patch),
        "patch by pseudo-inverse": lambda: resize(
            model, side, patch_size=patch, stem="pseudo_inverse"
        ),
        "fresh": lambda: resize(model, side, method="fresh"),
    }
    if side % old == 0:
        found["tiles"] = lambda: resize(model, side, method="tiles")
    return found


def scaled(images: InMemoryImages, side: int) -> InMemoryImages:
    """Return the same images at another size, rounded to 8 bits as a file would be.

    For training they are shifted by up to an eighth of it.
    """
    assert images.pixels is not None
    parts = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True).round().byte()
        for part in images.pixels.split(2048)
    ]
    changed = copy.copy(images)
    changed.pixels = torch.cat(parts)
    changed.crop = RandomCrop(AugmentOptions(crop="pad", pad=side // 8), (side, side))
    return changed


def finetune(model: Mixer, images: InMemoryImages, steps: int, runtime: Runtime) -> None:
    """Train all weights for that many steps."""
    augmenter = Augmenter(AugmentOptions(), model.num_classes)
    optimizers = Optimizers(model.train(), OPTIMIZER)
    schedule = ScheduleOptions()
    batches = images.training_batches(BATCH, 0, 0)
    for step in range(steps):
        batch = next(batches)
        inputs, targets = augmenter(batch.images, batch.labels, generator(0, "augment", step))
        with runtime.autocast():
            logits = model(inputs)
        classification_loss(logits, targets, LossOptions()).backward()
        optimizers.step(learning_rate_factor((step + 0.5) / steps, schedule))


def main() -> None:
    """Measure, print and write; what is in the file already is not measured again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    runtime = Runtime.choose("cpu")
    model = load(options.source)
    if not isinstance(model, Mixer):
        raise UsageError(f"{options.source} holds no Mixer.")
    old = model.image_size[0]
    dataset = open_source(options.data)
    stored: dict[str, InMemoryImages] = {}
    for name in ("train", "validation"):
        own = common_size(dataset.splits[name])
        if own is None:
            raise UsageError(f"the {name} images of {options.data} are not of one size.")
        whole = Preprocessing(image_size=own)
        images = open_images(dataset.splits[name], whole, DataOptions(cache="memory"))
        assert isinstance(images, InMemoryImages)
        stored[name] = images
    result = {
        "what": "validation accuracy of a Mixer trained at one size, at others",
        "command": "python benchmarks/resolution.py --from RUN --data path/to/tiny-imagenet-100 "
        f"--steps {options.steps} --out benchmarks/results/resolution.json",
        "machine": machine(runtime.device),
        "model": model.name,
        "trained_at": old,
        "steps": options.steps,
        "batch_size": BATCH,
        "at_its_own_size": 0.0,
        "rows": [],
    }
    if options.out.exists():
        result = json.loads(options.out.read_text())
    else:
        at_own = scaled(stored["validation"], old)
        result["at_its_own_size"] = accuracy(model, at_own, runtime)
    rows = result["rows"]
    assert isinstance(rows, list)
    done = {(row["side"], row["way"]) for row in rows}
    for factor in FACTORS:
        side = round(factor * old)
        at_side = {name: scaled(images, side) for name, images in stored.items()}
        for way, bring in ways(model, side).items():
            if (side, way) in done:
                continue
            torch.manual_seed(0)
            candidate = bring()
            seen = at_side
            if way == "images":
                seen = {name: scaled(images, old) for name, images in at_side.items()}
            directly = accuracy(candidate, seen["validation"], runtime)
            finetune(candidate, seen["train"], options.steps, runtime)
            after = accuracy(candidate, seen["validation"], runtime)
            rows.append(
                {
                    "factor": factor,
                    "side": side,
                    "way": way,
                    "directly": round(directly, 4),
                    "after_finetune": round(after, 4),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
            write_json(options.out, result)


if __name__ == "__main__":
    main()
