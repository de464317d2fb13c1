"""Inference on this CPU: ours beside timm, ONNX Runtime and OpenVINO, and the machine's limits.

    python benchmarks/inference_cpu.py --out benchmarks/results/inference_cpu.json

Needs the extra `export`. Every engine lives in a process of its own, so that no one's idle threads
disturb another; they take turns on the same images, and medians over the rounds are reported. The
ceilings, products over registers alone and reading memory, are measured before and after each
group. Results are written after each group; one that is in the file already is not measured again.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from inference_engines import ENGINES, TIMM_NAMES, build, inputs

from mlpmixer.files import write_json
from mlpmixer.kernels.ceilings import product_ceiling, read_bandwidth
from mlpmixer.kernels.native import PRECISIONS, Precision, levels_here
from mlpmixer.models.model_summary import summarize_model
from mlpmixer.models.registry import create_model
from mlpmixer.runtime import keep_freed_memory, machine

BATCHES = (1, 16)
TURN = 0.5
"""Least seconds that an engine computes before the next one's turn."""
PEERS = ("torch", "timm", "onnxruntime", "openvino", "nncf")


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--models", nargs="+", choices=TIMM_NAMES, default=list(TIMM_NAMES))
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--threads", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    result: dict[str, Any] = {"groups": []}
    if options.out and options.out.exists():
        result = json.loads(options.out.read_text())
    result |= {
        "machine": machine(torch.device("cpu")) | {"processor": processor()},
        "levels": {one: levels_here(one)[:1] for one in PRECISIONS},
        "versions": {name: version(name) for name in PEERS},
        "rounds": options.rounds,
    }
    done = [(one["model"], one["threads"]) for one in result["groups"]]
    for name in options.models:
        for threads in options.threads:
            if (name, threads) not in done:
                result["groups"].append(measured(name, threads, options))
                if options.out:
                    write_json(options.out, result)


def processor() -> str:
    """Return the processor's name, and what of its instructions matters here."""
    text = Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    kinds = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    has = [kind for kind in kinds if kind in facts.get("flags", "").split()]
    family = f"family {facts.get('cpu family')}, model {facts.get('model')}"
    return f"{facts.get('model name', platform.processor())} ({family}; {', '.join(has)})"


def measured(name: str, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the speeds of all engines for a network, with so many threads each."""
    with torch.device("meta"):
        known = create_model(name)
    operations = 2 * summarize_model(known).gmacs * 1e9
    os.environ["OMP_NUM_THREADS"] = str(threads)
    before = ceilings(threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        wanted = [(engine, one) for engine in options.engines for one in ENGINES[engine]]
        with workers(wanted, name, threads, Path(folder)) as running:
            for batch in options.batches:
                rows += [
                    {"engine": engine, "precision": precision, "batch": batch, **speed}
                    for (engine, precision), speed in in_turn(running, batch, options.rounds)
                ]
    after = ceilings(threads)
    limits = {key: max(before[key], after[key]) for key in before}
    for row in rows:
        if "images_per_second" in row:
            rate = row["images_per_second"] * operations
            row["share_of_ceiling"] = rate / limits[row["precision"]]
    group = {
        "model": name,
        "threads": threads,
        "operations_an_image": operations,
        "ceilings": limits,
        "rows": rows,
    }
    show(group)
    return group


def ceilings(threads: int) -> dict[str, float]:
    """Return operations a second in each precision, and bytes a second from memory."""
    found: dict[str, float] = {one: product_ceiling(one, threads) for one in PRECISIONS}
    return {**found, "bytes": read_bandwidth(threads)}


Running = dict[tuple[str, Precision], Connection | str]


@contextmanager
def workers(
    wanted: list[tuple[str, Precision]], name: str, threads: int, folder: Path
) -> Iterator[Running]:
    """Yield a connection to each engine's process, or why there is none."""
    context = multiprocessing.get_context("spawn")
    processes, running = [], Running()
    for engine, precision in wanted:
        here, there = context.Pipe()
        process = context.Process(
            target=serve, args=(there, engine, name, precision, threads, folder), daemon=True
        )
        process.start()
        processes.append(process)
        there.close()
        problem = here.recv()
        running[engine, precision] = problem or here
        print(f"{name}, {threads} threads: {engine} {precision} {problem or 'ready'}", flush=True)
    try:
        yield running
    finally:
        for connection in running.values():
            if isinstance(connection, Connection):
                connection.send(None)
        for process in processes:
            process.join()


def serve(
    connection: Connection, engine: str, name: str, precision: Precision, threads: int, folder: Path
) -> None:
    """Build an engine, then compute batches as the other end asks for them."""
    keep_freed_memory()
    try:
        compute = build(engine, name, precision, threads, folder)
    except Exception as error:
        connection.send(f"is left out: {str(error).splitlines()[0]}")
        return
    connection.send(None)
    with torch.no_grad():
        while (asked := connection.recv()) is not None:
            batch, seconds = asked
            images = inputs(batch)
            begun, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - begun < seconds:
                logits = compute(images)
                count += 1
            connection.send((count * batch / (time.perf_counter() - begun), logits.numpy()))


def in_turn(
    running: Running, batch: int, rounds: int
) -> Iterator[tuple[tuple[str, Precision], dict[str, Any]]]:
    """Yield the median speed of each engine, and how far its logits are from timm's."""
    live = {key: one for key, one in running.items() if isinstance(one, Connection)}
    speeds: dict[tuple[str, Precision], list[float]] = {key: [] for key in live}
    logits = {}
    for key, connection in live.items():  # once to warm up, and to compile
        connection.send((batch, 0.0))
        logits[key] = torch.from_numpy(connection.recv()[1])
    for _ in range(rounds):
        for key, connection in live.items():
            connection.send((batch, TURN))
            speeds[key].append(connection.recv()[0])
    reference = logits.get(("timm", "float32"))
    for key, one in running.items():
        if isinstance(one, str):
            yield key, {"missing": one}
            continue
        row: dict[str, Any] = {
            "images_per_second": statistics.median(speeds[key]),
            "rounds": speeds[key],
        }
        if reference is not None:
            error = (logits[key] - reference).abs().max() / reference.abs().max()
            row["largest_difference"] = float(error)
        yield key, row


def show(group: dict[str, Any]) -> None:
    """Print a group as a table."""
    limits = ", ".join(f"{key} {value / 1e9:,.0f} G/s" for key, value in group["ceilings"].items())
    print(f"\n{group['model']}, {group['threads']} threads; ceilings: {limits}")
    for row in group["rows"]:
        label = f"  batch {row['batch']:3} {row['engine']:14} {row['precision']:9}"
        if "missing" in row:
            print(label, row["missing"])
            continue
        difference = row.get("largest_difference", float("nan"))
        print(
            label,
            f"{row['images_per_second']:8.2f} images/s {row['share_of_ceiling']:6.1%} of the "
            f"ceiling, largest difference {difference:.1e}",
        )
    print(flush=True)


if __name__ == "__main__":
    main()
