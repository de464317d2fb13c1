"""Parquet files read as a stream, on this machine and from a web server."""

import io
import json
import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from range_server import Behaviour, serving

from mlpmixer.data import remote
from mlpmixer.data.batches import Batch, Images, UnreadableImages
from mlpmixer.data.block_cache import LIMIT, BlockCache
from mlpmixer.data.blocks import blocks_in
from mlpmixer.data.cache import data_home
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.held_out import hold_out_validation
from mlpmixer.data.image_sizes import sample_sizes
from mlpmixer.data.label_sets import label_sets_of
from mlpmixer.data.loader import UNCHANGED
from mlpmixer.data.pack_plan import plan_pack
from mlpmixer.data.pack_sample import PackOptions
from mlpmixer.data.packing import pack
from mlpmixer.data.parquet_stream import ParquetStream, RowGroup, spread
from mlpmixer.data.protocol_splits import joined
from mlpmixer.data.random_crops import RandomCrop
from mlpmixer.data.sources import open_source, parquet
from mlpmixer.data.stream_order import ShuffleWindow
from mlpmixer.data.streaming import StreamedImages
from mlpmixer.data.value_range import darkness
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.ranks import ALONE, Ranks

FILES, EACH, ROWS = 3, 100, 20  # of a file and of a row group
PREPROCESSING = Preprocessing(image_size=(8, 8))


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder: Path, files: int = FILES) -> None:
    for file in range(files):
        numbers = range(file * EACH, (file + 1) * EACH)
        images = [{"bytes": picture(number), "path": None} for number in numbers]
        table = pa.table({"image": images, "label": [number % 5 for number in numbers]})
        pq.write_table(table, folder / f"train-{file}.parquet", row_group_size=ROWS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parquet, "STREAM_ABOVE", 0)
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01, 0.01))
    write(tmp_path)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Behaviour]:
    with serving(folder) as behaviour:
        yield behaviour


def opened(server: Behaviour) -> Dataset:
    return open_source(f"{server.url}/train-{{0..2}}.parquet")


def stream(dataset: Dataset) -> ParquetStream:
    split = dataset.splits["train"]
    assert isinstance(split, ParquetStream)
    return split


def streamed(dataset: Dataset, workers: int = 0) -> StreamedImages:
    split = dataset.splits["train"]
    crop = RandomCrop(UNCHANGED, PREPROCESSING.image_size)
    return StreamedImages(split, PREPROCESSING, crop, workers, UnreadableImages(len(split), 0))


def batches(images: Images, first: int, steps: int, ranks: Ranks = ALONE) -> list[Batch]:
    return list(islice(images.training_batches(32, 7, first, ranks), steps))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        all(map(torch.equal, a, b)) for a, b in zip(one, other, strict=True)
    )


def test_a_stream_holds_what_the_unpacked_files_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = stream(open_source(str(folder)))
    monkeypatch.setattr(parquet, "STREAM_ABOVE", 10**9)
    near = open_source(str(folder)).splits["train"]
    assert not isinstance(near, ParquetStream)
    assert far.labels.tolist() == near.labels.tolist()
    assert far.sizes().tolist() == near.sizes().tolist()
    for index in (0, 19, 20, 99, 100, 217, 299):
        assert far.encoded(index) == near.encoded(index) == picture(index)
        assert far.name(index) == near.name(index)


def test_a_server_holds_what_the_files_do(server: Behaviour, folder: Path) -> None:
    far, near = stream(opened(server)), stream(open_source(str(folder)))
    assert far.labels.tolist() == near.labels.tolist()
    assert all(far.encoded(index) == near.encoded(index) for index in range(0, len(far), 13))
    assert far.name(150) == f"{server.url}/train-1.parquet row 50"


def test_an_epoch_holds_every_image_once(folder: Path) -> None:
    images = streamed(open_source(str(folder)))
    epoch = torch.cat([batch.indices for batch in batches(images, 0, 9)])
    assert len(epoch.unique()) == len(epoch) == 288
    for batch in batches(images, 0, 9):
        assert torch.equal(batch.labels, batch.indices % 5)
        assert len((batch.indices // ROWS).unique()) > 4  # of row groups all over the data


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_resume_in_the_middle_of_an_epoch_goes_on_as_if_uninterrupted(
    server: Behaviour, workers: int
) -> None:
    whole = batches(streamed(opened(server), 2), 0, 12)
    assert same(whole[5:], batches(streamed(opened(server), workers), 5, 7))


def test_ranks_share_the_images_and_the_row_groups(folder: Path) -> None:
    images = streamed(open_source(str(folder)))
    whole = batches(images, 0, 9)
    shares = [batches(images, 0, 9, Ranks(rank, 2, rank, 2)) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for rank, part in enumerate(parts):
            assert all(map(torch.equal, part, (one[rank::2] for one in batch)))
    first, second = (
        {index // ROWS for batch in share for index in batch.indices.tolist()} for share in shares
    )
    lanes = 4
    assert len(first & second) <= lanes  # those in which one lane ends and the next begins


def test_joined_parts_of_a_stream_are_a_stream(folder: Path) -> None:
    dataset = open_source(str(folder))
    both = joined(hold_out_validation(dataset, 0.2, seed=0))
    images = streamed(both)
    epoch = torch.cat([batch.indices for batch in batches(images, 0, 9)])
    assert len(epoch.unique()) == len(epoch) == 288
    whole = batches(images, 0, 9)
    assert same(whole[4:], batches(images, 4, 5))
    split = both.splits["train"]
    names = [split.name(index) for index in whole[0].indices.tolist()]
    assert [int(name.split()[-1]) % 5 for name in names] == whole[0].labels.tolist()
    blocks = blocks_in(split)
    assert blocks is not None
    assert len(blocks) == 2 * FILES * EACH / ROWS


def test_a_look_at_some_images_reads_few_row_groups(folder: Path, data_home: Path) -> None:
    dataset = open_source(str(folder))
    assert sample_sizes(dataset.splits["train"]) == [(12, 10)] * 64
    assert darkness(dataset.splits) == ""
    assert len(list((data_home / "blocks").glob("??/*"))) == 4


def test_row_groups_are_read_once_an_epoch(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = streamed(opened(server))
    read: list[str] = []
    original = RowGroup.write

    def write(self: RowGroup, target: Path) -> None:
        read.append(self.key)
        original(self, target)

    monkeypatch.setattr(RowGroup, "write", write)
    batches(images, 0, 9)
    assert len(read) == len(set(read)) == FILES * EACH / ROWS


def test_packing_reads_row_groups_about_once_where_few_are_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 10)
    dataset = open_source(str(folder))
    split = stream(dataset)
    groups, lanes = len(split) // ROWS, 4
    split.spread = ShuffleWindow(lanes, ROWS)
    split.cache = BlockCache(int(split.sizes().sum()) * 4 * lanes // groups)
    read: list[str] = []
    original = RowGroup.write

    def noted(self: RowGroup, target: Path) -> None:
        read.append(self.key)
        original(self, target)

    monkeypatch.setattr(RowGroup, "write", noted)
    plan = plan_pack(dataset, PackOptions(shard_megabytes=0.2))
    packed = pack(plan, tmp_path / "packed", 1)
    assert len(packed.shards) > 2
    assert groups <= len(read) < 2 * groups
    result = open_source(str(tmp_path / "packed")).splits["train"]
    keys = [result.name(index).rpartition(":")[2] for index in range(len(result))]
    places = [int(key.partition("-")[0]) for key in keys]
    assert sorted(places) == list(range(len(split)))
    assert result.labels.tolist() == split.labels[places].tolist()
    assert result.encoded(7) == picture(places[7])
    assert len({place // ROWS for place in places[:32]}) >= 4  # mixed


def test_a_second_start_reads_no_images_for_the_index(server: Behaviour) -> None:
    opened(server)
    first = len(server.requests)
    opened(server)
    assert len(server.requests) - first < first / 2


def test_old_row_groups_make_room(folder: Path, data_home: Path) -> None:
    split = stream(open_source(str(folder)))
    split.cache.limit = 30_000
    split.prepare(range(len(split)))
    held = sum(path.stat().st_size for path in (data_home / "blocks").glob("??/*"))
    assert 0 < held <= 30_000
    assert all(split.encoded(index) == picture(index) for index in range(0, len(split), 7))


def test_a_row_group_is_read_piece_by_piece(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    images = [chance.bytes(100_000) for _ in range(400)]
    file = tmp_path / "x.parquet"
    table = pa.table({"image": images})
    pq.write_table(table, file, row_group_size=400, compression="none", write_batch_size=16)
    del images, table
    usual = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counting)
    try:
        RowGroup(file, "", "image", 0, 0).write(tmp_path / "written")
    finally:
        pa.set_memory_pool(usual)
    assert (tmp_path / "written").stat().st_size == 40_000_000
    assert counting.max_memory() < 25_000_000


def test_few_lanes_hold_large_row_groups_and_many_hold_small_ones() -> None:
    def of(rows: int, size: int) -> ShuffleWindow:
        return spread(np.full(100 * rows, size), np.arange(0, 100 * rows, rows))

    assert of(100, 10_000) == ShuffleWindow(lanes=192, window=100)
    large = of(1_000, 100_000)
    assert large.lanes * 1_000 * 100_000 < LIMIT / 2
    assert large.lanes >= 12
    assert of(100_000, 100_000).lanes == 1
    assert of(8, 10_000).window == 32


def test_a_stream_can_be_pickled(server: Behaviour) -> None:
    split = stream(opened(server))
    assert pickle.loads(pickle.dumps(split)).encoded(3) == picture(3)


def test_a_changed_file_is_read_anew(folder: Path) -> None:
    split = stream(open_source(str(folder)))
    assert split.encoded(0) == picture(0)
    images = [{"bytes": picture(500 + number), "path": None} for number in range(EACH)]
    table = pa.table({"image": images, "label": [0] * EACH})
    pq.write_table(table, folder / "train-0.parquet", row_group_size=50)
    split = stream(open_source(str(folder)))
    assert split.encoded(60) == picture(560)


def test_lists_of_classes_and_their_names_are_read_from_a_server(
    folder: Path, server: Behaviour
) -> None:
    images = [{"bytes": picture(number), "path": None} for number in range(3)]
    labels = [["fig"], ["plum", "fig"], ["pear"]]
    pq.write_table(pa.table({"image": images, "label": labels}), folder / "named.parquet")
    numbers = pa.table({"image": images, "label": [[0], [2, 0], [1]]})
    pq.write_table(numbers, folder / "numbers.parquet")
    by_name = open_source(f"{server.url}/named.parquet")
    (folder / "classes.txt").write_text("fig\npear\nplum\n")
    by_number = open_source(f"{server.url}/numbers.parquet")
    for dataset in (by_name, by_number):
        assert dataset.class_names == ("fig", "pear", "plum")
        sets = label_sets_of(dataset.splits["train"])
        assert sets is not None
        assert sets.of_image(1) == [2, 0]


def test_an_image_that_is_null_is_empty(folder: Path) -> None:
    images = [{"bytes": picture(0)}, {"bytes": None}, {"bytes": picture(2)}]
    (folder / "x").mkdir()
    table = pa.table({"image": images, "label": [0, 1, 0]})
    pq.write_table(table, folder / "x" / "0.parquet")
    split = stream(open_source(str(folder / "x")))
    assert [split.encoded(index) for index in range(3)] == [picture(0), b"", picture(2)]


def test_tables_of_paths_are_refused(folder: Path, server: Behaviour) -> None:
    images = [{"bytes": None, "path": "1.png"}] * 2
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": [0, 1]})
    pq.write_table(table, folder / "paths.parquet")
    with pytest.raises(UsageError, match=r"paths\.parquet .* no bytes of images"):
        open_source(f"{server.url}/paths.parquet")


def test_files_of_other_columns_are_refused(folder: Path, server: Behaviour) -> None:
    table = pa.table({"image": [{"bytes": b"x"}], "class": [0]})
    pq.write_table(table, folder / "train-1.parquet")
    with pytest.raises(UsageError, match=r"train-1\.parquet has no column 'label'"):
        opened(server)


def test_a_missing_file_is_named_before_any_is_read(server: Behaviour) -> None:
    with pytest.raises(UsageError, match=r"train-3\.parquet is not there"):
        open_source(f"{server.url}/train-{{0..3}}.parquet")
    assert not server.requests


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_stays_away_is_named(server: Behaviour, workers: int) -> None:
    images = streamed(opened(server), workers)
    server.fail_next = 10_000
    with pytest.raises(MixerError, match=r"train-\d\.parquet could not be read in 4 attempts"):
        batches(images, 0, 2)


def test_what_fails_for_a_moment_is_asked_for_again(server: Behaviour) -> None:
    images = streamed(opened(server))
    server.fail_next = 2
    assert len(batches(images, 0, 2)) == 2


def test_a_file_that_is_no_parquet_is_named(folder: Path, server: Behaviour) -> None:
    (folder / "train-0.parquet").write_bytes(json.dumps({}).encode() * 20)
    with pytest.raises(MixerError, match=r"cannot read .*train-0\.parquet as parquet"):
        opened(server)


def test_an_index_of_an_earlier_version_is_given_the_class_names_once(folder: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["even", "odd"]}}
    for file in folder.glob("*.parquet"):
        table = pq.read_table(file)
        labels = pa.array([number % 2 for number in range(len(table))])
        table = table.set_column(table.schema.get_field_index("label"), "label", labels)
        noted = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(noted), file)
    assert open_source(str(folder)).class_names == ("even", "odd")
    indexes = list((data_home() / "parquet").glob("*.index.arrow"))
    for index in indexes:
        table = pa.ipc.open_file(index.read_bytes()).read_all()
        table = table.replace_schema_metadata({"rows": table.schema.metadata[b"rows"]})
        with pa.ipc.new_file(str(index), table.schema) as sink:
            sink.write_table(table)
    assert open_source(str(folder)).class_names == ("even", "odd")
    assert indexes
    for index in indexes:
        assert b"names" in pa.ipc.open_file(index.read_bytes()).schema.metadata
