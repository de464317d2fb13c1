"""Pictures in class folders: whole, and nothing written over."""

import errno
import tarfile
from pathlib import Path

import pytest
from flower_model import save_pictures

from mlpmixer.data.unlabelled import Pictures, find_pictures
from mlpmixer.deploy.sorting import ClassFolders, folder_names
from mlpmixer.errors import MixerError

NAMES = ("daisy", "rose")


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def pictures_in(*places: Path) -> Pictures:
    return find_pictures([str(place) for place in places]).pictures


def test_pictures_are_copied_into_the_folders_of_their_classes(tmp_path: Path) -> None:
    first, second = save_pictures(tmp_path / "in", 2)
    folders = ClassFolders(tmp_path / "out", NAMES)
    pictures = pictures_in(first, second)
    folders.place(pictures, 0, 1)
    folders.place(pictures, 1, 0)
    expected = {"rose/00.png": first.read_bytes(), "daisy/01.png": second.read_bytes()}
    assert files(tmp_path / "out") == expected
    assert folders.outcome.placed == 2


def test_another_file_of_the_same_name_stays_and_the_new_one_gets_a_number(tmp_path: Path) -> None:
    (mine,) = save_pictures(tmp_path / "in", 1)
    there = tmp_path / "out" / "rose" / "00.png"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"something else")
    folders = ClassFolders(tmp_path / "out", NAMES)
    folders.place(pictures_in(mine), 0, 1)
    expected = {"rose/00.png": b"something else", "rose/00-2.png": mine.read_bytes()}
    assert files(tmp_path / "out") == expected


def test_sorting_again_changes_nothing(tmp_path: Path) -> None:
    (mine,) = save_pictures(tmp_path / "in", 1)
    for link in (False, True):
        out = tmp_path / f"out-{link}"
        for placed, present in ((1, 0), (0, 1)):
            folders = ClassFolders(out, NAMES, link=link)
            folders.place(pictures_in(mine), 0, 1)
            assert (folders.outcome.placed, folders.outcome.present) == (placed, present)
        assert files(out) == {"rose/00.png": mine.read_bytes()}


@pytest.mark.parametrize("present", [True, False])
def test_a_file_system_without_second_names_will_do(
    present: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    (mine,) = save_pictures(tmp_path / "in", 1)
    there = tmp_path / "out" / "rose" / "00.png"
    there.parent.mkdir(parents=True)
    if present:
        there.write_bytes(b"something else")
    monkeypatch.setattr("os.link", refuse)
    ClassFolders(tmp_path / "out", NAMES).place(pictures_in(mine), 0, 1)
    placed = {"rose/00-2.png" if present else "rose/00.png": mine.read_bytes()}
    others = {"rose/00.png": b"something else"} if present else {}
    assert files(tmp_path / "out") == {**placed, **others}


def test_links_lead_to_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine,) = save_pictures(tmp_path / "in", 1)
    monkeypatch.chdir(tmp_path)
    ClassFolders(Path("out"), NAMES, link=True).place(pictures_in(Path("in/00.png")), 0, 0)
    placed = tmp_path / "out" / "daisy" / "00.png"
    assert placed.is_symlink()
    assert placed.resolve() == mine.resolve()


def test_a_picture_inside_of_a_shard_keeps_its_own_name(tmp_path: Path) -> None:
    (mine,) = save_pictures(tmp_path / "in", 1)
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        tar.add(mine, "deep/../../photo.png")
    pictures = pictures_in(tmp_path / "0.tar")
    ClassFolders(tmp_path / "out", NAMES).place(pictures, 0, 0)
    assert files(tmp_path / "out") == {"daisy/photo.png": mine.read_bytes()}


def test_one_from_standard_input_is_named_by_its_kind(tmp_path: Path) -> None:
    (mine,) = save_pictures(tmp_path / "in", 1)
    pictures = find_pictures(["-"], mine.read_bytes()).pictures
    ClassFolders(tmp_path / "out", NAMES).place(pictures, 0, 0)
    assert files(tmp_path / "out") == {"daisy/standard-input.png": mine.read_bytes()}


def test_no_class_name_leads_out_of_the_folder_and_no_two_share_one() -> None:
    names = folder_names(["../up", "a/b", "a_b", "A_B", "..", "", "rose\n", "x" * 999, "é" * 999])
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert Path(name).name == name
        assert name not in ("", ".", "..")
        assert len(name.encode()) <= 255


def test_a_number_that_another_class_is_called_by_is_not_given() -> None:
    assert folder_names(["a/b", "a_b (2)", "a:b"]) == ["a_b", "a_b (2)", "a_b (3)"]
    assert folder_names(["A_B (1)", "a/b", "a:b", "a*b"]) == [
        "A_B (1)",
        "a_b",
        "a_b (2)",
        "a_b (3)",
    ]


def test_no_class_name_is_that_of_a_device_of_windows() -> None:
    assert folder_names(["NUL", "con.fusion", "Lpt1 ", "COM¹", "_nul"]) == [
        "_NUL",
        "_con.fusion",
        "_Lpt1",
        "_COM¹",
        "_nul (4)",
    ]
    others = ["conifer", "null", "com", "auxiliary", "lpt12"]
    assert folder_names(others) == others


def test_a_failure_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine,) = save_pictures(tmp_path / "in", 1)
    pictures = pictures_in(mine)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MixerError, match=r"cannot put .*00\.png into .*No space left"):
        ClassFolders(tmp_path / "out", NAMES).place(pictures, 0, 0)
    assert files(tmp_path / "out") == {}
