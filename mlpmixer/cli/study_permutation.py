"""`mixer study permutation`: who minds a shuffled input?"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlpmixer.cli.options import parse
from mlpmixer.cli.study_options import StudyOptions
from mlpmixer.cli.study_steps import carry_out
from mlpmixer.training.recipe import BUDGETS
from mlpmixer.values import Count, Pixels, Positive


@dataclass(frozen=True, kw_only=True)
class PermutationCommand(StudyOptions):
    """Train on untouched and on shuffled images; see which model minds.

    Three inputs: as they are; patches and the pixels in them shuffled; all pixels shuffled. Each
    is one fixed permutation, as in the paper's section 3.4.

    Examples:
      mixer study permutation --data cifar10 --steps 2000 --out runs/permutation
      mixer study permutation --data digits --recipe quick --steps 100 --out runs/digits-permutation
    """

    data: str
    """What to train on."""
    models: tuple[str, ...] = ("mixer_nano", "bit_nano")
    """Names from `mixer info`: a Mixer, and a residual network to hold against it."""
    steps: Count | None = None
    """Budget of each training in steps."""
    epochs: Positive | None = None
    """Budget in passes over the images."""
    minutes: Positive | None = None
    """Budget in minutes."""
    shuffle_patch_size: Pixels | None = None
    """Side in pixels of the patches that are shuffled; by default a Mixer's own."""


def run(arguments: Sequence[str]) -> int:
    """Run the study; returns the exit status."""
    command = parse(PermutationCommand, "study permutation", arguments)
    budget = command.one_budget(*BUDGETS)
    from mlpmixer.studies.permutation import PermutationStudy
    from mlpmixer.studies.permutation_report import report_permutation
    from mlpmixer.training.recipes import find_recipe

    fields = {**command.overrides(), **budget, "data": command.data}
    if command.shuffle_patch_size is not None:
        fields["shuffle_patch_size"] = command.shuffle_patch_size
    study = PermutationStudy(
        models=command.models,
        seeds=command.seeds,
        training=find_recipe(command.recipe).override(fields),
        runtime=command.runtime(),
    )
    return carry_out(study, command, report_permutation, "permutation", arguments)
