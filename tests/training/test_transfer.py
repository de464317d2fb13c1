"""Starting from trained weights."""

from pathlib import Path

import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.errors import UsageError
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.runtime import Runtime
from mlpmixer.training.optim import Optimizers
from mlpmixer.training.plan import build, plan
from mlpmixer.training.recipe import ModelOptions, OptimizerOptions
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.transfer import blocks_behind, freeze, start_from

NAMES = tuple("0123456789")


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    torch.manual_seed(0)
    shape = {"width": 16, "depth": 3, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, **shape)
    torch.nn.init.normal_(model.head.weight)
    mlpmixer.save(model, tmp_path / "model.safetensors", NAMES)
    return str(tmp_path / "model.safetensors")


@torch.inference_mode()
def test_the_head_is_kept_for_the_same_classes_in_any_order(checkpoint: str) -> None:
    images = torch.randn(2, 3, 8, 8)
    before = mlpmixer.load(checkpoint)(images)
    turned = NAMES[::-1]
    model = start_from(ModelOptions(start_from=checkpoint), turned)
    torch.testing.assert_close(model(images), before.flip(1))
    assert model.class_names == turned


def test_both_heads_of_a_distilled_network_are_put_in_order(tmp_path: Path) -> None:
    shape = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 4}
    name = "timm:deit_tiny_distilled_patch16_224"
    model = mlpmixer.create_model(name, image_size=8, num_classes=3, **shape)
    for head in model.head_layers():
        torch.nn.init.normal_(head.weight)
    assert len(model.head_layers()) == 2
    model.class_names = ("a", "b", "c")
    model.save(tmp_path / "model.safetensors")
    options = ModelOptions(start_from=str(tmp_path / "model.safetensors"))
    turned = start_from(options, ("c", "a", "b"))
    images = torch.rand(2, 3, 8, 8)
    expected = model.eval()(images)[:, [2, 0, 1]]
    torch.testing.assert_close(turned.eval()(images), expected)


@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano"])
def test_the_head_is_the_layer_that_gives_the_logits_if_there_is_one(name: str) -> None:
    model = mlpmixer.create_model(name, image_size=32, num_classes=7)
    assert [layer.weight.shape[0] for layer in model.head_layers()] == [7]
    model.reset_classifier(0)
    assert model.head_layers() == []


def test_other_classes_get_a_fresh_zero_head(checkpoint: str) -> None:
    model = start_from(ModelOptions(start_from=checkpoint), ("a", "b", "c"))
    assert not model(torch.randn(2, 3, 8, 8)).any()
    assert model.num_classes == 3


def test_a_mixer_moves_to_the_image_size_asked_for(checkpoint: str) -> None:
    model = start_from(ModelOptions(start_from=checkpoint, image_size=(16,)), NAMES)
    assert model.image_size == (16, 16)
    assert isinstance(model, Mixer)
    assert model.config.tokens_mlp_dim == 4 * 8


def test_a_start_at_zero_is_for_fresh_weights_alone(checkpoint: str) -> None:
    shape = {"width": 16, "depth": 3, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
    fresh = build(ModelOptions(zero_init_residual=True, image_size=(8,), patch_size=2, **shape), 10)
    assert len(fresh.residual_ends()) == 6
    assert not any(end.weight.any() for end in fresh.residual_ends())
    begun = start_from(ModelOptions(zero_init_residual=True, start_from=checkpoint), NAMES)
    assert all(end.weight.any() for end in begun.residual_ends())


def test_a_start_at_zero_that_changes_nothing_is_said(checkpoint: str) -> None:
    runtime = Runtime(torch.device("cpu"), torch.float32)
    given = {"data": "digits", "steps": 1, "zero_init_residual": True}
    for chosen, reason in (
        ({"model": "bit_nano"}, "bit_nano has a start of its own"),
        ({"start_from": checkpoint}, "the weights are the checkpoint's"),
        ({"model": "vit_nano"}, None),
    ):
        notes = plan(find_recipe("quick").override({**given, **chosen}), runtime).notes
        said = [note for note in notes if "start at zero" in note]
        assert said == (
            [] if reason is None else [f"a start at zero changes nothing here: {reason}"]
        )


def test_regularisation_is_free_and_the_shape_is_not(checkpoint: str) -> None:
    options = ModelOptions(start_from=checkpoint, stochastic_depth=0.3, dropout=0.1)
    model = start_from(options, NAMES)
    assert model.options["stochastic_depth"] == 0.3
    torch.testing.assert_close(
        model.state_dict()["head.weight"], mlpmixer.load(checkpoint).state_dict()["head.weight"]
    )
    saved = mlpmixer.load(checkpoint)
    saved.loss = "sigmoid"
    saved.preprocessing = Preprocessing(image_size=(8, 8), crop_share=1.0)
    saved.save(checkpoint)
    again = start_from(options, NAMES)
    assert (again.loss, again.preprocessing) == ("sigmoid", saved.preprocessing)
    with pytest.raises(UsageError, match="--width"):
        start_from(ModelOptions(start_from=checkpoint, width=8), NAMES)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (0, {"head"}),
        (1, {"head", "norm", "blocks.2"}),
        (3, {"head", "norm", "blocks.0", "blocks.1", "blocks.2"}),
        (None, {"head", "norm", "blocks.0", "blocks.1", "blocks.2", "stem"}),
    ],
)
def test_only_the_last_blocks_move(checkpoint: str, last: int | None, expected: set[str]) -> None:
    model = mlpmixer.load(checkpoint)
    freeze(model, OptimizerOptions(train_last=last))
    moving = {
        ".".join(name.split(".")[: 2 if name.startswith("blocks") else 1])
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert moving == expected


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_the_learning_rate_decays_towards_the_stem(checkpoint: str, optimizer: str) -> None:
    model = mlpmixer.load(checkpoint)
    options = OptimizerOptions(
        optimizer=optimizer, learning_rate=1.0, matrix_learning_rate=1.0, layer_decay=0.5
    )
    rates = {}
    for one in Optimizers(model, options).all:
        for group in one.param_groups:
            rates |= dict.fromkeys(map(id, group["params"]), group["lr"])
    behind = blocks_behind(model)
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == 0.5 ** behind[name]
    assert behind["head.weight"] == 0
    assert behind["norm.weight"] == behind["blocks.2.norm1.weight"] == 1
    assert behind["stem.proj.weight"] == 4


@pytest.mark.parametrize(
    ("name", "last", "moving"),
    [
        ("vit_nano", 0, ("net.head.",)),
        ("vit_nano", 1, ("net.blocks.5.", "net.norm.", "net.head.")),
        (
            "bit_nano",
            2,
            ("net.stages.2.blocks.1.", "net.stages.2.blocks.2.", "net.norm.", "net.head."),
        ),
        ("timm:test_vit", 6, ("net.blocks.", "net.norm.", "net.fc_norm.", "net.head.")),
    ],
)
def test_last_blocks_and_rates_by_depth_are_there_for_every_family(
    name: str, last: int, moving: tuple[str, ...]
) -> None:
    model = mlpmixer.create_model(name)
    options = OptimizerOptions(optimizer="adamw", learning_rate=1.0, layer_decay=0.5)
    for group in Optimizers(model, options).all[0].param_groups:
        for parameter in group["params"]:
            found = next(n for n, one in model.named_parameters() if one is parameter)
            assert group["lr"] == 0.5 ** blocks_behind(model)[found]
    freeze(model, OptimizerOptions(train_last=last))
    for parameter_name, parameter in model.named_parameters():
        assert parameter.requires_grad == parameter_name.startswith(moving)


@pytest.mark.parametrize("name", ["vit_nano", "bit_nano"])
def test_a_rival_is_fine_tuned_at_another_image_size(name: str, tmp_path: Path) -> None:
    mlpmixer.create_model(name, image_size=16).save(tmp_path / "rival.safetensors", NAMES)
    out = tmp_path / "run"
    command = [*FINETUNE, "--from", str(tmp_path / "rival.safetensors"), "--image-size", "32"]
    assert main([*command, "--train-last", "1", "--layer-decay", "0.5", "--out", str(out)]) == 0
    assert mlpmixer.load(out).image_size == (32, 32)


def test_more_blocks_than_there_are_is_named(checkpoint: str) -> None:
    with pytest.raises(UsageError, match=r"--train-last 9 .* give 0 to 3"):
        freeze(mlpmixer.load(checkpoint), OptimizerOptions(train_last=9))


FINETUNE = ["finetune", "--data", "digits", "--steps", "4", "--warmup", "0.1", "--batch-size", "16"]


def test_fine_tuning_the_head_alone_leaves_all_else(checkpoint: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [*FINETUNE, "--from", checkpoint, "--out", str(out), "--train-last", "0"]
    assert main([*command, "--validation-fraction", "0", "--crop", "none", "--flip", "0"]) == 0
    before, after = mlpmixer.load(checkpoint).state_dict(), mlpmixer.load(out).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    recipe = (out / "recipe.toml").read_text()
    assert f'start_from = "{checkpoint}"' in recipe
    assert 'optimizer = "sgd"' in recipe


def test_fine_tuning_needs_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FINETUNE) == 2
    assert "--from" in capsys.readouterr().err
    assert main([*FINETUNE, "--from", "nothing.npz"]) == 2
    assert "nothing.npz" in capsys.readouterr().err
