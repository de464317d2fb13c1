"""What a user names on the command line, as pictures in one order."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flower_model import save_pictures
from PIL import Image

from mlpmixer.data.picture import UnreadableImage, decode
from mlpmixer.data.unlabelled import Pictures, find_pictures
from mlpmixer.errors import UsageError


def names(pictures: Pictures) -> list[str]:
    return [Path(pictures.name(index)).name for index in range(len(pictures))]


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def test_a_folder_gives_its_images_at_any_depth_and_says_what_it_passes_over(
    tmp_path: Path,
) -> None:
    save_pictures(tmp_path, 2)
    save_pictures(tmp_path / "more" / "deep", 1)
    (tmp_path / "notes.txt").write_text("x")
    found = find_pictures([str(tmp_path)])
    assert names(found.pictures) == ["00.png", "01.png", "00.png"]
    assert found.passed_over == {".txt files": 1}
    assert found.pictures.path(2) == tmp_path / "more" / "deep" / "00.png"


def test_a_pattern_gives_images_alone_and_a_named_file_counts_whatever_its_suffix(
    tmp_path: Path,
) -> None:
    first, _ = save_pictures(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("x")
    found = find_pictures([str(tmp_path / "*")])
    assert names(found.pictures) == ["00.png", "01.png"]
    assert found.passed_over == {".txt files": 1}
    bare = first.rename(tmp_path / "upload")
    assert names(find_pictures([str(bare)]).pictures) == ["upload"]


def test_a_pattern_reaches_into_folders_and_brackets_may_be_part_of_a_name(tmp_path: Path) -> None:
    save_pictures(tmp_path / "a" / "b", 1)
    (odd,) = save_pictures(tmp_path / "holiday [2024]", 1)
    assert len(find_pictures([str(tmp_path / "**" / "*.png")]).pictures) == 2
    assert names(find_pictures([str(odd)]).pictures) == ["00.png"]


def test_inputs_keep_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    first, second, third = map(str, save_pictures(tmp_path, 3))
    assert names(find_pictures([third, first, second]).pictures) == ["02.png", "00.png", "01.png"]


def test_all_images_of_a_shard_count_labelled_or_not(tmp_path: Path) -> None:
    (file,) = save_pictures(tmp_path / "in", 1)
    content = file.read_bytes()
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in ("a.png", "b.v2.png", "._c.png", "a.cls", "b.txt"):
            add(tar, name, content)
    found = find_pictures([str(tmp_path / "0.tar")])
    assert [found.pictures.name(i).rpartition(":")[2] for i in (0, 1)] == ["a.png", "b.v2.png"]
    assert len(found.pictures) == 2
    assert found.pictures.encoded(1) == content
    assert found.passed_over == {".txt files": 1}
    assert found.pictures.path(0) is None


def test_of_two_members_of_one_name_the_last_one_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        add(tar, "a.png", b"old")
        add(tar, "a.png", b"new")
    pictures = find_pictures([str(tmp_path / "0.tar")]).pictures
    assert [pictures.encoded(index) for index in range(len(pictures))] == [b"new"]


def test_parquet_without_labels_gives_its_images(tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in save_pictures(tmp_path / "in", 3)]
    table = pa.table({"image": [{"bytes": one, "path": "x.png"} for one in contents]})
    pq.write_table(table, tmp_path / "photos.parquet")
    pictures = find_pictures([str(tmp_path / "photos.parquet")]).pictures
    assert [pictures.encoded(index) for index in range(3)] == contents
    assert pictures.name(2) == f"{tmp_path}/photos.parquet row 2"
    (tmp_path / "in").rename(tmp_path / ".in")
    assert len(find_pictures([str(tmp_path)]).pictures) == 3


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_standard_input_gives_paths(tmp_path: Path, separator: bytes) -> None:
    paths = save_pictures(tmp_path, 3)
    text = separator.join(str(path).encode() for path in paths) + separator
    assert names(find_pictures(["-"], text).pictures) == ["00.png", "01.png", "02.png"]


def test_standard_input_gives_the_bytes_of_an_image(tmp_path: Path) -> None:
    (path,) = save_pictures(tmp_path, 1)
    pictures = find_pictures(["-"], path.read_bytes()).pictures
    assert len(pictures) == 1
    assert (np.asarray(decode(pictures, 0)) == np.asarray(Image.open(path))).all()
    assert pictures.name(0) == "standard input"


def test_a_listed_file_that_is_gone_is_unreadable_by_itself(tmp_path: Path) -> None:
    (path,) = save_pictures(tmp_path, 1)
    pictures = find_pictures(["-"], f"{path}\n{tmp_path}/gone.png\n".encode()).pictures
    assert decode(pictures, 0).size == (48, 40)
    with pytest.raises(UnreadableImage, match=r"gone\.png: No such file"):
        decode(pictures, 1)


@pytest.mark.parametrize(
    ("words", "given", "reason"),
    [
        (["https://example.org/rose.jpg"], b"", "is an address, and only files are read"),
        (["-"], b"s3://bucket/rose.jpg\n", "is an address, and only files are read"),
        (["-"], b" \n", "standard input is empty"),
        (["-"], b"nowhere.jpg\n", "standard input names no file"),
        (["no-such.jpg"], b"", "no file or folder no-such.jpg"),
        (["no-such-*.jpg"], b"", "no file matches"),
        (["."], b"", "no pictures in ."),
    ],
)
def test_what_is_no_picture_is_refused(
    words: list[str],
    given: bytes,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=reason):
        find_pictures(words, given)


def test_bytes_that_are_neither_image_nor_paths_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="neither an image"):
        find_pictures(["-"], b"\x89PN\x01\x02 damaged")


def test_the_key_follows_names_order_and_sizes(tmp_path: Path) -> None:
    first, second = save_pictures(tmp_path, 2)
    digest = find_pictures([str(tmp_path)]).pictures.digest()
    assert find_pictures([str(first), str(second)]).pictures.digest() == digest
    assert find_pictures([str(second), str(first)]).pictures.digest() != digest
    first.write_bytes(first.read_bytes() + b"\0")
    assert find_pictures([str(tmp_path)]).pictures.digest() != digest
