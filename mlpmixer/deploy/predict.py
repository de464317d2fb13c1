"""A prediction over many pictures: shared by processes, safe from a kill, written in the end."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mlpmixer.data.unlabelled import Pictures
from mlpmixer.deploy.partial_results import PartialResults
from mlpmixer.deploy.prediction_stream import predict_stream
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.deploy.result_files import NamedRow, write_rows
from mlpmixer.files import replacing
from mlpmixer.models.digest import model_digest
from mlpmixer.ranks import Ranks


@dataclass(frozen=True)
class PredictionOptions:
    """How to predict."""

    k: int
    """Classes a picture."""
    batch_size: int
    workers: int
    """Threads that read and crop."""
    decides: Mapping[str, object]
    """Options besides model, pictures and `k` that decide on a row, by their flags."""


class Results:
    """The rows of all pictures, in their order, read from disk as often as they are asked for."""

    def __init__(self, partial: PartialResults, pictures: Pictures) -> None:
        self._partial = partial
        self._pictures = pictures

    def __iter__(self) -> Iterator[NamedRow]:
        """Yield each picture's row with its name."""
        for row in self._partial.rows():
            yield NamedRow(self._pictures.name(row.position), row)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._pictures)


class PredictionRun:
    """A prediction of all pictures; use it in `with`.

    What is found is kept beside `out` until the block ends well, then removed.

    Args:
        predictor: what names the classes.
        pictures: what to look at.
        options: how.
        out: the final file; the caller writes it in the block. None keeps rows in a folder for
            temporary files, and cannot be resumed.
        resume: go on where an interrupted prediction of the same was.
        work: the processes that share the work.

    Raises:
        UsageError: it cannot be resumed; see `PartialResults.begin`.
        MixerError: the rows cannot be written.
    """

    def __init__(
        self,
        predictor: Predictor,
        pictures: Pictures,
        options: PredictionOptions,
        *,
        out: Path | None = None,
        resume: bool = False,
        work: Ranks | None = None,
    ) -> None:
        self.predictor = predictor
        self.pictures = pictures
        self.options = options
        self.work = work or Ranks()
        self._out = out
        self._resume = resume

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            if self._out is None:
                temporary = tempfile.TemporaryDirectory(prefix="mixer-predict-")
                folder = Path(opened.enter_context(temporary))
            else:
                folder = PartialResults.beside(self._out)
            self._partial = PartialResults(folder, self.predictor.class_names)
            opened.callback(self._partial.close)
            if self.work.leads:
                self._partial.begin(self._decides(), self._out or folder, self._resume)
            self.work.wait()
            self._done = self._partial.done(len(self.pictures))
            self.work.wait()
            self._partial.open(self.work.rank)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._opened:
            if kind is None and self.work.leads:
                self._partial.remove()

    def _decides(self) -> dict[str, object]:
        return {
            "the model": model_digest(self.predictor.model),
            "the names of its classes": list(self.predictor.class_names),
            "the pictures": self.pictures.digest(),
            "--top": self.options.k,
            **self.options.decides,
        }

    @property
    def done(self) -> int:
        """Number of pictures that had their row before."""
        return int(self._done.sum())

    def run(self, progress: Callable[[int], None] = lambda done: None) -> None:
        """Predict this process's share of what is not done, and wait for the other processes.

        `progress` is called with the number of pictures that are done, here and before.
        """
        finished = self.done
        progress(finished)
        own = np.flatnonzero(~self._done)[self.work.rank :: self.work.world]
        for rows in predict_stream(
            self.predictor,
            self.pictures,
            map(int, own),
            self.options.k,
            batch_size=self.options.batch_size,
            workers=self.options.workers,
        ):
            self._partial.append(rows)
            finished += len(rows) * self.work.world  # the others are about as fast
            progress(min(finished, len(self.pictures)))
        self.work.wait()

    def results(self) -> Results:
        """Return all rows, of all processes."""
        return Results(self._partial, self.pictures)


def write_results(results: Results, path: Path, kind: str, k: int) -> None:
    """Write all rows to a file that appears whole or not at all.

    Raises MixerError where it cannot be written.
    """
    with replacing(path) as temporary:
        write_rows(results, temporary, kind, k)
