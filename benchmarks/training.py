"""Training speed and peak memory beside a plain loop over timm's model of the same shape.

    python benchmarks/training.py --out benchmarks/results/training.json

All sides train with AdamW, bfloat16 autocast where the hardware has it, crop and flip, batches
of 128 images of 32x32 pixels that are in memory; S/16 with 16 images of 224x224. The plain loop is
as short as it can be: it records nothing, and its crop is the same for a whole batch, which costs
it next to nothing; its compiled form runs the model through torch.compile. Ours is the product's
trainer as it is, metrics and all. Each side runs in a process of its own, so
that its peak memory is its own; the processes alternate, and medians over the rounds are
reported.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mlpmixer.cores import SPINS
from mlpmixer.data.augment import Augmenter
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.random_crops import settle_crop
from mlpmixer.data.splits import ArraySplit
from mlpmixer.models.registry import create_model
from mlpmixer.run.console import Console
from mlpmixer.run.directory import RunDirectory
from mlpmixer.runtime import Runtime, keep_freed_memory, machine, peak_memory
from mlpmixer.training.checkpointer import Checkpointer
from mlpmixer.training.loop import TrainingLoop
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.schedule import Schedule
from mlpmixer.training.state import TrainingIdentity
from mlpmixer.training.step import TrainingStep

MODELS = ("mixer_nano", "mixer_s16", "vit_nano", "bit_nano", "nfnet_nano", "halonet_nano")
SIDES = ("ours", "plain", "compiled")
MIXERS: dict[str, dict[str, object]] = {
    "mixer_nano": {"patch_size": 4, "num_blocks": 8, "embed_dim": 128, "mlp_ratio": (0.5, 4.0)},
    "mixer_s16": {"patch_size": 16, "num_blocks": 8, "embed_dim": 512, "mlp_ratio": (0.5, 4.0)},
}
"""timm's words for these shapes."""
CHOICES: dict[str, dict[str, object]] = {
    "ours": {},
    "tanh_gelu": {"gelu": "tanh"},
    "muon": {"optimizer": "muon"},
    "muon_in_bfloat16": {"optimizer": "muon"},
    "freed_memory_given_back": {},
}
"""Design decisions, each by itself undone or added; measured on the first model alone."""
CLASSES = 10
WARMUP = 5


def sizes(name: str) -> tuple[int, int]:
    """Return the images' side in pixels and the batch size."""
    return (224, 16) if name == "mixer_s16" else (32, 128)


def random_images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images (N, H, W, 3) and labels: the speed does not depend on the content."""
    random = np.random.default_rng(0)
    side, batch = sizes(name)
    images = random.integers(0, 256, (32 * batch, side, side, 3), dtype=np.uint8)
    return images, random.integers(0, CLASSES, len(images))


def ours(name: str, steps: int, choice: str) -> float:
    """Return the median images/s of the product's trainer."""
    if choice != "freed_memory_given_back":
        keep_freed_memory()
    runtime = Runtime.choose()
    side, batch = sizes(name)
    work = {"steps": steps + WARMUP, "batch_size": batch, "optimizer": "adamw", "evaluations": 1}
    augment = {"cutmix_alpha": 0.0, "mixup_alpha": 0.0, "randaugment_operations": 0, "erase": 0.0}
    recipe = find_recipe("small").override({**work, **augment, **CHOICES[choice]})
    shape: dict[str, Any] = {} if recipe.model.gelu is None else {"gelu": recipe.model.gelu}
    model = create_model(name, image_size=side, num_classes=CLASSES, **shape).to(runtime.device)
    pixels, labels = random_images(name)
    split = ArraySplit(pixels, labels, "random")
    settled = settle_crop(recipe.augment, split, model.image_size)
    images = open_images(split, model.preprocessing, DataOptions(cache="memory"), settled)
    images.to(runtime.device)
    augmenter = Augmenter(settled, CLASSES)
    step, schedule = TrainingStep(model, recipe, runtime), Schedule.of(recipe, len(images))
    with (
        tempfile.TemporaryDirectory() as folder,
        RunDirectory.create(Path(folder) / "run", recipe.to_toml()) as run,
        Console("json").progress("training") as progress,
    ):
        identity = TrainingIdentity(tuple(map(str, range(CLASSES))), "")
        checkpointer = Checkpointer(run, step, split, identity, {})
        loop = TrainingLoop(step, schedule, images, augmenter, None, checkpointer, print)
        with _muon_in_bfloat16() if choice == "muon_in_bfloat16" else nullcontext():
            loop.fit(progress)
        speeds = [one["images_per_second"] for one in run.records()][WARMUP:]
    return statistics.median(speeds)


def _muon_in_bfloat16() -> AbstractContextManager[object]:
    """Orthogonalise in bfloat16 whether or not the hardware multiplies it."""
    return patch("mlpmixer.training.muon.multiplies_bfloat16", return_value=True)


def timm_model(name: str) -> nn.Module:
    """Return timm's own model of that shape."""
    if name not in MIXERS:
        return create_model(name, image_size=32, num_classes=CLASSES).net  # type: ignore[return-value]

    # isort: split
    from timm.models.mlp_mixer import MlpMixer

    side, _ = sizes(name)
    model: nn.Module = MlpMixer(img_size=side, num_classes=CLASSES, **MIXERS[name])
    return model


def plain(name: str, steps: int, compiled: bool) -> float:
    """Return the median images/s of the shortest loop over timm's model."""
    runtime = Runtime.choose()
    device = runtime.device
    side, size = sizes(name)
    model = timm_model(name).to(device)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    pixels, labels = random_images(name)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
    targets = torch.from_numpy(labels).to(device)
    times = []
    for step in range(steps + WARMUP):
        begun = time.perf_counter()
        chosen = torch.randint(len(images), (size,), device=device)
        batch = images[chosen].float().div_(127.5).sub_(1)
        row, column = torch.randint(0, 9, (2,)).tolist()
        batch = F.pad(batch, (4, 4, 4, 4), mode="reflect")
        batch = batch[:, :, row : row + side, column : column + side]
        if step % 2:
            batch = batch.flip(3)
        with runtime.autocast():
            loss = F.cross_entropy(forward(batch), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        runtime.synchronize()
        times.append(time.perf_counter() - begun)
    return size / statistics.median(times[WARMUP:])


def measure(side: str, name: str, steps: int) -> dict[str, float]:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--model", name, "--steps", str(steps)]
    environment = dict(os.environ)
    if side not in ("plain", "compiled"):  # as a command of this package begins
        environment.setdefault("GOMP_SPINCOUNT", str(SPINS))
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    output = done.stdout
    measured: dict[str, float] = json.loads(output.splitlines()[-1])
    return measured


def in_turn(
    sides: Iterable[str], name: str, steps: int, rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Measure several sides of one model, one after the other, several times."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, found in runs.items():
            found.append(measure(side, name, steps))
    return runs


def compare_choices(steps: int, rounds: int) -> dict[str, float]:
    """Return the median images/s of each design decision on the first model."""
    runs = in_turn(CHOICES, MODELS[0], steps, rounds)
    speeds = {
        choice: round(statistics.median(run["images_per_second"] for run in found), 1)
        for choice, found in runs.items()
    }
    print(f"{MODELS[0]}, design decisions: {speeds}", flush=True)
    return speeds


def compare(names: Sequence[str], steps: int, rounds: int) -> dict[str, object]:
    """Measure models, the sides in turn."""
    results: dict[str, object] = {}
    for name in names:
        runs = in_turn(SIDES, name, steps, rounds)
        row = {
            f"{side}_{key}": statistics.median(run[key] for run in runs[side])
            for side in SIDES
            for key in ("images_per_second", "peak_memory_mb")
        }
        for side in SIDES[1:]:
            row[f"ratio_to_{side}"] = statistics.median(
                mine["images_per_second"] / other["images_per_second"]
                for mine, other in zip(runs["ours"], runs[side], strict=True)
            )
        results[name] = {key: round(value, 3) for key, value in row.items()}
        print(f"{name}: {results[name]}", flush=True)
    return results


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    sides = (*SIDES, *CHOICES)
    parser.add_argument("--side", choices=sides, help="run one side alone, for one model")
    parser.add_argument("--model", choices=MODELS, nargs="+", default=MODELS)
    parser.add_argument("--choices", action="store_true", help="measure design decisions alone")
    options = parser.parse_args()
    device = Runtime.choose().device
    if options.side:
        name = options.model[0]
        if options.side in ("plain", "compiled"):
            speed = plain(name, options.steps, options.side == "compiled")
        else:
            speed = ours(name, options.steps, options.side)
        memory = peak_memory(device) / 1e6
        print(json.dumps({"images_per_second": speed, "peak_memory_mb": memory}))
        return
    if options.choices:
        compare_choices(options.steps, options.rounds)
        return
    result = {
        "what": "training, AdamW, crop and flip; batch 128 of 32x32 pixels, S/16: 16 of 224x224",
        "command": "python benchmarks/training.py --out benchmarks/results/training.json",
        "machine": machine(device),
        "rounds": options.rounds,
        "steps": options.steps,
        "models": compare(options.model, options.steps, options.rounds),
        "design_decisions_images_per_second": compare_choices(options.steps, options.rounds),
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
