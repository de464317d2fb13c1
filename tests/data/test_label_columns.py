"""Labels in tables: which types are classes, and what numbers mean."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpmixer.data.sources import open_source, parquet
from mlpmixer.errors import UsageError

Encode = Callable[..., bytes]


def write(folder: Path, labels: pa.Array, name: str = "x") -> str:
    images = [{"bytes": b"x", "path": None}] * len(labels)
    pq.write_table(pa.table({"image": images, "label": labels}), folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        (pa.array([0, 2, 1]), ("0", "1", "2"), [0, 2, 1]),
        (pa.array([0, 1, 1], pa.uint8()), ("0", "1"), [0, 1, 1]),
        (pa.array([0.0, 1.0, 1.0]), ("0", "1"), [0, 1, 1]),
        (pa.array(np.array([2, 1, 0], np.float16)), ("0", "1", "2"), [2, 1, 0]),
        (
            pa.array([Decimal(1), Decimal(0), Decimal(1)], pa.decimal128(9, 0)),
            ("0", "1"),
            [1, 0, 1],
        ),
        (pa.array([True, False, True]), ("false", "true"), [1, 0, 1]),
        (pa.array(["b", "a", "b"]), ("a", "b"), [1, 0, 1]),
        (pa.array(["b", "a", "b"], pa.large_string()), ("a", "b"), [1, 0, 1]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b"), [1, 0, 1]),
        (pa.array([3, 1, 2]), ("1", "2", "3"), [2, 0, 1]),
        (pa.array([5.0, 7001.0, 20003.0]), ("5", "7001", "20003"), [0, 1, 2]),
        (pa.array([5, 70001, 2000003]), ("5", "70001", "2000003"), [0, 1, 2]),
        (pa.array([-1, 1, 1]), ("-1", "1"), [0, 1, 1]),
        (pa.array([0, 1, 3]), ("0", "1", "3"), [0, 1, 2]),
    ],
)
def test_whole_numbers_booleans_and_text_are_classes(
    tmp_path: Path, labels: pa.Array, names: tuple[str, ...], indices: list[int]
) -> None:
    dataset = open_source(write(tmp_path, labels))
    assert dataset.class_names == names
    assert dataset.splits["train"].labels.tolist() == indices
    assert not dataset.remarks


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([[[0]], [[1]]]), r"column label of .* holds list<.*>, which is no class"),
        (pa.array([date(2020, 1, 1)] * 2), r"holds date32\[day\], which is no class"),
        (pa.array([b"a", b"b"]), "holds binary, which is no class"),
        (pa.array([0.5, 1.0]), "label 0.5, which is no class"),
        (pa.array([Decimal("0.5"), Decimal(1)], pa.decimal128(9, 1)), "no class number"),
        (pa.array([2**63, 1], pa.uint64()), "no class number"),
        (pa.array([0.0, float("nan")]), "1 of 2 train images without label"),
        (pa.array(["", "a"]), "1 of 2 train images without label"),
        (pa.array([-1, 0, 1]), "1 image with the label -1"),
        (pa.array([None, None]), "no labels"),
        (pa.array([-1.0, -1.0]), "no labels"),
    ],
)
def test_what_is_no_class_is_named(tmp_path: Path, labels: pa.Array, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(write(tmp_path, labels))


def test_numbers_mean_the_same_in_all_splits(tmp_path: Path) -> None:
    write(tmp_path, pa.array([7, 9, 9]), "train")
    write(tmp_path, pa.array([9, 11]), "test")
    dataset = open_source(str(tmp_path))
    assert dataset.class_names == ("7", "9", "11")
    assert dataset.splits["test"].labels.tolist() == [1, 2]
    assert dataset.notes == ("1 of 3 classes have no train images: 11",)


def test_labels_of_different_kinds_are_refused(tmp_path: Path) -> None:
    write(tmp_path, pa.array([0, 1]), "train")
    write(tmp_path, pa.array(["0", "1"]), "test")
    with pytest.raises(UsageError, match="int64 labels in train and string in test"):
        open_source(str(tmp_path))


@pytest.fixture(params=["unpacked", "streamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read parquet files in either of the two ways."""
    if request.param == "streamed":
        monkeypatch.setattr(parquet, "STREAM_ABOVE", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (pa.array([5, 7], pa.int8()), pa.array([200, 2**40]), ("5", "7", "200", str(2**40))),
        (pa.array([5, 200], pa.uint8()), pa.array([-3, 7], pa.int8()), ("-3", "5", "7", "200")),
        (pa.array([5, 7]), pa.array([9, 11], pa.uint64()), ("5", "7", "9", "11")),
        (pa.array([5, 7]), pa.array([9.0, 11.0]), ("5", "7", "9", "11")),
        (pa.array(["b", "a"]), pa.array(["d", "c"], pa.large_string()), ("a", "b", "c", "d")),
        (pa.array(["b", "a"]), pa.array(["d", "c"], pa.string_view()), ("a", "b", "c", "d")),
        (pa.array(["b", "a"]), pa.array(["d", "c"]).dictionary_encode(), ("a", "b", "c", "d")),
        (pa.array([[5], [5, 7]]), pa.array([[200], [7]], pa.list_(pa.uint8())), ("5", "7", "200")),
    ],
)
def test_labels_of_all_files_are_widened_to_one_type(
    tmp_path: Path, first: pa.Array, second: pa.Array, names: tuple[str, ...]
) -> None:
    for one, other in ((first, second), (second, first)):
        write(tmp_path, one, "train-0")
        write(tmp_path, other, "train-1")
        dataset = open_source(str(tmp_path))
        assert dataset.class_names == names
        found = [dataset.class_names[label] for label in dataset.splits["train"].labels]
        stored = [*one.to_pylist(), *other.to_pylist()]
        firsts = [label[0] if isinstance(label, list) else label for label in stored]
        assert found == [
            f"{label:g}" if isinstance(label, float) else str(label) for label in firsts
        ]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("labels", [pa.array([0, 1]), pa.array(["a", "b"]), pa.array([[0], [1]])])
def test_a_file_without_any_label_takes_the_type_of_the_others(
    tmp_path: Path, labels: pa.Array
) -> None:
    for names in (("train-0", "train-1"), ("train-1", "train-0")):
        write(tmp_path, pa.nulls(2), names[0])
        write(tmp_path, labels, names[1])
        with pytest.raises(UsageError, match="2 of 4 train images without label"):
            open_source(str(tmp_path))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (pa.array(["0", "1"]), "string"),
        (pa.array([True, False]), "bool"),
        (pa.array([[0], [1]]), "list<.*>"),
        (pa.array([b"0", b"1"]), "binary"),
    ],
)
def test_files_whose_labels_do_not_go_together_are_named(
    tmp_path: Path, labels: pa.Array, kind: str
) -> None:
    write(tmp_path, pa.nulls(2), "train-0")
    write(tmp_path, pa.array([0, 1]), "train-1")
    write(tmp_path, pa.array([0, 1], pa.int8()), "train-2")
    write(tmp_path, labels, "train-3")
    message = rf"train-1\.parquet has int64 labels and \S*train-3\.parquet has {kind}: write"
    with pytest.raises(UsageError, match=message):
        open_source(str(tmp_path))


@pytest.mark.usefixtures("way")
def test_a_label_that_does_not_fit_the_type_of_all_is_named(tmp_path: Path) -> None:
    write(tmp_path, pa.array([0, 1]), "train-0")
    write(tmp_path, pa.array([2**63, 1], pa.uint64()), "train-1")
    with pytest.raises(
        UsageError, match=r"train-1\.parquet has uint64 labels that do not fit int64"
    ):
        open_source(str(tmp_path))


def test_images_may_lie_beside_the_table(tmp_path: Path, encode: Encode) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(encode())
    paths = [{"bytes": b"inside", "path": "gone.png"}, {"bytes": None, "path": "pictures/1.png"}]
    for column in (paths, ["pictures/1.png", str(tmp_path / "pictures" / "1.png")]):
        table = pa.table({"image": column, "label": [0, 1]})
        pq.write_table(table, tmp_path / "train.parquet")
        train = open_source(str(tmp_path / "train.parquet")).splits["train"]
        assert train.encoded(1) == encode()
        assert train.sizes()[1] == len(encode())
    pq.write_table(
        pa.table({"file_name": ["pictures/1.png"] * 2, "label": [0, 1]}), tmp_path / "t.parquet"
    )
    assert open_source(str(tmp_path / "t.parquet")).splits["train"].encoded(0) == encode()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"bytes": None, "path": "gone/1.png"}, "holds paths and no images.* no file .*gone/1.png"),
        ({"bytes": None, "path": None}, "neither an image nor a path"),
        ({"path": "gone/1.png"}, "holds paths and no images"),
    ],
)
def test_a_table_without_bytes_and_files_is_explained(
    tmp_path: Path, image: dict[str, object], message: str
) -> None:
    kind = pa.struct([(name, pa.binary() if name == "bytes" else pa.string()) for name in image])
    table = pa.table({"image": pa.array([image] * 2, kind), "label": [0, 1]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=message):
        open_source(str(tmp_path / "x.parquet"))


def test_classes_of_the_schema_without_images_are_said_once(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": b"x"}] * 2, "label": [1, 3]})
    names = [f"c{number}" for number in range(9)]
    features = {"label": {"_type": "ClassLabel", "names": names}}
    text = str({"info": {"features": features}}).replace("'", '"')
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), tmp_path / "x.parquet")
    dataset = open_source(str(tmp_path / "x.parquet"))
    assert dataset.class_names == tuple(names)
    assert dataset.splits["train"].labels.tolist() == [1, 3]
    assert dataset.notes == ("7 of 9 classes have no train images: c0, c2, c4, c5, c6, …",)
