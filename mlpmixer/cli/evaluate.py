"""`mixer eval`: measure a trained model on labelled images."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mlpmixer.cli.measuring import MeasuringOptions
from mlpmixer.cli.one_process import need_one_process
from mlpmixer.cli.options import given, parse
from mlpmixer.cli.table import print_table
from mlpmixer.errors import UsageError
from mlpmixer.files import check_folder_writable
from mlpmixer.values import Count, flag

if TYPE_CHECKING:
    from mlpmixer.ranks import Ranks
    from mlpmixer.run.console import Console
    from mlpmixer.suites.result import Mean, SuiteResult


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Measure a trained model on labelled images: accuracy, calibration, confusion, speed.

    With --suite: several data sets and protocols in one go, with the mean of their accuracies. What
    was measured before is taken over, an interrupted training goes on. With --corruptions: accuracy
    on damaged images, in five severities.

    Examples:
      mixer eval runs/digits
      mixer eval runs/digits --corruptions gaussian_noise jpeg
      mixer eval runs/flowers --data more-flowers/ --split test --json
      mixer eval hf-hub:timm/mixer_b16_224.goog_in21k --suite avg5
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A run directory, a model file, or hf-hub:user/name."""
    data: str | None = None
    """Where the images come from, as for training; by default what it was trained on."""
    split: Literal["train", "validation", "test"] | None = None
    """Which images; by default test, else validation, else all there are."""
    class_names: Path | None = None
    """A file with the names of the model's classes, one a line or a JSON list; for weights that
    came without, whose classes are otherwise taken to be those of the data, in the same order."""
    multi_labels: Path | None = None
    """A JSON file with a list of right classes for each image, such as ImageNet's ReaL labels."""
    flip: bool = False
    """Average the probabilities over each image and its mirror image, at twice the time."""
    batch_size: Count = 256
    """Images a step."""
    corruptions: tuple[str, ...] | None = None
    """Kinds of damage, or all: gaussian_noise, shot_noise, impulse_noise, defocus_blur,
    motion_blur, zoom_blur, fog, brightness, contrast, pixelate, jpeg."""
    suite: str | None = None
    """avg5 or vtab1k, the paper's; or a TOML file of tasks."""
    out: Path | None = None
    """Folder of a suite or of --corruptions: results, trainings, tables, pages. By default
    runs/suite-SUITE-MODEL or runs/corruptions-MODEL-KEY; KEY tells models of one name apart."""
    strict: bool = False
    """Stop where a task of the suite lacks its data or fails, instead of leaving it out."""
    measuring: MeasuringOptions = field(default_factory=MeasuringOptions)


SHARES_WORK = True
OF_A_SUITE = {"strict"}
OF_A_FOLDER = {"out"}
NOT_DAMAGED = {"multi_labels", "flip"}
OF_ONE_DATA_SET = {
    *("data", "split", "class_names", "multi_labels", "flip", "batch_size", "corruptions")
}


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(EvalCommand, "eval", arguments)
    named = given(arguments)
    if command.suite is None:
        if foreign := sorted(named & OF_A_SUITE):
            raise UsageError(f"--{foreign[0]} belongs to a suite: give --suite too.")
        from mlpmixer.ranks import joined_ranks

        if command.corruptions is None:
            if foreign := sorted(named & OF_A_FOLDER):
                raise UsageError(
                    f"{flag(foreign[0])} belongs to --suite or --corruptions: give one of them too."
                )
            with joined_ranks() as ranks:
                return _evaluate(command, ranks)
        if foreign := sorted(named & NOT_DAMAGED):
            raise UsageError(
                f"{flag(foreign[0])} and --corruptions exclude each other: leave one out."
            )
        with joined_ranks() as ranks:
            return _evaluate_damaged(command, command.corruptions, ranks, arguments)
    if foreign := sorted(named & OF_ONE_DATA_SET):
        raise UsageError(
            f"{flag(foreign[0])} and --suite exclude each other: the suite's tasks say it."
        )
    need_one_process("eval --suite")
    return _run_suite(command, command.suite)


def _evaluate(command: EvalCommand, ranks: "Ranks") -> int:
    from mlpmixer.evaluation.evaluate import evaluate_model
    from mlpmixer.formatting import counted, number, percent
    from mlpmixer.measures.metrics import in_words, shown

    console = command.measuring.console(ranks)
    measured = evaluate_model(
        command.model,
        data=command.data,
        split=command.split,
        options=command.measuring.data_options(),
        class_names=command.class_names,
        multi_labels=command.multi_labels,
        flip=command.flip,
        batch_size=command.batch_size,
        runtime=command.measuring.runtime(ranks),
        console=console,
    )
    result = measured.evaluation
    names = measured.class_names
    lines = [f"{measured.split} images of {measured.data}: {number(result.images)}"]
    lines += [
        f"{metric.title}: {in_words(metric, value, result.images)}"
        for _, metric, value in shown(result.metrics, len(names))
    ]
    lines.append(f"speed: {number(result.images_per_second)} images/s")
    lines += [
        f"most confused: {names[one.true]} taken for {names[one.predicted]}, "
        f"{counted(one.count, 'time')} ({percent(one.share)})"
        for one in result.confusion.most_confused(3)
    ]
    console.result(measured.to_json(), "\n".join(lines))
    return 0


def _evaluate_damaged(
    command: EvalCommand, names: Sequence[str], ranks: "Ranks", arguments: Sequence[str]
) -> int:
    from mlpmixer.data.corruptions import find_corruptions
    from mlpmixer.evaluation.robustness import measure_robustness
    from mlpmixer.evaluation.robustness_report import findings, severity_table, write_robustness

    console = command.measuring.console(ranks)
    with ranks.together():
        if ranks.leads:
            check_folder_writable(command.out or Path("runs"))
    found = measure_robustness(
        command.model,
        corruptions=find_corruptions(names),
        data=command.data,
        split=command.split,
        options=command.measuring.data_options(),
        class_names=command.class_names,
        batch_size=command.batch_size,
        runtime=command.measuring.runtime(ranks),
        console=console,
    )
    if ranks.leads:
        out = command.out or Path("runs") / f"corruptions-{_model_name(command)}-{found.key}"
        again = shlex.join(["mixer", "eval", *arguments])
        page = write_robustness(found, command.model, out, again)
        table = severity_table(found)
        footer = [*findings(found), f"page: {page}"]
        record = {**found.to_json(), "page": page}
        print_table(console, record, table.columns, table.rows, footer, left=table.names)
    return 0


def _model_name(command: EvalCommand) -> str:
    """Return what a model's folder is named after."""
    model = Path(os.path.abspath(command.model))  # "." has no name; a link keeps its own
    return model.stem if os.path.isfile(model) else model.name


def _run_suite(command: EvalCommand, name: str) -> int:
    from mlpmixer.run.console import Console
    from mlpmixer.suites.definition import find_suite
    from mlpmixer.suites.protocols import SuiteContext
    from mlpmixer.suites.runner import run_suite

    measuring = command.measuring
    console = Console.choose(measuring.json)
    suite = find_suite(name)
    out = command.out or Path("runs") / f"suite-{suite.name}-{_model_name(command)}"
    check_folder_writable(out)
    setting = SuiteContext(command.model, measuring.data_options(), measuring.runtime())
    result = run_suite(suite, setting, out, console, strict=command.strict)
    _show(console, result, out)
    return 1 if any(one.failed for one in result.results) else 0


def _show(console: "Console", result: "SuiteResult", out: Path) -> None:
    from mlpmixer.formatting import percent

    several = any(one.multi_label_accuracy is not None for one in result.results)
    header = ["task", "protocol", "group", "accuracy", "images"] + ["multi-label"] * several
    rows = []
    for one in result.results:
        status = "failed" if one.failed else "left out"
        row = [one.task, one.protocol, one.group]
        row.append(status if one.accuracy is None else percent(one.accuracy, 2))
        row.append("" if one.images is None else f"{one.images:,}")
        extra = one.multi_label_accuracy
        rows.append([*row, *["" if extra is None else percent(extra, 2)] * several])
    footer = [f"{name}: {_mean(mean)}" for name, mean in result.groups.items()]
    footer.append(f"{result.suite}: {_mean(result.mean)}")
    footer.append(f"table: {out / 'suite.csv'}")
    print_table(console, {**result.to_json(), "out": out}, header, rows, footer, left=3)


def _mean(mean: "Mean") -> str:
    """Return the mean in words, and whether it is that of all tasks."""
    from mlpmixer.formatting import percent

    if mean.value is None:
        return f"none of {mean.tasks} tasks measured"
    if mean.complete:
        return f"mean of {mean.tasks}: {percent(mean.value, 2)}"
    return f"mean of {mean.measured} of {mean.tasks}: {percent(mean.value, 2)}"
