import json
import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import (
    check_folder_writable,
    check_writable,
    located,
    replacing,
    write_bytes,
    write_json,
    write_text,
)
from mlpmixer.formatting import printable
from mlpmixer.run.directory import RunDirectory
from mlpmixer.weights.checkpoint import load


def test_a_file_is_replaced_and_missing_folders_are_made(tmp_path):
    path = tmp_path / "new" / "notes.txt"
    write_text(path, "old")
    write_text(path, "größer")
    assert path.read_text(encoding="utf-8") == "größer"
    assert os.listdir(path.parent) == ["notes.txt"]


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.safetensors"
    write_bytes(path, b"old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "figure.png"
    write_bytes(path, b"old")
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MixerError, match=r"cannot write .*out\.json"):
        write_text(tmp_path / "file" / "out.json", "x")


def test_an_error_about_another_file_keeps_its_own_message(tmp_path):
    path = tmp_path / "copy.txt"

    def copy_missing_file():
        with replacing(path) as temporary:
            temporary.write_bytes((tmp_path / "missing").read_bytes())

    with pytest.raises(FileNotFoundError, match="missing"):
        copy_missing_file()


def write_as_libraries_do(path):
    """Write a file that only its owner may read, and rename it, as tempfile's users do."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    os.close(descriptor)
    os.replace(name, path)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("write", [write_as_libraries_do, lambda path: path.write_bytes(b"x")])
def test_a_file_has_the_permissions_that_the_umask_gives(umask, mode, write, tmp_path):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "file") as temporary:
            write(temporary)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_json_has_null_for_numbers_that_json_lacks(tmp_path):
    path = tmp_path / "evaluation.json"
    write_json(
        path,
        {
            "loss": float("nan"),
            "bounds": (float("-inf"), 1.5),
            "array": np.array([[1.0, np.nan]]),
            "scalar": np.float32(0.5),
            "path": tmp_path,
            "name": "é",
        },
    )

    def reject(constant):
        raise AssertionError(constant)

    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=reject) == {
        "loss": None,
        "bounds": [None, 1.5],
        "array": [[1.0, None]],
        "scalar": 0.5,
        "path": str(tmp_path),
        "name": "é",
    }


def test_json_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"value": object()})
    assert not (tmp_path / "x.json").exists()


def test_text_with_bytes_that_are_not_utf8_is_written(tmp_path):
    write_text(tmp_path / "x.txt", "caf\udce9 \u00e9")
    assert (tmp_path / "x.txt").read_text("utf-8") == "caf\\udce9 \u00e9"
    write_json(tmp_path / "x.json", {"path": "caf\udce9 \u00e9"})
    assert json.loads((tmp_path / "x.json").read_bytes()) == {"path": "caf\udce9 \u00e9"}


@pytest.mark.parametrize("name", [b"caf\xe9", "cafe\u0301".encode(), b"a\tb"])
def test_a_path_is_located_by_its_printable_form(tmp_path, name):
    folder = tmp_path / os.fsdecode(name) / "x"
    folder.mkdir(parents=True)
    shown = Path(printable(str(folder)))
    assert shown != folder
    assert located(shown) == folder
    assert located(folder) == folder
    assert located(shown / "gone" / "y") == folder / "gone" / "y"
    (tmp_path / printable(os.fsdecode(name))).mkdir()
    assert located(shown.parent) == shown.parent


def test_a_path_that_libraries_do_not_take_is_refused_before_anything_is_written(tmp_path):
    run = tmp_path / os.fsdecode(b"r\xe9")
    with pytest.raises(UsageError, match="not UTF-8"):
        RunDirectory.create(run, "")
    assert not run.exists()
    run.mkdir()
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").rename(run / "model.safetensors")
    with pytest.raises(UsageError, match="not UTF-8"):
        load(run)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_a_file_is_replaced_by_a_file(tmp_path, make):
    path = tmp_path / "out"
    make(path)
    before = path.stat()
    with pytest.raises(UsageError, match=f"cannot write {path}: it is a "):
        write_text(path, "x")
    assert os.path.samestat(path.stat(), before)
    assert os.listdir(tmp_path) == ["out"]


def test_of_a_link_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link.txt", tmp_path / "far" / "file.txt"
    link.symlink_to(target)
    for text in ("new", "newer"):
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text


@pytest.mark.parametrize(
    "write", [lambda path: write_text(path, ""), check_writable, check_folder_writable]
)
def test_a_file_in_place_of_a_folder_is_called_so(tmp_path, write):
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(UsageError, match=rf"{file} is a file, not a folder\."):
        write(file / "new" / "x.txt")


def test_a_folder_that_nothing_may_be_written_into_is_told_beforehand(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "x.txt")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    for check in (check_writable, check_folder_writable):
        with pytest.raises(UsageError, match=f"no permission to write into {tmp_path}"):
            check(tmp_path / "new" / "x")
    assert not list(tmp_path.iterdir())


def test_a_link_is_written_in_the_format_that_its_own_name_says(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").symlink_to(tmp_path / "data")
    with replacing(tmp_path / "sheet.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"1")
    assert (tmp_path / "data").read_bytes() == b"1"
