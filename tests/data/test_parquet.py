import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpmixer.data.sources import parquet
from mlpmixer.data.sources.parquet import open_parquet, parquet_files
from mlpmixer.errors import MixerError, UsageError

Encode = Callable[..., bytes]

NAMES = ["cat", "dog"]


def write(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[Any],
    *,
    image: str = "image",
    label: str = "label",
    names: list[str] | None = NAMES,
    **options: Any,
) -> Path:
    """Write a file in the hub's form."""
    rows = [{"bytes": content, "path": None} for content in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image: pa.array(rows, kind), label: pa.array(labels)})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        metadata = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def test_images_labels_and_class_names_are_read(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", [b"a", b"b"], [0, 1], row_group_size=1)
    write(tmp_path / "train-00001-of-00002.parquet", [b"c"], [1])
    write(tmp_path / "validation-00000-of-00001.parquet", [b"d"], [0])
    dataset = open_parquet(parquet_files(tmp_path), "p")
    assert dataset.class_names == ("cat", "dog")
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    assert train.labels.tolist() == [0, 1, 1]
    assert [train.encoded(index) for index in (2, 0, 1)] == [b"c", b"a", b"b"]
    assert train.name(2) == f"{tmp_path}/train-00001-of-00002.parquet row 0"
    assert [validation.encoded(0), validation.labels.tolist()] == [b"d", [0]]


def test_split_is_pickled_without_its_images(tmp_path: Path) -> None:
    file = write(tmp_path / "train.parquet", [bytes(100_000), b"b"], [0, 1])
    split = open_parquet([file], "p").splits["train"]
    stored = pickle.dumps(split)
    assert len(stored) < 2000
    again = pickle.loads(stored)
    assert again.encoded(1) == b"b"
    assert again.labels.tolist() == [0, 1]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = write(tmp_path / "train.parquet", [b"a", b"b"], [0, 1])
    open_parquet([file], "p")
    write(file, [b"new", b"b"], [1, 0])
    os.utime(file, ns=(1, 1))
    split = open_parquet([file], "p").splits["train"]
    assert split.encoded(0) == b"new"


def test_other_column_names_and_unnamed_integers(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", [b"a", b"b"], [2, 0], image="img", names=None)
    dataset = open_parquet([file], "p")
    assert dataset.class_names == ("0", "2")
    assert dataset.splits["train"].labels.tolist() == [1, 0]


def test_labels_may_be_names(tmp_path: Path) -> None:
    train = write(tmp_path / "train.parquet", [b"a", b"b"], ["pear", "fig"], names=None)
    test = write(tmp_path / "test.parquet", [b"c"], ["pear"], names=None)
    dataset = open_parquet([train, test], "p")
    assert dataset.class_names == ("fig", "pear")
    assert dataset.splits["train"].labels.tolist() == [1, 0]
    assert dataset.splits["test"].labels.tolist() == [1]


def test_fine_labels_come_before_coarse_ones(tmp_path: Path) -> None:
    names = {"coarse_label": ["animal"], "fine_label": ["ant", "bee"]}
    features: dict[str, Any] = {"img": {"_type": "Image"}}
    features |= {key: {"names": value, "_type": "ClassLabel"} for key, value in names.items()}
    table = pa.table({"img": [{"bytes": b"a"}], "coarse_label": [0], "fine_label": [1]})
    metadata = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "x.parquet")
    dataset = open_parquet([tmp_path / "x.parquet"], "p")
    assert dataset.class_names == ("ant", "bee")


def test_split_whose_labels_are_withheld_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [b"a", b"b"], [0, 1])
    write(tmp_path / "test.parquet", [b"a", b"b"], [-1, -1])
    assert list(open_parquet(parquet_files(tmp_path), "p").splits) == ["train"]

    dataset = open_parquet(parquet_files(tmp_path), "p")
    assert dataset.notes == ("left out, because there are no labels: 2 test images",)


def test_an_image_may_be_null(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", [b"a", None], [0, 1])
    train = open_parquet([file], "p").splits["train"]
    assert train.encoded(1) == b""
    assert train.sizes().tolist() == [1, 0]


def test_files_are_found_as_the_hub_lays_them_out(tmp_path: Path) -> None:
    write(tmp_path / "a" / "data" / "train-0.parquet", [b"a"], [0])
    write(tmp_path / "b" / "train" / "0000.parquet", [b"a"], [0])
    write(tmp_path / "b" / "test" / "0000.parquet", [b"a"], [1])
    assert [path.name for path in parquet_files(tmp_path / "a")] == ["train-0.parquet"]
    dataset = open_parquet(parquet_files(tmp_path / "b"), "p")
    assert list(dataset.splits) == ["train", "test"]


@pytest.mark.parametrize(
    ("options", "labels", "message"),
    [
        ({"label": "caption_id", "names": None}, [0, 1], "no label column.*caption_id: int64"),
        ({}, [0, 2], "label 2 .* outside its 2 classes"),
        ({}, [0, None], "1 of 2 train images without label"),
        ({}, [-1, -1], "no labels"),
    ],
)
def test_wrong_labels_are_explained(
    tmp_path: Path, options: dict[str, Any], labels: list[int], message: str
) -> None:
    file = write(tmp_path / "x.parquet", [b"a", b"b"], labels, **options)
    with pytest.raises(UsageError, match=message):
        open_parquet([file], "p")


def test_table_without_images_is_explained(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [0, 1], "text": ["a", "b"]}), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"no image column.*text: string"):
        open_parquet([tmp_path / "x.parquet"], "p")


def test_files_must_agree_in_their_columns(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", [b"a"], [0])
    write(tmp_path / "train-1.parquet", [b"a"], [0], label="labels")
    with pytest.raises(UsageError, match=r"train-1\.parquet has no column 'label'"):
        open_parquet(parquet_files(tmp_path), "p")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("other", ["test-0", "train-1"])
def test_files_that_name_a_number_differently_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool, other: str
) -> None:
    if stream:
        monkeypatch.setattr(parquet, "STREAM_ABOVE", 0)
    write(tmp_path / "train-0.parquet", [b"a"] * 3, [0, 1, 2], names=["ant", "bee", "cat"])
    write(tmp_path / f"{other}.parquet", [b"b"] * 2, [0, 1], names=["bee", "cat"])
    with pytest.raises(UsageError, match=rf"label 0 is 'bee' in .*{other}\.parquet and 'ant' in"):
        open_parquet(parquet_files(tmp_path), "p")


@pytest.mark.parametrize("stream", [False, True])
def test_files_may_name_the_first_classes_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    if stream:
        monkeypatch.setattr(parquet, "STREAM_ABOVE", 0)
    write(tmp_path / "train-0.parquet", [b"a", b"b"], [0, 1], names=None)
    write(tmp_path / "train-1.parquet", [b"c", b"d"], [2, 1], names=["ant", "bee", "cat"])
    write(tmp_path / "test-0.parquet", [b"e", b"f"], [0, 1], names=["ant", "bee"])
    assert open_parquet(parquet_files(tmp_path), "p").class_names == ("ant", "bee", "cat")


def test_an_index_without_class_names_takes_them_from_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_home: Path
) -> None:
    monkeypatch.setattr(parquet, "STREAM_ABOVE", 0)
    write(tmp_path / "train.parquet", [b"a", b"b"], [0, 1])
    first = open_parquet(parquet_files(tmp_path), "p")
    (kept,) = (data_home / "parquet").glob("*.index.arrow")
    with pa.ipc.open_file(str(kept)) as stored:
        table = stored.read_all()
    rows = {"rows": table.schema.metadata[b"rows"]}  # all that earlier versions noted
    with pa.ipc.new_file(str(kept), table.schema.with_metadata(rows)) as sink:
        sink.write_table(table.replace_schema_metadata(rows))
    assert open_parquet(parquet_files(tmp_path), "p").class_names == first.class_names


def test_unnamed_file_among_named_ones_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", [b"a"], [0])
    write(tmp_path / "more.parquet", [b"a"], [0])
    with pytest.raises(UsageError, match=r"cannot tell the split of .*more\.parquet"):
        open_parquet(parquet_files(tmp_path), "p")


def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(MixerError, match=r"cannot read .*train\.parquet as parquet"):
        open_parquet([tmp_path / "train.parquet"], "p")


def test_an_unusable_cache_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("a file where a folder should be")
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path / "occupied"))
    file = write(tmp_path / "x.parquet", [b"a", b"b"], [0, 1])
    with pytest.raises(MixerError, match="set MLPMIXER_DATA"):
        open_parquet([file], "p")
