"""The state of one piece of work, and its wording."""

from __future__ import annotations

from collections.abc import Callable

from mlpmixer.formatting import clock as clock_text
from mlpmixer.formatting import memory, number, percent

Fact = int | float | str


class Progress:
    """How far one piece of work is. `Console.progress` makes it."""

    def __init__(
        self, title: str, clock: Callable[[], float], changed: Callable[[Progress], None]
    ) -> None:
        self.title = title
        self.fraction = 0.0
        self.finished = False
        self._facts: dict[str, Fact] = {}
        self._clock = clock
        self._changed = changed
        self._started = clock()
        self._first: tuple[float, float] | None = None  # time and fraction of the first update

    def update(self, fraction: float, **facts: Fact | None) -> None:
        """Say that `fraction`, in [0, 1], is done, and what is known now.

        Facts given earlier stay until they are given again; None is not given. These have a
        wording of their own: step and steps, epoch and epochs, minutes and of_minutes, loss,
        train_accuracy and validation_accuracy (in [0, 1]), images_per_second, teacher_time,
        data_wait and mfu (shares), memory_bytes. Others appear under their name.
        """
        self.fraction = min(max(fraction, 0.0), 1.0)
        self._facts.update({name: fact for name, fact in facts.items() if fact is not None})
        if self._first is None:
            self._first = (self._clock(), self.fraction)
        self._changed(self)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def time_left(self) -> float | None:
        """Seconds to the end at the average speed so far; None before that is known.

        A resumed run starts at some fraction; only what was done since then counts as speed.
        """
        if self._first is None:
            return None
        since, already = self._first
        done = self.fraction - already
        seconds = self._clock() - since
        return seconds * (1 - self.fraction) / done if done > 0 and seconds > 0 else None

    def facts(self) -> list[str]:
        """Return the facts as short texts, in a fixed order."""
        known = dict(self._facts)
        texts = []
        for name, of, pattern in _COUNTS:
            value, total = known.pop(name, None), known.pop(of, None)
            if value is not None:
                end = "" if total is None else f"/{_text(total)}"
                texts.append(pattern.format(_text(value) + end))
        for name, wording in _WORDINGS.items():
            if name in known:
                value = known.pop(name)
                texts.append(wording(value) if isinstance(value, int | float) else str(value))
        texts += [f"{name.replace('_', ' ')} {_text(value)}" for name, value in known.items()]
        return texts

    def timing(self) -> str:
        """Return "2:31 left", or how long it took."""
        if self.finished:
            return f"in {clock_text(self.elapsed)}"
        left = self.time_left
        return "" if left is None else f"{clock_text(left)} left"

    def line(self) -> str:
        """Return all of it as one line."""
        parts = [f"{self.title} {percent(self.fraction, 0)}", *self.facts(), self.timing()]
        return "  ".join(filter(None, parts))


# A count, the fact that holds its total, and their wording.
_COUNTS = (
    ("step", "steps", "step {}"),
    ("epoch", "epochs", "epoch {}"),
    ("minutes", "of_minutes", "{} min"),
)
_WORDINGS: dict[str, Callable[[float], str]] = {
    "loss": lambda value: f"loss {value:.3f}",
    "train_accuracy": lambda value: f"train {percent(value)}",
    "validation_accuracy": lambda value: f"validation {percent(value)}",
    "images_per_second": lambda value: f"{number(value)} images/s",
    "teacher_time": lambda value: f"{percent(value, 0)} for the teacher",
    "data_wait": lambda value: f"{percent(value, 0)} waiting for data",
    "memory_bytes": lambda value: memory(round(value)),
    "mfu": lambda value: f"{percent(value, 0)} of peak",
}


def _text(value: Fact) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else number(value)
    return str(value)
