"""The options that all studies share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlpmixer.errors import UsageError
from mlpmixer.values import Count, CountOrZero, Jobs, Pixels, Repetitions, Workers

if TYPE_CHECKING:
    from mlpmixer.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """How a study is run."""

    out: Path
    """The study's folder. Started again with the same folder, only what is missing is computed."""
    seeds: Repetitions = 1
    """Repetitions with other random choices."""
    jobs: Jobs | None = None
    """Cells at a time; by default one a GPU where there are several, else one."""
    dry_run: bool = False
    """Show the plan with an estimate of the time, and compute nothing."""
    recipe: str = "small"
    """The trainings' recipe: a name as for `mixer train`, or a TOML file for every detail."""
    image_size: tuple[Pixels, ...] | None = None
    """Input in pixels; by default the images' own size where they are small and all alike."""
    batch_size: Count | None = None
    """Images a step; by default the recipe's."""
    evaluations: CountOrZero | None = None
    """Validations of each training; by default the recipe's."""
    workers: Workers = 2
    """Processes that decode images."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the matrix products; auto: bfloat16 where it is faster than float32 here."""
    json: bool = False
    """Print everything as JSON; messages go to standard error."""

    def one_budget(self, *names: str) -> dict[str, Any]:
        """Return the one of these options that was given, by its name.

        Raises:
            UsageError: none was given, or more than one.
        """
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        if len(found) != 1:
            *flags, last = (f"--{name}" for name in names)
            raise UsageError(f"the trainings need one budget: give {', '.join(flags)} or {last}.")
        return found

    def runtime(self) -> "Runtime":
        """Return where the study computes; raises UsageError where the machine lacks it."""
        from mlpmixer.runtime import Runtime

        return Runtime.choose(self.device, self.precision)

    def overrides(self) -> dict[str, Any]:
        """Return the fields of a recipe that these options set."""
        found: dict[str, Any] = {
            "workers": self.workers,
            "device": self.device,
            "precision": self.precision,
        }
        if self.image_size is not None:
            found["image_size"] = self.image_size
        for name in ("batch_size", "evaluations"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        return found
