"""What every family answers about itself."""

from pathlib import Path

import pytest
import torch
from timm.optim import param_groups_layer_decay

import mlpmixer
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.layers import zero_weights
from mlpmixer.models.preprocessing import Preprocessing

FAMILIES = ("mixer_nano", "vit_nano", "bit_nano", "nfnet_nano", "halonet_nano")


def build(name: str, **options: object) -> ImageModel:
    torch.manual_seed(0)
    model = mlpmixer.create_model(name, **options)  # type: ignore[arg-type]
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def pictures(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("shuffle", [None, "pixels"])
@pytest.mark.parametrize("name", [*FAMILIES, "timm:test_resnet", "timm:test_vit"])
def test_groups_hold_every_parameter_once_from_stem_to_head(name: str, shuffle: str | None) -> None:
    model = build(name, image_size=32, input_shuffle=shuffle)
    groups = model.layer_groups()
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert groups[0][0].removeprefix("model.").removeprefix("net.") == next(
        name for name, _ in model.network.named_parameters()
    ).removeprefix("net.")
    classifier = sum(model.get_parameter(name).numel() for name in groups[-1])
    assert classifier == model.num_features * model.num_classes + model.num_classes
    assert all(groups)
    model.reset_classifier(0)
    assert model.layer_groups() == [*groups[:-1], []]


@pytest.mark.parametrize("shuffle", [None, "pixels"])
@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano"])
def test_a_fresh_head_does_not_keep_names_and_facts_of_the_old_one(
    name: str, shuffle: str | None
) -> None:
    model = build(name, image_size=32, num_classes=2, input_shuffle=shuffle)
    model.class_names, model.facts = ("cat", "dog"), {"accuracy": 0.9}
    model.reset_classifier(3)
    assert model.class_names is None
    assert model.facts == {}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "mixer_nano"])
def test_the_groups_are_those_of_timms_layer_decay(name: str) -> None:
    model = build(name)
    groups = model.layer_groups()
    share = {
        id(model.get_parameter(name)): 0.5 ** (len(groups) - 1 - number)
        for number, group in enumerate(groups)
        for name in group
    }
    of_timm = param_groups_layer_decay(model.net, layer_decay=0.5)  # type: ignore[arg-type]
    theirs = {id(one): group["lr_scale"] for group in of_timm for one in group["params"]}
    assert share == theirs


def test_a_mixers_groups_are_those_of_timms_mixer() -> None:
    with torch.device("meta"):
        ours = mlpmixer.create_model("mixer_b16")
        theirs = mlpmixer.create_model("timm:mixer_b16_224")
    without_prefix = [[name[len("net.") :] for name in group] for group in theirs.layer_groups()]
    assert [sorted(group) for group in ours.layer_groups()] == [
        sorted(group) for group in without_prefix
    ]


@pytest.mark.parametrize("shuffle", [None, "patches"])
@pytest.mark.parametrize(
    ("name", "blocks"),
    [("mixer_nano", 8), ("vit_nano", 6), ("bit_nano", 3), ("nfnet_nano", 3), ("halonet_nano", 3)],
)
def test_blocks_are_modules_in_order(name: str, blocks: int, shuffle: str | None) -> None:
    model = build(name, input_shuffle=shuffle)
    assert len(model.block_names) == blocks
    values = mlpmixer.capture(model, pictures(32, 32), model.block_names)
    assert list(values) == [*model.block_names, "logits"]
    tokens = model.as_tokens(values[model.block_names[-1]])
    assert tokens.ndim == 3
    logits = model.logits_after(tokens)
    assert logits is None or torch.allclose(logits, values["logits"], atol=1e-5)
    assert (logits is None) == (name != "mixer_nano")


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("mixer_nano", (16, 32), (8, 16)),
        ("vit_nano", (16, 32), (8, 16)),
        ("bit_nano", (16, 32), None),
        ("timm:test_vit", (32, 32), (2, 2)),
    ],
)
def test_the_grid_is_that_of_the_patches(
    name: str, size: tuple[int, int], grid: tuple[int, int] | None
) -> None:
    assert build(name, image_size=size).patch_grid == grid
    assert build(name, image_size=size, input_shuffle="pixels").patch_grid == grid


@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano", "bit_nano"])
def test_what_is_frozen_or_recomputed_stays_so_at_another_image_size(name: str) -> None:
    model = build(name, image_size=32)
    first, *_ = frozen = [name for name, _ in model.named_parameters()][:3]
    for one in frozen:
        model.get_parameter(one).requires_grad_(False)
    model.set_grad_checkpointing()
    moved = model.resized(64)
    still = [name for name, one in moved.named_parameters() if not one.requires_grad]
    assert still == frozen
    assert moved.grad_checkpointing
    assert not model.resized(32).get_parameter(first).requires_grad


@pytest.mark.parametrize("name", [*FAMILIES, "timm:test_vit", "timm:test_resnet"])
@pytest.mark.parametrize("size", [32, (48, 64)])
def test_a_model_moves_to_another_image_size_and_is_saved_there(
    name: str, size: int | tuple[int, int], tmp_path: Path
) -> None:
    model = build(name, image_size=32, num_classes=10)
    model.class_names = tuple("abcdefghij")
    model.loss = "sigmoid"
    model.preprocessing = Preprocessing(image_size=(32, 32), crop_share=1.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moved = model.resized(size)
    height, width = (size, size) if isinstance(size, int) else size
    assert moved.image_size == (height, width)
    assert (moved.class_names, moved.loss) == (model.class_names, "sigmoid")
    assert moved.preprocessing == Preprocessing(image_size=(height, width), crop_share=1.0)
    logits = moved(pictures(height, width))
    assert logits.isfinite().all()
    if size == 32:
        torch.testing.assert_close(logits, model(pictures(32, 32)))
    moved.save(tmp_path / "moved.safetensors")
    again = mlpmixer.load(tmp_path / "moved.safetensors")
    torch.testing.assert_close(again(pictures(height, width)), logits)
    with torch.no_grad():
        for parameter in moved.parameters():
            assert parameter.requires_grad
            parameter.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("size", [24, 44])
def test_a_small_vit_keeps_its_patches_in_pixels(size: int) -> None:
    moved = build("vit_nano").resized(size)
    assert moved.patch_grid == (size // 4, size // 4)
    again = mlpmixer.create_model(moved.name, **moved.options)
    assert again.patch_grid == moved.patch_grid


@pytest.mark.parametrize(
    ("model", "size", "how", "message"),
    [
        ("mixer_nano", 18, {}, "image size 18x18"),
        ("vit_nano", 18, {}, "image size 18x18 .* 4x4"),
        ("bit_nano", 128, {}, "bit_nano cannot be resized to 128x128: its stem.conv.weight"),
        ("halonet_nano", 34, {}, "image size 34x34"),
        ("vit_nano", 64, {"method": "tiles"}, "no Mixer: it takes no method"),
    ],
)
def test_what_cannot_be_resized_says_why(
    model: str, size: int, how: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(model).resized(size, **how)


def test_a_shuffled_model_belongs_to_its_image_size() -> None:
    with pytest.raises(UsageError, match="shuffles its input"):
        build("mixer_nano", input_shuffle="pixels").resized(64)


def test_a_shuffled_model_hands_on_what_belongs_to_its_weights() -> None:
    from mlpmixer.models.shuffle import ShuffledInput

    inner = build("mixer_nano")
    inner.class_names, inner.facts, inner.loss = tuple("abcdefghij"), {"data": "x"}, "sigmoid"
    inner.preprocessing = Preprocessing(image_size=(32, 32), crop_share=0.5)
    model = ShuffledInput(inner, "patches")
    assert (model.class_names, model.facts, model.loss) == (
        inner.class_names,
        {"data": "x"},
        "sigmoid",
    )
    assert model.preprocessing == inner.preprocessing
    assert model.network is inner
    assert model.device == inner.device
    logits = model(pictures(32, 32))
    torch.testing.assert_close(model.probabilities(logits), logits.sigmoid())
    final, picked = model.forward_intermediates(pictures(32, 32), indices=[1])
    torch.testing.assert_close(final, model.forward_features(pictures(32, 32)))
    assert [one.shape for one in picked] == [(2, 128, 8, 8)]


def test_preprocessing_follows_the_model_and_is_checked() -> None:
    model = build("bit_nano", image_size=(16, 24))
    assert model.preprocessing == Preprocessing(image_size=(16, 24))
    with pytest.raises(ValueError, match="16"):
        model.preprocessing = Preprocessing(image_size=(32, 32))
    with pytest.raises(UsageError, match="crop share 0"):
        Preprocessing(image_size=(32, 32), crop_share=0)
    with pytest.raises(UsageError, match="unknown resampling 'nearest'"):
        Preprocessing(image_size=(32, 32), resampling="nearest")  # type: ignore[arg-type]


@pytest.mark.parametrize("shuffle", [None, "pixels"])
@pytest.mark.parametrize(("name", "branches"), [("mixer_nano", 16), ("vit_nano", 12)])
def test_blocks_do_nothing_while_the_ends_of_their_branches_are_zero(
    name: str, branches: int, shuffle: str | None
) -> None:
    model = build(name, image_size=32, input_shuffle=shuffle)
    before = model.forward_intermediates(pictures(32, 32), intermediates_only=True)
    assert not torch.equal(before[0], before[-1])
    ends = model.residual_ends()
    assert len(ends) == branches
    zero_weights(ends)
    after = model.forward_intermediates(pictures(32, 32), intermediates_only=True)
    assert all(torch.equal(one, after[0]) for one in after)


def test_families_that_start_in_their_own_way_name_no_ends_of_branches() -> None:
    assert not any(build(name).residual_ends() for name in ("bit_nano", "nfnet_nano"))
