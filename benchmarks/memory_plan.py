"""Memory of a training step as planned (`mixer info --plan`) beside what it takes.

    python benchmarks/memory_plan.py --out benchmarks/results/memory_plan.json

Each case runs in a process of its own: two steps of the trainer's, of which the second one counts.
On a GPU, PyTorch counts the bytes; on a CPU the most memory of the process (VmHWM of Linux's /proc)
less what it held before the model was built. The trainer's native kernels are left out, as the plan
is made for devices that compute by PyTorch.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from memory import memory

import mlpmixer
from mlpmixer.files import write_json
from mlpmixer.runtime import Runtime, machine
from mlpmixer.training.recipe import OptimizerOptions, Recipe
from mlpmixer.training.step import StepResult, TrainingStep
from mlpmixer.training.step_memory import step_memory


class Case(NamedTuple):
    """A training step."""

    model: str
    batch_size: int
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    precision: str = "float32"
    ema: float = 0.0
    accumulate: int = 1
    recompute: bool = False

    @property
    def options(self) -> OptimizerOptions:
        """The optimizer's part of the recipe."""
        return OptimizerOptions(
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            ema=self.ema,
            accumulate=self.accumulate,
        )


CASES = (
    Case("mixer_s16", 8),
    Case("mixer_s16", 32),
    Case("mixer_s16", 32, optimizer="sgd"),
    Case("mixer_s16", 32, optimizer="muon", ema=0.999),
    Case("mixer_s16", 32, accumulate=4),
    Case("mixer_s16", 32, recompute=True),
    Case("mixer_s32", 64, ema=0.999),
    Case("mixer_b16", 16),
)
GPU_CASES = (
    Case("mixer_s16", 512, precision="bfloat16"),
    Case("mixer_b16", 256),
    Case("mixer_b16", 256, precision="bfloat16"),
    Case("mixer_b16", 512, precision="bfloat16", recompute=True),
    Case("mixer_l16", 128, precision="bfloat16", ema=0.999),
    Case("mixer_l16", 256, precision="bfloat16", accumulate=4),
    Case("mixer_h14", 64, precision="bfloat16"),
    Case("mixer_h14", 256, precision="bfloat16", recompute=True),
    Case("mixer_h14", 128, optimizer="sgd", precision="bfloat16", recompute=True),
)


def twice(case: Case, device: torch.device) -> Callable[[], StepResult]:
    """Make a step once, and return what makes it again."""
    with torch.device(device):
        model = mlpmixer.create_model(case.model)
    model.set_grad_checkpointing(case.recompute)
    recipe = replace(Recipe(), optimizer=case.options)
    step = TrainingStep(model, recipe, Runtime(device, torch.bfloat16))
    step.runtime = Runtime(device, getattr(torch, case.precision))
    images = torch.randn(case.batch_size, 3, *model.image_size, device=device)
    targets = torch.zeros(case.batch_size, model.num_classes, device=device)
    step(images, targets, 0, 1.0)
    return lambda: step(images, targets, 1, 1.0)


def measured(case: Case, device: torch.device) -> int:
    """Return the bytes that the second step takes at most; to be called in a fresh process."""
    small = case._replace(model="mixer_nano", batch_size=4, accumulate=1)
    twice(small, device)()  # libraries are loaded, in pieces
    before = memory("VmRSS")
    step = twice(case, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    step()
    return memory("VmHWM") - before


def compared(case: Case, device: torch.device) -> dict[str, Any]:
    """Return a case with its planned and its measured bytes."""
    with torch.device("meta"):
        model = mlpmixer.create_model(case.model)
    model.set_grad_checkpointing(case.recompute)
    planned = step_memory(model, case.options, getattr(torch, case.precision)).total
    command = [sys.executable, __file__, "--device", str(device), "--alone", json.dumps(case)]
    # Or glibc keeps much of what is freed, and a process looks larger than what it holds.
    given_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    environment = {**os.environ, **given_back}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    taken = int(done.stdout.split()[-1])
    return {**case._asdict(), "planned": planned, "measured": taken, "ratio": planned / taken}


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--alone", help="measure one case in this process")
    options = parser.parse_args()
    if options.alone:
        print(measured(Case(*json.loads(options.alone)), options.device))
        return
    rows = []
    for case in CASES if options.device.type == "cpu" else GPU_CASES:
        rows.append(compared(case, options.device))
        print(json.dumps(rows[-1]), flush=True)
    if options.out:
        write_json(options.out, {"machine": machine(options.device), "cases": rows})


if __name__ == "__main__":
    main()
