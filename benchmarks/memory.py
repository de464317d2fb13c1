"""Memory that one inference takes, beside the model and the images themselves.

    python benchmarks/memory.py --out benchmarks/results/memory.json

Each model runs in a process of its own, in float32, on a batch of random images of its own size.
Counted is the most memory of the process during the pass (VmHWM of Linux's /proc) less what it
held before; medians over the rounds. Only `mlpmixer.create_model` is used of the package, so that
another version of it can be measured by PYTHONPATH.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import torch

import mlpmixer

MODELS = ("mixer_s16", "mixer_b16", "mixer_l16", "vit_b16", "bit_r50x1")


def memory(field: str) -> int:
    """Return a line of this process's /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s*(\d+) kB$", status, flags=re.MULTILINE)
    assert found is not None, "only Linux counts the memory of a process this way"
    return int(found[1]) * 1024


@torch.inference_mode()
def taken(name: str, batch_size: int) -> int:
    """Return the bytes that one forward pass takes at most."""
    model = mlpmixer.create_model(name).eval()
    images = torch.randn(batch_size, 3, *model.image_size)
    model(images[:1])  # libraries get their own workspace
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    model(images)
    return memory("VmHWM") - before


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", help="measure one model in this process")
    options = parser.parse_args()
    if options.alone:
        print(taken(options.alone, options.batch_size))
        return
    measured = {}
    for name in options.models:
        command = [sys.executable, __file__, "--alone", name]
        command += ["--batch-size", str(options.batch_size)]
        runs = [
            int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(options.rounds)
        ]
        measured[name] = round(statistics.median(runs) / 1e6)
        print(f"{name}: {measured[name]} MB", flush=True)
    if options.out:
        result = {
            "what": f"peak memory of one inference in MB, batch {options.batch_size}, float32",
            "command": "python benchmarks/memory.py --out benchmarks/results/memory.json",
            "machine": {"system": "Linux", "torch": torch.__version__},
            "rounds": options.rounds,
            "models": measured,
        }
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
