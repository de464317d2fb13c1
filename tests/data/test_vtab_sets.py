"""VTAB's data sets, read from the layouts in which they are published."""

import json
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mlpmixer.data.sources import open_source

Encode = Callable[..., bytes]


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_textures_come_with_their_three_splits(data_home: Path, encode: Encode) -> None:
    root = data_home / "dtd" / "dtd" / "dtd"
    for name in ("banded/banded_1.jpg", "woven/woven_1.jpg"):
        write(root / "images" / name, encode() + name.encode())
        for split in ("train", "val", "test"):
            file = root / "labels" / f"{split}1.txt"
            write(file, (file.read_bytes() if file.exists() else b"") + f"{name}\n".encode())
    dataset = open_source("dtd")
    assert dataset.class_names == ("banded", "woven")
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert dataset.splits["test"].encoded(1).endswith(b"woven_1.jpg")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("eurosat", "eurosat/2750/{kind}/{kind}_{number}.jpg"),
        ("caltech101", "caltech101/101_ObjectCategories/{kind}/image_{number:04}.jpg"),
        ("sun397", "SUN397/a/{kind}/sun_{number}.jpg"),
    ],
)
def test_a_set_without_splits_gets_a_fifth_of_each_class_to_test_on(
    name: str, file: str, data_home: Path, encode: Encode
) -> None:
    root = data_home / name
    for kind in ("forest", "river"):
        for number in range(1, 11):
            path = root / file.format(kind=kind, number=number)
            write(path, encode() + f"{kind} {number}".encode())
    if name == "caltech101":
        (root / "caltech101/101_ObjectCategories/BACKGROUND_Google").mkdir()
    if name == "sun397":
        write(root / "SUN397/ClassName.txt", b"/a/forest\n/a/river\n")
    dataset = open_source(name)
    assert dataset.class_names == ("forest", "river")
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2]
    seen = {train.encoded(index) for index in range(16)}
    assert not seen & {test.encoded(index) for index in range(4)}
    for split in (train, test):
        for index, label in enumerate(split.labels):
            assert dataset.class_names[label].encode() in split.encoded(index)


def test_house_numbers_are_read_with_ten_as_zero(
    data_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import SVHN

    pixels = np.zeros((32, 32, 3, 2), dtype=np.uint8)
    pixels[4, 7, 2, 1] = 9
    stored = {}
    for split in ("train", "test"):
        file = data_home / "svhn" / f"{split}.mat"
        file.parent.mkdir(exist_ok=True)
        savemat(file, {"X": pixels, "y": np.array([[10], [3]])})
        stored[split] = ["", file.name, md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", stored)
    train = open_source("svhn").splits["train"]
    assert train.labels.tolist() == [0, 3]
    assert np.asarray(train.encoded(1))[4, 7].tolist() == [0, 0, 9]


def test_scenes_are_classed_by_their_objects(data_home: Path, encode: Encode) -> None:
    root = data_home / "clevr" / "clevr" / "CLEVR_v1.0"
    for split in ("train", "val"):
        scenes = []
        for number, distances in enumerate([(12.0, 8.0, 11.0), (9.3, 9.1, 10.5, 14.0)]):
            name = f"CLEVR_{split}_{number}.png"
            write(root / "images" / split / name, encode())
            objects = [{"pixel_coords": [1, 2, distance]} for distance in distances]
            scenes.append({"image_filename": name, "objects": objects})
        write(root / f"scenes/CLEVR_{split}_scenes.json", json.dumps({"scenes": scenes}).encode())
    counted, located = open_source("clevr_count"), open_source("clevr_distance")
    assert [counted.class_names[i] for i in counted.splits["test"].labels] == ["3", "4"]
    names = [located.class_names[i] for i in located.splits["train"].labels]
    assert names == ["up to 8", "9 to 9.5"]
    assert located.class_names[-1] == "over 10"
