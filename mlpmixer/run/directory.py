"""The folder that holds all of one run."""

from __future__ import annotations

import json
import operator
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, SupportsIndex, cast

from filelock import FileLock, Timeout

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import check_utf8, write_bytes, write_text
from mlpmixer.json_text import json_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
MODEL = "model.safetensors"
LAST = "last"
STATE_FILE = "state.pt"
"""What is in `LAST` once there is something to resume from."""
PREVIOUS_STATE_FILE = "previous.pt"
"""The state before that one."""
SHARDED_STATES = "sharded-*/complete.json"
"""What is in `LAST` where the ranks each wrote their share of a state."""
LOCK = ".lock"


class RunDirectory:
    """Paths and log of one run. Make it with `create` or `open`; close it, or use it in `with`.

    While it is used in `with`, no other process can use it so: UsageError says that it is in use.

    TensorBoard event files lie in the folder itself, so `tensorboard --logdir runs` shows all runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics_file: IO[bytes] | None = None
        self._tensorboard: SummaryWriter | None = None
        self._purge_step: int | None = None
        self.listener: Callable[[Mapping[str, float], int], None] | None = None
        """Is told the numbers that are logged, and their step."""
        self._lock = FileLock(path / LOCK)

    @classmethod
    def create(cls, path: str | os.PathLike[str], recipe_toml: str) -> Self:
        """Make the folder and write the recipe into it.

        Raises:
            UsageError: if `path` is a file, already holds a run, is not UTF-8, cannot be written to
                or is in use by another process. Nothing has been written then.
        """
        directory = cls.prepare(path)
        with directory:
            _check_empty(directory.path)  # another process may have begun a run meanwhile
            directory.write_recipe(recipe_toml)
        return directory

    @classmethod
    def prepare(cls, path: str | os.PathLike[str]) -> Self:
        """Make the folder for a run, which is none before it has a recipe.

        Raises:
            UsageError: as `create`.
        """
        path = Path(path)
        check_utf8(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file. Choose another folder with --out.")
        _check_empty(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise _unwritable(path, "permission denied")
        return cls(path)

    def write_recipe(self, recipe_toml: str) -> None:
        """Write the recipe, in place of the one that was there."""
        write_text(self.recipe, recipe_toml)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Return the run that is at `path`.

        Raises:
            UsageError: if there is none; it names what is missing.
        """
        path = Path(path)
        if not path.exists():
            raise UsageError(f"no run at {path}: the folder does not exist.")
        if not path.is_dir():
            raise UsageError(f"no run at {path}: it is a file. Give the run's folder.")
        if not (path / RECIPE).is_file():
            runs = sorted(child.parent for child in path.glob(f"*/{RECIPE}"))
            hint = f" Did you mean {', '.join(map(str, runs[:3]))}?" if runs else ""
            raise UsageError(f"no run at {path}: {RECIPE} is missing.{hint}")
        return cls(path)

    @property
    def resumable(self) -> bool:
        """Whether there is a saved state to go on from."""
        states = any(self.last.glob(SHARDED_STATES))
        return (
            any((self.last / name).exists() for name in (STATE_FILE, PREVIOUS_STATE_FILE)) or states
        )

    @property
    def recipe(self) -> Path:
        """Everything needed to run it again."""
        return self.path / RECIPE

    @property
    def metrics(self) -> Path:
        """One JSON object a line, in the order of time."""
        return self.path / METRICS

    @property
    def model(self) -> Path:
        """The best model so far, loadable alone."""
        return self.path / MODEL

    @property
    def last(self) -> Path:
        """Folder with the full state to resume from."""
        return self.path / LAST

    @property
    def skipped_batches(self) -> Path:
        """Batches that made the loss explode and were passed over, as JSON; seldom there."""
        return self.path / "skipped_batches.json"

    @property
    def learning_rates(self) -> Path:
        """What a learning-rate range test found, as JSON; a figure of that name is beside it."""
        return self.path / "learning_rates.json"

    @property
    def figures(self) -> Path:
        """Folder with the report's figures as PNG."""
        return self.path / "figures"

    @property
    def evaluation(self) -> Path:
        """The latest evaluation as JSON."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.path / "report.html"

    def log(self, record: Mapping[str, object]) -> None:
        """Append `record` to metrics.jsonl and its numbers to TensorBoard, under the same names.

        `record` needs an integer "step": the updates made so far. The names that the training
        curves know are listed at `mlpmixer.report.curves.training_curves`.

        Raises:
            MixerError: if the line cannot be written, for example on a full disk.
        """
        step = operator.index(cast(SupportsIndex, record["step"]))
        line = json_text(record) + "\n"
        with _writing(self.metrics):
            file = self._open_metrics()
            file.write(line.encode())
            file.flush()
        numbers = {}
        for name, value in record.items():
            if name == "step" or isinstance(value, bool):
                continue
            if isinstance(value, Real):
                numbers[name] = float(value)
        with _writing(self.path):
            writer = self._open_tensorboard()
            for name, number in numbers.items():
                writer.add_scalar(name, number, step)
        if self.listener is not None:
            self.listener(numbers, step)

    def records(self) -> list[dict[str, Any]]:
        """Return what was logged so far; a last line that a crash cut short is left out.

        Raises:
            MixerError: if another line is damaged.
        """
        return [record for _, record in self._lines()]

    def truncate_after(self, step: int) -> None:
        """Forget what was logged after `step`, the one to resume from, and a half-written line."""
        self.close()
        if self.metrics.exists():
            kept = [line for line, record in self._lines() if record["step"] <= step]
            write_bytes(self.metrics, b"".join(kept))
        self._purge_step = step + 1  # tells TensorBoard to drop events from there on

    def close(self) -> None:
        """Bring the logs to disk and close them. Logging again opens them again.

        Raises:
            MixerError: they cannot be written, for example on a full disk. They are closed then.
        """
        metrics, self._metrics_file = self._metrics_file, None
        tensorboard, self._tensorboard = self._tensorboard, None
        try:
            if metrics is not None:
                with _writing(self.metrics):
                    metrics.close()
        finally:
            if tensorboard is not None:
                with _writing(self.path):
                    tensorboard.close()

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise UsageError(
                f"{self.path} is in use by another training. Wait for its end, or stop it."
            ) from None
        except OSError as error:
            raise _unwritable(self.path, error.strerror or str(error)) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except MixerError:
            if kind is None:
                raise  # else it is likely the same that ended the block, and hides no other
        finally:
            self._lock.release()

    def _lines(self) -> list[tuple[bytes, dict[str, Any]]]:
        if not self.metrics.exists():
            return []
        complete = self.metrics.read_bytes().split(b"\n")[:-1]
        lines = []
        for number, line in enumerate(complete, start=1):
            try:
                lines.append((line + b"\n", json.loads(line)))
            except ValueError as error:
                raise MixerError(
                    f"{self.metrics}, line {number} is damaged: {error}. Remove that line."
                ) from error
        return lines

    def _open_metrics(self) -> IO[bytes]:
        if self._metrics_file is None:
            if self.metrics.exists() and not self.metrics.read_bytes().endswith(b"\n"):
                write_bytes(self.metrics, b"".join(line for line, _ in self._lines()))
            self._metrics_file = self.metrics.open("ab")
        return self._metrics_file

    def _open_tensorboard(self) -> SummaryWriter:
        if self._tensorboard is None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(
                str(self.path), purge_step=self._purge_step, flush_secs=10
            )
            self._purge_step = None
        return self._tensorboard


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MixerError(f"cannot write {path}: {error.strerror or error}.") from error


def _check_empty(path: Path) -> None:
    """Raise UsageError where there is a run already.

    One that ended before its first step, for its data's sake perhaps, is none: it left no more than
    its recipe and the list of its images. A recipe alone may be its user's.
    """
    present = [name for name in (RECIPE, METRICS, MODEL, LAST) if (path / name).exists()]
    begun = RunDirectory(path).resumable
    if present and (begun or present != [RECIPE, LAST]):
        resumable = f", or continue that run by --resume {shlex.quote(str(path))}" if begun else ""
        raise UsageError(
            f"{path} already holds a run ({present[0]}). "
            f"Choose another folder with --out{resumable}."
        )


def _unwritable(path: Path, reason: str) -> UsageError:
    reason = reason[:1].lower() + reason[1:]
    return UsageError(f"cannot write to {path}: {reason}. Choose another folder with --out.")
