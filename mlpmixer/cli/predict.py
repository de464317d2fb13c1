"""`mixer predict`: name what is in pictures."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mlpmixer.cli.options import parse
from mlpmixer.cli.table import print_table
from mlpmixer.errors import UsageError
from mlpmixer.files import check_folder_writable, check_writable
from mlpmixer.formatting import counted, percent, printable, shortened
from mlpmixer.values import Count, Workers

if TYPE_CHECKING:
    from mlpmixer.data.unlabelled import FoundPictures
    from mlpmixer.deploy.outcome import Outcome, OutputOptions
    from mlpmixer.deploy.predict import PredictionRun
    from mlpmixer.deploy.predictor import Predictor
    from mlpmixer.deploy.result_files import NamedRow
    from mlpmixer.ranks import Ranks
    from mlpmixer.run.console import Console

SHARES_WORK = True
_FORMATS = ("jsonl", "csv", "parquet")
_SHEETS = (".html", ".png")
_TOP = 5
_TABLE_ROWS = 1000
_BETWEEN = 2  # spaces behind a column
_MESSAGES = 20  # unreadable pictures listed, except as JSON


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Name what is in pictures: the most probable classes of each.

    Without --out the outcome is a table. Exit status 1 if a picture cannot be read: it is named at
    the end, and all others are done.

    Examples:
      mixer predict runs/digits photo.jpg
      mixer predict runs/flowers photos/ 'more/*.jpg' --out flowers.csv --sheet flowers.html
      mixer predict runs/flowers shards/ --out flowers.parquet --resume
      find photos -name '*.jpg' -print0 | mixer predict runs/flowers - --sort-into sorted/
      torchrun --nproc-per-node 2 -m mlpmixer predict runs/flowers photos/ --out flowers.csv
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A run directory, a model file, or hf-hub:user/name."""
    pictures: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PICTURE...", help_behavior_hint="(one or more)")
    ]
    """Files, folders, patterns, parquet files, tar shards; - reads paths, one a line or with a NUL
    after each, or one image's bytes from standard input."""
    top: Annotated[Count | None, arg(aliases=["-k"])] = None
    """Classes a picture; by default 5, or all where there are fewer."""
    out: Path | None = None
    """Write the outcome into this .jsonl, .csv or .parquet file, which appears whole."""
    format: Literal["jsonl", "csv", "parquet"] | None = None
    """Of --out, by default by its suffix; without --out, jsonl and csv go to standard output."""
    resume: bool = False
    """Go on where an interrupted prediction into --out was."""
    sheet: Path | None = None
    """Draw up to 60 of the pictures with their classes into this .html or .png file."""
    sort_into: Path | None = None
    """Copy the pictures into a folder for each class below this one; no file is written over."""
    link: bool = False
    """With --sort-into: make links to the files in place of copies."""
    flip: bool = False
    """Average the probabilities over each picture and its mirror image."""
    class_names: Path | None = None
    """A file with the names of the classes, one a line or a JSON list."""
    batch_size: Count = 32
    """Pictures a step."""
    workers: Workers = 2
    """Threads that read pictures."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Type of the matrix products."""
    engine: Literal["auto", "native", "openvino", "compiled", "eager"] = "auto"
    """What computes; auto: the fastest of native and eager here."""
    json: bool = False
    """Print the outcome as JSON; messages go to standard error."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(PredictCommand, "predict", arguments)
    kind = _format(command)
    _check(command)
    from mlpmixer.ranks import joined_ranks

    with joined_ranks() as work:
        return _predict(command, kind, work)


def _format(command: PredictCommand) -> str | None:
    """Return the format of the outcome, None for a table."""
    if command.out is None:
        if command.format == "parquet":
            raise UsageError("parquet is no text: name a file by --out FILE.parquet.")
        if command.format is not None and command.json:
            raise UsageError("--json and --format exclude each other on standard output.")
        return command.format
    suffix = command.out.suffix.lower().removeprefix(".")
    if command.format is None and suffix not in _FORMATS:
        raise UsageError(
            f"--out {command.out} does not say its format: let it end in "
            f"{', '.join(f'.{name}' for name in _FORMATS)}, or give --format."
        )
    return command.format or suffix


def _check(command: PredictCommand) -> None:
    """Raise UsageError where options do not go together."""
    if not command.pictures:
        raise UsageError("name pictures to look at, as in `mixer predict runs/digits photo.jpg`.")
    if command.out is not None:
        check_writable(command.out)
    if command.resume and command.out is None:
        raise UsageError("--resume goes on with what --out began: give --out too.")
    if command.link and command.sort_into is None:
        raise UsageError("--link belongs to --sort-into: give the folder.")
    for folder in map(Path, command.pictures):
        into = command.sort_into
        if into is not None and folder.is_dir() and into.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"--sort-into {into} lies in {folder}: the next run would read what is sorted, "
                "too. Name a folder beside it."
            )
    if command.sheet is not None and command.sheet.suffix.lower() not in _SHEETS:
        raise UsageError(
            f"cannot draw a sheet into {command.sheet}: name a file that ends in "
            f"{' or '.join(_SHEETS)}."
        )
    if command.sheet is not None:
        check_writable(command.sheet)
        if command.out is not None and command.sheet.resolve() == command.out.resolve():
            raise UsageError(f"--out and --sheet name the same file, {command.out}: give two.")
    if command.sort_into is not None:
        check_folder_writable(command.sort_into)


def _predict(command: PredictCommand, kind: str | None, work: "Ranks") -> int:
    from mlpmixer.data.unlabelled import STANDARD_INPUT, find_pictures
    from mlpmixer.deploy.predict import PredictionOptions, PredictionRun

    reads_input = STANDARD_INPUT in command.pictures
    if work.world > 1 and (command.out is None or reads_input):
        raise UsageError(
            "several processes share the work: give --out FILE, and name the pictures instead of -."
        )
    console = _console(command, kind, work)
    found = find_pictures(command.pictures, sys.stdin.buffer.read() if reads_input else b"")
    pictures = found.pictures
    if command.link and not pictures.are_files:
        raise UsageError("--link needs files: pictures inside of tables and shards are copied.")
    predictor = _predictor(command, work)
    k = min(_TOP, predictor.model.num_classes) if command.top is None else command.top
    predictor.check_k(k)
    _remark(console, command, found, predictor)
    options = PredictionOptions(
        k=k,
        batch_size=command.batch_size,
        workers=command.workers,
        decides={
            "--flip": command.flip,
            "--precision": command.precision,
            "--engine": command.engine,
        },
    )
    prediction = PredictionRun(
        predictor, pictures, options, out=command.out, resume=command.resume, work=work
    )
    try:
        return _run(console, command, prediction, _wanted(command, kind, k))
    except KeyboardInterrupt:
        if command.out is not None:
            console.message("stopped; what was found is kept: --resume goes on")
        raise


def _run(
    console: "Console",
    command: PredictCommand,
    prediction: "PredictionRun",
    wanted: "OutputOptions",
) -> int:
    from mlpmixer.deploy.outcome import deliver

    with prediction:
        total, before = len(prediction.pictures), prediction.done
        if before:
            console.message(f"done before: {before:,} of {counted(total, 'picture')}")
        with console.progress("predicting") as progress:

            def show(done: int) -> None:
                speed = (done - before) / max(progress.elapsed, 1e-9)
                progress.update(done / total, pictures=done, images_per_second=speed or None)

            prediction.run(show)
        if not prediction.work.leads:
            return 0
        outcome = deliver(prediction.results(), prediction.predictor, prediction.pictures, wanted)
        _tell(console, command, wanted.kind, outcome)
    return 1 if outcome.unreadable else 0


def _console(command: PredictCommand, kind: str | None, work: "Ranks") -> "Console":
    """Return what talks to the user: nothing in processes that do not lead."""
    from mlpmixer.run.console import Console

    if not work.leads:
        return Console.silent()
    if command.out is None and kind is not None:  # standard output is the file
        return Console("plain", out=sys.stderr)
    return Console.choose(command.json)


def _predictor(command: PredictCommand, work: "Ranks") -> "Predictor":
    import torch

    from mlpmixer.deploy.predictor import Predictor

    device = command.device
    if device == "auto" and work.world > 1 and torch.cuda.is_available():
        device = f"cuda:{work.local_rank}"
    return Predictor.load(
        command.model,
        class_names=command.class_names,
        device=device,
        precision=command.precision,
        engine=command.engine,
        flip=command.flip,
    )


def _remark(
    console: "Console", command: PredictCommand, found: "FoundPictures", predictor: "Predictor"
) -> None:
    from mlpmixer.data.dataset import counted

    if found.passed_over:
        console.message(f"passed over: {counted(found.passed_over)}")
    if predictor.model.class_names is None:
        console.message(
            f"{printable(command.model)} does not name its classes: they are numbers from 0. "
            "--class-names FILE gives them names."
        )


def _wanted(command: PredictCommand, kind: str | None, k: int) -> "OutputOptions":
    from mlpmixer.deploy.outcome import OutputOptions

    rows = 0
    if command.out is None and kind is None:
        rows = sys.maxsize if command.json else _TABLE_ROWS
    return OutputOptions(
        title=f"Predictions of {printable(command.model)}",
        k=k,
        kind=kind,
        out=command.out,
        stream=None if kind is None else sys.stdout.buffer,
        sheet=command.sheet,
        sort_into=command.sort_into,
        link=command.link,
        rows=rows,
        errors=sys.maxsize if command.json else _MESSAGES,
    )


def _tell(
    console: "Console", command: PredictCommand, kind: str | None, outcome: "Outcome"
) -> None:
    """Print the outcome, and last the pictures that could not be read."""
    readable = [row for row in outcome.rows if row.row.error is None]
    record: dict[str, object] = {
        "model": command.model,
        "pictures": outcome.pictures,
        "out": command.out,
        "sheet": command.sheet,
        "sorted_into": command.sort_into,
        "unreadable": [one.to_json() for one in outcome.errors],
    }
    if command.out is None:
        record["predictions"] = [row.to_json() for row in readable]
    footer = []
    if outcome.sorted is not None:
        done, verb = outcome.sorted, "linked" if command.link else "copied"
        there = f", {done.present:,} were there already" if done.present else ""
        footer.append(f"{counted(done.placed, 'picture')} {verb} into {command.sort_into}{there}")
    if command.sheet is not None:
        footer.append(f"sheet: {command.sheet}")
    if command.out is not None:
        footer.append(f"predictions: {command.out}")
    elif kind is None and (left_out := outcome.pictures - len(outcome.rows)):
        footer.insert(0, f"{left_out:,} more; --out FILE.csv or --format csv gives all.")
    if readable and not command.json:
        room = shutil.get_terminal_size().columns if console.mode == "live" else None
        rows = _table_rows(readable, room)
        print_table(console, record, ("picture", "class", "then"), rows, footer, left=3)
    elif footer or command.json:
        console.result(record, "\n".join(footer))
    if not command.json:
        for name, row in outcome.errors:
            console.warning(f"cannot read {name}: {row.error}")
        if rest := outcome.unreadable - len(outcome.errors):
            console.warning(f"{rest:,} more pictures cannot be read; --out or --json lists all.")


def _table_rows(shown: Sequence["NamedRow"], room: int | None) -> list[tuple[str, str, str]]:
    """Return the cells of each picture: its name, its best class, and the others behind it.

    On a terminal of `room` columns the name takes up to two fifths, the class up to a third, and as
    many of the others as fit the rest.
    """
    answers = [
        [f"{percent(one.probability)} {printable(one.label)}" for one in row.row.predictions]
        for row in shown
    ]
    names = [row.picture for row in shown]
    best = [first for first, *_ in answers]
    then = [", ".join(others) for _, *others in answers]
    if room is not None:
        names = [shortened(name, 2 * room // 5) for name in names]
        best = [shortened(answer, room // 3) for answer in best]
        rest = room - max(map(len, names)) - max(map(len, best)) - 3 * _BETWEEN
        then = [_fitting(others, rest) for _, *others in answers]
    return list(zip(names, best, then, strict=True))


def _fitting(answers: Sequence[str], room: int) -> str:
    """Return the first answers, as many as have room."""
    taken = ""
    for answer in answers:
        longer = f"{taken}, {answer}" if taken else answer
        if len(longer) > room:
            break
        taken = longer
    return taken
