"""How fast each engine computes a model in each precision, and how near the machine's limit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlpmixer.engines.engine import EngineName, make_engine
from mlpmixer.engines.optimized_model import OptimizedModel
from mlpmixer.errors import MixerError
from mlpmixer.evaluation.throughput import latency, throughput
from mlpmixer.kernels.ceilings import product_ceiling
from mlpmixer.kernels.native import Precision
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import FLOPS_PER_MAC, summarize_model
from mlpmixer.runtime import Runtime


@dataclass(frozen=True)
class EngineSpeed:
    """The speed of one engine in one precision."""

    engine: EngineName
    precision: Precision
    description: str
    """What computes, or why nothing does."""
    latency_seconds: float | None = None
    """Of one image; None where nothing computes."""
    batch_size: int | None = None
    """The one at which most images a second are computed."""
    images_per_second: float | None = None
    """At that batch size."""
    share_of_ceiling: float | None = None
    """Of the operations a second that products over registers alone reach here in this precision;
    None where that cannot be measured."""


def optimized_models(
    model: ImageModel, engines: Sequence[EngineName], precisions: Sequence[Precision]
) -> list[tuple[EngineSpeed, OptimizedModel | None]]:
    """Return each combination, not measured yet, with the model that computes it, if one does."""
    found: list[tuple[EngineSpeed, OptimizedModel | None]] = []
    for precision in precisions:
        for engine in engines:
            try:
                made = make_engine(engine, model, precision)
            except MixerError as error:
                found.append((EngineSpeed(engine, precision, str(error)), None))
            else:
                one = EngineSpeed(engine, precision, made.description)
                found.append((one, OptimizedModel(model, made)))
    return found


def measure_engines(
    candidates: Sequence[tuple[EngineSpeed, OptimizedModel | None]],
    runtime: Runtime,
    *,
    rounds: int,
    seconds: float,
    largest_batch: int,
    on_progress: Callable[[float], None] | None = None,
) -> list[EngineSpeed]:
    """Return the speeds of what `optimized_models` found, measured in turn.

    Args:
        candidates: what to measure.
        runtime: where the models are, in float32: each engine has a precision of its own.
        rounds: turns of each.
        seconds: length of a turn.
        largest_batch: no larger batch is tried.
        on_progress: called with the share done, in [0, 1].
    """
    models = {_key(one): model for one, model in candidates if model is not None}
    if not models:
        return [one for one, _ in candidates]
    latencies = latency(models, runtime, rounds=rounds, seconds=seconds)
    if on_progress is not None:
        on_progress(0.3)
    speeds = throughput(
        models, runtime, rounds=rounds, seconds=seconds, largest_batch=largest_batch
    )
    operations = FLOPS_PER_MAC * summarize_model(next(iter(models.values())).model).macs
    measured = []
    for one, _ in candidates:
        if (speed := speeds.get(_key(one))) is None:
            measured.append(one)
            continue
        ceiling = _ceiling(one.precision, runtime)
        rate = speed.images_per_second * operations
        measured.append(
            replace(
                one,
                latency_seconds=latencies[_key(one)],
                batch_size=speed.batch_size,
                images_per_second=speed.images_per_second,
                share_of_ceiling=None if ceiling is None else rate / ceiling,
            )
        )
    return measured


def _key(one: EngineSpeed) -> str:
    return f"{one.engine} {one.precision}"


def _ceiling(precision: Precision, runtime: Runtime) -> float | None:
    if runtime.device.type != "cpu":
        return None
    try:
        return product_ceiling(precision)
    except MixerError:
        return None
