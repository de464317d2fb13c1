"""Memory over the course of a streamed training on sets of ImageNet-21k's and JFT's shape.

    python benchmarks/stream_memory.py --out benchmarks/results/stream_memory.json

Of each kind 100,000 small JPEGs with the real number of classes are written into a temporary
folder: as tar shards, JFT's with one to five classes an image, and those once more as parquet with
a column of lists. Some hundred different pictures come again and again. A web server of this
process offers them, and `mixer train` streams them through the recipe `pretrain_imagenet21k` or
`pretrain_jft`, with a tiny model and small batches. Once a second the memory of its process and its
workers is taken from Linux's /proc: PSS, in which memory that several of them share counts once.
"""

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from mlpmixer.files import write_json
from mlpmixer.runtime import machine

PICTURES, SIDE = 300, 64
SHARD, ROWS = 5_000, 500  # images of a file, and of a row group
VALIDATION = 256  # images to validate with
WORKERS = 2
TINY = (
    *("--model", "mixer_nano", "--image-size", "32", "--patch-size", "8", "--width", "32"),
    *("--depth", "2", "--tokens-mlp-dim", "16", "--channels-mlp-dim", "64"),
)
BRIEF = (
    *("--batch-size", "256", "--warmup-steps", "20", "--epochs", "1", "--workers", str(WORKERS)),
    *("--cache", "none", "--evaluations", "2", "--device", "cpu"),
)


class Kind(NamedTuple):
    """A set to train on."""

    recipe: str
    classes: int
    most: int
    """Classes that an image has at most."""
    suffix: str


KINDS = {
    "imagenet21k": Kind("pretrain_imagenet21k", 21_843, 1, ".tar"),
    "jft": Kind("pretrain_jft", 18_291, 5, ".tar"),
    "jft_parquet": Kind("pretrain_jft", 18_291, 5, ".parquet"),
}


def pictures() -> list[bytes]:
    """Return different small JPEGs."""
    chance, found = np.random.default_rng(0), []
    for _ in range(PICTURES):
        coarse = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


def write(folder: Path, kind: Kind, images: int) -> str:
    """Write the files of a set; returns how a URL names them."""
    chance, content = np.random.default_rng(1), pictures()
    files = -(-images // SHARD)
    names = [f"train-{file:03}" for file in range(files)]
    for file, name in enumerate([*names, "validation-000"]):
        count = min(SHARD, images - file * SHARD) if file < files else VALIDATION
        counts = chance.integers(1, kind.most + 1, count)
        labels = [chance.choice(kind.classes, number, replace=False).tolist() for number in counts]
        path = folder / f"{name}{kind.suffix}"
        if kind.suffix == ".parquet":
            rows = [{"bytes": content[number % PICTURES], "path": None} for number in range(count)]
            pq.write_table(pa.table({"image": rows, "label": labels}), path, row_group_size=ROWS)
            continue
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, own in enumerate(labels):
                label = str(own[0]) if len(own) == 1 else json.dumps(own)
                for suffix, body in (("jpg", content[number % PICTURES]), ("cls", label.encode())):
                    entry = tarfile.TarInfo(f"{number:05}.{suffix}")
                    entry.size = len(body)
                    tar.addfile(entry, io.BytesIO(body))
    (folder / "classes.txt").write_text("".join(f"class {n}\n" for n in range(kind.classes)))
    return f"{{train-{{000..{files - 1:03}}},validation-000}}{kind.suffix}"


class Server(ThreadingHTTPServer):
    """One that many processes may turn to at once."""

    daemon_threads = True
    request_queue_size = 128


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Offer the files of a folder by ranges of bytes; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = folder / self.path.lstrip("/")
            found = path.is_file()
            size = path.stat().st_size if found else 0
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            begin, end = (int(wanted[1]), min(size, int(wanted[2]) + 1)) if wanted else (0, size)
            self.send_response(404 if not found else 206 if wanted else 200)
            self.send_header("Accept-Ranges", "bytes")
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            if found and self.command == "GET":
                with path.open("rb") as file:
                    file.seek(begin)
                    self.wfile.write(file.read(end - begin))

        def log_message(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


class Sample(NamedTuple):
    """What the processes of a training take at a time, in megabytes."""

    second: float
    step: int
    """The last one with a line of metrics; 0 before."""
    processes: int
    pss: float
    rss: float
    main_pss: float
    """Of the process that trains, without its workers."""


def taken(process: psutil.Process) -> tuple[float, float]:
    """Return the PSS and RSS of a process in megabytes."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(Pss|Rss):\s+(\d+) kB$", rollup, flags=re.MULTILINE))
    return int(found["Pss"]) * 1.024e-3, int(found["Rss"]) * 1.024e-3


def sample(training: psutil.Process, begun: float, metrics: Path) -> Sample | None:
    """Return what the processes take now; None where one of them has just ended."""
    try:
        every = [training, *training.children(recursive=True)]
        both = [taken(process) for process in every]
    except (psutil.Error, OSError, KeyError):
        return None
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return Sample(
        second=round(time.monotonic() - begun, 1),
        step=json.loads(lines[-1])["step"] if lines else 0,
        processes=len(every),
        pss=round(sum(pss for pss, _ in both), 1),
        rss=round(sum(rss for _, rss in both), 1),
        main_pss=round(both[0][0], 1),
    )


def train(kind: Kind, url: str, folder: Path) -> tuple[list[Sample], str]:
    """Train by the command line; returns the memory over its course and the command."""
    run = folder / "run"
    arguments = ["train", "--recipe", kind.recipe, "--data", url, *TINY, *BRIEF, "--out", str(run)]
    environment = {**os.environ, "MLPMIXER_DATA": str(folder / "kept"), "OMP_NUM_THREADS": "1"}
    begun, samples = time.monotonic(), []
    with subprocess.Popen(
        [sys.executable, "-m", "mlpmixer", *arguments], env=environment, stdout=subprocess.DEVNULL
    ) as started:
        training = psutil.Process(started.pid)
        while started.poll() is None:
            if (found := sample(training, begun, run / "metrics.jsonl")) is not None:
                samples.append(found)
            time.sleep(1.0)
    if started.returncode:
        sys.exit(f"the training ended with {started.returncode}")
    shown = " ".join(arguments).replace(url, "URL").replace(str(run), "RUN")
    return samples, f"mixer {shown}"


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Return the memory in each quarter of the training, while all workers are there."""
    last = max(one.step for one in samples)
    at_work = [one for one in samples if one.step and one.processes == 1 + WORKERS]
    quarters = [
        [one for one in at_work if quarter < 4 * one.step / last <= quarter + 1]
        for quarter in range(4)
    ]
    return {
        "steps": last,
        "seconds": samples[-1].second,
        "pss_mb": [round(statistics.median(one.pss for one in part)) for part in quarters],
        "pss_mb_of_workers": [
            round(statistics.median(one.pss - one.main_pss for one in part)) for part in quarters
        ],
        "pss_mb_most": max(one.pss for one in samples),
        "course": [one._asdict() for one in samples[:: max(1, len(samples) // 60)]],
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    measured = {}
    for name in options.kinds:
        kind = KINDS[name]
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            pattern = write(folder, kind, options.images)
            with served(folder) as url:
                samples, command = train(kind, f"{url}/{pattern}", folder)
        measured[name] = {"classes": kind.classes, "command": command, **summary(samples)}
        found = measured[name]
        shown = ", ".join(f"{one:,}" for one in found["pss_mb"])
        print(f"{name}: {shown} MB by quarter, {found['steps']} steps", flush=True)
    if options.out:
        result = {
            "what": "memory of a streamed training and its workers over its course, PSS in MB: "
            "the median in each quarter of the steps",
            "command": "python benchmarks/stream_memory.py "
            "--out benchmarks/results/stream_memory.json",
            "machine": machine(torch.device("cpu")),
            "images": options.images,
            "kinds": measured,
        }
        write_json(options.out, result)


if __name__ == "__main__":
    main()
