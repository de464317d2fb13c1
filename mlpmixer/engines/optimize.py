"""`optimize`: the same model, computed by the fastest engine there is on this machine."""

import hashlib
import json
import logging
import time
from contextlib import suppress
from functools import cache
from typing import Literal

import torch

from mlpmixer.data.cache import data_home
from mlpmixer.engines.engine import (
    QUICK,
    Engine,
    EngineName,
    OwnRuntime,
    check_names,
    make_engine,
)
from mlpmixer.engines.optimized_model import OptimizedModel
from mlpmixer.errors import MixerError
from mlpmixer.files import write_json
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import Precision
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime, machine

_log = logging.getLogger(__name__)
BATCH_SIZE = 2
ROUNDS = 3


def optimize(
    model: ImageModel,
    precision: Precision = "float32",
    engine: Literal["auto"] | EngineName = "auto",
) -> OptimizedModel:
    """Return a model with the same call and outputs, for inference.

    Tokens and logits differ from the model's own in float32 by at most 1e-5 of the largest of them
    in float32, about 0.02 in bfloat16 and 0.05 in int8 (random weights; see docs/performance.md).

    Args:
        model: any; it is put into evaluation mode and stays as it is. Of an optimized one, what it
            was made from.
        precision: of the matrix products' operands. int8 needs the native kernels.
        engine: "native", "openvino" (where it is installed; converts for seconds), "compiled"
            (takes long to start), "eager"; "auto" takes the faster of native and eager, timed once
            for each shape, machine and version, and remembered. A model from an exported file is
            computed by its own runtime, as it is.

    Raises:
        UsageError: there is no such precision or engine.
        MixerError: the engine cannot compute this model here, and why.
    """
    check_names(engine, precision)
    model = model.unoptimized
    if model.own_runtime is not None:
        return OptimizedModel(model, OwnRuntime(model, precision, engine))
    if engine != "auto":
        return OptimizedModel(model, make_engine(engine, model, precision))
    candidates: dict[EngineName, Engine] = {}
    reasons = []
    for name in QUICK:
        try:
            candidates[name] = make_engine(name, model, precision)
        except MixerError as error:
            reasons.append(str(error))
    if not candidates:
        raise MixerError(" ".join(reasons))
    if library().functions is None and model.for_kernels() is not None:
        _log_missing(library().reason)
    if len(candidates) == 1:
        return OptimizedModel(model, *candidates.values())
    return OptimizedModel(model, candidates[_fastest(model, precision, candidates)])


def for_inference(model: ImageModel, runtime: Runtime) -> ImageModel:
    """Return a model, on the runtime's device, as it is computed fastest there.

    In the precision of the runtime. On a GPU it is the model itself.
    """
    if runtime.device.type != "cpu":
        return model.eval()
    return optimize(model, "bfloat16" if runtime.precision == torch.bfloat16 else "float32")


@cache
def _log_missing(reason: str) -> None:
    """Log once why Mixers do without the kernels; no warning, as some systems never have them."""
    _log.info("%s; PyTorch computes instead", reason)


def _fastest(
    model: ImageModel, precision: Precision, candidates: dict[EngineName, Engine]
) -> EngineName:
    """Return the engine that took the least time, now or when it was asked before."""
    kernels = library().functions
    key = {
        "name": model.name,
        "model": model.options,
        "precision": precision,
        # Descriptions name the level: it changes with the variable, a self-check, the processor.
        "engines": sorted(engine.description for engine in candidates.values()),
        "machine": machine(model.device),
        "kernels": kernels and kernels.mlpmixer_digest().decode(),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = data_home() / "engines" / f"{digest}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there or damaged: timed anew
        seconds = json.loads(path.read_text())["seconds"]
        return min(candidates, key=lambda name: float(seconds[name]))
    seconds = {name: fastest_seconds(model, engine) for name, engine in candidates.items()}
    with suppress(MixerError):  # without a place to remember, it is timed every time
        write_json(path, {**key, "seconds": seconds})
    return min(candidates, key=lambda name: seconds[name])


@torch.inference_mode()
def fastest_seconds(model: ImageModel, engine: Engine) -> float:
    """Return the shortest time of some rounds, after one to warm up."""
    images = torch.zeros(BATCH_SIZE, model.in_channels, *model.image_size, device=model.device)
    engine.logits(images)
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        engine.logits(images)
        times.append(time.perf_counter() - begun)
    return min(times)
