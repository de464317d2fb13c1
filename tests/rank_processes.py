"""Functions run on several processes at once, which find each other as torchrun's do."""

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from mlpmixer.ranks import joined_ranks

# The processes are forked from one that has loaded what they need and computed nothing.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "timm", "mlpmixer.training.train"])
_LONGEST = 240.0  # on a machine that is busy with other things


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def on_ranks(world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call `function(ranks, *arguments)` on so many processes; return what they return."""
    port, answers, started = free_port(), [], []
    for rank in range(world):
        reader, writer = _CONTEXT.Pipe(duplex=False)
        answers.append(reader)
        given = (rank, world, port, writer, function, arguments)
        started.append(_CONTEXT.Process(target=_run, args=given))
        started[-1].start()
        writer.close()
    try:
        found = []
        for reader in answers:
            assert reader.poll(_LONGEST), "a rank did not end"
            answer, failure = reader.recv()
            assert not failure, failure
            found.append(answer)
        return found
    finally:
        for process in started:
            process.kill()
            process.join()


def kill_ranks(
    world: int, function: Callable[..., Any], *arguments: Any, when: Callable[[], bool]
) -> None:
    """Call `function(ranks, *arguments)` on so many processes, and kill them by SIGKILL `when`."""
    port, answers, started = free_port(), [], []
    try:
        for rank in range(world):
            reader, writer = _CONTEXT.Pipe(duplex=False)
            answers.append(reader)
            given = (rank, world, port, writer, function, arguments)
            started.append(_CONTEXT.Process(target=_run, args=given))
            started[-1].start()
            writer.close()
        begun = time.monotonic()
        while not when():
            ended = [reader.recv() for reader in answers if reader.poll()]
            assert not ended, f"a rank ended before it was killed: {ended}"
            assert time.monotonic() - begun < _LONGEST, "the moment to kill the ranks did not come"
            time.sleep(0.001)
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.join()


def _run(
    rank: int,
    world: int,
    port: int,
    answers: Any,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        with joined_ranks() as ranks:
            answers.send((function(ranks, *arguments), ""))
            ranks.wait()
    except BaseException:
        answers.send((None, traceback.format_exc()))
