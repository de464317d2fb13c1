"""The order of images that are read in blocks: no image twice, none lost, exact at every step."""

from itertools import islice

import numpy as np
import pytest
import torch

from mlpmixer.data.stream_order import BLOCK, blocks_of, stream_order
from mlpmixer.errors import UsageError

SIZES = (700, 1, 333, 64, 902)
FILES = np.repeat(np.arange(len(SIZES), dtype=np.int32), SIZES)


def order(images: int, batch_size: int, first_step: int, steps: int) -> list[torch.Tensor]:
    batches = stream_order(blocks_of(FILES[:images]), images, batch_size, 3, first_step)
    return list(islice(batches, steps))


def test_a_block_never_spans_two_files() -> None:
    blocks = blocks_of(FILES)
    for first, end in zip(blocks, [*blocks[1:], len(FILES)], strict=True):
        assert end - first <= BLOCK
        assert len(set(FILES[first:end])) == 1


@pytest.mark.parametrize("images", [1, 5, 40, 129, 769, 2000])
def test_an_epoch_has_every_image_once(images: int) -> None:
    epochs = [torch.cat(order(images, 1, epoch * images, images)) for epoch in (0, 1)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(images))
    if images > 1:
        assert not torch.equal(*epochs)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 500, 2000])
def test_the_order_from_a_step_on_is_that_of_an_uninterrupted_run(batch_size: int) -> None:
    steps = 40
    whole = order(2000, batch_size, 0, steps)
    for begin in (1, 3, 30):
        rest = order(2000, batch_size, begin, steps - begin)
        assert all(map(torch.equal, whole[begin:], rest))


def test_images_beside_each_other_are_spread_over_an_epoch() -> None:
    epoch = torch.cat(order(2000, 50, 0, 40))
    neighbours = (epoch.diff().abs() == 1).float().mean()
    assert neighbours < 0.01


def test_few_blocks_are_open_at_a_time() -> None:
    images = 20_000
    files = np.zeros(images, dtype=np.int32)
    blocks = blocks_of(files)
    epoch = torch.cat(list(islice(stream_order(blocks, images, 100, 0, 0), images // 100)))
    block = blocks.searchsorted(epoch.numpy(), side="right")
    last = {number: place for place, number in enumerate(block)}
    seen: set[int] = set()
    most = 0
    for place, number in enumerate(block):
        seen.add(number)
        most = max(most, len(seen))
        if last[number] == place:
            seen.remove(number)
    assert most <= 3 * 192  # two in each lane, and one that two lanes share


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UsageError, match="batch size 6 is larger than the 5"):
        order(5, 6, 0, 1)
