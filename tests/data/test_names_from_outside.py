"""Names of files and classes: printable, and compared in one form, wherever they enter."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.evaluate import images_for
from mlpmixer.formatting import printable
from mlpmixer.models.registry import create_model
from mlpmixer.weights.checkpoint import load

Encode = Callable[..., bytes]

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
UNUSUAL = {  # as bytes of a path, and as they are shown
    b"caf\xe9": r"caf\xe9",
    DECOMPOSED.encode(): COMPOSED,
    b"a\tb\nc\x1b[31m": r"a\tb\nc\x1b[31m",
    "ab\u202edc\u200f".encode(): r"ab\u202edc\u200f",
    "\ufeffbom\u00ad".encode(): r"\ufeffbom\xad",
    "line\u2028end".encode(): r"line\u2028end",
    "日本".encode(): "日本",
    "می\u200cخواهم".encode(): "می\u200cخواهم",
    b"<b>&{{x}}$y$[red]": "<b>&{{x}}$y$[red]",
}


def fill(root: Path, content: bytes, *folders: bytes) -> str:
    for folder in folders:
        path = os.path.join(os.fsencode(root), folder)
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, b"1.png"), "wb") as file:
            file.write(content)
    return str(root)


@pytest.mark.parametrize(("name", "shown"), UNUSUAL.items())
def test_a_class_folder_of_any_name_is_shown_in_printable_form(
    tmp_path: Path, encode: Encode, name: bytes, shown: str
) -> None:
    dataset = open_source(fill(tmp_path, encode(), name, b"plain"))
    assert sorted(dataset.class_names) == sorted([shown, "plain"])
    train = dataset.splits["train"]
    index = train.labels.tolist().index(dataset.class_names.index(shown))
    assert train.name(index) == f"{tmp_path}/{shown}/1.png"
    assert train.encoded(index) == encode()
    dataset.class_names[0].encode()
    assert printable(shown) == shown


@pytest.mark.parametrize(("name", "shown"), UNUSUAL.items())
def test_a_data_set_is_opened_by_what_it_calls_itself(
    tmp_path: Path, encode: Encode, name: bytes, shown: str
) -> None:
    fill(tmp_path, encode(), name + b"/x/a", name + b"/x/b")
    dataset = open_source(os.path.join(tmp_path, os.fsdecode(name), "x"))
    assert dataset.spec == f"{tmp_path}/{shown}/x"
    assert len(open_source(dataset.spec).splits["train"]) == 2


def test_folders_of_one_name_in_two_forms_are_one_class_and_named(
    tmp_path: Path, encode: Encode
) -> None:
    folders = [COMPOSED.encode(), DECOMPOSED.encode(), b"tea"]
    dataset = open_source(fill(tmp_path, encode(), *folders))
    assert dataset.class_names == (COMPOSED, "tea")
    assert dataset.splits["train"].labels.tolist() == [0, 0, 1]
    (note,) = dataset.notes
    assert ascii(COMPOSED) in note
    assert ascii(DECOMPOSED) in note


def test_classes_of_two_splits_are_compared_in_one_form(tmp_path: Path, encode: Encode) -> None:
    train = [b"train/" + name for name in (COMPOSED.encode(), b"tea", b"\xff")]
    val = [b"val/" + name for name in (DECOMPOSED.encode(), b"\xff")]
    dataset = open_source(fill(tmp_path, encode(), *train, *val))
    assert dataset.class_names == (r"\xff", COMPOSED, "tea")
    assert dataset.splits["validation"].labels.tolist() == [0, 1]


def test_class_names_in_shards_are_in_one_form(tmp_path: Path) -> None:
    labels = [COMPOSED.encode(), DECOMPOSED.encode(), b"caf\xe9", json.dumps("x\ud800").encode()]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, label in enumerate(labels):
            text = b'{"label": ' + label + b"}"
            kind, content = ("json", text) if label.startswith(b'"') else ("cls", label)
            for name, data in ((f"{number}.png", b"x"), (f"{number}.{kind}", content)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    dataset = open_source(str(tmp_path / "a.tar"))
    assert dataset.class_names == (r"caf\xe9", COMPOSED, r"x\ud800")
    assert dataset.splits["train"].labels.tolist() == [1, 1, 0, 2]


def test_classes_txt_is_in_one_form_and_names_no_class_twice(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (
            *(("1.png", b"x"), ("1.cls", DECOMPOSED.encode())),
            *(("2.png", b"x"), ("2.cls", b"1.0")),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    listing = tmp_path / "classes.txt"
    listing.write_bytes(b"\xef\xbb\xbf" + f"{COMPOSED}\r\nt\xe9".encode() + b"\xe9\r\n\r\n")
    dataset = open_source(str(tmp_path / "a.tar"))
    assert dataset.class_names == (COMPOSED, "té\\xe9")
    assert dataset.splits["train"].labels.tolist() == [0, 1]
    listing.write_text(f"{COMPOSED}\n{DECOMPOSED}\n")
    with pytest.raises(UsageError, match=f"'{COMPOSED}' twice"):
        open_source(str(tmp_path / "a.tar"))


def test_class_names_in_tables_are_in_one_form(tmp_path: Path, encode: Encode) -> None:
    images = [{"bytes": encode()}] * 3
    text = pa.array([COMPOSED.encode(), DECOMPOSED.encode(), b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"image": images, "label": text}), tmp_path / "x.parquet")
    dataset = open_source(str(tmp_path / "x.parquet"))
    assert dataset.class_names == (r"caf\xe9", COMPOSED)
    assert dataset.splits["train"].labels.tolist() == [1, 1, 0]


def test_two_classes_of_one_name_are_told_apart(tmp_path: Path, encode: Encode) -> None:
    table = pa.table({"image": [{"bytes": encode()}] * 3, "label": [0, 1, 2]})
    names = ["crane", DECOMPOSED, "crane"]
    features = {"label": {"_type": "ClassLabel", "names": names}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "x.parquet")
    dataset = open_source(str(tmp_path / "x.parquet"))
    assert dataset.class_names == ("crane (0)", COMPOSED, "crane (2)")


def test_classes_of_a_model_and_of_data_are_compared_in_one_form(
    tmp_path: Path, encode: Encode
) -> None:
    model = create_model("mixer_nano", image_size=8, num_classes=2, patch_size=4, depth=1)
    model.save(tmp_path / "model.safetensors", class_names=["tea", DECOMPOSED])
    dataset = open_source(fill(tmp_path / "data", encode(), DECOMPOSED.encode(), b"tea"))
    _, split = images_for(load(tmp_path / "model.safetensors"), dataset, None)
    assert split.labels.tolist() == [1, 0]
