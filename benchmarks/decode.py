"""How many training crops of 224 pixels does a core make of full-size JPEGs in a second?

    python benchmarks/decode.py --photos path/to/jpegs --out benchmarks/results/decode.json

`mixer` is this package's road: decode, draw a box, cut and resize. `pillow_decoder` is the same
where Pillow decodes. `torchvision` is ImageFolder with Pillow, RandomResizedCrop and PILToTensor.
`torchvision_decoder` is torchvision's decode_jpeg with its RandomResizedCrop on tensors. All give
uint8 tensors of crops of one distribution (area 0.08 to 1), in parts of 64, as a worker does. In
turn, one thread, medians over the rounds; in seconds of processor time, so that other programs
disturb little.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from mlpmixer.data import jpeg
from mlpmixer.data.options import AugmentOptions
from mlpmixer.data.random_crops import RandomCrop
from mlpmixer.data.splits import FileSplit
from mlpmixer.data.streaming import PART
from mlpmixer.data.training_picture import TrainingPicture
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.runtime import choose_device, machine

SIZE = (224, 224)
SUFFIXES = (".jpg", ".jpeg")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(
        path.resolve() for path in options.photos.rglob("*") if path.suffix.lower() in SUFFIXES
    )
    if not files:
        parser.error(f"{options.photos} holds no JPEGs")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(files, Path(folder), options.rounds)
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(files: list[Path], folder: Path, rounds: int) -> dict[str, object]:
    """Return the medians of all ways."""
    (folder / "photos").mkdir()  # ImageFolder wants a folder a class
    for number, file in enumerate(files):
        os.symlink(file, folder / "photos" / f"{number:06}.jpg")
    with_pillow = v2.Compose([v2.RandomResizedCrop(SIZE), v2.PILToTensor()])
    theirs = ImageFolder(str(folder), with_pillow)
    on_tensors = v2.RandomResizedCrop(SIZE)
    split = FileSplit(Path("/"), [str(file) for file in files], [0] * len(files))
    model = Preprocessing(image_size=SIZE)
    crop = RandomCrop(AugmentOptions(crop="inception", flip=0.0), SIZE)

    def mixer(indices: range) -> object:
        pictures = [TrainingPicture(split, index, model) for index in indices]
        draws = crop.draw(len(indices), 0, indices.start)
        boxes = crop.boxes(draws, [picture.size for picture in pictures])
        pixels = torch.empty(len(indices), 3, *SIZE, dtype=torch.uint8)
        for picture, box, out in zip(pictures, boxes.tolist(), pixels, strict=True):
            picture.crop(box, False, out)
        return pixels

    def pillow_decoder(indices: range) -> object:
        jpeg.in_use = False
        try:
            return mixer(indices)
        finally:
            jpeg.in_use = True

    def torchvision(indices: range) -> object:
        return torch.stack([theirs[index][0] for index in indices])

    def torchvision_decoder(indices: range) -> object:
        read = (read_file(str(files[index])) for index in indices)
        return torch.stack([on_tensors(decode_jpeg(one, ImageReadMode.RGB)) for one in read])

    ways: dict[str, Callable[[range], object]] = {
        "mixer": mixer,
        "pillow_decoder": pillow_decoder,
        "torchvision": torchvision,
        "torchvision_decoder": torchvision_decoder,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begun = time.process_time()
            for first in range(0, len(files), PART):
                way(range(first, min(first + PART, len(files))))
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - begun)
    rates = {name: len(files) / statistics.median(taken) for name, taken in seconds.items()}
    areas = [size[0] * size[1] for size in map(size_of, files)]
    return {
        "what": "training crops of 224 pixels a second of one core's time, from JPEG files",
        "command": "python benchmarks/decode.py --photos path/to/jpegs "
        "--out benchmarks/results/decode.json",
        "machine": machine(choose_device("cpu")),
        "images": len(files),
        "median_megapixels": round(statistics.median(areas) / 1e6, 3),
        "rounds": rounds,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "times_torchvision": {
            name: round(rate / rates["torchvision"], 2) for name, rate in rates.items()
        },
    }


def size_of(file: Path) -> tuple[int, int]:
    """Return the width and height of a picture."""
    with Image.open(file) as image:
        return image.size


if __name__ == "__main__":
    main()
