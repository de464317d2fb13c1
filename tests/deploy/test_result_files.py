"""The same rows as JSON lines, CSV and parquet."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mlpmixer.deploy.prediction_stream import Row
from mlpmixer.deploy.predictor import Prediction
from mlpmixer.deploy.result_files import NamedRow, write_rows

ROWS = [
    NamedRow("a, b.png", Row(0, (Prediction('the "rose"', 1, 0.75), Prediction("tulip", 2, 0.25)))),
    NamedRow("c.png", Row(1, error="it is empty")),
]


def test_json_lines_hold_an_object_a_picture(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "x", "jsonl", 2)
    first, second = map(json.loads, (tmp_path / "x").read_text().splitlines())
    assert first == {
        "picture": "a, b.png",
        "predictions": [
            {"label": 'the "rose"', "index": 1, "probability": 0.75},
            {"label": "tulip", "index": 2, "probability": 0.25},
        ],
    }
    assert second == {"picture": "c.png", "error": "it is empty"}


def test_csv_has_columns_for_each_of_the_classes(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "x", "csv", 2)
    with (tmp_path / "x").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["picture"], first["label_1"], first["index_2"]) == ("a, b.png", 'the "rose"', "2")
    assert float(first["probability_1"]) == 0.75
    assert (second["label_1"], second["error"]) == ("", "it is empty")


@pytest.mark.parametrize("copies", [1, 3000])
def test_parquet_has_lists_and_as_many_rows_as_there_are_pictures(
    copies: int, tmp_path: Path
) -> None:
    write_rows(ROWS * copies, tmp_path / "x", "parquet", 2)
    table = pq.read_table(tmp_path / "x")
    assert len(table) == 2 * copies
    first, second = table.slice(2 * copies - 2).to_pylist()
    assert first["labels"] == ['the "rose"', "tulip"]
    assert first["indices"] == [1, 2]
    assert first["probabilities"] == [0.75, 0.25]
    assert second["labels"] is None
    assert second["error"] == "it is empty"
