"""How long a large checkpoint takes to load, and how much memory, from a warm disk.

    python benchmarks/weights.py --out benchmarks/results/weights.json

Writes a Mixer-H/14 with random weights in every layout to a temporary folder (1.7 GB each), then
loads each in a process of its own, in turn, several rounds, medians. The peer reads timm's layout
as a timm user does: build the module, read the file, copy into it. Memory is the growth of the
process's largest resident size over what it was before, as a share of the file. Linux alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import re, sys, time
kind, path = sys.argv[1:]
def peak():  # not getrusage, whose maximum a process inherits from its parent
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
import torch, mlpmixer
from mlpmixer.models.mixer import Mixer
from mlpmixer.weights import checkpoint
if kind == "timm":
    from timm.models.mlp_mixer import MlpMixer
    from safetensors.torch import load_file
torch.zeros(1000, 1000) @ torch.zeros(1000, 1000)
before = peak()
begun = time.perf_counter()
if kind == "timm":
    model = MlpMixer(num_classes=1000, img_size=224, patch_size=14, num_blocks=32, embed_dim=1280)
    model.load_state_dict(load_file(path))
else:
    model = checkpoint.load(path)
seconds = time.perf_counter() - begun
print(seconds, peak() - before)
"""


def measure(kind: str, path: Path) -> tuple[float, int]:
    """Load a file in a process of its own; returns seconds and bytes."""
    command = [sys.executable, "-c", PROGRAM, kind, str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, grown = output.split()
    return float(seconds), int(grown)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mixer_h14")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import torch

    from mlpmixer.models.registry import create_model
    from mlpmixer.runtime import machine
    from mlpmixer.weights.checkpoint import export, save

    with tempfile.TemporaryDirectory() as folder:
        files = {
            "ours .safetensors": Path(folder) / "ours.safetensors",
            "authors' .npz": Path(folder) / "google.npz",
            "timm .safetensors": Path(folder) / "timm.safetensors",
            "timm .pth": Path(folder) / "timm.pth",
        }
        model = create_model(options.model)
        save(model, files["ours .safetensors"])
        export(model, files["authors' .npz"], "google")
        export(model, files["timm .safetensors"], "timm")
        export(model, files["timm .pth"], "timm")
        del model
        jobs = {name: ("ours", file) for name, file in files.items()}
        jobs["timm .safetensors, by timm"] = ("timm", files["timm .safetensors"])
        rounds = [
            {name: measure(*job) for name, job in jobs.items()} for _ in range(options.rounds + 1)
        ][1:]  # the first one warms the disk's cache
        loads = {
            name: {
                "seconds": round(statistics.median(one[name][0] for one in rounds), 2),
                "slowest": round(max(one[name][0] for one in rounds), 2),
                "memory_share_of_file": round(
                    statistics.median(one[name][1] for one in rounds) / os.path.getsize(file), 3
                ),
            }
            for name, (_, file) in jobs.items()
        }
        size = os.path.getsize(files["ours .safetensors"])
    result = {
        "what": f"loading {options.model} from a warm disk",
        "command": "python benchmarks/weights.py --out benchmarks/results/weights.json",
        "machine": machine(torch.device("cpu")),
        "file_bytes": size,
        "rounds": options.rounds,
        "loads": loads,
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
