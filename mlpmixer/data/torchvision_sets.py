"""The paper's downstream data sets by name, downloaded through torchvision."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

from mlpmixer.data.cache import data_home
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.splits import ArraySplit, FileSplit
from mlpmixer.errors import MixerError, UsageError

NAMES = ("cifar10", "cifar100", "pets", "flowers", "imagenet")


def open_torchvision(name: str) -> Dataset:
    """Return one of `NAMES`, downloaded on first use below `mlpmixer.data.cache.data_home`.

    - cifar10, cifar100: 50,000 training and 10,000 test images of 32x32
      (https://www.cs.toronto.edu/~kriz/cifar.html).
    - pets: Oxford-IIIT Pets, 3,680 (trainval) and 3,669 images of 37 breeds
      (https://www.robots.ox.ac.uk/~vgg/data/pets/).
    - flowers: Oxford Flowers-102, 1,020 training, 1,020 validation and 6,149 test images
      (https://www.robots.ox.ac.uk/~vgg/data/flowers/102/).
    - imagenet: ILSVRC 2012, 1,281,167 training and 50,000 validation images. It may not be
      downloaded by a program; its archives must lie in the folder imagenet of the data home.

    Raises UsageError where ImageNet's archives are missing, MixerError where a download fails.
    """
    import mlpmixer._torchvision  # noqa: F401  (before any import of torchvision)

    openers: dict[str, Callable[[Path], Dataset]] = {
        "cifar10": _open_cifar,
        "cifar100": _open_cifar,
        "pets": _open_pets,
        "flowers": _open_flowers,
        "imagenet": _open_imagenet,
    }
    root = data_home() / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints while it downloads
            return openers[name](root)
    except (OSError, RuntimeError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise MixerError(
            f"cannot get {name} into {root}: {reason}. Check the network, or put its files there."
        ) from error


def _present_or_downloaded(kind: Callable[..., Any], root: Path, **options: Any) -> Any:
    """Return torchvision's data set, without touching the network where its files are there."""
    try:
        return kind(str(root), download=False, **options)
    except RuntimeError:  # torchvision's only sign that files are missing or damaged
        return kind(str(root), download=True, **options)


def _open_cifar(root: Path) -> Dataset:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = CIFAR100 if root.name == "cifar100" else CIFAR10
    splits: dict[str, Split] = {}
    for split in ("train", "test"):
        source = _present_or_downloaded(kind, root, train=split == "train")
        splits[split] = ArraySplit(source.data, source.targets, f"{root.name} {split}")
    return Dataset(root.name, tuple(source.classes), splits)


def _open_pets(root: Path) -> Dataset:
    from torchvision.datasets import OxfordIIITPet

    splits: dict[str, Split] = {}
    for split, published in (("train", "trainval"), ("test", "test")):
        source = _present_or_downloaded(OxfordIIITPet, root, split=published)
        splits[split] = _files(source._images, source._labels, root)
    return Dataset(root.name, tuple(source.classes), splits)


def _open_flowers(root: Path) -> Dataset:
    from torchvision.datasets import Flowers102

    splits: dict[str, Split] = {}
    for split, published in (("train", "train"), ("validation", "val"), ("test", "test")):
        source = _present_or_downloaded(Flowers102, root, split=published)
        splits[split] = _files(source._image_files, source._labels, root)
    return Dataset(root.name, tuple(source.classes), splits)


def _open_imagenet(root: Path) -> Dataset:
    from torchvision.datasets import ImageNet

    needed = {
        "meta.bin": "ILSVRC2012_devkit_t12.tar.gz",
        "train": "ILSVRC2012_img_train.tar",
        "val": "ILSVRC2012_img_val.tar",
    }
    missing = [
        archive
        for unpacked, archive in needed.items()
        if not (root / unpacked).exists() and not (root / archive).exists()
    ]
    if missing:
        raise UsageError(
            f"ImageNet cannot be downloaded by a program: put {', '.join(missing)} from "
            f"https://image-net.org into {root} (or set MLPMIXER_DATA).\n"
            "If you have it as folders train/ and val/, give the path of their folder to --data."
        )
    splits: dict[str, Split] = {}
    for split, published in (("train", "train"), ("validation", "val")):
        source = ImageNet(str(root), split=published)
        paths, labels = zip(*source.samples, strict=True)
        splits[split] = _files([Path(path) for path in paths], list(labels), root)
    return Dataset(root.name, tuple(names[0] for names in source.classes), splits)


def _files(paths: list[Path], labels: list[int], root: Path) -> FileSplit:
    return FileSplit(root, [str(path.relative_to(root)) for path in paths], labels)
