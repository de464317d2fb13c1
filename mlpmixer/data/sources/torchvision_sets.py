"""Known data sets by name, the paper's and those of VTAB, downloaded through torchvision."""

from __future__ import annotations

import contextlib
import json
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from mlpmixer.data.cache import data_home
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.errors import MixerError, UsageError

if TYPE_CHECKING:
    from mlpmixer.data.splits import FileSplit

_FEWEST = 3  # objects in a scene of CLEVR
_NEAREST = (8.0, 8.5, 9.0, 9.5, 10.0)
"""Distances of the nearest object where VTAB's classes of clevr_distance begin and end."""


def open_torchvision(name: str) -> Dataset:
    """Return the data set `name`, downloaded on first use below `mlpmixer.data.cache.data_home`.

    - cifar10, cifar100: 50,000 training and 10,000 test images of 32x32
      (https://www.cs.toronto.edu/~kriz/cifar.html).
    - pets: Oxford-IIIT Pets, 3,680 (trainval) and 3,669 images of 37 breeds
      (https://www.robots.ox.ac.uk/~vgg/data/pets/).
    - flowers: Oxford Flowers-102, 1,020 training, 1,020 validation and 6,149 test images
      (https://www.robots.ox.ac.uk/~vgg/data/flowers/102/).
    - imagenet: ILSVRC 2012, 1,281,167 training and 50,000 validation images. It may not be
      downloaded by a program; its archives must lie in the folder imagenet of the data home.
    - caltech101: 8,677 images of 101 classes (https://data.caltech.edu/records/mzrjq-6wc02).
    - dtd: describable textures, 1,880 training, validation and test images each of 47 classes,
      their first partition (https://www.robots.ox.ac.uk/~vgg/data/dtd/).
    - eurosat: 27,000 satellite images of 10 kinds of land (https://github.com/phelber/eurosat).
    - sun397: 108,754 images of 397 scenes (https://vision.princeton.edu/projects/2010/SUN/).
    - svhn: house numbers, 73,257 training and 26,032 test images of 32x32
      (http://ufldl.stanford.edu/housenumbers/).
    - clevr_count, clevr_distance: 70,000 training and 15,000 test (its validation) images of
      rendered scenes; the class is the number of objects, 3 to 10, or how far the nearest is, in
      six ranges as in VTAB (https://cs.stanford.edu/people/jcjohns/clevr/).

    Caltech-101, EuroSAT and SUN397 were published without a split: a stratified fifth, always the
    same, is their test split here.

    Raises UsageError where ImageNet's archives are missing, MixerError where a download fails.
    """
    root = data_home() / name.partition("_")[0]  # CLEVR's tasks share its files
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints while it downloads
            return _OPENERS[name](root)
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

    from mlpmixer.data.splits import ArraySplit

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

    return _with_all_splits(Flowers102, root)


def _open_imagenet(root: Path) -> Dataset:
    from torchvision.datasets import ImageNet

    from mlpmixer.data.class_labels import told_apart

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
    class_names = told_apart([names[0] for names in source.classes], source.wnids)
    return Dataset(root.name, class_names, splits)


def _open_caltech(root: Path) -> Dataset:
    from torchvision.datasets import Caltech101

    source = _present_or_downloaded(Caltech101, root)
    folder = Path(source.root) / "101_ObjectCategories"
    numbered = zip(source.y, source.index, strict=True)
    paths = [folder / source.categories[y] / f"image_{i:04d}.jpg" for y, i in numbered]
    train = _files(paths, source.y, root)
    return _with_test(Dataset(root.name, tuple(source.categories), {"train": train}))


def _open_dtd(root: Path) -> Dataset:
    from torchvision.datasets import DTD

    return _with_all_splits(DTD, root)


def _with_all_splits(kind: Any, root: Path) -> Dataset:
    """Open one of torchvision's sets of files that is published in three splits."""
    splits: dict[str, Split] = {}
    for split, published in (("train", "train"), ("validation", "val"), ("test", "test")):
        source = _present_or_downloaded(kind, root, split=published)
        splits[split] = _files(source._image_files, source._labels, root)
    return Dataset(root.name, tuple(source.classes), splits)


def _open_eurosat(root: Path) -> Dataset:
    from torchvision.datasets import EuroSAT

    source = _present_or_downloaded(EuroSAT, root)
    paths, labels = zip(*source.samples, strict=True)
    train = _files([Path(path) for path in paths], labels, root)
    return _with_test(Dataset(root.name, tuple(source.classes), {"train": train}))


def _open_sun(root: Path) -> Dataset:
    from torchvision.datasets import SUN397

    source = _present_or_downloaded(SUN397, root)
    pairs = sorted(zip(source._image_files, source._labels, strict=True))  # listed in no order
    paths, labels = zip(*pairs, strict=True)
    train = _files(paths, labels, root)
    return _with_test(Dataset(root.name, tuple(source.classes), {"train": train}))


def _open_svhn(root: Path) -> Dataset:
    import numpy as np
    from torchvision.datasets import SVHN

    from mlpmixer.data.splits import ArraySplit

    splits: dict[str, Split] = {}
    for split in ("train", "test"):
        source = _present_or_downloaded(SVHN, root, split=split)
        pixels = np.ascontiguousarray(source.data.transpose(0, 2, 3, 1))  # (N, 32, 32, 3)
        splits[split] = ArraySplit(pixels, source.labels, f"{root.name} {split}")
    return Dataset(root.name, tuple(str(digit) for digit in range(10)), splits)


def _open_clevr_count(root: Path) -> Dataset:
    names = tuple(str(count) for count in range(_FEWEST, 11))
    return _open_clevr("clevr_count", root, names, lambda objects: len(objects) - _FEWEST)


def _open_clevr_distance(root: Path) -> Dataset:
    edges = [f"{edge:g}" for edge in _NEAREST]
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    names = (f"up to {edges[0]}", *between, f"over {edges[-1]}")

    def label(objects: list[dict[str, Any]]) -> int:
        nearest = min(one["pixel_coords"][2] for one in objects)
        return bisect_left(_NEAREST, nearest)

    return _open_clevr("clevr_distance", root, names, label)


def _open_clevr(
    name: str, root: Path, names: tuple[str, ...], label: Callable[[list[dict[str, Any]]], int]
) -> Dataset:
    from torchvision.datasets import CLEVRClassification

    splits: dict[str, Split] = {}
    for split, published in (("train", "train"), ("test", "val")):
        source = _present_or_downloaded(CLEVRClassification, root, split=published)
        file = source._data_folder / "scenes" / f"CLEVR_{published}_scenes.json"
        scenes = json.loads(file.read_text())["scenes"]
        labels = {scene["image_filename"]: label(scene["objects"]) for scene in scenes}
        paths = source._image_files
        splits[split] = _files(paths, [labels[path.name] for path in paths], root)
    return Dataset(name, names, splits)


def _with_test(dataset: Dataset) -> Dataset:
    from mlpmixer.data.protocol_splits import with_test

    return with_test(dataset)


def _files(paths: Iterable[Path], labels: Sequence[int], root: Path) -> FileSplit:
    from mlpmixer.data.splits import FileSplit

    return FileSplit(root, [str(path.relative_to(root)) for path in paths], labels)


_OPENERS: dict[str, Callable[[Path], Dataset]] = {
    "cifar10": _open_cifar,
    "cifar100": _open_cifar,
    "pets": _open_pets,
    "flowers": _open_flowers,
    "imagenet": _open_imagenet,
    "caltech101": _open_caltech,
    "dtd": _open_dtd,
    "eurosat": _open_eurosat,
    "sun397": _open_sun,
    "svhn": _open_svhn,
    "clevr_count": _open_clevr_count,
    "clevr_distance": _open_clevr_distance,
}
SOURCE = Source(
    names=tuple(_OPENERS),
    help="known data sets, downloaded by torchvision where that is allowed",
    open=lambda spec, files: open_torchvision(spec),
)
