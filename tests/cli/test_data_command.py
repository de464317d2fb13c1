import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mlpmixer.cli.data import run
from mlpmixer.errors import UsageError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with two classes, three whole images and one damaged."""
    root = tmp_path / "photos"
    for name, color in (("ant/1", "red"), ("ant/2", "blue"), ("bee/1", "green")):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), color).save(path)
    return root


def test_a_pipe_gets_plain_lines(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(photos)]) == 0
    out = capsys.readouterr().out
    assert f"{photos}: 3 images, 2 classes" in out
    assert "train: 3 images, 1 to 2 a class, all 12x10" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["train", "class"] in rows
    assert ["2", "ant"] in rows
    assert ["1", "bee"] in rows
    assert "\x1b" not in out


def test_json_is_all_that_standard_output_carries(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert run([str(photos), "--json", "--out", str(sheet)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["class_names"] == ["ant", "bee"]
    assert record["splits"]["train"]["per_class"] == [2, 1]
    assert record["contact_sheet"] == str(sheet)


def test_contact_sheet_is_written_whole(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheets" / "photos.png"
    run([str(photos), "--out", str(sheet)])
    with Image.open(sheet) as image:
        image.load()
    assert list(sheet.parent.iterdir()) == [sheet]


def test_nothing_is_written_unless_asked(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    run(["photos"])
    assert list(photos.parent.iterdir()) == [photos]


def test_unreadable_images_are_named_and_fail(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "ant" / "text.jpg").write_text("no picture")
    assert run([str(photos)]) == 1
    said = capsys.readouterr()
    assert "1 unreadable" in said.out
    assert "text.jpg: not an image of a known format" in said.err


def test_damage_behind_the_header_is_found_on_request(photos: Path) -> None:
    whole = (photos / "ant" / "1.png").read_bytes()
    (photos / "ant" / "cut.png").write_bytes(whole[:45])
    assert run([str(photos)]) == 0
    assert run([str(photos), "--verify"]) == 1


def test_a_person_gets_a_table_with_bars(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    run([str(photos)])
    out = capsys.readouterr().out
    assert "█" in out
    assert "--out sheet.png" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "--out", "sheet.txt"], r"sheet\.txt.*\.png"),
        (
            ["digits", "--split", "validation", "--out", "sheet.png"],
            "no split 'validation': it has train, test",
        ),
        (["cifar11"], "Did you mean cifar10"),
    ],
)
def test_wrong_use_is_explained(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(arguments)


def test_importing_the_verb_is_light() -> None:
    heavy = "torch", "timm", "matplotlib", "datasets", "pyarrow", "sklearn"
    code = f"import sys, mlpmixer.cli.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_passed_over_and_copies_are_remarked(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "bee" / "notes.txt").touch()
    (photos / "bee" / "copy.png").write_bytes((photos / "ant" / "1.png").read_bytes())
    assert run([str(photos)]) == 0
    out = capsys.readouterr().out
    assert "note: passed over: .txt files (1)" in out
    assert "note: train images that are copies of other train images: 1 of 4, such as" in out
    assert "note: images of which a copy has another label: 2" in out
    assert run([str(photos), "--json", "--duplicates"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["passed_over"] == {".txt files": 1}
    assert record["duplicates"]["within"] == {"train": 1}
    assert record["near_duplicates"]["within"] == {}  # pictures of one colour


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_of_any_form_are_printed_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    for name in (b"caf\xe9", "日本".encode(), "e\u0301".encode(), b"a\nb"):
        folder = os.path.join(os.fsencode(tmp_path), b"t\xe9", name)
        os.makedirs(folder)
        Image.new("RGB", (9, 9)).save(os.path.join(folder, b"\xff.png"))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for arguments in (["data"], ["data", "--json"], ["data", "--out", "sheet.png"]):
        command = [sys.executable, "-m", "mlpmixer.cli.main", *arguments, b"t\xe9"]
        done = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode(encoding)
