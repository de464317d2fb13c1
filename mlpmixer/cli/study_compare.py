"""`mixer study compare`: what do accuracy and speed cost?"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlpmixer.cli.options import parse
from mlpmixer.cli.study_options import StudyOptions
from mlpmixer.cli.study_steps import carry_out
from mlpmixer.training.recipe import BUDGETS
from mlpmixer.values import Count, FloatingPointOperations, Positive


@dataclass(frozen=True, kw_only=True)
class CompareCommand(StudyOptions):
    """Train models of all families with the same budget; compare accuracy, speed and cost.

    Examples:
      mixer study compare --data cifar10 --minutes 5 --out runs/compare
      mixer study compare --data digits --recipe quick --steps 60 --models mixer_nano bit_nano \
--out runs/digits-compare
    """

    data: str
    """What to train on."""
    models: tuple[str, ...] = ("mixer_nano", "vit_nano", "bit_nano", "nfnet_nano", "halonet_nano")
    """Names from `mixer info`."""
    steps: Count | None = None
    """Budget of each training in steps."""
    epochs: Positive | None = None
    """Budget in passes over the images."""
    minutes: Positive | None = None
    """Budget in minutes."""
    flops: FloatingPointOperations | None = None
    """Budget in floating-point operations, such as 1e15; becomes steps by each model's GMACs."""


def run(arguments: Sequence[str]) -> int:
    """Run the study; returns the exit status."""
    command = parse(CompareCommand, "study compare", arguments)
    budget = command.one_budget(*BUDGETS, "flops")
    from mlpmixer.studies.comparison import comparison_study
    from mlpmixer.studies.comparison_report import report_comparison
    from mlpmixer.training.recipes import find_recipe

    flops = budget.pop("flops", None)
    recipe = find_recipe(command.recipe).override(
        {**command.overrides(), **budget, "data": command.data}
    )
    study = comparison_study(command.models, command.seeds, recipe, command.runtime(), flops)
    return carry_out(study, command, report_comparison, "compare", arguments)
