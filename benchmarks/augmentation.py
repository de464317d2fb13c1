"""Images a second of the batched augmentation beside torchvision's, one image after the other.

    python benchmarks/augmentation.py --out benchmarks/results/augmentation.json

Both sides get the same stored uint8 batch and return a normalised float32 batch with its targets;
their runs alternate, so that a disturbance of the machine meets both, and medians are reported.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.options import AugmentOptions
from mlpmixer.data.random_crops import RandomCrop

# isort: split
import torchvision
from torchvision.transforms import v2

NUM_CLASSES = 1000
FULL_RANGE = 30  # torchvision's magnitude for what is 10 on the authors' scale, its largest

# (model's image side, stored side, batch size)
SHAPES = {"32 px": (32, 32, 128), "224 px": (224, 256, 32)}

SETTINGS = {
    "pad and flip": AugmentOptions(crop="pad"),
    "inception crop and flip": AugmentOptions(crop="inception"),
    "RandAugment(2, 15), mixup 0.5": AugmentOptions(
        crop="inception", randaugment_operations=2, randaugment_magnitude=15.0, mixup_alpha=0.5
    ),
}

Step = Callable[[], object]


def ours(options: AugmentOptions, side: int, images: Tensor, labels: Tensor) -> Step:
    crop, augmenter = RandomCrop(options, (side, side)), Augmenter(options, NUM_CLASSES)
    generator, steps = torch.Generator().manual_seed(0), count()
    return lambda: augmenter(
        crop.apply(images, crop.draw(len(images), 0, next(steps))), labels, generator
    )


def theirs(options: AugmentOptions, side: int, images: Tensor, labels: Tensor) -> Step:
    steps: list[Callable[..., Tensor]] = []
    if options.crop == "pad":
        steps.append(v2.RandomCrop(side, padding=options.pad, padding_mode="reflect"))
    else:
        steps.append(v2.RandomResizedCrop(side, scale=options.crop_scale))
    steps.append(v2.RandomHorizontalFlip(options.flip))
    if options.randaugment_operations:
        operations = options.randaugment_operations
        steps.append(v2.RandAugment(operations, FULL_RANGE, fill=[128.0, 128.0, 128.0]))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    transform = v2.Compose(steps)
    if options.mixup_alpha:
        mixup = v2.MixUp(alpha=options.mixup_alpha, num_classes=NUM_CLASSES)
        return lambda: mixup(torch.stack([transform(image) for image in images]), labels)
    return lambda: (
        torch.stack([transform(image) for image in images]),
        torch.nn.functional.one_hot(labels, NUM_CLASSES).float(),
    )


def measure(steps: dict[str, Step], seconds: float, device: torch.device) -> dict[str, list[float]]:
    """Run the steps in turn for about `seconds`. Returns the seconds of each run by name."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()  # first calls allocate and choose kernels
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, step in steps.items():
            synchronize(device)
            start = time.perf_counter()
            step()
            synchronize(device)
            times[name].append(time.perf_counter() - start)
    return times


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> dict[str, object]:
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each comparison")
    parser.add_argument("--threads", type=int, default=1, help="threads PyTorch may use")
    parser.add_argument("--device", default="cpu", help="where the stored batch lies")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    torch.manual_seed(0)

    rows: list[dict[str, object]] = []
    for shape, (side, stored, number) in SHAPES.items():
        # Smooth noise: the operations see gradients and colours, not white noise.
        coarse = torch.rand(number, 3, 8, 8)
        images = torch.nn.functional.interpolate(coarse, (stored, stored), mode="bicubic")
        images = (images * 255).clamp(0, 255).byte().to(device)
        labels = torch.randint(NUM_CLASSES, (number,)).to(device)
        for setting, options in SETTINGS.items():
            if options.crop == "pad" and stored != side:
                continue  # pad-crop is for images stored at the model's size
            steps = {
                "mlpmixer": ours(options, side, images, labels),
                "torchvision": theirs(options, side, images, labels),
            }
            times = measure(steps, arguments.seconds, device)
            rates = {name: number / statistics.median(runs) for name, runs in times.items()}
            rows.append(
                {
                    "setting": setting,
                    "image_size": side,
                    "stored_size": stored,
                    "batch_size": number,
                    "runs": len(times["mlpmixer"]),
                    "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
                    "ratio": round(rates["mlpmixer"] / rates["torchvision"], 2),
                }
            )
            listed = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items())
            print(
                f"{shape}, batch {number}, {setting}: {listed} ({rows[-1]['ratio']}x)", flush=True
            )

    result = {"machine": machine(device), "results": rows}
    print(json.dumps(result["machine"], indent=2))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
