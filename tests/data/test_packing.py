import errno
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.formats import readable_formats
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.pack_index import damaged_shards, read_index
from mlpmixer.data.pack_plan import label_texts, plan_pack
from mlpmixer.data.pack_sample import PackOptions, sample_key
from mlpmixer.data.packing import Packed, pack
from mlpmixer.data.picture import decode, pixels_for
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import FileSplit, Subset
from mlpmixer.errors import UsageError
from mlpmixer.models.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 36 pictures of three classes, PNG and JPEG, wide and tall, some turned by EXIF."""
    root = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(0)
    for number in range(36):
        split, name = ("train", "test")[number // 3 % 4 == 3], ("ant", "bee", "cat")[number % 3]
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        size = (40, 60) if number % 4 else (90, 50)
        small = chance.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 5 == 0 else 1
        kind = "jpg" if number % 2 else "png"
        picture.save(folder / f"photo_{number:02}.{kind}", exif=exif)
    return root


def packed(source: Path | str, folder: Path, **options: object) -> tuple[Dataset, Packed]:
    plan = plan_pack(open_source(str(source)), PackOptions(**options))  # type: ignore[arg-type]
    return plan.dataset, pack(plan, folder, workers=2)


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def positions(dataset: Dataset, split: str) -> list[int]:
    """Return where each image of a packed split stands in its source, by its key."""
    images = dataset.splits[split]
    names = [images.name(index).rpartition(":")[2] for index in range(len(images))]
    return [int(name.partition("-")[0]) for name in names]


def test_a_pack_gives_the_training_inputs_of_its_source(photos: Path, tmp_path: Path) -> None:
    source, _ = packed(photos, tmp_path / "out", shard_megabytes=0.02)
    result = open_source(str(tmp_path / "out"))
    assert result.class_names == source.class_names
    assert set(result.splits) == {"train", "test"}
    preprocessing = Preprocessing(image_size=(16, 16))
    crop = AugmentOptions(crop="inception")
    for split, images in result.splits.items():
        order = positions(result, split)
        assert sorted(order) == list(range(len(source.splits[split])))
        same = Subset(source.splits[split], order)
        assert images.labels.tolist() == same.labels.tolist()
        for cache in ("memory", "none"):
            options = DataOptions(cache=cache, workers=0)
            ours, theirs = (
                open_images(one, preprocessing, options, crop) for one in (images, same)
            )
            a = next(ours.training_batches(5, 0, 0))
            b = next(theirs.training_batches(5, 0, 0))
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.labels, b.labels)


def test_images_stay_as_they_are_to_the_byte(photos: Path, tmp_path: Path) -> None:
    source, _ = packed(photos, tmp_path)
    result = open_source(str(tmp_path)).splits["train"]
    for index, original in enumerate(positions(open_source(str(tmp_path)), "train")):
        assert result.encoded(index) == source.splits["train"].encoded(original)


def test_each_shard_holds_all_classes_and_the_index_counts_them(
    photos: Path, tmp_path: Path
) -> None:
    _, outcome = packed(photos, tmp_path, shard_megabytes=0.02)
    assert len([shard for shard in outcome.shards if shard.split == "train"]) > 1
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["images"] == 36
    for shard in index["shards"]:
        assert min(shard["per_class"]) > 0
        assert sum(shard["per_class"]) == shard["images"]
        assert (tmp_path / shard["name"]).stat().st_size == shard["bytes"]
        with tarfile.open(tmp_path / shard["name"]) as tar:
            assert len(tar.getnames()) == 2 * shard["images"]


def test_large_images_are_reduced_and_others_stay(photos: Path, tmp_path: Path) -> None:
    source, _ = packed(photos, tmp_path, max_side=64)
    result = open_source(str(tmp_path))
    train, original = result.splits["train"], source.splits["train"]
    for index, before in enumerate(positions(result, "train")):
        was, now = decode(original, before), decode(train, index)
        assert max(now.size) <= 64
        if max(was.size) <= 64:
            assert train.encoded(index) == original.encoded(before)
        else:
            assert max(now.size) == 64
            assert abs(now.width / now.height - was.width / was.height) < 0.05
            reduced = was.resize(now.size, Image.Resampling.LANCZOS)
            apart = np.abs(np.asarray(reduced, dtype=float) - np.asarray(now, dtype=float))
            assert apart.mean() < 4


def test_pixels_become_lossless_images(tmp_path: Path) -> None:
    source, _ = packed("digits", tmp_path)
    result = open_source(str(tmp_path))
    preprocessing = Preprocessing(image_size=(8, 8))
    for index, before in list(enumerate(positions(result, "test")))[:20]:
        ours = pixels_for(result.splits["test"], index, preprocessing)
        theirs = pixels_for(source.splits["test"], before, preprocessing)
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", readable_formats())
def test_images_keep_the_usual_suffix_of_their_format(tmp_path: Path, kind: str) -> None:
    for number, name in enumerate(("ant", "bee")):
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        # whatever the files are called
        Image.new("RGB", (8, 8), (90 * number, 9, 9)).save(folder / "x.bmp", kind)
    packed(tmp_path / "source", tmp_path / "out")
    train = open_source(str(tmp_path / "out")).splits["train"]
    usual = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif", "HEIF": "heic"}
    assert train.name(0).endswith(f".{usual.get(kind, kind.lower())}")


def test_unreadable_images_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    for path in (photos / "train").rglob("*"):
        if path.is_file():
            target = tmp_path / "source" / path.relative_to(photos)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "source/train/ant/text.png").write_bytes(b"no picture")
    cut = next((tmp_path / "source/train/bee").glob("*.jpg"))
    cut.write_bytes(cut.read_bytes()[:-200])
    _, outcome = packed(tmp_path / "source", tmp_path / "out")
    reasons = {Path(one.name).name: one.reason for one in outcome.unreadable}
    assert set(reasons) == {"text.png", cut.name}
    assert "truncated" in reasons[cut.name]
    assert len(open_source(str(tmp_path / "out")).splits["train"]) == 26
    assert json.loads((tmp_path / "out/index.json").read_text())["unreadable"] == 2


def test_images_that_could_not_be_read_for_a_moment_are_packed_by_the_next_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos, tmp_path / "source")
    cut = tmp_path / "source/train/bee/photo_01.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    packed(tmp_path / "source", tmp_path / "whole", shard_megabytes=0.02)
    read = FileSplit.encoded

    def interrupted(split: FileSplit, index: int) -> bytes:
        if split.name(index).endswith(("05.jpg", "13.jpg")):
            raise OSError(errno.EIO, "Input/output error")
        return read(split, index)

    monkeypatch.setattr(FileSplit, "encoded", interrupted)
    _, first = packed(tmp_path / "source", tmp_path / "out", shard_megabytes=0.02)
    assert len(first.unreadable) == 3
    monkeypatch.setattr(FileSplit, "encoded", read)
    _, second = packed(tmp_path / "source", tmp_path / "out", shard_megabytes=0.02)
    assert [Path(left.name).name for left in second.unreadable] == [cut.name]
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    _, third = packed(tmp_path / "source", tmp_path / "out", shard_megabytes=0.02)
    assert third.kept == len(third.shards) > second.kept


_KILLED = """
import os, signal, sys
from pathlib import Path
import mlpmixer.data.packing as packing
from mlpmixer.data.pack_plan import plan_pack
from mlpmixer.data.pack_sample import PackOptions
from mlpmixer.data.sources import open_source

def progress(done, total):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

plan = plan_pack(open_source(sys.argv[1]), PackOptions(shard_megabytes=0.02))
packing.pack(plan, Path(sys.argv[2]), 2, progress)
"""


@pytest.mark.parametrize("after", [1, 20])
def test_a_killed_pack_resumed_is_the_undisturbed_one(
    photos: Path, tmp_path: Path, after: int
) -> None:
    packed(photos, tmp_path / "whole", shard_megabytes=0.02)
    out = tmp_path / "killed"
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, str(photos), str(out), str(after)], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    if list(out.glob("[!.]*.tar")):
        with pytest.raises(UsageError, match="not fully packed"):
            open_source(str(out))
    packed(photos, out, shard_megabytes=0.02)
    assert files(out) == files(tmp_path / "whole")


def test_packing_again_repairs_damaged_shards_alone(photos: Path, tmp_path: Path) -> None:
    _, first = packed(photos, tmp_path, shard_megabytes=0.02)
    before = files(tmp_path)
    shard = tmp_path / "train-00001.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    assert set(damaged_shards(tmp_path) or {}) == {"train-00001.tar"}
    _, second = packed(photos, tmp_path, shard_megabytes=0.02)
    assert second.kept == len(first.shards) - 1
    assert files(tmp_path) == before
    assert damaged_shards(tmp_path) == {}


def test_a_missing_shard_is_noticed_when_the_folder_is_opened(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path, shard_megabytes=0.02)
    (tmp_path / "train-00000.tar").unlink()
    with pytest.raises(UsageError, match=r"1 of the shards .* train-00000\.tar"):
        open_source(str(tmp_path))


def test_shards_that_another_pack_left_are_refused(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "many", shard_megabytes=0.02)
    packed(photos, tmp_path / "few")
    shutil.copytree(tmp_path / "few", tmp_path / "many", dirs_exist_ok=True)
    with pytest.raises(UsageError, match=r"none of those that index\.json names, first test-00001"):
        open_source(str(tmp_path / "many"))


def test_a_shard_of_another_size_is_noticed_when_the_folder_is_opened(
    photos: Path, tmp_path: Path
) -> None:
    packed(photos, tmp_path)
    shard = tmp_path / "train-00000.tar"
    shard.write_bytes(shard.read_bytes() + bytes(10_240))  # which tar takes for its end
    with pytest.raises(UsageError, match=r"another size .* train-00000\.tar"):
        open_source(str(tmp_path))


def test_other_options_do_not_mix_into_a_pack(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path, max_side=64)
    before = files(tmp_path)
    with pytest.raises(UsageError, match=r"another max side \(32\)"):
        packed(photos, tmp_path, max_side=32)
    assert files(tmp_path) == before


def test_a_pack_from_before_an_option_goes_on_with_its_default(
    photos: Path, tmp_path: Path
) -> None:
    packed(photos, tmp_path, max_side=64)
    index = json.loads((tmp_path / "index.json").read_text())
    del index["settings"]["sixteen_bit"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    _, again = packed(photos, tmp_path, max_side=64)
    assert again.kept == len(again.shards)


def test_a_folder_with_other_content_is_left_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"already holds something else \(notes.txt\)"):
        packed(photos, tmp_path)
    assert files(tmp_path) == {"notes.txt": b"mine"}


def test_an_index_of_another_program_is_no_pack(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("[1, 2]")
    assert read_index(tmp_path) is None
    assert damaged_shards(tmp_path) is None


def test_labels_are_names_where_numbers_would_be_taken_for_other_classes() -> None:
    assert label_texts(["ant", "bee"]) == ["0", "1"]
    assert label_texts(["0", "1"]) == ["0", "1"]
    assert label_texts(["1", "0"]) == ["1", "0"]


def test_classes_named_by_each_others_numbers_keep_their_images(tmp_path: Path) -> None:
    for number, name in enumerate(("00", "0", "1")):
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), 50 * number).save(folder / "x.png")
    source, _ = packed(tmp_path / "source", tmp_path / "out")
    result = open_source(str(tmp_path / "out"))

    def colours(dataset: Dataset) -> dict[str, object]:
        train = dataset.splits["train"]
        names = [dataset.class_names[label] for label in train.labels]
        return {name: decode(train, index).getpixel((0, 0)) for index, name in enumerate(names)}

    assert source.class_names == ("0", "00", "1")
    assert colours(result) == colours(source)


def test_keys_hold_no_dots_and_end_with_the_files_name() -> None:
    assert sample_key(7, "a/b.c/photo 1.tar.jpg") == "00000007-photo_1"
    assert sample_key(7, "x/s-0.tar:ILSVRC2012_val_00000293.JPEG").endswith("val_00000293")
