"""Blocks are brought side by side while they are small, and else one after another."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlpmixer.data.block_cache import BlockCache


@dataclass
class Meter:
    """Counts what is brought at the same time."""

    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Block:
    key: str
    size: int
    meter: Meter
    source: str = "a file"

    def write(self, target: Path) -> None:
        with self.meter.lock:
            self.meter.now += 1
            self.meter.most = max(self.meter.most, self.meter.now)
        time.sleep(0.05)
        target.write_text(self.key)
        with self.meter.lock:
            self.meter.now -= 1


@pytest.mark.parametrize(("size", "most"), [(1_000, 6), (100_000_000, 2), (10**10, 1)])
def test_the_memory_of_blocks_decides_how_many_are_brought_at_once(size: int, most: int) -> None:
    meter, cache = Meter(), BlockCache()
    blocks = [Block(f"block {number}", size, meter) for number in range(6)]
    cache.ensure(blocks)
    assert 1 <= meter.most <= most
    assert meter.most > 1 or most == 1
    assert cache.read(blocks[2], 0, 7) == b"block 2"
    assert cache.read(Block("another", size, meter), 0, 7) is None
