import io
import json
import os
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlpmixer.data.sources.shards import open_shards
from mlpmixer.data.tar_index import index_shards
from mlpmixer.errors import MixerError, UsageError


def write(path: Path, *members: tuple[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def labelled(texts: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return the members of a shard with an image for each label."""
    pairs = [((f"{n}.jpg", b"x"), (f"{n}.cls", text.encode())) for n, text in enumerate(texts)]
    return [member for pair in pairs for member in pair]


def test_images_of_all_shards_are_read_in_any_order(tmp_path: Path) -> None:
    shards = [
        write(tmp_path / "000.tar", ("a/1.jpg", b"one"), ("a/1.cls", b"0")),
        write(
            tmp_path / "001.tar",
            *[("2.cls", b"1\n"), ("2.txt", b"a caption"), ("2.png", b"second")],
            *[("3.PNG", b"third"), ("3.cls", b"0")],
        ),
    ]
    dataset = open_shards(shards, "s")
    train = dataset.splits["train"]
    assert dataset.class_names == ("0", "1")
    assert train.labels.tolist() == [0, 1, 0]
    assert [train.encoded(index) for index in (2, 0, 1)] == [b"third", b"one", b"second"]
    assert train.name(1) == f"{shards[1]}:2.png"


def test_index_survives_pickling_and_the_next_start(tmp_path: Path, data_home: Path) -> None:
    members = [("1.jpg", b"one"), ("1.cls", b"x"), ("2.jpg", b"two"), ("2.cls", b"y")]
    shard = write(tmp_path / "0.tar", *members)
    first = open_shards([shard], "s").splits["train"]
    (stored,) = (data_home / "shards").glob("*.npz")
    written = stored.stat().st_mtime_ns
    second = open_shards([shard], "s").splits["train"]
    assert stored.stat().st_mtime_ns == written
    for split in (pickle.loads(pickle.dumps(first)), second):
        assert split.encoded(1) == b"two"
        assert split.labels.tolist() == [0, 1]
        assert split.name(1) == f"{shard}:2.jpg"


def test_a_changed_shard_is_indexed_anew(tmp_path: Path) -> None:
    members = [("1.jpg", b"one"), ("1.cls", b"0"), ("2.jpg", b"two"), ("2.cls", b"1")]
    shard = write(tmp_path / "0.tar", *members)
    assert len(open_shards([shard], "s").splits["train"]) == 2
    write(shard, ("0.jpg", b"x" * 20_000), ("0.cls", b"1"), *members)
    assert open_shards([shard], "s").splits["train"].encoded(1) == b"one"


def test_labels_may_be_names_or_stand_in_json(tmp_path: Path) -> None:
    shard = write(
        tmp_path / "0.tar",
        *[("1.jpg", b"1"), ("1.json", json.dumps({"label": "pear"}).encode())],
        *[("2.jpg", b"2"), ("2.json", json.dumps({"label": "fig", "width": 3}).encode())],
    )
    dataset = open_shards([shard], "s")
    assert dataset.class_names == ("fig", "pear")
    assert dataset.splits["train"].labels.tolist() == [1, 0]


@pytest.mark.parametrize("labels", [(b"1", b"0"), (b"pear", b"fig")])
def test_classes_txt_names_numbers_and_orders_names(
    tmp_path: Path, labels: tuple[bytes, bytes]
) -> None:
    (tmp_path / "classes.txt").write_text("fig\npear\nplum\n")
    members = [("1.jpg", b"1"), ("1.cls", labels[0]), ("2.jpg", b"2"), ("2.cls", labels[1])]
    dataset = open_shards([write(tmp_path / "0.tar", *members)], "s")
    assert dataset.class_names == ("fig", "pear", "plum")
    assert dataset.splits["train"].labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("names", "texts", "indices"),
    [
        ("1\n2\n3\n", "012", [0, 1, 2]),
        ("1\n2\n3\n", "123", [0, 1, 2]),
        ("0\n1\n2\n", "021", [0, 2, 1]),
        ("10\n0\n", ["0", "10"], [1, 0]),
        ("10\nfig\n2\n", ["1", "10", "2"], [1, 0, 2]),
    ],
)
def test_all_labels_are_names_or_all_are_numbers_where_classes_are_named_by_numbers(
    tmp_path: Path, names: str, texts: Sequence[str], indices: list[int]
) -> None:
    (tmp_path / "classes.txt").write_text(names)
    dataset = open_shards([write(tmp_path / "0.tar", *labelled(texts))], "s")
    assert dataset.splits["train"].labels.tolist() == indices


@pytest.mark.parametrize(("names", "texts"), [("1\n0\n", "01"), ("1\n2\ncat\n", ["cat", "0", "1"])])
def test_a_label_that_may_be_a_name_or_a_number_is_refused(
    tmp_path: Path, names: str, texts: Sequence[str]
) -> None:
    (tmp_path / "classes.txt").write_text(names)
    shard = write(tmp_path / "0.tar", *labelled(texts))
    with pytest.raises(UsageError, match=r"the name of class . and the number of the class '.'"):
        open_shards([shard], "s")


def test_an_empty_line_between_class_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\n\nb\nc\n\n")
    shard = write(tmp_path / "0.tar", *labelled("012"))
    with pytest.raises(UsageError, match=r"line 2 of .*classes\.txt is empty"):
        open_shards([shard], "s")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n\n \n")
    assert open_shards([shard], "s").class_names == ("a", "b", "c")


def test_names_of_shards_tell_the_split(tmp_path: Path) -> None:
    shards = [
        write(tmp_path / f"{name}.tar", ("1.jpg", name.encode()), ("1.cls", b"1"))
        for name in ("set-train-000", "set-train-001", "set-val-000")
    ]
    dataset = open_shards(shards, "s")
    assert [len(dataset.splits[name]) for name in ("train", "validation")] == [2, 1]
    assert dataset.splits["validation"].encoded(0) == b"set-val-000"


def test_long_member_names_do_not_shift_the_offsets(tmp_path: Path) -> None:
    key = "deep/" * 40 + "x" * 150
    shard = write(tmp_path / "0.tar", (f"{key}.jpg", b"image"), (f"{key}.cls", b"3"))
    train = open_shards([shard], "s").splits["train"]
    assert train.encoded(0) == b"image"
    assert train.name(0) == f"{shard}:{key}.jpg"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.jpg", b"1")], r"images without label \(1\)"),
        ([("1.jpg", b"1"), ("1.json", b'{"width": 3}')], r"images without label \(1\)"),
        ([("1.jpg", b"1"), ("1.cls", b" \n")], r"images without label \(1\)"),
        ([("1.x.jpg", b"1"), ("1.y.jpg", b"1"), ("1.x.cls", b"0")], r"dot in their name.* \(2\)"),
        ([("1.cr2", b"1"), ("1.cls", b"0")], r"no labelled images.* \.cr2 files \(1\)"),
    ],
)
def test_shards_without_images_or_labels_are_explained(
    tmp_path: Path, members: list[tuple[str, bytes]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_shards([write(tmp_path / "0.tar", *members)], "s")


def test_label_outside_the_named_classes_is_explained(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("fig\npear\n")
    shard = write(tmp_path / "0.tar", ("1.jpg", b"1"), ("1.cls", b"2"))
    with pytest.raises(UsageError, match=r"label '2' .* none of the 2 classes"):
        open_shards([shard], "s")


def test_validation_class_must_be_known_from_training(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tar", ("1.jpg", b"1"), ("1.cls", b"fig"))
    val = write(tmp_path / "val.tar", ("1.jpg", b"1"), ("1.cls", b"kiwi"))
    with pytest.raises(UsageError, match="validation images of s have the class 'kiwi'"):
        open_shards([train, val], "s")


def test_compressed_and_damaged_shards_are_named(tmp_path: Path) -> None:
    compressed = write(tmp_path / "0.tar", ("1.jpg", b"1"), ("1.cls", b"1"), mode="w:gz")
    with pytest.raises(MixerError, match=r"0\.tar as a tar file .* uncompressed"):
        open_shards([compressed], "s")
    broken = write(tmp_path / "1.tar", ("1.jpg", b"1"), ("1.json", b"{"))
    with pytest.raises(MixerError, match=r"1\.tar:1\.json is not JSON"):
        open_shards([broken], "s")


PAIRS = [("1.jpg", b"1"), ("1.cls", b"0"), ("2.jpg", b"2"), ("2.cls", b"1")]
"""Four members of two blocks each: the third begins at byte 2,048, the end mark at 4,096."""


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("mode", ["w", "w|"])
@pytest.mark.parametrize(
    ("length", "message"),
    [
        (2048, "stops at byte 2,048 without the 1,024 bytes of zeros"),
        (2048 + 300, "header at byte 2,048 is damaged or cut off"),
        (2048 + 512, "unexpected end of data"),
        (2048 + 700, "unexpected end of data"),
        (4096, "stops at byte 4,096 without the 1,024 bytes of zeros"),
        (4096 + 300, "stops at byte 4,396 without the 1,024 bytes of zeros"),
    ],
)
def test_a_shard_that_was_cut_off_is_refused(
    tmp_path: Path, labelled: bool, mode: str, length: int, message: str
) -> None:
    shard = write(tmp_path / "0.tar", *PAIRS, mode=mode)
    assert len(index_shards([shard], labelled=labelled).size) == 2
    os.truncate(shard, length)
    with pytest.raises(MixerError, match=rf"0\.tar as a tar file .*{message}.* must be whole"):
        index_shards([shard], labelled=labelled)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("place", [0, 100, 150, 511])
def test_a_shard_with_a_damaged_header_is_refused(
    tmp_path: Path, labelled: bool, place: int
) -> None:
    shard = write(tmp_path / "0.tar", *PAIRS)
    content = bytearray(shard.read_bytes())
    content[2048 + place] ^= 0x55
    shard.write_bytes(content)
    with pytest.raises(MixerError, match=r"header at byte 2,048 is damaged.* must be whole"):
        index_shards([shard], labelled=labelled)


def test_one_block_of_zeros_is_an_end(tmp_path: Path) -> None:
    shard = write(tmp_path / "0.tar", *PAIRS)
    os.truncate(shard, 4096 + 512)
    assert len(index_shards([shard]).size) == 2


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    shard = write(
        tmp_path / "0.tar",
        *[("1.jpg", b"1"), ("1.cls", b"0"), ("2.jpg", b"2"), ("2.cls", b"1")],
        *[("3.jpg", b"3"), ("4.jpg", b"4"), ("5.cls", b"0"), ("6.cls", b"0"), ("6.dng", b"6")],
        *[("2.jpg", b"second"), ("2.cls", b"2"), ("README", b"x"), ("._1.jpg", b"x")],
    )
    with tarfile.open(shard, "a") as tar:
        link = tarfile.TarInfo("7.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "1.jpg"
        tar.addfile(link)
    for _ in range(2):  # read, and taken from the index
        dataset = open_shards([shard], "s")
        assert dataset.passed_over == {
            "images without label": 2,
            "labels without image": 1,
            ".dng files": 1,
            "members before another of the same name": 2,
            "files without suffix": 1,
            "links and devices": 1,
        }
        train = dataset.splits["train"]
        assert dataset.class_names == ("0", "2")
        assert [train.encoded(index) for index in range(2)] == [b"1", b"second"]
        assert train.sizes().tolist() == [1, 6]


@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        (["0", "1", "2", "1"], ("0", "1", "2"), [0, 1, 2, 1]),
        ([0, 1.0, "1", "2.0"], ("0", "1", "2"), [0, 1, 1, 2]),
        ([1.0, 2, "3", "003"], ("1", "2", "3"), [0, 1, 2, 2]),
        ([5, 70001, 2000003, 5], ("5", "70001", "2000003"), [0, 1, 2, 0]),
        ([True, False, True, True], ("false", "true"), [1, 0, 1, 1]),
        (["1", "b", "1", "10"], ("1", "10", "b"), [0, 2, 0, 1]),
        (["9" * 30, "8", "8", "8"], ("8", "9" * 30), [1, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("kind", ["json", "cls"])
def test_numbers_are_indices_or_names(
    tmp_path: Path, labels: list[object], names: tuple[str, ...], indices: list[int], kind: str
) -> None:
    members = []
    for number, label in enumerate(labels):
        content = json.dumps({"label": label}) if kind == "json" else str(label).lower()
        members += [(f"{number}.jpg", b"x"), (f"{number}.{kind}", content.encode())]
    dataset = open_shards([write(tmp_path / "0.tar", *members)], "s")
    assert dataset.class_names == names
    assert dataset.splits["train"].labels.tolist() == indices


@pytest.mark.parametrize("label", [1.5, [[1]], {"id": 1}, float("nan")])
def test_a_label_that_is_no_class_is_named(tmp_path: Path, label: object) -> None:
    members = ("1.jpg", b"x"), ("1.json", json.dumps({"label": label}).encode())
    with pytest.raises(UsageError, match=r"0\.tar:1\.json has the label .* which is no class"):
        open_shards([write(tmp_path / "0.tar", *members)], "s")
