"""Rows of a prediction on their way to the final file: appended, never changed, safe from a kill.

Beside OUT lies the folder OUT.partial with `run.json`, keys of all that decides on the rows, and a
file of JSON lines for each process of each start. A line that a kill cut short ends its file.
"""

import heapq
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from mlpmixer.deploy.prediction_stream import Row
from mlpmixer.deploy.predictor import Prediction
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import write_json
from mlpmixer.formatting import printable

_RUN = "run.json"


class PartialResults:
    """The rows found so far, on disk.

    Args:
        folder: where they lie.
        class_names: the name of each class.
    """

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        self.folder = folder
        self._class_names = class_names
        self._file: IO[bytes] | None = None
        self._lock = FileLock(folder / "lock", timeout=0)

    @staticmethod
    def beside(out: Path) -> Path:
        """Return the folder for the rows of the file `out`."""
        return out.with_name(f"{out.name}.partial")

    def begin(self, decides: Mapping[str, object], out: Path, resume: bool) -> None:
        """Make the folder, or go on with the one that is there; one process does so.

        Args:
            decides: all that decides on the rows, by what a user calls it.
            out: the final file, for messages.
            resume: whether to go on where an interrupted run was.

        Raises:
            UsageError: there is an interrupted run and `resume` is not asked for, there is none
                but a finished file, another process is at work, or what decides has changed.
            MixerError: the folder cannot be written or is damaged.
        """
        run = self.folder / _RUN
        shown = printable(str(out))
        if run.exists() and not resume:
            raise UsageError(
                f"{printable(str(self.folder))} holds an interrupted prediction: go on with it by "
                "--resume, or remove it."
            )
        if resume and not run.exists() and out.exists():
            raise UsageError(
                f"{shown} is there and nothing of it is left to do: leave --resume out to make it "
                "anew."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise UsageError(f"another process is at work on {shown}: wait for it.") from None
        except OSError as error:
            raise MixerError(
                f"cannot write {printable(str(self.folder))}: {error.strerror}."
            ) from error
        if not run.exists():
            write_json(run, decides)
            return
        try:
            before = json.loads(run.read_bytes())
            changed = [name for name, value in decides.items() if before[name] != value]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise MixerError(
                f"{printable(str(run))} is damaged ({error!r}): remove "
                f"{printable(str(self.folder))} and begin anew."
            ) from error
        if changed:
            raise UsageError(
                f"cannot go on with {shown}: {_changes(changed, before, decides)} since "
                f"it was begun. Put it back, or remove {printable(str(self.folder))} for a new one."
            )

    def done(self, count: int) -> npt.NDArray[np.bool_]:
        """Return which of `count` pictures have their row, (N,)."""
        found = np.zeros(count, dtype=np.bool_)
        for file in self._files():
            for row in self._rows(file):
                found[row.position] = True
        return found

    def open(self, rank: int) -> None:
        """Begin a file for the rows of this process; `done` of all processes has been asked.

        Raises MixerError where it cannot be made.
        """
        number = sum(file.name.endswith(f"-{rank}.jsonl") for file in self._files())
        try:
            self._file = (self.folder / f"rows-{number:06}-{rank}.jsonl").open("xb")
        except OSError as error:
            raise self._unwritable(error) from error

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows, which are then safe from a kill of this process.

        Raises MixerError where they cannot be written.
        """
        assert self._file is not None, "open comes before"
        try:
            for row in rows:
                self._file.write(json.dumps(_values(row)).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all processes, in the order of the pictures, each once."""
        before = -1
        for row in heapq.merge(*map(self._rows, self._files()), key=lambda row: row.position):
            if row.position != before:
                yield row
            before = row.position

    def close(self) -> None:
        """Close the file and let others go on."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.release()

    def remove(self) -> None:
        """Remove the folder, as the final file is there."""
        self.close()
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("rows-*.jsonl"))

    def _rows(self, file: Path) -> Iterator[Row]:
        """Yield the rows of one file, in which positions ascend, up to the first damaged line."""
        with file.open("rb") as lines:
            for line in lines:
                try:
                    if not line.endswith(b"\n"):
                        return
                    row = self._row(json.loads(line))
                except (ValueError, TypeError, IndexError):
                    return
                yield row

    def _row(self, values: list[object]) -> Row:
        position, found = values
        if not isinstance(position, int):
            raise TypeError
        if isinstance(found, str):
            return Row(position, error=found)
        if not isinstance(found, list):
            raise TypeError
        return Row(position, tuple(Prediction(self._class_names[i], i, p) for i, p in found))

    def _unwritable(self, error: OSError) -> MixerError:
        shown = printable(str(self.folder))
        return MixerError(
            f"cannot write into {shown}: {error.strerror}. What was found stays: free some space "
            "and go on by --resume."
        )


def _values(row: Row) -> list[object]:
    """Return a row as JSON values: its position, and what is wrong or pairs of class and share."""
    pairs = [(one.index, float(f"{one.probability:.6g}")) for one in row.predictions]
    return [row.position, pairs if row.error is None else row.error]


def _changes(
    changed: list[str], before: Mapping[str, object], decides: Mapping[str, object]
) -> str:
    """Return what has changed, in words; of keys alone that they did."""
    told = []
    for name in changed:
        key = name.startswith("the ")
        told.append(name if key else f"{name} ({before[name]}, now {decides[name]})")
    return f"{' and '.join(told)} changed"
