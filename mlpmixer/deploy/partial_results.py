"""Rows of a prediction on their way to the final file: appended, never changed, safe from a kill.

Beside OUT lies the folder OUT.partial with `run.json`, keys of all that decides on the rows, and a
file of JSON lines for each process of each start. A line that a kill cut short ends its file.
"""

import heapq
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
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
_UNFINISHED = ".run.*.json"
"""What a kill leaves of a `run.json` that was being written."""
_LOCK = "lock"


class PartialResults:
    """The rows found so far, on disk.

    Whatever its methods raise, `close` lets other processes go on.

    Args:
        folder: where they lie.
        class_names: the name of each class.
    """

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        self.folder = folder
        self._class_names = class_names
        self._file: IO[bytes] | None = None
        self._lock = FileLock(folder / _LOCK, timeout=0)

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
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()  # first: what the folder holds is another one's until then
            if not run.exists():
                self._empty()  # rows of which no one knows what decided on them
        except Timeout:
            raise UsageError(f"another process is at work on {shown}: wait for it.") from None
        except OSError as error:
            raise MixerError(
                f"cannot write {printable(str(self.folder))}: {error.strerror}."
            ) from error
        if run.exists():
            self._check_same(run, decides, shown, resume)
        elif resume and out.exists():
            self.remove()
            raise UsageError(
                f"{shown} is there and nothing of it is left to do: leave --resume out to make it "
                "anew."
            )
        else:
            write_json(run, decides)

    def _check_same(
        self, run: Path, decides: Mapping[str, object], shown: str, resume: bool
    ) -> None:
        """Raise as `begin` where there is no going on with what `run` tells of."""
        if not resume:
            raise UsageError(
                f"{printable(str(self.folder))} holds an interrupted prediction: go on with it by "
                "--resume, or remove it."
            )
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
        self._close_file()
        self._lock.release()

    def remove(self) -> None:
        """Remove the folder, as the final file is there, and let others begin anew."""
        self._close_file()
        self._empty()
        if os.name == "nt":  # no open file can be removed there; elsewhere none takes it meanwhile
            self._lock.release()
        with suppress(OSError):  # another process has begun since, or the folder holds more
            (self.folder / _LOCK).unlink(missing_ok=True)
            self.folder.rmdir()
        self._lock.release()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _empty(self) -> None:
        """Remove what is told about the rows and then the rows: wherever that ends, none count."""
        (self.folder / _RUN).unlink(missing_ok=True)
        for file in (*self._files(), *self.folder.glob(_UNFINISHED)):
            file.unlink()

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
