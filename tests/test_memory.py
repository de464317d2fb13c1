"""How much memory is free for a process, limits of containers included."""

from pathlib import Path

import pytest
import torch

from mlpmixer.memory import forget_peak, free_memory, left_by_limits, used_memory
from mlpmixer.runtime import peak_memory

CPU = torch.device("cpu")
SECOND = ("memory.max", "memory.current", "inactive_file")
FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, files: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {files}\nactive_file 9\n")


def test_the_tightest_limit_above_a_process_counts(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    membership.write_text("0::/job/step\n")
    group(root / "job" / "step", SECOND, "max", 700, 0)
    group(root / "job", SECOND, "1000", 700, 50)
    group(root, SECOND, "9000", 800, 0)
    assert left_by_limits(membership, root) == 350
    (root / "job" / "memory.max").write_text("max\n")
    assert left_by_limits(membership, root) == 8200
    (root / "memory.max").write_text("500\n")
    assert left_by_limits(membership, root) == 0


def test_the_older_kind_of_control_groups_is_known(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    membership.write_text("12:cpu,cpuacct:/job\n4:memory:/job\n")
    group(root / "memory" / "job", FIRST, "1000", 400, 100)
    group(root / "memory", FIRST, "9223372036854771712", 800, 0)
    assert left_by_limits(membership, root) == 700


@pytest.mark.parametrize("lines", ["", "0::/\n", "0::/elsewhere\n"])
def test_without_a_limit_there_is_none(lines: str, tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text(lines)
    assert left_by_limits(membership, tmp_path / "fs") is None
    assert left_by_limits(tmp_path / "none", tmp_path / "fs") is None


def test_free_memory_is_that_of_this_machine() -> None:
    assert 1e6 < free_memory(CPU) < 1e14


def test_a_forgotten_peak_begins_anew() -> None:
    block = torch.ones(64 << 18)  # 64 MiB
    high = peak_memory(CPU)
    del block
    if not forget_peak(CPU):
        pytest.skip("this system does not forget peaks")
    used = used_memory(CPU)
    assert used is not None
    assert used <= peak_memory(CPU) <= high
    again = torch.ones(64 << 18)
    assert peak_memory(CPU) >= used
    assert again.sum() == 64 << 18
