"""Ranks that share images from a web server: each image once, and each block by one of them."""

import io
import os
import tarfile
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from range_server import serving
from rank_processes import on_ranks

from mlpmixer.data.blocks import blocks_in
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.sources import open_source
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.ranks import ALONE, Ranks

FILES, EACH, BATCH = 2, 192, 32
STEPS = FILES * EACH // BATCH  # of an epoch


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, numbers: range) -> None:
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            members = (f"{number}.png", picture(number)), (f"{number}.cls", b"%d" % (number % 3))
            for name, body in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))


def write_parquet(path: Path, numbers: range) -> None:
    images = [{"bytes": picture(number)} for number in numbers]
    table = pa.table({"image": images, "label": [number % 3 for number in numbers]})
    pq.write_table(table, path, row_group_size=16)


class Seen(NamedTuple):
    """What a rank gets."""

    trained: list[list[int]]
    """Of each step of an epoch, the images."""
    pixels: list[int]
    """Of each step the sum of all pixels."""
    evaluated: list[int]
    blocks: set[int]
    """Those that hold the images it was trained on."""


def seen(ranks: Ranks, url: str, home: str, workers: int) -> Seen:
    os.environ["MLPMIXER_DATA"] = home
    split = open_source(url).splits["train"]
    options = DataOptions(cache="none", workers=workers)
    images = open_images(split, Preprocessing(image_size=(8, 8)), options)
    batches = list(islice(images.training_batches(BATCH, 3, 0, ranks), STEPS))
    trained = [batch.indices.tolist() for batch in batches]
    evaluated = [
        index
        for batch in images.evaluation_batches(BATCH, ranks)
        for index in batch.indices.tolist()
    ]
    blocks = blocks_in(split)
    assert blocks is not None
    places = blocks.searchsorted([index for step in trained for index in step], side="right") - 1
    pixels = [int(batch.images.to(torch.int64).sum()) for batch in batches]
    return Seen(trained, pixels, evaluated, set(places.tolist()))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_two_ranks_see_what_one_process_does_without_overlap_or_loss(
    kind: str, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for file in range(FILES):
        write = write_tar if kind == "tar" else write_parquet
        write(files / f"train-{file}.{kind}", range(file * EACH, (file + 1) * EACH))
    with serving(files) as server:
        url = f"{server.url}/train-{{0..1}}.{kind}"
        alone = seen(ALONE, url, str(tmp_path / "alone"), 0)
        server.requests.clear()
        shares = on_ranks(2, seen, url, str(tmp_path / "shared"), 1)
        whole = [one for one in server.requests if one.endswith(" ")]
    assert not whole  # nothing is asked for but ranges of bytes
    for step, (goal, *own) in enumerate(
        zip(alone.trained, *(one.trained for one in shares), strict=True)
    ):
        assert [goal[0::2], goal[1::2]] == own
        assert alone.pixels[step] == sum(one.pixels[step] for one in shares)
    every = sorted(index for one in shares for step in one.trained for index in step)
    assert every == list(range(FILES * EACH))
    assert sorted(index for one in shares for index in one.evaluated) == every
    both = shares[0].blocks & shares[1].blocks
    assert len(both) < len(shares[0].blocks | shares[1].blocks) / 2  # where two lanes meet
