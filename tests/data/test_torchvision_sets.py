import pickle
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from mlpmixer.data.class_labels import told_apart
from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError

Encode = Callable[..., bytes]


def test_pets_are_read_from_their_published_layout(data_home: Path, encode: Encode) -> None:
    root = data_home / "pets" / "oxford-iiit-pet"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for name in ("Abyssinian_1", "great_pyrenees_7", "great_pyrenees_8"):
        (root / "images" / f"{name}.jpg").write_bytes(encode() + name.encode())
    training = "Abyssinian_1 1 1 1\ngreat_pyrenees_7 2 2 1\n"
    (root / "annotations" / "trainval.txt").write_text(training)
    (root / "annotations" / "test.txt").write_text("Abyssinian_1 1 1 1\ngreat_pyrenees_8 2 2 1\n")
    dataset = open_source("pets")
    assert dataset.class_names == ("Abyssinian", "Great Pyrenees")
    assert dataset.splits["train"].labels.tolist() == [0, 1]
    assert dataset.splits["train"].encoded(1).endswith(b"great_pyrenees_7")
    assert dataset.splits["test"].encoded(1).endswith(b"great_pyrenees_8")


def test_cifar_is_read_from_its_published_layout(
    data_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    root = data_home / "cifar10" / CIFAR10.base_folder
    root.mkdir(parents=True)

    def write(name: str, content: dict[str, object]) -> list[str]:
        stored = pickle.dumps(content)
        (root / name).write_bytes(stored)
        return [name, md5(stored).hexdigest()]

    planes = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    planes[1, 2] = 9  # the second image is blue
    batch = {"data": planes.reshape(2, -1), "labels": [0, 1]}
    meta = write("meta", {"label_names": ["plane", "car"]})
    monkeypatch.setattr(CIFAR10, "train_list", [write("one", batch)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("two", batch)])
    described = {"filename": meta[0], "key": "label_names", "md5": meta[1]}
    monkeypatch.setattr(CIFAR10, "meta", described)
    dataset = open_source("cifar10")
    assert dataset.class_names == ("plane", "car")
    assert list(dataset.splits) == ["train", "test"]
    assert dataset.splits["test"].encoded(1)[5, 5].tolist() == [0, 0, 9]
    assert dataset.splits["train"].labels.tolist() == [0, 1]


def test_imagenet_tells_where_its_archives_must_lie(data_home: Path) -> None:
    with pytest.raises(UsageError, match="ILSVRC2012_img_train") as caught:
        open_source("imagenet")
    assert str(data_home / "imagenet") in str(caught.value)
    (data_home / "imagenet" / "train").mkdir(parents=True)
    with pytest.raises(UsageError) as caught:
        open_source("imagenet")
    assert "img_train" not in str(caught.value)
    assert "img_val" in str(caught.value)


def test_imagenets_classes_of_one_name_are_told_apart() -> None:
    names = ["crane", "tench", "crane"]
    told = told_apart(names, ["n02012849", "n01440764", "n03126707"])
    assert told == ("crane (n02012849)", "tench", "crane (n03126707)")
