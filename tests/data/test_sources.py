import io
import pickle
import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpmixer.data.dataset import Split
from mlpmixer.data.picture import decode
from mlpmixer.data.sources import open_source, same_source
from mlpmixer.errors import UsageError

Encode = Callable[..., bytes]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_folder(root: Path, content: bytes) -> None:
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(content)


def make_parquet(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": content}, {"bytes": content}]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), path)


def make_shard(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in (
            ("1.png", content),
            ("1.cls", b"0"),
            ("2.png", content),
            ("2.cls", b"1"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def make_all(root: Path, content: bytes) -> None:
    make_folder(root / "photos", content)
    make_parquet(root / "table" / "train-0.parquet", content)
    make_shard(root / "shards" / "train-000.tar", content)
    make_shard(root / "shards" / "train-001.tar", content)
    make_shard(root / "shards" / "val-000.tar", content)


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        ("photos", {"train": 2}),
        ("./photos/", {"train": 2}),
        ("table", {"train": 2}),
        ("table/train-0.parquet", {"train": 2}),
        ("table/*.parquet", {"train": 2}),
        ("shards", {"train": 4, "validation": 2}),
        ("shards/train-{000..001}.tar", {"train": 4}),
        ("shards/{train-001,val-000}.tar", {"train": 2, "validation": 2}),
        ("shards/train-001.tar", {"train": 2}),
        ("digits", {"train": 1437, "test": 360}),
    ],
)
def test_every_form_opens(here: Path, encode: Encode, spec: str, sizes: dict[str, int]) -> None:
    make_all(here, encode())
    dataset = open_source(spec)
    assert dataset.spec == spec
    assert {name: len(split) for name, split in dataset.splits.items()} == sizes
    for split in dataset.splits.values():
        assert split.labels.max() < len(dataset.class_names)
        assert decode(split, len(split) - 1).mode == "RGB"


def pixel(split: Split, index: int) -> object:
    return decode(split, index).getpixel((0, 0))


def test_every_kind_can_be_read_in_a_fresh_process(here: Path, encode: Encode) -> None:
    make_all(here, encode((200, 30, 60)))
    splits = [open_source(spec).splits["train"] for spec in ("photos", "table", "shards")]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(pixel, splits, [1, 1, 1])) == [(200, 30, 60)] * 3


def test_every_kind_is_small_when_pickled(here: Path, encode: Encode) -> None:
    make_all(here, encode() + bytes(1_000_000))
    for spec in ("photos", "table", "shards"):
        assert len(pickle.dumps(open_source(spec))) < 10_000


def test_home_folder_is_expanded(
    here: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here))
    make_folder(here / "photos", encode())
    assert open_source("~/photos").class_names == ("ant", "bee")


def test_a_known_name_wins_over_a_folder_with_a_warning(
    here: Path, encode: Encode, caplog: pytest.LogCaptureFixture
) -> None:
    make_folder(here / "digits", encode())
    assert len(open_source("digits").class_names) == 10
    assert "write ./digits" in caplog.text
    assert open_source("./digits").class_names == ("ant", "bee")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cifar11", "unknown data source 'cifar11'. Did you mean cifar10"),
        ("phots", "Did you mean photos"),
        ("./phots", "no file or folder ./phots. Did you mean photos"),
        ("gone/photos", "no file or folder gone/photos. .* write hf:gone/photos"),
        ("photos.zip", "no file or folder photos.zip"),
        ("notes.txt", "notes.txt is no data source"),
        ("shards/train-{000..009}.tar", "8 of the 10 files .* missing, first .*002.tar"),
        ("shards/train-{000..001.tar", "brace without its partner"),
        ("shards/test-*.tar", "no file matches"),
        ("", "data source is empty"),
        ("hf:", "hf:user/name"),
    ],
)
def test_what_cannot_be_opened_is_explained(
    here: Path, encode: Encode, spec: str, message: str
) -> None:
    make_all(here, encode())
    (here / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=message):
        open_source(spec)


def test_images_of_a_single_class_are_refused(here: Path) -> None:
    images = [{"bytes": b"x"}, {"bytes": b"x"}]
    pq.write_table(pa.table({"image": images, "label": [1, 1]}), here / "x.parquet")
    with pytest.raises(UsageError, match="one class only"):
        open_source("x.parquet")


@pytest.mark.parametrize("stranger", ["~nobody-of-this-name/birds", "a\0b", "a/" * 5000])
def test_a_spec_from_elsewhere_that_is_no_path_means_no_other_source(stranger: str) -> None:
    assert not same_source(stranger, "photos")
    assert same_source(stranger, stranger)
