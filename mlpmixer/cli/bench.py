"""`mixer bench`: how fast a model runs on this machine, by engine and precision."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from mlpmixer.cli.model_argument import is_stored
from mlpmixer.cli.options import given, parse
from mlpmixer.cli.table import print_table
from mlpmixer.errors import UsageError
from mlpmixer.values import Count, Pixels, Positive, Repetitions, Workers

if TYPE_CHECKING:
    from mlpmixer.engines.optimized_model import OptimizedModel
    from mlpmixer.evaluation.engine_speed import EngineSpeed
    from mlpmixer.models.interface import ImageModel
    from mlpmixer.run.console import Console
    from mlpmixer.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Measure a model's inference: one image's latency, and throughput at the best batch size.

    Engines and precisions take turns, and medians count. With --accuracy: also what the lower
    precisions cost in accuracy, on labelled images.

    Examples:
      mixer bench mixer_s16
      mixer bench runs/digits --accuracy
      mixer bench mixer_b16 --engines native eager --precisions float32 int8 --json
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A name of `mixer info`, a run directory, a model file, or hf-hub:user/name."""
    engines: tuple[Literal["native", "openvino", "compiled", "eager"], ...] = ("native", "eager")
    """What computes; compiled takes minutes to start, openvino seconds."""
    precisions: tuple[Literal["float32", "bfloat16", "int8"], ...] = (
        "float32",
        "bfloat16",
        "int8",
    )
    """Types of the matrix products' operands."""
    image_size: tuple[Pixels, ...] | None = None
    """Input in pixels, one side or height and width; for a model by name."""
    rounds: Repetitions = 5
    """Turns of each."""
    seconds: Positive = 0.5
    """Length of a turn."""
    largest_batch: Count = 64
    """No larger batch is tried."""
    accuracy: bool = False
    """Measure the accuracy too."""
    data: str | None = None
    """Labelled images for --accuracy; by default what the model was trained on."""
    split: Literal["train", "validation", "test"] | None = None
    """Which of them; by default test, else validation, else all there are."""
    workers: Workers = 2
    """Processes that decode images."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: bool = False
    """Print JSON."""


OF_ACCURACY = {"data", "split", "workers"}


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(BenchCommand, "bench", arguments)
    if not command.accuracy and (foreign := sorted(given(arguments) & OF_ACCURACY)):
        raise UsageError(f"--{foreign[0]} belongs to --accuracy: give it too.")
    for name in ("engines", "precisions"):
        if not getattr(command, name):
            raise UsageError(f"--{name} names none: give some, or leave it out for all.")
    from mlpmixer.evaluation.engine_speed import measure_engines, optimized_models
    from mlpmixer.run.console import Console
    from mlpmixer.runtime import Runtime, machine

    console = Console.choose(command.json)
    runtime = Runtime.choose(command.device, "float32")
    model = _model(command).to(runtime.device)
    model.check_layers()
    candidates = optimized_models(model, command.engines, command.precisions)
    if all(one is None for _, one in candidates):
        reasons = dict.fromkeys(speed.description for speed, _ in candidates)
        raise UsageError(f"nothing can compute {command.model} so: {' '.join(reasons)}")
    accuracies = _accuracies(command, model, candidates, runtime, console)
    with console.progress("measuring") as progress:
        speeds = measure_engines(
            candidates,
            runtime,
            rounds=command.rounds,
            seconds=command.seconds,
            largest_batch=command.largest_batch,
            on_progress=progress.update,
        )
    _show(console, command.model, machine(runtime.device), speeds, accuracies)
    return 0


def _model(command: BenchCommand) -> "ImageModel":
    from mlpmixer.models.registry import create_model
    from mlpmixer.weights.checkpoint import load

    size = command.image_size
    if is_stored(command.model):
        if size is not None:
            raise UsageError(f"{command.model} has a size of its own: leave --image-size out.")
        return load(command.model)
    if command.accuracy:
        raise UsageError(f"{command.model} has random weights: leave --accuracy out.")
    if size is not None and len(size) not in (1, 2):
        raise UsageError(f"image size {size}: give one side, or height and width, in pixels.")
    return create_model(command.model, image_size=None if size is None else (size[0], size[-1]))


def _accuracies(
    command: BenchCommand,
    model: "ImageModel",
    candidates: "Sequence[tuple[EngineSpeed, OptimizedModel | None]]",
    runtime: "Runtime",
    console: "Console",
) -> dict[tuple[str, str], float]:
    """Return the accuracy of each engine and precision, and under ("", "") the model's own."""
    if not command.accuracy:
        return {}
    from mlpmixer.data.options import DataOptions
    from mlpmixer.evaluation.classify import accuracy
    from mlpmixer.evaluation.evaluate import open_labelled

    options = DataOptions(workers=command.workers)
    labelled = open_labelled(model, command.model, command.data, command.split, options, console)
    found = {("", ""): accuracy(model, labelled.images, runtime)}
    for speed, optimized in candidates:
        if optimized is not None:
            with console.progress(f"accuracy of {speed.engine}, {speed.precision}"):
                key = (speed.engine, speed.precision)
                found[key] = accuracy(optimized, labelled.images, runtime)
    return found


def _show(
    console: "Console",
    name: str,
    here: dict[str, str],
    speeds: "Sequence[EngineSpeed]",
    accuracies: dict[tuple[str, str], float],
) -> None:
    from mlpmixer.formatting import percent
    from mlpmixer.kernels.ceilings import arithmetic

    header = ["engine", "precision", "latency", "images/s", "at batch", "of the limit"]
    header += ["top-1", "change"] * bool(accuracies)
    rows, records, missing, notes = [], [], [], []
    own = accuracies.get(("", ""))
    for speed in speeds:
        record: dict[str, Any] = asdict(speed)
        records.append(record)
        if speed.images_per_second is None or speed.latency_seconds is None:
            missing.append(f"{speed.engine}, {speed.precision}: {speed.description}")
            continue
        if speed.engine == "native" and (used := arithmetic(speed.precision)) != speed.precision:
            notes.append(f"native, {speed.precision}: computed in {used}, which is faster here")
        share = speed.share_of_ceiling
        row = [speed.engine, speed.precision, f"{speed.latency_seconds * 1e3:,.1f} ms"]
        row += [f"{speed.images_per_second:,.1f}", str(speed.batch_size)]
        row.append("" if share is None else percent(share, 0))
        found = accuracies.get((speed.engine, speed.precision))
        if found is not None and own is not None:
            record |= {"top1": found, "top1_change": found - own}
            row += [percent(found, 2), f"{(found - own) * 100:+.2f} points"]
        rows.append(row)
    footer = [f"{name} on {here['device']}", *notes, *missing]
    result = {"model": name, "machine": here, "engines": records}
    print_table(console, result, header, rows, footer, left=2)
