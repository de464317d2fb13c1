"""`mixer serve` under load and under attack, beside the predictor in one process.

    python benchmarks/serving.py --photos path/to/jpegs --out benchmarks/results/serving.json

For each model: photos a second of the predictor that decodes in threads and computes batches; then
requests a second of the server by clients at once, with the times they wait. Then, on one server:
ten times more clients than it takes on, broken bodies, clients that hang up, the thread that
computes killed again and again under load, and what is left of its memory. Every answer is compared
with the predictor's. All of it runs on this machine, so the clients take a part of the processor
that a server alone would have.
"""

import argparse
import asyncio
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import uvloop
from PIL import Image

import mlpmixer
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.files import write_json
from mlpmixer.runtime import keep_freed_memory, machine

MODELS = {"mixer_nano": 32, "mixer_b16": 224}
CLIENTS = (1, 4, 16, 64)
BATCH = 16
QUEUE = 128


class Answer(NamedTuple):
    """What a client got."""

    status: int
    body: bytes
    seconds: float


class Client:
    """A connection that is used again and again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, kind: str = "image/jpeg") -> Answer:
        """Send a body and wait for the answer; a lost connection is status 0."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        begun = time.perf_counter()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = self._streams
            writer.write(head + body)
            await writer.drain()
            lines = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int((re.findall(r"(?i)content-length: (\d+)", lines) or ["0"])[0])
            content = await reader.readexactly(length)
            if "connection: close" in lines.lower():
                self.close()
            status = int(lines.split()[1])
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            status, content = 0, b""
        return Answer(status, content, time.perf_counter() - begun)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Server:
    """`mixer serve` with one model, called m."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.log = (folder / "server.log").open("w")
        program = Path(__file__).with_name("mortal_server.py")
        command = [sys.executable, str(program), f"m={model}", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--largest-batch", str(BATCH), "--queue", str(QUEUE)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port = int(re.findall(r":(\d+)/", line)[0])

    def memory(self) -> float:
        """Return what the process takes, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000

    def deaths(self) -> int:
        """Return how often its thread of batches ended."""
        return Path(self.log.name).read_text().count("the thread of batches ended")

    def close(self) -> None:
        """End it as a service manager does."""
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[Server]:
    """Run a server while the block runs."""
    server = Server(model, folder)
    try:
        yield server
    finally:
        server.close()


def in_process(predictor: Predictor, photos: Sequence[bytes], seconds: float) -> float:
    """Return photos a second, decoded in threads while batches are computed."""
    with ThreadPoolExecutor(os.cpu_count()) as decoders:

        def batches() -> Generator[list[Any], None, None]:
            waiting: list[list[Any]] = []
            while True:
                futures = [decoders.submit(predictor.prepare, one) for one in photos[:BATCH]]
                waiting.append(futures)
                if len(waiting) > 2:
                    yield waiting.pop(0)

        source = batches()
        predictor.probabilities(torch.stack([one.result() for one in next(source)]))
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            predictor.probabilities(torch.stack([one.result() for one in next(source)]))
            count += BATCH
        rate = count / (time.perf_counter() - begun)
        source.close()
    return rate


async def load(
    port: int, photos: Sequence[bytes], expected: Sequence[str], clients: int, seconds: float
) -> dict[str, Any]:
    """Let clients ask one after the other, each as fast as it can."""
    answers: list[Answer] = []
    wrong = 0
    until = time.perf_counter() + seconds

    async def ask(number: int) -> None:
        nonlocal wrong
        client, turn = Client(port), number
        while time.perf_counter() < until:
            which = turn % len(photos)
            answer = await client.post("/v1/models/m/predict?k=1", photos[which])
            answers.append(answer)
            if answer.status == 200:
                found = json.loads(answer.body)["pictures"][0]["classes"][0]["label"]
                wrong += found != expected[which]
            elif answer.status == 503:
                await asyncio.sleep(0.1)
            turn += clients
        client.close()

    begun, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(ask, range(clients)))
    took, worked = time.perf_counter() - begun, time.process_time() - worked
    good = sorted(one.seconds for one in answers if one.status == 200)
    return {
        "clients": clients,
        "clients_share_of_a_core": worked / took,
        "requests_per_second": len(good) / took,
        "p50_ms": 1000 * statistics.median(good) if good else None,
        "p99_ms": 1000 * good[int(0.99 * (len(good) - 1))] if good else None,
        "statuses": dict(Counter(one.status for one in answers)),
        "wrong_answers": wrong,
    }


def broken_bodies(photo: bytes, count: int) -> Iterator[tuple[bytes, str]]:
    """Yield bodies that are no good pictures, or only look like some, with their content type."""
    chance = random.Random(0)
    kinds = {"jpeg": photo}
    for kind in ("png", "webp", "gif"):
        stream = io.BytesIO()
        Image.effect_noise((64, 64), 50).save(stream, kind)
        kinds[kind] = stream.getvalue()
    bomb = io.BytesIO()
    Image.new("1", (30000, 30000)).save(bomb, "png")
    for number in range(count):
        kind = chance.choice(list(kinds))
        body = bytearray(kinds[kind])
        way = number % 6
        if way == 0:
            body = body[: chance.randrange(len(body))]
        elif way == 1:
            for _ in range(chance.randrange(1, 20)):
                body[chance.randrange(min(len(body), 200))] = chance.randrange(256)
        elif way == 2:
            body = bytearray(chance.randbytes(chance.randrange(2000)))
        elif way == 3:
            body = bytearray(b"PK\x03\x04" + chance.randbytes(500))
        elif way == 4 and number % 50 == 4:
            body = bytearray(bomb.getvalue())
        elif way == 5:
            others = ("text/html", "multipart/form-data", "application/zip")
            yield bytes(body), chance.choice(others)
            continue
        yield bytes(body), f"image/{kind}"


async def attack(port: int, bodies: Sequence[tuple[bytes, str]]) -> dict[int, int]:
    """Send bodies by eight clients; return how often each status came."""
    statuses: Counter[int] = Counter()
    waiting = list(bodies)

    async def send() -> None:
        client = Client(port)
        while waiting:
            body, kind = waiting.pop()
            statuses[(await client.post("/v1/models/m/predict", body, kind)).status] += 1
        client.close()

    await asyncio.gather(*(send() for _ in range(8)))
    return dict(statuses)


async def hang_up(port: int, photo: bytes, count: int) -> None:
    """Let clients leave in the middle of a body, or before the answer."""

    async def leave(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            "POST /v1/models/m/predict HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
        )
        part = photo if number % 2 else photo[: len(photo) // 2]
        writer.write(head.encode() + part)
        await writer.drain()
        writer.close()

    for begin in range(0, count, 50):
        await asyncio.gather(*map(leave, range(begin, min(begin + 50, count))))


async def kill_workers(
    server: Server, photos: Sequence[bytes], expected: Sequence[str], kills: int, pause: float
) -> dict[str, Any]:
    """Kill the thread that computes, again and again, while eight clients ask."""
    before = server.deaths()

    async def kill() -> None:
        for _ in range(kills):
            await asyncio.sleep(pause)
            server.process.send_signal(signal.SIGUSR1)

    asking = load(server.port, photos, expected, 8, (kills + 1) * pause)
    under_fire, _ = await asyncio.gather(asking, kill())
    return {
        "kills": kills,
        "worker_deaths": server.deaths() - before,
        "crashes": int(server.process.poll() is not None),
        "lost_requests": sum(n for status, n in under_fire["statuses"].items() if status != 200),
        "under_fire": under_fire,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--broken", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--leaving", type=int, default=1_000)
    options = parser.parse_args()
    keep_freed_memory()
    photos = [file.read_bytes() for file in sorted(options.photos.iterdir())][:BATCH]
    result: dict[str, Any] = {"machine": machine(torch.device("cpu")), "models": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in options.models:
            file = folder / f"{model}.safetensors"
            torch.manual_seed(0)
            made = mlpmixer.create_model(model, image_size=MODELS[model], num_classes=1000)
            torch.nn.init.normal_(made.get_parameter("head.weight"))
            made.save(file)
            predictor = Predictor.load(file)
            expected = [one[0].label for one in predictor(photos, k=1)]
            alone = [in_process(predictor, photos, options.seconds)]
            with serving(file, folder) as server:
                loads = [
                    uvloop.run(load(server.port, photos, expected, clients, options.seconds))
                    for clients in CLIENTS
                ]
            alone.append(in_process(predictor, photos, options.seconds))
            rate = statistics.mean(alone)
            for one in loads:
                one["share_of_in_process"] = one["requests_per_second"] / rate
            result["models"][model] = {"in_process_photos_per_second": alone, "loads": loads}
            print(json.dumps({model: result["models"][model]}, indent=2), flush=True)
        result["faults"] = faults(folder / "mixer_nano.safetensors", folder, photos, options)
        print(json.dumps(result["faults"], indent=2))
    if options.out:
        write_json(options.out, result)


def faults(
    file: Path, folder: Path, photos: Sequence[bytes], options: argparse.Namespace
) -> dict[str, Any]:
    """Overload, broken bodies and leaving clients, on one server; good answers in between."""
    expected = [one[0].label for one in Predictor.load(file)(photos, k=1)]
    with serving(file, folder) as server:

        def good() -> dict[str, Any]:
            return uvloop.run(load(server.port, photos, expected, 4, 1.0))

        found: dict[str, Any] = {"before": good(), "memory_mb": {"before": server.memory()}}
        found["overload"] = uvloop.run(load(server.port, photos, expected, 10 * QUEUE, 8.0))
        found["memory_mb"]["overload"] = server.memory()
        half = options.broken // 2
        bodies = list(broken_bodies(photos[0], options.broken))
        found["broken"] = uvloop.run(attack(server.port, bodies[:half]))
        found["memory_mb"]["half of the broken"] = server.memory()
        found["broken_again"] = uvloop.run(attack(server.port, bodies[half:]))
        found["memory_mb"]["all of the broken"] = server.memory()
        uvloop.run(hang_up(server.port, photos[0], options.leaving))
        found["memory_mb"]["leaving"] = server.memory()
        found["killed_worker"] = uvloop.run(
            kill_workers(server, photos, expected, options.kills, pause=0.5)
        )
        found["after"] = good()
        assert server.process.poll() is None, "the server ended"
    return found


if __name__ == "__main__":
    main()
