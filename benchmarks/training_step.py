"""Processor time of one training step, or of a block's MLPs by the native kernels.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py --model mixer_nano
    OMP_NUM_THREADS=1 python benchmarks/training_step.py --model mixer_nano --kernels

Forward and backward pass, clipping where a side clips, and AdamW, on one batch of random images
that stays the same; no data, no metrics. With one thread the processor's time hardly depends on
what else the machine does; the least of several steps counts. `training.py` measures images/s of
whole trainings.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F
from training import CLASSES, MIXERS, sizes, timm_model

from mlpmixer.engines.training_blocks import TRAINED_IN
from mlpmixer.kernels.ceilings import product_ceiling
from mlpmixer.kernels.self_check import choose_training_level
from mlpmixer.kernels.training import Across, MlpOptions, mixing
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.registry import create_model
from mlpmixer.runtime import Runtime, choose_precision, keep_freed_memory
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.step import TrainingStep

SIDES = ("ours", "plain", "compiled")
CPU = torch.device("cpu")


def least(work: Callable[[], object], repetitions: int) -> float:
    """Return the least seconds of processor time after a first call that prepares."""
    work()
    taken = []
    for _ in range(repetitions):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def step_of(side: str, name: str, runtime: Runtime) -> Callable[[], object]:
    """Return what makes a side's step."""
    pixels, batch = sizes(name)
    images = torch.rand(batch, 3, pixels, pixels) * 2 - 1
    labels = torch.randint(0, CLASSES, (batch,))
    if side == "ours":
        model = create_model(name, image_size=pixels, num_classes=CLASSES)
        step = TrainingStep(model, find_recipe("small").override({"optimizer": "adamw"}), runtime)
        targets = F.one_hot(labels, CLASSES).float()
        return lambda: step(images, targets, 0, 1.0)
    net = timm_model(name)
    forward = torch.compile(net) if side == "compiled" else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)

    def plain() -> None:
        with runtime.autocast():
            loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return plain


def kernels(name: str, runtime: Runtime, repetitions: int) -> None:
    """Print what the two MLPs of a block take, and how near their products are to the ceiling."""
    precision = TRAINED_IN[runtime.precision]
    level, ceiling = choose_training_level(precision), product_ceiling(precision, threads=1)
    print(f"ceiling: {ceiling / 1e9:.0f} Gop/s, {level}")
    pixels, batch = sizes(name)
    model = create_model(name, image_size=pixels, num_classes=CLASSES)
    assert isinstance(model, Mixer)
    config = model.config
    values = torch.randn(batch, config.num_tokens, config.width, requires_grad=True)
    upstream = torch.randn_like(values)
    total = 0.0
    parts: list[tuple[Across, int, int]] = [
        ("tokens", config.num_tokens, config.tokens_mlp_dim),
        ("channels", config.width, config.channels_mlp_dim),
    ]
    for across, outer, hidden in parts:
        weights = [torch.ones(config.width), torch.zeros(config.width)]
        weights += [torch.randn(hidden, outer) / outer**0.5, torch.zeros(hidden)]
        weights += [torch.randn(outer, hidden) / hidden**0.5, torch.zeros(outer)]
        for weight in weights:
            weight.requires_grad_()
        options = MlpOptions(
            across=across,
            gelu="tanh",
            layer_norm_epsilon=1e-6,
            residual=True,
            level=level,
            precision=precision,
        )
        inputs = [values, *weights]

        def both(weights=weights, options=options, inputs=inputs) -> None:  # type: ignore[no-untyped-def]
            torch.autograd.grad(mixing(values, weights, options), inputs, upstream)

        forward = least(lambda w=weights, o=options: mixing(values, w, o), repetitions)  # type: ignore[misc]
        seconds = least(both, repetitions)
        operations = 12 * values.numel() * hidden
        print(
            f"{name}, {across}: forward {forward * 1e3:.2f} ms, backward "
            f"{(seconds - forward) * 1e3:.2f} ms, {operations / seconds / 1e9:.0f} Gop/s"
        )
        total += seconds
    print(f"{name}, a block: {total * 1e3:.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=tuple(MIXERS), default="mixer_nano")
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=SIDES)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--repetitions", type=int, default=8)
    parser.add_argument("--kernels", action="store_true", help="a block's MLPs alone")
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    runtime = Runtime(CPU, choose_precision(options.precision, CPU))
    if options.kernels:
        kernels(options.model, runtime, options.repetitions)
        return
    for side in options.sides:
        seconds = least(step_of(side, options.model, runtime), options.repetitions)
        rate = sizes(options.model)[1] / seconds
        print(
            f"{options.model}, {side}, {runtime.precision}: {seconds * 1e3:.1f} ms a step, "
            f"{rate:.1f} images/s of processor time",
            flush=True,
        )


if __name__ == "__main__":
    main()
