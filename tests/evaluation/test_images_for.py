"""Which images a model is measured on, and what counts as right."""

import json
import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlpmixer
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.protocol_splits import arrange_splits
from mlpmixer.data.sources import open_source, parquet
from mlpmixer.data.splits import ArraySplit, Subset
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.evaluate import images_for
from mlpmixer.evaluation.real_labels import in_order_of, read_label_sets


class Named(ArraySplit):
    """A split whose images have file names."""

    def __init__(self, names: list[str], labels: list[int]) -> None:
        super().__init__(np.zeros((len(names), 8, 8, 3), dtype=np.uint8), labels, "")
        self.names = names

    def name(self, index: int) -> str:
        return self.names[index]


def test_imagenets_label_sets_are_found_by_the_number_in_the_name() -> None:
    """Its files lie in class folders, its ReaL labels in the order of the numbers."""
    names = ["n01/ILSVRC2012_val_00000003.JPEG", "n02/ILSVRC2012_val_00000001.JPEG"]
    assert in_order_of(Named(names, [0, 1]), [[5], [6], [7, 8]]) == [[7, 8], [5]]
    with pytest.raises(UsageError, match="number 3"):
        in_order_of(Named(names, [0, 1]), [[5], [6]])


@pytest.mark.parametrize("kind", ["unpacked", "streamed", "hub"])
def test_imagenets_label_sets_are_found_by_the_path_that_a_table_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    if kind == "streamed":
        monkeypatch.setattr(parquet, "STREAM_ABOVE", 0)
    order = (3, 1, 4, 2)
    paths = [f"ILSVRC2012_val_{number:08}.JPEG" for number in order]
    images = [{"bytes": b"x", "path": path} for path in paths]
    folder = tmp_path / "table"
    folder.mkdir()
    for name, part in (("validation-0", slice(3)), ("validation-1", slice(3, 4))):
        table = pa.table({"image": images[part], "label": [0, 1, 0, 1][part]})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=2)
    split = open_source(f"hf:{folder}" if kind == "hub" else str(folder)).splits["validation"]
    sets = [[1], [2], [3], [4], [5]]
    assert in_order_of(Subset(split, [0, 2, 3]), sets) == [[3], [4], [2]]


def test_other_label_sets_are_in_the_order_of_the_split() -> None:
    names = ["a.png", "ILSVRC2012_val_00000001.JPEG"]
    assert in_order_of(Named(names, [0, 1]), [[5], [6]]) == [[5], [6]]


def test_label_sets_must_fit_the_images(tmp_path: Path) -> None:
    split = Named(["a.png", "b.png"], [0, 1])
    for sets in ([[0]], [[0], [1], [0]]):
        with pytest.raises(UsageError, match=f"{len(sets)} label sets for 2 images"):
            in_order_of(split, sets)
    with pytest.raises(UsageError, match="nothing to measure"):
        in_order_of(split, [[], []])
    file = tmp_path / "sets.json"
    file.write_text(json.dumps([[0], [1, 2]]))
    assert read_label_sets(file) == [[0], [1, 2]]
    with pytest.raises(UsageError, match="is a folder"):
        read_label_sets(tmp_path)
    for content in ("{", '{"a": 1}', "[1, 2]", "[[-1]]", "[[true]]"):
        file.write_text(content)
        with pytest.raises(UsageError, match=r"sets\.json"):
            read_label_sets(file)


def test_label_sets_are_renumbered_with_the_labels() -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=4, num_classes=3)
    model.class_names = ("c", "a", "b")
    split = Named(["1", "2"], [0, 1])
    _, images = images_for(model, Dataset("made-up", ("a", "b"), {"test": split}), None)
    assert images.labels.tolist() == [1, 2]
    assert images.renumbered([[0, 1], []]) == [[1, 2], []]
    with pytest.raises(UsageError, match="class 2, outside the 2 classes"):
        images.renumbered([[2]])


def test_names_are_compared_as_they_are_printed() -> None:
    """Accents in one character or two, bytes of a file name as Python or as we spell them."""
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=4, num_classes=3)
    model.class_names = ("cafe\u0301", "b\udce9b", "plain")
    split = Named(["1", "2", "3"], [0, 1, 2])
    names = ("plain", "caf\u00e9", "b\\xe9b")
    _, images = images_for(model, Dataset("made-up", names, {"test": split}), None)
    assert images.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("splits", ["own", "joined"])
@pytest.mark.parametrize(
    "spelled", ["made-up", "made-up/", "./made-up", os.path.abspath("made-up")]
)
def test_the_images_that_training_set_apart_are_found_again(splits: str, spelled: str) -> None:
    dataset = Dataset(
        "made-up", ("a", "b"), {"train": Named([str(i) for i in range(40)], [0, 1] * 20)}
    )
    arranged, _ = arrange_splits(dataset, splits, 0.1, seed=3)
    unseen = arranged.splits["validation" if splits == "own" else "test"]
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=4, num_classes=2)
    model.facts = {"data": spelled, "splits": splits, "validation_fraction": 0.1, "seed": 3}
    _, images = images_for(model, dataset, None)
    assert [images.name(i) for i in range(len(images))] == [
        unseen.name(i) for i in range(len(unseen))
    ]
