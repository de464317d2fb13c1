"""What a user gets of a prediction: a file, class folders, a contact sheet, some rows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mlpmixer.data.unlabelled import Pictures
from mlpmixer.deploy.predict import Results, write_results
from mlpmixer.deploy.prediction_sheet import spread, write_sheet
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.deploy.result_files import WRITERS, NamedRow
from mlpmixer.deploy.sorting import ClassFolders, Sorted


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What is asked for."""

    title: str
    """Whose predictions these are."""
    k: int
    """Classes a picture."""
    kind: str | None = None
    """One of WRITERS; None: no file."""
    out: Path | None = None
    """The file, of `kind`."""
    stream: IO[bytes] | None = None
    """What takes `kind` where there is no `out`."""
    sheet: Path | None = None
    sort_into: Path | None = None
    link: bool = False
    rows: int = 0
    """How many of the first rows to return."""
    errors: int = 0
    """How many of the first unreadable pictures to return."""


@dataclass
class Outcome:
    """What was done; of the rows and errors the first ones that are wanted."""

    pictures: int
    rows: list[NamedRow] = field(default_factory=list)
    unreadable: int = 0
    errors: list[NamedRow] = field(default_factory=list)
    sorted: Sorted | None = None


def deliver(
    results: Results, predictor: Predictor, pictures: Pictures, wanted: OutputOptions
) -> Outcome:
    """Sort, draw and write what is wanted, the file last.

    Raises MixerError where something cannot be written.
    """
    outcome = Outcome(len(pictures))
    folders = None
    if wanted.sort_into is not None:
        folders = ClassFolders(wanted.sort_into, predictor.class_names, link=wanted.link)
        outcome.sorted = folders.outcome
    drawn = spread(len(pictures)) if wanted.sheet is not None else set()
    on_sheet: list[NamedRow] = []
    for named in results:
        row = named.row
        if len(outcome.rows) < wanted.rows:
            outcome.rows.append(named)
        if row.error is not None:
            outcome.unreadable += 1
            if len(outcome.errors) < wanted.errors:
                outcome.errors.append(named)
            continue
        if folders is not None:
            folders.place(pictures, row.position, row.predictions[0].index)
        if row.position in drawn:
            on_sheet.append(named)
    if wanted.sheet is not None:
        sixteen_bit = predictor.model.preprocessing.sixteen_bit
        write_sheet(wanted.sheet, wanted.title, len(pictures), on_sheet, pictures, sixteen_bit)
    if wanted.kind is not None and wanted.out is not None:
        write_results(results, wanted.out, wanted.kind, wanted.k)
    elif wanted.kind is not None and wanted.stream is not None:
        WRITERS[wanted.kind](results, wanted.stream, wanted.k)
        wanted.stream.flush()
    return outcome
