"""A study as a grid of cells, each computed once.

A cell's result is one JSON file, written whole when the cell is finished. Killed and started again,
a study reads the results that are there and computes the others; the trainings inside a cell go on
where they were.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from mlpmixer.errors import MixerError, UsageError, short_of_memory
from mlpmixer.files import write_json
from mlpmixer.formatting import counted, duration
from mlpmixer.run.console import Console

RESULT = "result.json"
BEGUN = "begun.json"
"""The settings of what a cell's folder holds, from the beginning of its work on."""
LOG = "log.txt"
CPU = torch.device("cpu")

Value = str | int | float | bool | None
Work = Callable[[Path, Console], Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One point of a grid: what it is, and how it is computed."""

    values: Mapping[str, Value]
    """What tells it from the other cells, e.g. model, fraction, seed; columns of the table."""
    settings: Mapping[str, Any]
    """All else that its result depends on, as JSON values; a stored result must agree."""
    work: Work
    """Computes the result, as JSON values, in a folder of its own. It has to be picklable, and may
    be called again on what an interrupted call left there."""

    @property
    def name(self) -> str:
        """The cell's folder, e.g. "mixer_nano,fraction=0.1,seed=0"."""
        parts = (
            str(value) if isinstance(value, str) else f"{key}={value}"
            for key, value in self.values.items()
        )
        return ",".join(part.replace("/", "-").replace(":", "-") for part in parts)


class CellsFailed(MixerError):
    """Some cells of a grid failed; all others are computed.

    Args:
        text: for the user.
        reasons: the error of each, by the cell's name.
    """

    def __init__(self, text: str, reasons: Mapping[str, MixerError]) -> None:
        super().__init__(text)
        self.reasons = reasons


class Grid:
    """The cells of a study and the folder with their results.

    Args:
        out: the study's folder; results are in `out/cells/NAME/result.json`.
        cells: the rows of the study's table, in the order in which to compute them.
        first: further cells, computed before those and each alone on the machine.

    Raises:
        UsageError: `out` is a file, or a cell is there twice.
    """

    def __init__(self, out: Path, cells: Sequence[Cell], first: Sequence[Cell] = ()) -> None:
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file. Choose another folder with --out.")
        names = [cell.name for cell in (*first, *cells)]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{name} is asked for twice: name it once.")
        self.out = out
        self.cells = tuple(cells)
        self.first = tuple(first)

    def folder(self, cell: Cell) -> Path:
        """Return where a cell works and keeps its result."""
        return self.out / "cells" / cell.name

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return a cell's stored result; None where it is not finished.

        Raises:
            MixerError: the file is damaged.
            UsageError: it was computed, or begun, with other settings.
        """
        folder = self.folder(cell)
        if (folder / BEGUN).exists():  # an unfinished training would go on with its old settings
            _check_settings(_stored(folder / BEGUN), cell, folder)
        if not (folder / RESULT).exists():
            return None
        stored = _stored(folder / RESULT)
        _check_settings(stored, cell, folder)
        return dict(stored["result"])

    def results(self) -> list[tuple[Cell, dict[str, Any]]]:
        """Return the finished rows with their results, in order; raises as `result`."""
        found = ((cell, self.result(cell)) for cell in self.cells)
        return [(cell, result) for cell, result in found if result is not None]

    def rows(self) -> list[dict[str, Any]]:
        """Return the tidy table, a row a finished cell: its values and its result."""
        return [{**cell.values, **result} for cell, result in self.results()]

    def reportable(self) -> bool:
        """Tell whether there is a finished row, and all that was to be computed first."""
        return bool(self.results()) and all(self.result(cell) is not None for cell in self.first)

    def missing(self) -> list[Cell]:
        """Return the cells that are not finished; raises as `result`."""
        return [cell for cell in (*self.first, *self.cells) if self.result(cell) is None]

    def run(self, console: Console, jobs: int | None = None, device: torch.device = CPU) -> None:
        """Compute what is missing. A cell that fails does not keep the others from it.

        Args:
            console: takes messages and progress.
            device: that the cells compute on; a GPU that is named by its number they share.
            jobs: cells at a time, each in a process of its own with its share of the cores, or its
                own GPU; None: one a GPU where there are several, else one.

        Raises:
            UsageError: another process is at work in the folder, or a stored result has other
                settings.
            MixerError: a stored result is damaged.
            CellsFailed: cells failed, and the others are there.
            KeyboardInterrupt: it was interrupted; what was reached is kept.
        """
        missing = self.missing()
        total = len(self.first) + len(self.cells)
        gpus: list[str] = visible_gpus() if device.type == "cuda" and device.index is None else []
        self.out.mkdir(parents=True, exist_ok=True)
        with _alone(self.out):
            if len(missing) < total:
                console.message(f"{total - len(missing)} of {total} cells are there already")
            alone = [cell for cell in missing if cell in self.first]
            others = missing[len(alone) :]
            jobs = max(1, min(jobs or len(gpus), len(others)))
            if jobs == 1:
                alone, others = missing, []
            failed: dict[str, MixerError] = {}
            begun = time.monotonic()
            for done, cell in enumerate(alone):
                left = (time.monotonic() - begun) / max(1, done) * (len(missing) - done)
                note = f", about {duration(left)} left" if done else ""
                console.message(f"cell {done + 1} of {len(missing)}: {cell.name}{note}")
                try:
                    self._compute(cell, console)
                except MixerError as error:
                    _note_failure(failed, cell, error, console)
            if others:
                self._run_parallel(others, jobs, gpus, failed, console)
        if failed:
            name, reason = next(iter(failed.items()))
            raise CellsFailed(
                f"{len(failed)} of {total} cells failed, {name}: {reason} "
                "The same command tries them again.",
                failed,
            )

    def _compute(self, cell: Cell, console: Console) -> None:
        folder = self.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / BEGUN, {"settings": cell.settings, "result": {}})
        begun = time.monotonic()
        result = _done(cell, folder, console)
        write_json(
            folder / RESULT,
            {
                "values": cell.values,
                "settings": cell.settings,
                "seconds": round(time.monotonic() - begun, 1),
                "result": result,
            },
        )

    def _compute_logged(self, cell: Cell) -> None:
        """Compute a cell in a process of its own, its messages in a file."""
        log = self.folder(cell) / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            self._compute(cell, Console("plain", out=file, err=file))

    def _run_parallel(
        self,
        missing: Sequence[Cell],
        jobs: int,
        gpus: Sequence[str],
        failed: dict[str, MixerError],
        console: Console,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        places: SimpleQueue[int] = context.SimpleQueue()
        for place in range(jobs):
            places.put(place)
        threads = max(1, torch.get_num_threads() // jobs)
        with ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_take_place, initargs=(places, gpus, threads)
        ) as pool:
            waiting: dict[Future[None], Cell] = {
                pool.submit(self._compute_logged, cell): cell for cell in missing
            }
            with console.progress(f"{counted(len(missing), 'cell')}, {jobs} at a time") as progress:
                while waiting:
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        cell = waiting.pop(future)
                        try:
                            future.result()
                        except MixerError as error:
                            _note_failure(failed, cell, error, console)
                        except BaseException:
                            pool.shutdown(cancel_futures=True)
                            raise
                        else:
                            console.message(f"finished: {cell.name}")
                        progress.update(1 - len(waiting) / len(missing))


def _stored(file: Path) -> dict[str, Any]:
    """Return what is stored of a cell: its settings and its result.

    Raises:
        MixerError: the file is damaged.
    """
    try:
        stored = json.loads(file.read_text())
        if not isinstance(stored["settings"], dict) or not isinstance(stored["result"], dict):
            raise TypeError("its result is no table")
    except (ValueError, KeyError, TypeError) as error:
        raise MixerError(
            f"{file} is damaged ({error}). Remove it to have the cell computed again."
        ) from error
    return dict(stored)


def _check_settings(stored: Mapping[str, Any], cell: Cell, folder: Path) -> None:
    """Raise UsageError where a cell's folder has something of other settings."""
    settings, wanted = stored["settings"], json.loads(json.dumps(cell.settings))
    # An option that a later version brought, and that is off.
    settings = {**{n: value for n, value in wanted.items() if not value}, **settings}
    if settings != wanted:
        name = next(n for n in {**wanted, **settings} if wanted.get(n) != settings.get(n))
        raise UsageError(
            f"{folder} was begun or computed with {name} = {settings.get(name)!r}, now it is "
            f"{wanted.get(name)!r}. Choose another --out, or remove that folder."
        )


def _done(cell: Cell, folder: Path, console: Console) -> dict[str, Any]:
    """Return a cell's result; too little memory is an error of the cell, as others are."""
    try:
        return dict(cell.work(folder, console))
    except (MemoryError, RuntimeError) as error:
        said = short_of_memory(error)
        if not said:
            raise
    raise MixerError(f"{said}.")  # out here, so that nothing keeps what fills the memory


def _note_failure(
    failed: dict[str, MixerError], cell: Cell, error: MixerError, console: Console
) -> None:
    """Name a cell that failed at once, and remember it for the end."""
    failed[cell.name] = error
    console.warning(f"{cell.name} failed: {error}")


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(number) for number in range(count)] if named is None else named.split(",")[:count]


def _take_place(places: "SimpleQueue[int]", gpus: Sequence[str], threads: int) -> None:
    """Give this process its GPU, or its share of the cores."""
    place = places.get()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    torch.set_num_threads(threads)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process is at work in {folder}: wait for it.") from None
    try:
        yield
    finally:
        lock.release()
