"""The architecture against the authors' own numbers, its formula and its options."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mlpmixer
from mlpmixer.errors import UsageError
from mlpmixer.models.mixer import Mixer, MixerConfig
from mlpmixer.models.presets import PAPER_MIXERS, SMALL_MIXERS

GOLDEN = Path(__file__).parents[1] / "golden"

# The architecture's own arithmetic, section 2 of the paper: stem, blocks, norm, head.
TINY = {
    "image_size": (8, 8),
    "patch_size": 4,
    "width": 6,
    "depth": 2,
    "tokens_mlp_dim": 5,
    "channels_mlp_dim": 7,
    "num_classes": 3,
}


def tiny(**changes: object) -> Mixer:
    torch.manual_seed(0)
    model = Mixer(MixerConfig(**{**TINY, **changes}))
    torch.nn.init.normal_(model.head.weight)
    return model


def flax_parameters(config: MixerConfig) -> dict[str, Tensor]:
    """The authors' file as a state dict of ours: kernels transposed, the stem's channels first."""
    flax = {k: torch.from_numpy(v) for k, v in np.load(GOLDEN / "official_mixer_tiny.npz").items()}

    def dense(source: str, target: str) -> dict[str, Tensor]:
        kernel, bias = flax[f"{source}/kernel"], flax[f"{source}/bias"]
        return {f"{target}.weight": kernel.T, f"{target}.bias": bias}

    def norm(source: str, target: str) -> dict[str, Tensor]:
        scale, bias = flax[f"{source}/scale"], flax[f"{source}/bias"]
        return {f"{target}.weight": scale, f"{target}.bias": bias}

    state = {
        "stem.proj.weight": flax["stem/kernel"].permute(3, 2, 0, 1).flatten(1),
        "stem.proj.bias": flax["stem/bias"],
        **norm("pre_head_layer_norm", "norm"),
        **dense("head", "head"),
    }
    for i in range(config.depth):
        state |= norm(f"MixerBlock_{i}/LayerNorm_0", f"blocks.{i}.norm1")
        state |= norm(f"MixerBlock_{i}/LayerNorm_1", f"blocks.{i}.norm2")
        for mixing, mlp in (("token_mixing", "mlp_tokens"), ("channel_mixing", "mlp_channels")):
            for layer in (0, 1):
                source = f"MixerBlock_{i}/{mixing}/Dense_{layer}"
                state |= dense(source, f"blocks.{i}.{mlp}.fc{layer + 1}")
    return state


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_logits_equal_those_of_the_authors_flax_module(
    precision: torch.dtype, tolerance: float
) -> None:
    config = MixerConfig(
        image_size=(16, 16),
        patch_size=4,
        width=24,
        depth=2,
        tokens_mlp_dim=12,
        channels_mlp_dim=48,
        num_classes=10,
    )
    model = Mixer(config)
    model.load_state_dict(flax_parameters(config))
    expected = np.load(GOLDEN / "official_mixer_tiny_io.npz")
    images = torch.from_numpy(expected["images_nhwc"]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = model.to(precision)(images.to(precision)).numpy()
    scale = np.abs(expected["logits"]).max()
    assert np.abs(logits - expected["logits"]).max() < tolerance * scale


def expected_parameters(config: MixerConfig) -> int:
    """Count them by the equations of the paper."""
    stem = config.patch_size**2 * config.in_channels * config.width + config.width
    tokens, width = config.num_tokens, config.width
    token_mlp = 2 * tokens * config.tokens_mlp_dim + config.tokens_mlp_dim + tokens
    channel_mlp = 2 * width * config.channels_mlp_dim + config.channels_mlp_dim + width
    block = token_mlp + channel_mlp + 2 * 2 * width
    head = width * config.num_classes + config.num_classes
    return stem + config.depth * block + 2 * width + head


@pytest.mark.parametrize("name", [*PAPER_MIXERS, *SMALL_MIXERS])
def test_every_preset_has_the_parameters_of_the_formula(name: str) -> None:
    with torch.device("meta"):
        model = mlpmixer.create_model(name, num_classes=1000)
    assert isinstance(model, Mixer)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == expected_parameters(model.config)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("mixer_s32", 19),
        ("mixer_s16", 18),
        ("mixer_b32", 60),
        ("mixer_b16", 59),
        ("mixer_l32", 206),
        ("mixer_l16", 207),
        ("mixer_h14", 431),
    ],
)
def test_the_papers_models_have_the_papers_sizes(name: str, millions: int) -> None:
    with torch.device("meta"):
        model = mlpmixer.create_model(name)
    # The paper counts without the head, and rounds to a million.
    count = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("head"))
    assert abs(count / 1e6 - millions) < 1


def test_b16_has_exactly_the_released_number_of_parameters() -> None:
    with torch.device("meta"):
        model = mlpmixer.create_model("mixer_b16")
    assert sum(parameter.numel() for parameter in model.parameters()) == 59_880_472


def test_nano_has_1_13_million_parameters_on_cifar() -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=32, num_classes=10)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(1.13e6, rel=0.01)
    assert model.options["patch_size"] == 4


@pytest.mark.parametrize(("side", "patch_size"), [(8, 1), (16, 2), (32, 4), (64, 8)])
def test_small_models_cut_any_size_into_eight_by_eight_patches(side: int, patch_size: int) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=side)
    assert model.options["patch_size"] == patch_size
    assert model.config.num_tokens == 64


def test_rectangular_images_keep_height_and_width_apart() -> None:
    model = tiny(image_size=(8, 16))
    tokens = model.forward_features(torch.randn(2, 3, 8, 16))
    assert tokens.shape == (2, 8, 6)
    with pytest.raises(ValueError, match="expected"):
        model(torch.randn(2, 3, 16, 8))


def test_patches_are_read_row_by_row() -> None:
    model = tiny(image_size=(8, 12))
    image = torch.randn(1, 3, 8, 12)
    tokens = model.stem(image)
    second_row_third_column = image[:, :, 4:8, 8:12].flatten(1)
    expected = model.stem.proj(second_row_third_column)
    torch.testing.assert_close(tokens[:, 1 * 3 + 2], expected)


def test_a_fresh_model_predicts_by_its_head_bias_alone() -> None:
    model = mlpmixer.create_model("mixer_nano", head_bias=-6.9)
    logits = model(torch.randn(2, 3, 32, 32))
    assert torch.equal(logits, torch.full((2, 10), -6.9))


def test_weights_start_lecun_normal_and_biases_zero() -> None:
    model = mlpmixer.create_model("mixer_micro")
    layer = model.blocks[0].mlp_channels.fc1
    limit = 2 * layer.in_features**-0.5 / 0.87962566
    assert layer.weight.std().item() == pytest.approx(layer.in_features**-0.5, rel=0.02)
    assert layer.weight.abs().max().item() <= limit
    assert not layer.bias.any()


def test_the_two_forms_of_gelu_differ_in_the_fourth_decimal() -> None:
    tanh, erf = tiny(gelu="tanh"), tiny(gelu="erf")
    images = torch.randn(8, 3, 8, 8)
    difference = (tanh(images) - erf(images)).abs().max().item()
    assert 0 < difference < 1e-2


def test_the_config_states_every_default() -> None:
    config = MixerConfig(**TINY)
    assert (config.gelu, config.layer_norm_epsilon, config.dropout) == ("tanh", 1e-6, 0.0)


def test_pooled_representation_and_logits_come_from_the_tokens() -> None:
    model = tiny()
    images = torch.randn(2, 3, 8, 8)
    tokens = model.forward_features(images)
    pooled = model.forward_head(tokens, pre_logits=True)
    assert pooled.shape == (2, 6)
    torch.testing.assert_close(pooled, tokens.mean(dim=1))
    torch.testing.assert_close(model.head(pooled), model(images))


def test_gradient_checkpointing_changes_neither_logits_nor_gradients() -> None:
    plain, saving = tiny(), tiny()
    saving.set_grad_checkpointing()
    images = torch.randn(2, 3, 8, 8)
    for model in (plain, saving):
        model(images).square().sum().backward()
    for ours, theirs in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_stochastic_depth_grows_linearly_and_keeps_the_expectation() -> None:
    model = tiny(depth=3, stochastic_depth=0.5)
    rates = [block.stochastic_depth.probability for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.25, 0.5])
    layer = model.blocks[2].stochastic_depth
    torch.manual_seed(0)
    dropped = layer(torch.ones(4000, 1, 1))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(layer.eval()(torch.ones(5, 1, 1)), torch.ones(5, 1, 1))


def test_dropout_acts_in_training_alone() -> None:
    model = tiny(dropout=0.5)
    images = torch.randn(2, 3, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_reset_classifier_puts_a_zero_head_or_none_in_place() -> None:
    model = tiny()
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model.options["num_classes"] == 7
    assert not model(torch.randn(2, 3, 8, 8)).any()
    model.reset_classifier(0)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 6)


def test_options_build_the_same_model_again() -> None:
    model = mlpmixer.create_model(
        "mixer_nano", image_size=(16, 32), patch_size=4, depth=3, gelu="tanh"
    )
    again = mlpmixer.create_model(model.name, **model.options)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config


def test_forward_intermediates_follows_timms_conventions() -> None:
    model = tiny(image_size=(8, 16), depth=3)
    images = torch.randn(2, 3, 8, 16)
    final, maps = model.forward_intermediates(images)
    assert [tuple(one.shape) for one in maps] == [(2, 6, 2, 4)] * 3
    torch.testing.assert_close(final, model.forward_features(images))
    last_two = model.forward_intermediates(
        images, indices=2, norm=True, output_fmt="NLC", intermediates_only=True
    )
    assert len(last_two) == 2
    torch.testing.assert_close(last_two[-1], final)
    early = model.forward_intermediates(images, [0], stop_early=True, intermediates_only=True)
    torch.testing.assert_close(early[0], maps[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (30, 30)}, "Use --image-size 32"),
        ({"width": 0}, "width 0"),
        ({"dropout": 1.0}, "outside"),
        ({"gelu": "relu"}, "'tanh' or 'erf'"),
        ({"num_classes": -1}, "at least 0"),
        ({"input_mean": (0.4, 0.5)}, r"input_mean .* must be one finite number, or 3"),
        ({"input_mean": (float("nan"),)}, "input_mean"),
        ({"input_std": (0.5, 0.0, 0.5)}, "input_std .* must be positive"),
        ({"layer_norm_epsilon": -1e-6}, "layer_norm_epsilon"),
    ],
)
def test_numbers_that_do_not_fit_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MixerConfig(**{**TINY, **changes})


def test_a_custom_mixer_needs_its_whole_shape() -> None:
    model = mlpmixer.create_model("mixer", **TINY)
    assert model.num_features == 6
    with pytest.raises(UsageError, match="depth is missing"):
        mlpmixer.create_model("mixer", **{k: v for k, v in TINY.items() if k != "depth"})


def test_unknown_models_and_options_get_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="mixer_b16"):
        mlpmixer.create_model("mixer_b_16")
    with pytest.raises(UsageError, match="depth"):
        mlpmixer.create_model("mixer_nano", dept=3)
