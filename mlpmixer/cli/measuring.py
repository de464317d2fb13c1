"""The options that the measuring verbs share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlpmixer.values import Share, Workers

if TYPE_CHECKING:
    from mlpmixer.data.options import DataOptions
    from mlpmixer.ranks import Ranks
    from mlpmixer.run.console import Console
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
    """Type of the matrix products; auto: bfloat16 where it is faster than float32 here."""
    json: bool = False
    """Print everything as JSON; messages go to standard error."""

    def data_options(self) -> "DataOptions":
        """Return how images are to be read."""
        from mlpmixer.data.options import DataOptions

        return DataOptions(workers=self.workers, max_unreadable=self.max_unreadable)

    def runtime(self, ranks: "Ranks | None" = None) -> "Runtime":
        """Return where to measure; of several ranks each takes its share of the images.

        Raises:
            UsageError: the machine lacks what is asked for.
        """
        from mlpmixer.ranks import ALONE
        from mlpmixer.runtime import Runtime

        ranks = ranks or ALONE
        with ranks.together():
            return Runtime.choose(self.device, self.precision, ranks)

    def console(self, ranks: "Ranks") -> "Console":
        """Return what talks to the user: nothing in ranks that do not lead."""
        from mlpmixer.run.console import Console

        return Console.choose(self.json) if ranks.leads else Console.silent()
