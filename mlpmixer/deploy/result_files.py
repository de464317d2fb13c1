"""Predictions as files: JSON lines, CSV and parquet, a row a picture, written row by row."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mlpmixer.deploy.prediction_stream import Row
from mlpmixer.json_text import json_text

_BATCH = 4096
_SCHEMA = pa.schema(
    [
        ("picture", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("indices", pa.list_(pa.int32())),
        ("probabilities", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)


class NamedRow(NamedTuple):
    """A row with the name of its picture."""

    picture: str
    row: Row

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        if self.row.error is not None:
            return {"picture": self.picture, "error": self.row.error}
        found = [
            {"label": one.label, "index": one.index, "probability": one.probability}
            for one in self.row.predictions
        ]
        return {"picture": self.picture, "predictions": found}


def write_json_lines(rows: Iterable[NamedRow], file: IO[bytes], k: int) -> None:
    """Write an object a line."""
    for row in rows:
        file.write(json_text(row.to_json()).encode() + b"\n")


def write_csv(rows: Iterable[NamedRow], file: IO[bytes], k: int) -> None:
    """Write a table with a header: the picture, `k` times label, index, probability, the error."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["picture"]
        + [f"{kind}_{n}" for n in range(1, k + 1) for kind in ("label", "index", "probability")]
        + ["error"]
    )
    for picture, row in rows:
        cells = [
            cell for one in row.predictions for cell in (one.label, one.index, one.probability)
        ]
        cells = cells or [""] * (3 * k)
        writer.writerow([picture, *cells, row.error or ""])
    text.detach()


def write_parquet(rows: Iterable[NamedRow], file: IO[bytes], k: int) -> None:
    """Write a table whose columns for labels, indices and probabilities hold lists."""
    with pq.ParquetWriter(file, _SCHEMA) as writer:
        for batch in _batches(rows):
            columns = [
                [one.picture for one in batch],
                *(
                    [
                        None if one.row.error else [getattr(p, field) for p in one.row.predictions]
                        for one in batch
                    ]
                    for field in ("label", "index", "probability")
                ),
                [one.row.error for one in batch],
            ]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))


Writer = Callable[[Iterable[NamedRow], IO[bytes], int], None]
WRITERS: dict[str, Writer] = {
    "jsonl": write_json_lines,
    "csv": write_csv,
    "parquet": write_parquet,
}


def write_rows(rows: Iterable[NamedRow], path: Path, kind: str, k: int) -> None:
    """Write rows to a file of a kind in WRITERS."""
    with path.open("wb") as file:
        WRITERS[kind](rows, file, k)


def _batches(rows: Iterable[NamedRow]) -> Iterator[list[NamedRow]]:
    batch: list[NamedRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
