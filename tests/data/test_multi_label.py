"""Images of several classes: in shards and tables, in batches, and through a pack."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Batch
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.duplicates import find_duplicates
from mlpmixer.data.held_out import hold_out_validation
from mlpmixer.data.label_sets import LabelSets, label_sets_of
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.pack_plan import plan_pack
from mlpmixer.data.pack_sample import PackOptions
from mlpmixer.data.packing import pack
from mlpmixer.data.protocol_splits import joined
from mlpmixer.data.sources import open_source
from mlpmixer.data.train_fraction import keep_share
from mlpmixer.errors import UsageError
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.training.inventory import changes, write_inventory

Encode = Callable[..., bytes]
SETS = [[2, 0], [1], [0, 1, 2], [2], [1, 0], [2, 1]]


def write_shard(path: Path, image: bytes, labels: Mapping[str, bytes]) -> str:
    """Write a shard with the image once for each label file."""
    with tarfile.open(path, "w") as tar:
        for name, content in labels.items():
            for member, body in ((f"{Path(name).stem}.png", image), (name, content)):
                entry = tarfile.TarInfo(member)
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
    return str(path)


def sets_of(split: Split) -> list[list[int]]:
    sets = label_sets_of(split)
    assert sets is not None
    assert sets.first.tolist() == split.labels.tolist()
    return [sets.of_image(index) for index in range(len(split))]


@pytest.fixture
def shards(tmp_path: Path, encode: Encode) -> Dataset:
    """Images of one colour each, with the classes SETS."""
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(folder / "train-0.tar", "w") as tar:
        for number, classes in enumerate(SETS):
            picture = encode((40 * number, 9, 9))
            label = json.dumps(classes).encode()
            for member, body in ((f"{number}.png", picture), (f"{number}.cls", label)):
                entry = tarfile.TarInfo(member)
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
    return open_source(str(folder))


@pytest.mark.parametrize(
    "labels",
    [
        {"1.cls": b"[2, 0]", "2.cls": b"1", "3.cls": b"[0]"},
        {"1.cls": b"2\n0\n", "2.cls": b"1\n", "3.cls": b"0"},
        {"1.json": b'{"label": [2, 0]}', "2.json": b'{"label": 1}', "3.cls": b"0"},
        {"1.json": b'{"labels": ["2", 0.0]}', "2.json": b'{"labels": [1, 1]}', "3.cls": b"0"},
    ],
)
def test_shards_hold_lists_of_numbers(
    tmp_path: Path, encode: Encode, labels: Mapping[str, bytes]
) -> None:
    dataset = open_source(write_shard(tmp_path / "0.tar", encode(), labels))
    assert dataset.class_names == ("0", "1", "2")
    assert sets_of(dataset.splits["train"]) == [[2, 0], [1], [0]]


def test_shards_hold_lists_of_names(tmp_path: Path, encode: Encode) -> None:
    labels = {"1.cls": b'["pear, green", "fig"]', "2.json": b'{"label": ["fig"]}'}
    dataset = open_source(write_shard(tmp_path / "0.tar", encode(), labels))
    assert dataset.class_names == ("fig", "pear, green")
    assert sets_of(dataset.splits["train"]) == [[1, 0], [0]]


def test_lists_of_one_class_each_are_no_multi_label_data(tmp_path: Path, encode: Encode) -> None:
    labels = {"1.cls": b"[1]", "2.json": b'{"label": [0, 0]}'}
    train = open_source(write_shard(tmp_path / "0.tar", encode(), labels)).splits["train"]
    assert label_sets_of(train) is None
    assert train.labels.tolist() == [1, 0]


def test_images_with_an_empty_list_are_passed_over(tmp_path: Path, encode: Encode) -> None:
    labels = {"1.cls": b"[1, 0]", "2.json": b'{"label": []}', "3.cls": b"[]"}
    dataset = open_source(write_shard(tmp_path / "0.tar", encode(), labels))
    assert len(dataset.splits["train"]) == 1
    assert dataset.remarks[-1] == "passed over: images without label (2)"


def test_a_name_may_look_like_the_begin_of_a_list(tmp_path: Path, encode: Encode) -> None:
    labels = {"1.cls": b"[unknown]", "2.cls": b"known"}
    dataset = open_source(write_shard(tmp_path / "0.tar", encode(), labels))
    assert dataset.class_names == ("[unknown]", "known")


def test_a_list_within_a_list_is_refused(tmp_path: Path, encode: Encode) -> None:
    labels = {"1.cls": b"[[1], 0]", "2.cls": b"1"}
    with pytest.raises(UsageError, match=r"1\.cls has the label \[1\], which is no class"):
        open_source(write_shard(tmp_path / "0.tar", encode(), labels))


@pytest.mark.parametrize("classes", [21_843, 18_291])
def test_thousands_of_classes_are_named_by_a_file_or_the_index_of_a_pack(
    tmp_path: Path, encode: Encode, classes: int
) -> None:
    names = [f"n{number:08}" for number in range(classes)]
    labels = {"1.cls": f"[{classes - 1}, 0]".encode(), "2.cls": b"7", "3.cls": b'["n00000008"]'}
    source = write_shard(tmp_path / "0.tar", encode(), labels)
    (tmp_path / "classes.txt").write_text("\n".join(names))
    by_file = open_source(source)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "index.json").write_text(json.dumps({"settings": {"classes": names}}))
    by_index = open_source(source)
    for dataset in (by_file, by_index):
        assert dataset.class_names == tuple(names)
        assert sets_of(dataset.splits["train"]) == [[classes - 1, 0], [7], [8]]


def table(path: Path, labels: pa.Array, feature: Any = None) -> str:
    found = pa.table({"image": [{"bytes": b"x", "path": None}] * len(labels), "label": labels})
    if feature is not None:
        metadata = json.dumps({"info": {"features": {"label": feature}}})
        found = found.replace_schema_metadata({"huggingface": metadata})
    pq.write_table(found, path)
    return str(path)


@pytest.mark.parametrize(
    "feature",
    [
        {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": ["a", "b", "c"]}},
        {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["a", "b", "c"]}},
        [{"_type": "ClassLabel", "names": ["a", "b", "c"]}],
    ],
)
def test_tables_hold_lists_of_numbers_named_by_the_schema(tmp_path: Path, feature: Any) -> None:
    dataset = open_source(table(tmp_path / "x.parquet", pa.array([[2, 0], [1]]), feature))
    assert dataset.class_names == ("a", "b", "c")
    assert sets_of(dataset.splits["train"]) == [[2, 0], [1]]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([["fig", "pear"], ["fig"]]),
        pa.array([["fig", "pear"], ["fig"]], pa.large_list(pa.large_string())),
    ],
)
def test_tables_hold_lists_of_names(tmp_path: Path, labels: pa.Array) -> None:
    dataset = open_source(table(tmp_path / "x.parquet", labels))
    assert dataset.class_names == ("fig", "pear")
    assert sets_of(dataset.splits["train"]) == [[0, 1], [0]]


def test_a_file_beside_a_table_names_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("fig\npear\nplum\n")
    dataset = open_source(table(tmp_path / "x.parquet", pa.array([[2, 0], [1]])))
    assert dataset.class_names == ("fig", "pear", "plum")
    assert sets_of(dataset.splits["train"]) == [[2, 0], [1]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([[0, 1], []]), "1 of 2 train images without label"),
        (pa.array([[0, 1], None]), "1 of 2 train images without label"),
        (pa.array([[0, None], [1]]), "an empty place in their list"),
        (pa.array([None, []], pa.list_(pa.int64())), "no labels"),
    ],
)
def test_tables_with_gaps_in_their_lists_are_refused(
    tmp_path: Path, labels: pa.Array, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(table(tmp_path / "x.parquet", labels))


def test_parts_of_a_split_keep_their_lists(shards: Dataset) -> None:
    assert sets_of(shards.splits["train"]) == SETS
    parts = hold_out_validation(shards, 0.5, seed=0)
    both = joined(parts).splits["train"]
    assert sorted(sets_of(both)) == sorted(SETS)
    assert [len(parts.splits[name]) for name in ("train", "validation")] == [3, 3]
    some = keep_share(shards, 0.5, seed=0).splits["train"]
    assert all(one in SETS for one in sets_of(some))


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_batches_hold_all_classes_and_targets_ask_for_each(shards: Dataset, cache: Any) -> None:
    preprocessing = Preprocessing(image_size=(8, 8))
    options = DataOptions(cache=cache, workers=0)
    images = open_images(shards.splits["train"], preprocessing, options)
    augment = Augmenter(AugmentOptions(crop="none", flip=0), num_classes=4)

    def check(batch: Batch) -> None:
        for index, row in zip(batch.indices.tolist(), batch.labels.tolist(), strict=True):
            assert set(row) == set(SETS[index])
            assert row[0] == SETS[index][0]
        _, targets = augment(batch.images, batch.labels, torch.Generator())
        for index, row in zip(batch.indices.tolist(), targets.tolist(), strict=True):
            assert row == [float(label in SETS[index]) for label in range(4)]

    for batch in (*images.evaluation_batches(4), *islice(images.training_batches(4, 0, 0), 2)):
        check(batch)


@pytest.mark.parametrize("number", [False, True])
def test_a_pack_carries_the_lists_through(shards: Dataset, tmp_path: Path, number: bool) -> None:
    names = ("2", "1", "zero") if number else ("fig, green", "pear", "plum")
    source = replace(shards, class_names=names)
    packed = pack(plan_pack(source, PackOptions()), tmp_path / "packed", 1)
    (record,) = packed.shards
    assert (record.images, record.per_class) == (6, (3, 4, 4))
    again = open_source(str(tmp_path / "packed"))
    assert again.class_names == names
    train = again.splits["train"]
    pictures = [shards.splits["train"].encoded(index) for index in range(len(SETS))]
    found = {train.encoded(index): classes for index, classes in enumerate(sets_of(train))}
    assert [found[picture] for picture in pictures] == SETS


def test_a_pack_of_other_lists_is_another_pack(shards: Dataset, tmp_path: Path) -> None:
    pack(plan_pack(shards, PackOptions()), tmp_path / "packed", 1)
    train = shards.splits["train"]
    sets = label_sets_of(train)
    assert sets is not None
    train.label_sets = LabelSets.of(sets.classes[:-1], sets.counts - np.eye(6, dtype=int)[5])  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="another source digest"):
        pack(plan_pack(shards, PackOptions()), tmp_path / "packed", 1)


def test_copies_conflict_where_their_lists_differ(tmp_path: Path, encode: Encode) -> None:
    labels = {"1.cls": b"[0, 1]", "2.cls": b"[1, 0]"}
    same = open_source(write_shard(tmp_path / "0.tar", encode(), labels))
    other = open_source(write_shard(tmp_path / "1.tar", encode(), {**labels, "3.cls": b"0"}))
    assert find_duplicates(same.splits).conflicting == 0
    assert find_duplicates(other.splits).conflicting == 3


def test_an_inventory_tells_of_changed_lists(tmp_path: Path, encode: Encode) -> None:
    shard = tmp_path / "0.tar"
    labels = {"1.cls": b"[0, 1]", "2.cls": b"1"}
    write_inventory(tmp_path, open_source(write_shard(shard, encode(), labels)))
    changed = open_source(write_shard(shard, encode(), {**labels, "1.cls": b"0"}))
    assert "1 with another label" in changes(tmp_path, changed)
