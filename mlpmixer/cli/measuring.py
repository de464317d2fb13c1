"""The options that the measuring verbs share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlpmixer.values import Share, Workers

if TYPE_CHECKING:
    from mlpmixer.data.options import DataOptions
    from mlpmixer.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions:
    """What to measure with."""

    workers: Workers = 2
    """Processes that decode images."""
    max_unreadable: Share = 0.01
    """Share of unreadable images above which to stop."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Type of the matrix products; auto: bfloat16 where the hardware multiplies it."""
    json: bool = False
    """Print everything as JSON; messages go to standard error."""

    def data_options(self) -> "DataOptions":
        """Return how images are to be read."""
        from mlpmixer.data.options import DataOptions

        return DataOptions(workers=self.workers, max_unreadable=self.max_unreadable)

    def runtime(self) -> "Runtime":
        """Return where to measure.

        Raises:
            UsageError: the machine lacks what is asked for.
        """
        from mlpmixer.runtime import Runtime

        return Runtime.choose(self.device, self.precision)
