"""What a suite found: one result a task, their means, and how they are stored."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from mlpmixer.errors import MixerError


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The outcome of one task; shares are in [0, 1]."""

    task: str
    group: str
    data: str
    protocol: str
    accuracy: float | None = None
    """None where it was not measured."""
    images: int | None = None
    """How many it was measured on."""
    multi_label_accuracy: float | None = None
    """With any of several right labels; None where the task asks for none."""
    problem: str = ""
    """Why it was not measured."""
    failed: bool = False
    """Whether that was a failure, rather than data that is not there."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the protocol tells beyond that, as plain values."""


@dataclass(frozen=True)
class Mean:
    """The mean accuracy of a suite or of a group, in [0, 1]."""

    value: float | None
    """Over the measured tasks; None if there are none."""
    measured: int
    tasks: int

    @property
    def complete(self) -> bool:
        """Whether every task counts in it: only then is it the suite's value."""
        return self.measured == self.tasks


@dataclass(frozen=True)
class SuiteResult:
    """The outcome of a suite."""

    suite: str
    model: str
    results: tuple[TaskResult, ...]

    @property
    def mean(self) -> Mean:
        """Over all tasks."""
        return _mean(self.results)

    @property
    def groups(self) -> dict[str, Mean]:
        """Over each group, where the suite has groups."""
        names = dict.fromkeys(one.group for one in self.results if one.group)
        return {name: _mean([one for one in self.results if one.group == name]) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; "mean" is null unless every task counts in it."""
        mean = self.mean
        return {
            "suite": self.suite,
            "model": self.model,
            "mean": mean.value if mean.complete else None,
            "mean_of_measured": mean.value,
            "measured": mean.measured,
            "tasks": mean.tasks,
            "groups": {name: asdict(one) for name, one in self.groups.items()},
            "results": [asdict(one) for one in self.results],
        }

    def to_csv(self) -> str:
        """Return a table with one line a task; what was not measured is empty."""
        columns = [one.name for one in fields(TaskResult) if one.name != "details"]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in self.results)
        return text.getvalue()


def _mean(results: Sequence[TaskResult]) -> Mean:
    found = [one.accuracy for one in results if one.accuracy is not None]
    return Mean(fmean(found) if found else None, len(found), len(results))


def read_result(path: Path) -> TaskResult:
    """Read a task's stored result.

    Raises:
        MixerError: the file is damaged.
    """
    try:
        result = TaskResult(**json.loads(path.read_text()))
        if not 0 <= float(result.accuracy) <= 1 or int(result.images) < 1:  # type: ignore[arg-type]
            raise ValueError(f"accuracy {result.accuracy} on {result.images} images")
        return result
    except (ValueError, TypeError, OSError) as error:
        raise MixerError(
            f"{path} is damaged: {error}. Remove it, and the task is measured again."
        ) from error
