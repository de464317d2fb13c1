import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpmixer.cli.data import run
from mlpmixer.data.picture import decode
from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError


def test_a_pack_is_read_by_the_verb_that_looks_at_sources(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "packed"
    assert run(["pack", str(photo_folder), str(out)]) == 0
    assert f"{out}: 60 images in 2 shards" in capsys.readouterr().out
    assert run([str(out), "--verify", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["splits"]["train"]["per_class"] == [15, 15, 15]
    assert record["damaged_shards"] == {}


def test_verifying_notices_a_damaged_shard(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "packed"
    run(["pack", str(photo_folder), str(out)])
    shard = out / "train-00000.tar"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1  # of the padding: no image is touched
    shard.write_bytes(content)
    assert run([str(out), "--verify"]) == 1
    assert f"{shard} is damaged: its bytes have changed" in capsys.readouterr().err


def test_unreadable_images_are_named_and_fail(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    for name in ("zero", "one"):
        (source / name).mkdir(parents=True)
        (source / name / "a.png").write_bytes((photo_folder / f"train/{name}/05.png").read_bytes())
    (source / "one" / "bad.png").write_text("no picture")
    assert run(["pack", str(source), str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "left out: 1 unreadable image\n" in said.out
    assert "bad.png: not an image of a known format" in said.err


def test_json_is_all_that_standard_output_carries(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["pack", str(photo_folder), str(out), "--json", "--max-side", "16"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [shard["images"] for shard in record["shards"]] == [45, 15]
    assert record["out"] == str(out)


def test_dark_pictures_of_sixteen_bits_are_said_and_can_be_stretched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.linspace(0, 1023, 40 * 40).reshape(40, 40).astype(np.uint16)  # of ten bits
    for name in ("ant", "bee"):
        (tmp_path / "source" / name).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "source" / name / "x.png")
    brightest = {}
    for how in ("full", "range"):
        out = tmp_path / how
        arguments = [str(tmp_path / "source"), str(out), "--max-side", "32", "--sixteen-bit", how]
        assert run(["pack", *arguments]) == 0
        assert ("use 10 of them, so they are dark" in capsys.readouterr().err) == (how == "full")
        brightest[how] = np.asarray(decode(open_source(str(out)).splits["train"], 0)).max()
    assert brightest["full"] < 8
    assert brightest["range"] > 240


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-side", "8"], "--max-side 8 is out of range"),
        (["--quality", "101"], "--quality 101"),
        (["--shard-megabytes", "0"], "--shard-megabytes 0"),
        (["--side", "64"], "--side"),
    ],
)
def test_values_out_of_range_are_refused(
    photo_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(["pack", str(photo_folder), str(tmp_path / "out"), *arguments])
    assert message.split(" is ")[0] in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_wrong_folders_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file or folder"):
        run(["pack", str(tmp_path / "nothing"), str(tmp_path / "out")])
    with pytest.raises(UsageError, match="lies in the source"):
        run(["pack", str(photo_folder), str(photo_folder / "packed")])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        run(["pack", str(photo_folder), str(tmp_path / "file")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="already holds something else"):
        run(["pack", str(photo_folder), str(tmp_path / "full")])
