"""`mixer predict` from end to end."""

import io
import json
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from flower_model import NAMES, flower_model, save_pictures

import mlpmixer
from mlpmixer.cli.main import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "flowers.safetensors"
    flower_model().save(path)
    return str(path)


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path / "data_home"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_pictures(tmp_path / "photos", 4)
    return tmp_path / "photos"


def run(*given: object) -> int:
    return main(["predict", *map(str, given), "--engine", "eager"])


def test_a_table_names_each_picture_with_its_classes(
    model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, photos) == 0
    said = capsys.readouterr()
    expected = mlpmixer.Predictor.load(model, engine="eager")(sorted(photos.iterdir()))
    lines = said.out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("picture"))
    for line, path, ranked in zip(
        lines[start + 1 :], sorted(photos.iterdir()), expected, strict=True
    ):
        first, *others = ranked
        share = f"{100 * first.probability:.1f}"
        assert line.split()[:4] == [str(path), share, "%", first.label]
        assert all(one.label in line for one in others)


def test_json_has_everything(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "03.png").write_bytes(b"")
    assert run(model, photos, "--json", "-k", 2) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["pictures"] == 4
    assert len(record["predictions"]) == 3
    assert all(len(one["predictions"]) == 2 for one in record["predictions"])
    assert record["unreadable"] == [{"picture": str(photos / "03.png"), "error": "it is empty"}]


def test_unreadable_pictures_are_named_last_and_all_others_are_done(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "01.png").write_bytes(b"damaged")
    out = tmp_path / "answers.parquet"
    assert run(model, photos, "--out", out) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"warning: cannot read {photos}/01.png: not an image of a known format"
    )
    table = pq.read_table(out).to_pylist()
    assert [row["error"] is None for row in table] == [True, False, True, True]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_standard_output_carries_the_rows_alone(
    model: str, photos: Path, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"answers.{form}"
    assert run(model, photos, "--out", out) == 0
    capsys.readouterr()
    assert run(model, photos, "--format", form) == 0
    assert capsys.readouterr().out == out.read_text()


class Piped(io.StringIO):
    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("as_paths", [True, False])
def test_standard_input_is_read(
    model: str,
    photos: Path,
    as_paths: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = photos / "00.png"
    content = f"{first}\n".encode() if as_paths else first.read_bytes()
    monkeypatch.setattr(sys, "stdin", Piped(content))
    assert run(model, "-", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert found["picture"] == (str(first) if as_paths else "standard input")
    (alone,) = mlpmixer.Predictor.load(model, engine="eager")([first])
    assert [one["label"] for one in found["predictions"]] == [one.label for one in alone]


def test_pictures_are_sorted_drawn_and_written_in_one_go(
    model: str, photos: Path, tmp_path: Path
) -> None:
    (photos / "02.png").write_bytes(b"damaged")
    out, sheet, folders = tmp_path / "a.jsonl", tmp_path / "a.html", tmp_path / "sorted"
    assert run(model, photos, "--out", out, "--sheet", sheet, "--sort-into", folders) == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    expected = {
        f"{row['predictions'][0]['label']}/{Path(row['picture']).name}"
        for row in rows
        if "error" not in row
    }
    found = {str(path.relative_to(folders)) for path in folders.rglob("*.png")}
    assert found == expected
    assert len(found) == 3
    assert sheet.read_text().count("<img") == 3


def test_a_model_without_names_gives_numbers_and_says_so_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.safetensors"
    flower_model(names=None).save(bare)
    assert run(bare, photos) == 0
    said = capsys.readouterr().out
    assert said.count("does not name its classes") == 1
    assert "--class-names FILE" in said
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES))
    assert run(bare, photos, "--class-names", names) == 0
    said = capsys.readouterr().out
    assert "does not name" not in said
    assert any(name in said for name in NAMES)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["-k", "4"], "4 most probable classes were asked for: the model has 3, give 1 to 3"),
        (["--format", "parquet"], "--out FILE.parquet"),
        (["--out", "x.xlsx"], ".jsonl, .csv, .parquet"),
        (["--out", "photos", "--format", "csv"], "cannot write photos: it is a folder"),
        (["--sort-into", "photos/sorted"], "Name a folder beside it"),
        (["--resume"], "give --out too"),
        (["--link"], "belongs to --sort-into"),
        (["--sheet", "x.gif"], ".html or .png"),
        (["--json", "--format", "csv"], "exclude each other"),
        (["--device", "tpu"], "'tpu'"),
        (["--precision", "int4"], "int4"),
    ],
)
def test_wrong_use_is_refused_before_any_work(
    given: list[str],
    expected: str,
    model: str,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photos.parent)
    monkeypatch.setattr(
        "mlpmixer.deploy.predict.PredictionRun.run", lambda *_: pytest.fail("begun")
    )
    assert run(model, photos, *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos"]


def test_links_into_a_shard_are_refused(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        tar.add(photos / "00.png", "00.png")
    assert run(model, tmp_path / "0.tar", "--sort-into", tmp_path / "sorted", "--link") == 2
    assert "--link needs files" in capsys.readouterr().err
    assert not (tmp_path / "sorted").exists()


@pytest.mark.parametrize(
    ("model_named", "picture", "expected", "status"),
    [
        (None, "https://example.org/a.jpg", "only files are read", 2),
        (None, "nowhere/", "no file or folder nowhere/", 2),
        ("nowhere.safetensors", "photos", "nowhere.safetensors", 2),
        ("photos/00.png", "photos", "00.png", 2),
    ],
)
def test_no_model_and_no_picture_are_told_in_a_line(
    model_named: str | None,
    picture: str,
    expected: str,
    status: int,
    model: str,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photos.parent)
    assert run(model_named or model, picture) == status
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) <= 2
