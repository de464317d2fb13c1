"""Training from shards on a web server and in a bucket, and what happens when they stay away."""

import io
import json
import os
import pickle
import tarfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from range_server import Behaviour, serving

from mlpmixer.data import block_cache, remote
from mlpmixer.data.batches import Batch, Images, UnreadableImages
from mlpmixer.data.blocks import prepare
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.data.loader import UNCHANGED
from mlpmixer.data.random_crops import RandomCrop
from mlpmixer.data.remote_shards import RemoteShardSplit
from mlpmixer.data.sources import open_source
from mlpmixer.data.streaming import StreamedImages
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.preprocessing import Preprocessing

SHARDS, EACH = 3, 70
PREPROCESSING = Preprocessing(image_size=(8, 8))


def write_shards(folder: Path, damaged: tuple[int, ...] = ()) -> None:
    chance = np.random.default_rng(0)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"train-{shard:03}.tar", "w") as tar:
            for number in range(shard * EACH, (shard + 1) * EACH):
                pixels = chance.integers(0, 256, (12, 10, 3), dtype=np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                content = buffer.getvalue()[: 60 if number in damaged else None]
                members = (f"{number:05}.png", content), (f"{number:05}.cls", b"%d" % (number % 5))
                for name, body in members:
                    entry = tarfile.TarInfo(name)
                    entry.size = len(body)
                    tar.addfile(entry, io.BytesIO(body))


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01, 0.01))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Behaviour]:
    write_shards(tmp_path)
    with serving(tmp_path) as behaviour:
        yield behaviour


def opened(server: Behaviour) -> Dataset:
    return open_source(f"{server.url}/train-{{000..002}}.tar")


def streamed(dataset: Dataset, workers: int, max_share: float = 0.0) -> StreamedImages:
    split = dataset.splits["train"]
    crop = RandomCrop(UNCHANGED, PREPROCESSING.image_size)
    return StreamedImages(
        split, PREPROCESSING, crop, workers, UnreadableImages(len(split), max_share)
    )


def batches(images: Images, first_step: int, steps: int) -> list[Batch]:
    return list(islice(images.training_batches(32, 7, first_step), steps))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        all(map(torch.equal, a, b)) for a, b in zip(one, other, strict=True)
    )


def test_remote_shards_hold_what_local_ones_do(server: Behaviour, tmp_path: Path) -> None:
    far, near = opened(server), open_source(str(tmp_path / "train-{000..002}.tar"))
    assert far.class_names == near.class_names
    one, other = far.splits["train"], near.splits["train"]
    assert one.labels.tolist() == other.labels.tolist()
    assert all(one.encoded(index) == other.encoded(index) for index in range(0, len(one), 13))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_resume_in_the_middle_of_an_epoch_goes_on_as_if_uninterrupted(
    server: Behaviour, workers: int
) -> None:
    whole = batches(streamed(opened(server), 2), 0, 10)
    assert same(whole[4:], batches(streamed(opened(server), workers), 4, 6))


def test_kept_in_memory_the_images_come_in_the_same_order(server: Behaviour) -> None:
    dataset = opened(server)
    split = dataset.splits["train"]
    crop = RandomCrop(UNCHANGED, PREPROCESSING.image_size)
    kept = InMemoryImages(split, PREPROCESSING, crop, 1, UnreadableImages(len(split), 0))
    assert same(batches(kept, 0, 8), batches(streamed(dataset, 0), 0, 8))


def test_blocks_are_read_once_and_not_image_by_image(server: Behaviour) -> None:
    images = streamed(opened(server), 0)
    server.requests.clear()
    batches(images, 0, 6)
    split = images.split
    assert isinstance(split, RemoteShardSplit)
    assert len(server.requests) <= len(split.blocks) < 15


def test_old_blocks_make_room(server: Behaviour, data_home: Path) -> None:
    split = opened(server).splits["train"]
    assert isinstance(split, RemoteShardSplit)
    split.cache.limit = 100_000
    split.prepare(range(len(split)))
    held = sum(path.stat().st_size for path in (data_home / "blocks").glob("??/*"))
    assert 0 < held <= 100_000
    assert all(split.encoded(index) for index in range(0, len(split), 7))


def test_a_split_can_be_pickled(server: Behaviour) -> None:
    split = opened(server).splits["train"]
    assert pickle.loads(pickle.dumps(split)).encoded(3) == split.encoded(3)


@pytest.mark.parametrize("fault", ["fail_next", "cut_next"])
def test_what_fails_for_a_moment_is_asked_for_again(server: Behaviour, fault: str) -> None:
    images = streamed(opened(server), 0)
    whole = batches(images, 0, 6)
    for path in (block_cache.data_home() / "blocks").glob("??/*"):
        path.unlink()
    setattr(server, fault, 2)
    assert same(whole, batches(images, 0, 6))


def test_a_source_that_stalls_is_asked_again(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "STALL", 0.3)
    images = streamed(opened(server), 0)
    server.stall_next = 1
    assert len(batches(images, 0, 6)) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_that_stays_away_is_named(server: Behaviour, workers: int) -> None:
    images = streamed(opened(server), workers)
    server.fail_next = 10_000
    with pytest.raises(MixerError, match=r"train-00\d\.tar could not be read in 4 attempts"):
        batches(images, 0, 6)


def test_corrupt_images_are_replaced_and_counted(tmp_path: Path) -> None:
    write_shards(tmp_path, damaged=(5, 100))
    with serving(tmp_path) as server:
        found = []
        for workers in (0, 2):
            images = streamed(opened(server), workers, max_share=0.1)
            found.append((batches(images, 0, 6), dict(images.unreadable.reasons)))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert len(found[0][1]) == 2


def test_copies_that_a_killed_process_left_are_removed(server: Behaviour, tmp_path: Path) -> None:
    folder, file = tmp_path / "copies", remote.RemotePath(f"{server.url}/train-000.tar")
    left = []
    for _ in range(2):
        with file.copied(folder) as copy:
            left.append(copy)
            content = copy.read_bytes()
        copy.write_bytes(content)  # as if it had not come to the end
    two_hours_ago = time.time() - 7200
    os.utime(left[0], (two_hours_ago, two_hours_ago))
    index = folder / "0123.npz"
    index.touch()
    os.utime(index, (two_hours_ago, two_hours_ago))
    with file.copied(folder) as copy:
        assert set(folder.iterdir()) == {copy, left[1], index}
    assert set(folder.iterdir()) == {left[1], index}


@pytest.mark.parametrize("header", ["ETag", "Content-MD5", "Digest", "Last-Modified"])
def test_a_shard_that_changes_and_keeps_its_size_is_read_anew(
    server: Behaviour, tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.marks = {header: "one"}
    before = opened(server).splits["train"]
    prepare(before, range(EACH))
    shard = tmp_path / "train-000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"IDAT", b"idat"))
    server.marks = {header: "two"}
    after = opened(server).splits["train"]
    prepare(after, range(EACH))
    assert b"IDAT" in before.encoded(3)
    assert b"idat" in after.encoded(3)
    assert not caplog.records


def test_files_without_any_mark_of_their_version_are_said_once(
    server: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    server.marks = {}
    for _ in range(2):
        opened(server)
    (remark,) = caplog.messages
    assert f"{server.url} gives its files neither ETag nor Last-Modified" in remark


def test_a_missing_shard_is_named_before_any_is_read(server: Behaviour) -> None:
    with pytest.raises(UsageError, match=r"train-003\.tar is not there"):
        open_source(f"{server.url}/train-{{000..003}}.tar")
    assert not server.requests


def test_a_shard_that_was_cut_off_is_named_by_its_address(
    server: Behaviour, tmp_path: Path
) -> None:
    os.truncate(tmp_path / "train-001.tar", 2048)
    with pytest.raises(MixerError, match=r"read http\S+/train-001\.tar .* stops at byte 2,048"):
        opened(server)


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_is_named(server: Behaviour, status: int) -> None:
    server.refuse = status
    with pytest.raises(UsageError, match=r"train-000\.tar is refused"):
        opened(server)


def test_the_index_of_a_packed_data_set_names_its_shards(server: Behaviour, tmp_path: Path) -> None:
    names = [{"name": f"train-{number:03}.tar"} for number in range(SHARDS)]
    (tmp_path / "index.json").write_text(json.dumps({"shards": names}))
    for url in (server.url, f"{server.url}/index.json"):
        assert len(open_source(url).splits["train"]) == SHARDS * EACH


@pytest.mark.parametrize("text", ['{"shards": []}', "{}", "no JSON"])
def test_an_index_without_shards_is_refused(server: Behaviour, tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UsageError, match=r"index\.json (names no shards|is no index)"):
        open_source(server.url)


def test_nobody_at_the_address_is_named() -> None:
    with pytest.raises(MixerError, match=r"could not be read in 4 attempts"):
        open_source("http://127.0.0.1:9/train-000.tar")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        open_source("nosuch://bucket/train-000.tar")


def test_shards_are_read_from_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    write_shards(tmp_path)
    bucket_server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    bucket_server.start()
    try:
        host, port = bucket_server.get_host_and_port()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3")
        client.create_bucket(Bucket="shards")
        for path in tmp_path.glob("*.tar"):
            client.upload_file(str(path), "shards", path.name)
        far = open_source("s3://shards/train-{000..002}.tar")
        near = open_source(str(tmp_path / "train-{000..002}.tar"))
        one, other = far.splits["train"], near.splits["train"]
        assert all(one.encoded(index) == other.encoded(index) for index in (0, 99, 209))
        whole = batches(streamed(far, 0), 0, 8)
        assert same(whole[5:], batches(streamed(far, 2), 5, 3))
        with pytest.raises(UsageError, match=r"s3://shards/train-009\.tar is not there"):
            open_source("s3://shards/train-009.tar")
    finally:
        bucket_server.stop()
