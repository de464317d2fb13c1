"""Models as folders and repositories of the Hugging Face hub, without the network."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.weights.hub import public_name


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A run on a folder of photos, fine-tuned from another file of this machine."""
    folder = tmp_path_factory.mktemp("secret")
    torch.manual_seed(0)
    start = mlpmixer.create_model("mixer_nano", image_size=16, patch_size=4, width=16, depth=2)
    start.save(folder / "start.safetensors")
    command = ["finetune", "--from", str(folder / "start.safetensors"), "--data", str(photo_folder)]
    options = ["--steps", "4", "--batch-size", "8", "--warmup-steps", "1", "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlpmixer.training.train.write_report", lambda *_: None)  # it takes seconds
        assert main([*command, *options, "--out", str(folder / "photos")]) == 0
    return folder / "photos"


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is sent to the hub: repository, its options, and the files' contents."""
    sent: list[dict[str, Any]] = []

    def create_repo(self: HfApi, repo_id: str, **options: Any) -> SimpleNamespace:
        sent.append({"repository": repo_id, **options})
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self: HfApi, *, folder_path: Path, **options: Any) -> str:
        files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        sent[-1] |= {"files": files, **options}
        return "https://huggingface.co/user/photos/commit/1"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return sent


def assert_same(one: ImageModel, other: ImageModel) -> None:
    assert (one.name, one.options, one.class_names) == (
        other.name,
        other.options,
        other.class_names,
    )
    weights = other.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())


def test_a_model_saves_itself(run: Path, tmp_path: Path) -> None:
    model = mlpmixer.load(run)
    model.save(tmp_path / "x.safetensors")
    again = mlpmixer.load(tmp_path / "x.safetensors")
    assert_same(model, again)
    assert again.facts == model.facts


@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano"])
def test_a_folder_gives_the_same_model_back(name: str, tmp_path: Path) -> None:
    model = mlpmixer.create_model(name, image_size=16, num_classes=2)
    model.class_names = ("cat", "dog")
    model.save_pretrained(tmp_path / "out")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors"}
    assert_same(model, mlpmixer.load(tmp_path / "out"))
    assert_same(model, mlpmixer.from_pretrained(tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["library_name"] == "mlpmixer"
    assert config["name"] == name
    assert config["loss"] == "softmax"
    assert config["preprocessing"]["crop_share"] == model.preprocessing.crop_share
    assert "2 classes" in (tmp_path / "out" / "README.md").read_text()


def test_weights_of_timm_keep_what_their_configuration_says(tmp_path: Path) -> None:
    """Written by us and read again, with our config.json beside them."""
    timm = tmp_path / "timm"
    timm.mkdir()
    model = mlpmixer.create_model("mixer_nano", image_size=16, num_classes=2)
    mlpmixer.export(model, timm / "model.safetensors", "timm")
    config = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.2], "label_names": ["cat", "dog"]}
    (timm / "config.json").write_text(json.dumps({"pretrained_cfg": config}))
    read = mlpmixer.load(timm)
    assert read.options["input_mean"] == (0.4, 0.5, 0.6)
    read.save_pretrained(tmp_path / "ours")
    assert_same(read, mlpmixer.from_pretrained(tmp_path / "ours"))


def test_a_repository_of_the_hub_is_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlpmixer.save_pretrained(run, tmp_path / "there")
    asked = []

    def hf_hub_download(**options: Any) -> str:
        return str(tmp_path / "there" / options["filename"])

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options.get("revision")))
        return str(tmp_path / "there")

    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", hf_hub_download)
    monkeypatch.setattr("mlpmixer.weights.hub.snapshot_download", snapshot_download)
    assert_same(mlpmixer.load(run), mlpmixer.load("hf-hub:user/photos"))
    assert_same(mlpmixer.load(run), mlpmixer.from_pretrained("user/photos", revision="v1"))
    assert asked == [("user/photos", None), ("user/photos", "v1")]


def test_a_run_is_pushed_with_a_card_of_what_was_measured(
    run: Path, uploads: list[dict[str, Any]], tmp_path: Path, photo_folder: Path
) -> None:
    address = mlpmixer.push_to_hub(run, "user/photos", private=True)
    (sent,) = uploads
    assert address.endswith("/commit/1")
    assert (sent["repository"], sent["private"], sent["repo_type"]) == (
        "user/photos",
        True,
        "model",
    )
    assert set(sent["files"]) == {"README.md", "config.json", "model.safetensors"}
    for name, content in sent["files"].items():
        (tmp_path / name).write_bytes(content)
        for place in (run.parent, photo_folder.parent):
            assert str(place).encode() not in content, f"{name} names a folder of this machine"
    assert_same(mlpmixer.load(run), mlpmixer.load(tmp_path))
    text = (tmp_path / "README.md").read_text()
    card, measured = ModelCard(text), json.loads((run / "evaluation.json").read_text())
    assert card.data.library_name == "mlpmixer"
    assert card.data.pipeline_tag == "image-classification"
    (result,) = card.data.eval_results
    assert (result.metric_type, result.dataset_name) == ("accuracy", photo_folder.name)
    assert result.metric_value == pytest.approx(measured["top1"], abs=1e-4)
    for part in (
        f"trained on {photo_folder.name}, from the weights of start.safetensors on",
        'mlpmixer.load("hf-hub:user/photos")',
        "mixer eval hf-hub:user/photos --data FOLDER",
        f"| accuracy | {100 * measured['top1']:.2f} % |",
        "| its 95 % interval | ",
        "| expected calibration error | ",
        "Measured on 15 test images",
        " taken for ",
        "4 steps",
        f"Machine: {measured['machine']['device']}",
        'optimizer = "sgd"',
        f'data = "{photo_folder.name}"',
        "one, seven, zero.",
        "one of the 3 classes",
    ):
        assert part in text


def test_a_teachers_folder_is_no_part_of_what_is_published(
    run: Path, tmp_path: Path, photo_folder: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("one\nseven\nzero\n")
    command = ["train", "--data", str(photo_folder), "--teacher", str(run), "--recipe", "quick"]
    command += ["--teacher-class-names", str(names), "--depth", "1", "--width", "16"]
    command += ["--steps", "2", "--batch-size", "8", "--evaluations", "0", "--workers", "1"]
    assert main([*command, "--out", str(tmp_path / "taught")]) == 0
    assert main(["convert", str(tmp_path / "taught"), f"{tmp_path / 'folder'}/"]) == 0
    contents = [path.read_bytes() for path in sorted((tmp_path / "folder").iterdir())]
    assert len(contents) == 3
    assert not any(str(place.parent).encode() in one for one in contents for place in (run, names))
    model = mlpmixer.load(tmp_path / "folder")
    assert model.facts["teacher"] == run.name
    card = (tmp_path / "folder" / "README.md").read_text()
    assert f'teacher = "{run.name}"' in card
    assert 'teacher_class_names = "names.txt"' in card


def test_an_unmeasured_run_says_so_and_a_damaged_measure_is_named(
    run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.safetensors", "recipe.toml"):
        (copy / name).write_bytes((run / name).read_bytes())
    mlpmixer.save_pretrained(copy, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "It was not measured." in text
    assert "model-index" not in text
    (copy / "evaluation.json").write_text('{"split": "test"')
    with pytest.raises(MixerError, match=r"evaluation\.json is damaged"):
        mlpmixer.save_pretrained(copy, tmp_path / "other")


def test_a_model_pushes_itself_with_a_short_card(uploads: list[dict[str, Any]]) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, num_classes=2)
    assert model.push_to_hub("user/tiny", commit_message="first").endswith("/commit/1")
    assert uploads[0]["commit_message"] == "first"
    assert b"library_name: mlpmixer" in uploads[0]["files"]["README.md"]


def refused(status: int) -> HfHubHTTPError:
    answer: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return HfHubHTTPError("no", response=answer)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (LocalTokenNotFoundError("no token"), "hf auth login"),
        (refused(401), "HF_TOKEN"),
        (refused(403), "may not write there"),
        (ConnectionError("no route to host"), "Check the network"),
    ],
)
def test_what_keeps_from_pushing_is_said_in_one_line(
    failure: Exception,
    expected: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def create_repo(self: HfApi, **options: Any) -> None:
        raise failure

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    assert main(["convert", str(run), "hf-hub:user/photos"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mixer: cannot push to user/photos: ")
    assert expected in line


def test_a_name_of_the_wrong_form_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="user/name"):
        mlpmixer.push_to_hub(run, "user/photos/more")


def test_convert_writes_the_folder_and_pushes(
    run: Path, tmp_path: Path, uploads: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "for the hub"
    assert main(["convert", str(run), f"{out}/"]) == 0
    assert_same(mlpmixer.load(run), mlpmixer.load(out))
    assert "mixer eval 'for the hub' --data" in (out / "README.md").read_text()
    assert main(["convert", str(run), "hf-hub:user/photos", "--private", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["commit"].endswith("/commit/1")
    assert uploads[0]["private"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["photos.npz", "--private"], "--private"),
        (["out/", "--layout", "timm"], "our own layout"),
        (["hf-hub:user/x", "--layout", "google"], "our own layout"),
        ([".", "--json"], "exists already"),
    ],
)
def test_wrong_use_of_convert_is_named(
    options: list[str],
    message: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run)
    assert main(["convert", str(run), *options]) == 2
    assert message in capsys.readouterr().err


def test_only_the_last_part_of_a_path_is_public() -> None:
    assert public_name("/home/me/photos/") == "photos"
    assert public_name("C:\\me\\photos") == "photos"
    assert public_name("hf:user/photos:small") == "hf:user/photos:small"
    assert public_name("cifar10") == "cifar10"


def test_keys_in_an_address_are_not_public() -> None:
    signed = "https://me:SECRET@host/photos/{000..003}.tar?X-Signature=SECRET/x#SECRET"
    assert public_name(signed) == "{000..003}.tar"
