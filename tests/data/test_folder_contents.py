"""What a folder holds besides its images: links, what systems leave, files of other kinds."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from mlpmixer.data.sources.class_folders import open_folder
from mlpmixer.errors import UsageError

Encode = Callable[..., bytes]


@pytest.fixture
def pets(tmp_path: Path, encode: Encode) -> Path:
    """Return a folder with the classes cat and dog, of three images each."""
    root = tmp_path / "pets"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            (root / name / f"{number}.png").write_bytes(encode((number, 0, 0)))
    return root


def counts(root: Path) -> list[int]:
    """Return the images of each class."""
    dataset = open_folder(root, "pets")
    labels = dataset.splits["train"].labels.tolist()
    return [labels.count(label) for label in range(len(dataset.class_names))]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("cat/self", "."),
        ("cat/up", ".."),
        ("cat/further/up", "../../.."),
        ("cat/other", "../dog"),
        ("cat/whole", "{root}"),
        ("bird", "cat"),
        ("bird", "."),
        ("bird", "cat/kittens"),
    ],
)
def test_a_link_into_the_data_itself_adds_nothing(
    pets: Path, encode: Encode, link: str, target: str
) -> None:
    (pets / "cat" / "kittens").mkdir()
    (pets / "cat" / "kittens" / "4.png").write_bytes(encode())
    (pets / link).parent.mkdir(exist_ok=True)
    (pets / link).symlink_to(target.format(root=pets))
    assert counts(pets) == [4, 3]
    assert open_folder(pets, "pets").passed_over == {"links to folders that are read already": 1}


def test_links_to_elsewhere_are_followed_once(pets: Path, encode: Encode) -> None:
    store = pets.parent / "store"
    (store / "deep").mkdir(parents=True)
    (store / "deep" / "9.png").write_bytes(encode())
    (store / "again").symlink_to(".")
    (store / "pets").symlink_to(pets)
    (pets / "cat" / "a").symlink_to(store / "deep")
    (pets / "cat" / "b").symlink_to(store)
    (pets / "bird").symlink_to(store / "deep")
    dataset = open_folder(pets, "pets")
    assert dataset.class_names == ("bird", "cat", "dog")
    assert counts(pets) == [1, 3, 3]
    (pets / "bird").unlink()
    assert counts(pets) == [4, 3]


def test_links_to_files_count_once(pets: Path, encode: Encode) -> None:
    elsewhere = pets.parent / "x.png"
    elsewhere.write_bytes(encode())
    for name, target in (
        *(("again.png", "0.png"), ("other.png", "../dog/0.png"), ("gone.png", "nothing.png")),
        *(("x.png", elsewhere), ("y.png", elsewhere), ("round.png", "round.png")),
    ):
        (pets / "cat" / name).symlink_to(target)
    os.mkfifo(pets / "cat" / "pipe.png")
    assert counts(pets) == [4, 3]
    assert open_folder(pets, "pets").passed_over == {
        "links to files that are read already": 3,
        "links to nothing": 2,
        "pipes and devices": 1,
    }


def test_a_split_made_of_links_to_another_is_read(pets: Path) -> None:
    root = pets.parent / "data"
    (root / "val" / "cat").mkdir(parents=True)
    pets.rename(root / "train")
    (root / "val" / "cat" / "0.png").symlink_to("../../train/cat/0.png")
    (root / "val" / "dog").symlink_to("../train/dog")
    (root / "train" / "cat" / "val").symlink_to("../../val")
    dataset = open_folder(root, "x")
    assert dataset.splits["validation"].labels.tolist() == [0, 1, 1, 1]
    assert len(dataset.splits["train"]) == 6


@pytest.mark.parametrize(
    "name",
    [
        *(".git", ".ipynb_checkpoints", ".AppleDouble", ".Trash-1000", "__MACOSX", "@eaDir"),
        *("$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle", "__pycache__"),
        *("_gsdata_", "venv", "node_modules"),
    ],
)
def test_what_systems_leave_behind_is_no_class(pets: Path, encode: Encode, name: str) -> None:
    for folder in (pets, pets / "cat"):
        (folder / name).mkdir()
        (folder / name / "1.png").write_bytes(encode())
    for file in ("Thumbs.db", ".DS_Store", "desktop.ini", "cat/._1.png", "cat/Thumbs.db"):
        (pets / file).write_bytes(b"x")
    dataset = open_folder(pets, "pets")
    assert dataset.class_names == ("cat", "dog")
    assert counts(pets) == [3, 3]
    assert not dataset.remarks


def test_what_is_passed_over_is_counted_by_kind(pets: Path, encode: Encode) -> None:
    for number in range(30):
        (pets / "cat" / f"{number}.CR2").touch()
    for file in ("cat/notes.txt", "labels.txt", "dog/film.MP4", "dog/README", "dog/1.png.part"):
        (pets / file).touch()
    (pets / "loose.png").write_bytes(encode())
    dataset = open_folder(pets, "pets")
    assert dataset.passed_over == {
        ".cr2 files": 30,
        ".txt files": 2,
        ".mp4 files": 1,
        "files without suffix": 1,
        ".part files": 1,
        "images outside of class folders": 1,
    }
    assert dataset.remarks[-1].startswith("passed over: .cr2 files (30); .txt files (2); ")


def test_a_class_without_readable_images_says_what_it_holds(pets: Path) -> None:
    (pets / "bird").mkdir()
    (pets / "bird" / "1.cr2").touch()
    with pytest.raises(UsageError, match=r"bird has no images.* It holds \.cr2 files \(1\)"):
        open_folder(pets, "pets")


def test_avif_is_an_image_where_pillow_reads_it(pets: Path, encode: Encode) -> None:
    pytest.importorskip("PIL._avif")
    (pets / "cat" / "a.AVIF").write_bytes(encode(kind="AVIF"))
    assert counts(pets) == [4, 3]
    assert not open_folder(pets, "pets").passed_over


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="HEIC is read")
def test_heic_without_a_reader_says_what_it_needs(pets: Path) -> None:
    (pets / "cat" / "a.HEIC").touch()
    assert open_folder(pets, "pets").passed_over == {".heic files, which need pillow-heif": 1}


def test_heic_is_an_image_where_pillow_heif_is_installed(pets: Path, encode: Encode) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    (pets / "cat" / "a.heic").write_bytes(encode(kind="HEIF"))
    assert counts(pets) == [4, 3]
