"""`mixer study scale`: who gains most from more pre-training data?"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlpmixer.cli.options import parse
from mlpmixer.cli.study_options import StudyOptions
from mlpmixer.cli.study_steps import carry_out
from mlpmixer.values import Count, Positive, ShareNotZero


@dataclass(frozen=True, kw_only=True)
class ScaleCommand(StudyOptions):
    """Pre-train models on growing parts of a data set; see which of them gains most.

    Each model is judged on another data set, by the few-shot probe and by fine-tuning, as in
    the paper's section 3.3.

    Examples:
      mixer study scale --data tiny-imagenet/ --downstream cifar10 --steps 2000 --out runs/scale
      mixer study scale --data digits --downstream digits --models mixer_nano bit_nano \
--fractions 0.3 1 --recipe quick --steps 60 --finetune-steps 30 --out runs/digits-scale
    """

    data: str
    """What to pre-train on."""
    downstream: str
    """What to judge the pre-trained models by."""
    models: tuple[str, ...] = ("mixer_nano", "vit_nano", "bit_nano")
    """Names from `mixer info`."""
    fractions: tuple[ShareNotZero, ...] = (0.03, 0.1, 0.3, 1.0)
    """Shares of the pre-training images, in (0, 1]; nested, balanced over the classes."""
    steps: Count | None = None
    """Pre-train for this many steps, on all subsets alike."""
    epochs: Positive | None = None
    """Pre-train for this many passes over each subset."""
    finetune_steps: Count = 500
    """Steps of fine-tuning."""
    finetune_recipe: str = "small"
    """The fine-tuning's recipe: a name, or a TOML file; the paper's is called finetune."""
    shots: Count = 5
    """Images a class of the few-shot probe."""


def run(arguments: Sequence[str]) -> int:
    """Run the study; returns the exit status."""
    command = parse(ScaleCommand, "study scale", arguments)
    budget = command.one_budget("steps", "epochs")
    from mlpmixer.studies.scale import ScaleStudy
    from mlpmixer.studies.scale_report import report_scale
    from mlpmixer.training.recipes import find_recipe

    shared = command.overrides()
    study = ScaleStudy(
        models=command.models,
        fractions=command.fractions,
        seeds=command.seeds,
        pretraining=find_recipe(command.recipe).override(
            {**shared, **budget, "data": command.data}
        ),
        finetuning=find_recipe(command.finetune_recipe).override(
            {
                **{name: value for name, value in shared.items() if name != "image_size"},
                "steps": command.finetune_steps,
                "data": command.downstream,
            }
        ),
        shots=command.shots,
        runtime=command.runtime(),
    )
    return carry_out(study, command, report_scale, "scale", arguments)
