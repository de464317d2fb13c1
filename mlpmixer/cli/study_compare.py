"""`mixer study compare`."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlpmixer.cli.options import given, parse
from mlpmixer.cli.study_options import StudyOptions, print_plan
from mlpmixer.cli.table import print_table
from mlpmixer.errors import UsageError

BUDGETS = ("steps", "epochs", "minutes", "flops")


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
    steps: int | None = None
    """Budget of each training in steps."""
    epochs: float | None = None
    """Budget in passes over the images."""
    minutes: float | None = None
    """Budget in minutes."""
    flops: float | None = None
    """Budget in floating-point operations, such as 1e15; becomes steps by each model's GMACs."""


def run(arguments: Sequence[str]) -> int:
    """Run the study; returns the exit status."""
    command = parse(CompareCommand, "study compare", arguments)
    budgets = [name for name in BUDGETS if name in given(arguments)]
    if len(budgets) != 1:
        raise UsageError(
            "the trainings need one budget: give --steps, --epochs, --minutes or --flops."
        )
    from mlpmixer.report.console import Console
    from mlpmixer.report.formatting import magnitude, memory, number, percent
    from mlpmixer.studies.comparison import comparison_study
    from mlpmixer.studies.comparison_report import report_comparison
    from mlpmixer.studies.estimate import training_seconds
    from mlpmixer.studies.grid import Cell, Grid
    from mlpmixer.studies.outputs import PAGE
    from mlpmixer.training.recipes import find_recipe

    budget = {} if command.flops else {budgets[0]: getattr(command, budgets[0])}
    recipe = find_recipe(command.recipe).override(
        {**command.overrides(), **budget, "data": command.data}
    )
    study = comparison_study(command.models, command.seeds, recipe, command.flops)
    console = Console.choose(command.json)
    trainings = Grid(command.out, study.training_cells())
    speeds = Grid(command.out, [study.throughput_cell()])
    trainings.missing()  # damaged or foreign results are named before the work
    speeds.missing()
    plans = study.check()
    if command.dry_run:
        seconds = {model: training_seconds(planned) for model, planned in plans.items()}

        def of_cell(cell: Cell) -> float:
            return seconds[str(cell.values["model"])]

        print_plan(trainings, of_cell, console, command.jobs or 1)
        return 0
    del plans
    speeds.run(console, jobs=1)  # alone on the machine, before the trainings warm it up
    trainings.run(console, command.jobs)
    ((_, measured),) = speeds.results()
    table, sentences = report_comparison(study, trainings, measured)
    page = trainings.out / PAGE
    print_table(
        console,
        {"models": table, "findings": sentences, "page": page},
        ["model", "accuracy", "images/s", "core-hours", "parameters", "GMACs", "memory"],
        [
            [
                row["model"],
                percent(row["accuracy"]),
                number(row["images_per_second"]),
                f"{row['core_hours']:.3g}",
                magnitude(round(row["parameters"])),
                f"{row['gmacs']:.3g}",
                memory(row["training_memory_bytes"]),
            ]
            for row in table
        ],
        [*sentences, f"page: {page}"],
        left=1,
    )
    return 0
