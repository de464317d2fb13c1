"""A grid computes each cell once, and loses nothing."""

import io
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.run.console import Console
from mlpmixer.studies.grid import Cell, CellsFailed, Grid, visible_gpus


def square(number: int, folder: Path, console: Console) -> Mapping[str, Any]:
    """Compute a cell; leaves a line for every call."""
    with (folder / "calls").open("a") as file:
        file.write("called\n")
    console.message(f"squaring {number}")
    if (folder / "stop").exists():
        raise KeyboardInterrupt
    if (folder / "fail").exists():
        raise MixerError(f"{number} cannot be squared.")
    if (folder / "fill").exists():
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        )
    if (folder / "break").exists():
        raise RuntimeError("a fault of ours")
    return {"square": number**2}


def cells(count: int = 3, **settings: Any) -> list[Cell]:
    return [Cell({"number": n}, settings, partial(square, n)) for n in range(count)]


def calls(grid: Grid) -> list[int]:
    files = [grid.folder(cell) / "calls" for cell in grid.cells]
    return [len(file.read_text().split()) if file.exists() else 0 for file in files]


def mark(grid: Grid, number: int, name: str) -> Path:
    """Tell a cell's work what to do."""
    path = grid.folder(grid.cells[number]) / name
    path.parent.mkdir(parents=True)
    path.touch()
    return path


@pytest.fixture
def console() -> Console:
    return Console("plain", out=io.StringIO(), err=io.StringIO())


def test_every_cell_is_computed_and_stored(tmp_path: Path) -> None:
    grid = Grid(tmp_path / "study", cells())
    out = io.StringIO()
    grid.run(Console("plain", out=out, err=io.StringIO()))
    assert [result["square"] for _, result in grid.results()] == [0, 1, 4]
    said = out.getvalue()
    assert re.search(r"cell 1 of 3: number=0\n", said)
    assert re.search(r"cell 3 of 3: number=2, about .* left\n", said)


def test_a_second_run_computes_only_what_is_missing(tmp_path: Path, console: Console) -> None:
    Grid(tmp_path, cells(2)).run(console)
    grid = Grid(tmp_path, cells(4))
    assert [cell.values["number"] for cell in grid.missing()] == [2, 3]
    grid.run(console)
    assert calls(grid) == [1, 1, 1, 1]


def test_an_interrupted_cell_is_computed_again_and_the_others_are_kept(
    tmp_path: Path, console: Console
) -> None:
    grid = Grid(tmp_path, cells())
    stop = mark(grid, 1, "stop")
    with pytest.raises(KeyboardInterrupt):
        grid.run(console)
    assert len(grid.results()) == 1
    stop.unlink()
    grid.run(console)
    assert calls(grid) == [1, 2, 1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_fails_is_named_and_the_others_are_computed(
    tmp_path: Path, console: Console, jobs: int
) -> None:
    grid = Grid(tmp_path, cells())
    fail = mark(grid, 0, "fail")
    with pytest.raises(MixerError, match="1 of 3 cells failed, number=0: 0 cannot be squared"):
        grid.run(console, jobs)
    assert [result["square"] for _, result in grid.results()] == [1, 4]
    fail.unlink()
    grid.run(console, jobs)
    assert calls(grid) == [2, 1, 1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_memory_does_not_suffice_for_is_a_failed_one(
    tmp_path: Path, console: Console, jobs: int
) -> None:
    grid = Grid(tmp_path, cells())
    mark(grid, 0, "fill")
    with pytest.raises(CellsFailed, match=r"1 of 3 .* number=0: the memory does not suffice"):
        grid.run(console, jobs)
    assert [result["square"] for _, result in grid.results()] == [1, 4]


def test_a_defect_of_the_program_is_no_failed_cell(tmp_path: Path, console: Console) -> None:
    grid = Grid(tmp_path, cells())
    mark(grid, 0, "break")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        grid.run(console)


def test_a_cell_is_asked_for_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="number=1 is asked for twice"):
        Grid(tmp_path, [*cells(), *cells(2)[1:]])


@pytest.mark.parametrize("content", ["", "{", '{"settings": {}}', '{"settings": {}, "result": 3}'])
def test_a_damaged_result_is_named_before_the_work(
    tmp_path: Path, console: Console, content: str
) -> None:
    grid = Grid(tmp_path, cells())
    file = grid.folder(grid.cells[2]) / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(MixerError, match=r"number=2/result\.json is damaged .* Remove it"):
        grid.run(console)
    assert calls(grid) == [0, 0, 0]


def test_results_of_other_settings_are_refused(tmp_path: Path, console: Console) -> None:
    Grid(tmp_path, cells(steps=500)).run(console)
    with pytest.raises(UsageError, match="steps = 500, now it is 1000"):
        Grid(tmp_path, cells(steps=1000)).run(console)


def test_an_option_that_came_later_and_is_off_changes_no_cell(
    tmp_path: Path, console: Console
) -> None:
    Grid(tmp_path, cells(1, steps=500)).run(console)
    later = Grid(tmp_path, cells(1, steps=500, row_average=0.0))
    later.run(console)
    assert calls(later) == [1]
    with pytest.raises(UsageError, match=r"row_average = None, now it is 0\.95"):
        Grid(tmp_path, cells(1, steps=500, row_average=0.95)).run(console)


@pytest.mark.parametrize("ended", ["interrupted", "result removed"])
def test_what_was_begun_with_other_settings_is_no_cell_of_these(
    tmp_path: Path, console: Console, ended: str
) -> None:
    """A training that lies there would go on, or be taken over, by its old recipe."""
    grid = Grid(tmp_path, cells(1, steps=500))
    if ended == "interrupted":
        mark(grid, 0, "stop")
        with pytest.raises(KeyboardInterrupt):
            grid.run(console)
    else:
        grid.run(console)
        (grid.folder(grid.cells[0]) / "result.json").unlink()
    other = Grid(tmp_path, cells(1, steps=1000))
    with pytest.raises(UsageError, match=r"steps = 500, now it is 1000.* remove that folder"):
        other.run(console)
    assert calls(grid) == [1]
    shutil.rmtree(grid.folder(grid.cells[0]))
    other.run(console)
    assert calls(other) == [1]


def test_each_place_has_one_of_the_gpus_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937,3")
    assert visible_gpus() == ["GPU-8932f937", "3"]


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path, console: Console) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(UsageError, match="another process"):
        Grid(tmp_path, cells()).run(console)


def test_cells_run_side_by_side(tmp_path: Path, console: Console) -> None:
    grid = Grid(tmp_path, cells(2))
    grid.run(console, jobs=2)
    assert [result["square"] for _, result in grid.results()] == [0, 1]
    logs = [(grid.folder(cell) / "log.txt").read_text() for cell in grid.cells]
    assert logs == ["squaring 0\n", "squaring 1\n"]


@pytest.mark.parametrize(("device", "at_a_time"), [("cpu", 1), ("cuda", 2), ("cuda:1", 1)])
def test_cells_share_several_gpus_unless_one_is_named(
    device: str,
    at_a_time: int,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    places = []
    monkeypatch.setattr(
        Grid, "_run_parallel", lambda self, missing, jobs, gpus, *_: places.append((jobs, gpus))
    )
    grid = Grid(tmp_path, cells())
    grid.run(console, device=torch.device(device))
    assert places == ([] if at_a_time == 1 else [(2, ["0", "1"])])
    assert calls(grid) == ([1, 1, 1] if at_a_time == 1 else [0, 0, 0])


def test_the_name_of_a_cell_is_a_folder_name() -> None:
    cell = Cell({"model": "timm:a/b", "fraction": 0.1}, {}, partial(square, 0))
    assert cell.name == "timm-a-b,fraction=0.1"
