"""A process takes the cores that others leave idle."""

import multiprocessing
import os
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


@pytest.mark.parametrize(
    ("busy_cores", "idle"), [(0.0, 2), (0.3, 2), (1.0, 1), (2.0, 1), (7.0, 1)]
)
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


def _work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the counters are Linux's")
def test_busy_processes_are_seen_on_the_real_machine() -> None:
    cores = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(30.0,)) for _ in range(cores)]
    for worker in workers:
        worker.start()
    try:
        time.sleep(1)  # until they are at work
        watch = CoreWatch()
        time.sleep(1)
        idle = watch.idle_cores()
        assert idle is not None
        assert idle < max(2, cores)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
