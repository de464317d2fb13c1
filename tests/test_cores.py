"""A process takes the cores that others leave idle."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlpmixer.cores import SHORTEST_LOOK, CoreWatch

TICKS = os.sysconf("SC_CLK_TCK")


def counters(path: Path, busy_seconds: float) -> Path:
    """Write the processor times of a machine whose programs were busy for so long."""
    path.write_text(f"cpu {round(busy_seconds * TICKS)} 0 0 999 9 0 0 0 0 0\ncpu0 1 2 3\n")
    return path


def looked(watch: CoreWatch) -> None:
    """Let enough time pass for a look."""
    time.sleep(SHORTEST_LOOK + 0.05)


@pytest.mark.parametrize(("busy_cores", "idle"), [(0.0, 2), (0.3, 2), (1.0, 1), (2.0, 1), (7.0, 1)])
def test_what_others_keep_busy_is_left_to_them(
    busy_cores: float, idle: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    watch = CoreWatch(counters(tmp_path / "stat", 100))
    begun = time.monotonic()
    looked(watch)
    counters(tmp_path / "stat", 100 + busy_cores * (time.monotonic() - begun))
    assert watch.idle_cores() == idle


def test_its_own_work_does_not_count(tmp_path: Path) -> None:
    watch = CoreWatch(counters(tmp_path / "stat", 100))
    before = time.process_time()
    while time.process_time() - before < SHORTEST_LOOK + 0.05:
        pass
    counters(tmp_path / "stat", 100 + time.process_time() - before)
    assert watch.idle_cores() == (os.cpu_count() or 1)


def test_too_short_a_look_and_an_unknown_system_say_nothing(tmp_path: Path) -> None:
    assert CoreWatch(counters(tmp_path / "stat", 100)).idle_cores() is None
    for path in (tmp_path / "none", tmp_path):
        watch = CoreWatch(path)
        looked(watch)
        assert watch.idle_cores() is None


COMMAND = """
import os, sys, time, torch
from mlpmixer.cores import start_watching
from mlpmixer.runtime import Runtime

os.cpu_count = lambda: 2
torch.set_num_threads(2)
start_watching()
time.sleep(0.5)
Runtime.choose("cpu", "float32")
print(torch.get_num_threads())
"""


def threads_of_a_command(busy: int, **environment: str) -> int:
    """Return the threads that a command takes while as many processes are busy."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=keep_busy, args=(60.0,)) for _ in range(busy)]
    for worker in workers:
        worker.start()
    try:
        time.sleep(0.5 if busy else 0)
        output = subprocess.run(
            [sys.executable, "-c", COMMAND],
            env={
                **{name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"},
                **environment,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return int(output.stdout)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the counters are Linux's")
def test_a_command_on_a_busy_machine_takes_one_thread() -> None:
    assert threads_of_a_command(busy=(os.cpu_count() or 1) + 1) == 1


def test_omp_num_threads_decides_alone() -> None:
    assert threads_of_a_command(busy=0, OMP_NUM_THREADS="2") == 2


def keep_busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_a_command_says_how_long_threads_wait_unless_the_user_does(
    said: dict[str, str], spins: str | None
) -> None:
    code = """
import os
from mlpmixer.cli.main import main
main(["info", "--list"])
print(os.environ.get("GOMP_SPINCOUNT"))
"""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **said}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == str(spins)
