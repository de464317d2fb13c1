"""Moving a Mixer to another grid: identities that the schemes imply."""

import pytest
import torch
from torch.nn import functional as F

import mlpmixer
from mlpmixer.errors import UsageError
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.resize import resample, resize, resize_stem


def small(image_size: tuple[int, int] = (16, 16)) -> Mixer:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=image_size, patch_size=4, depth=3)
    assert isinstance(model, Mixer)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.double().eval()


@pytest.mark.parametrize(
    ("size", "rows", "columns"), [((32, 32), 2, 2), ((48, 48), 3, 3), ((16, 32), 1, 2)]
)
@torch.inference_mode()
def test_tiled_logits_are_the_mean_of_the_small_networks_over_the_tiles(
    size: tuple[int, int], rows: int, columns: int
) -> None:
    model = small()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    tiles = [
        images[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        for row in range(rows)
        for column in range(columns)
    ]
    expected = torch.stack([model(tile) for tile in tiles]).mean(0)
    larger = resize(model, size)
    torch.testing.assert_close(larger(images), expected)
    assert larger.config.tokens_mlp_dim == rows * columns * model.config.tokens_mlp_dim


@torch.inference_mode()
def test_the_same_size_changes_nothing() -> None:
    model, images = small(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    for method in ("auto", "tiles", "interpolate"):
        assert torch.allclose(resize(model, 16, method=method)(images), model(images))


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (24, 24), (40, 16)])
@torch.inference_mode()
def test_a_flat_image_keeps_its_logits_nearly_at_any_size(size: tuple[int, int]) -> None:
    model = small()
    for block in model.blocks:  # smooth weights, as trained ones are; noise cannot be resampled
        for layer in (block.mlp_tokens.fc1, block.mlp_tokens.fc2):
            layer.weight.copy_(layer.weight.mean(dim=1, keepdim=True).expand_as(layer.weight))
        block.mlp_tokens.fc2.weight.copy_(
            block.mlp_tokens.fc2.weight.mean(dim=0).expand_as(block.mlp_tokens.fc2.weight)
        )
        block.mlp_tokens.fc2.bias.fill_(0.1)
    flat = torch.full((1, 3, 1, 1), 0.3, dtype=torch.float64)
    before = model(flat.expand(1, 3, 16, 16))
    after = resize(model, size, method="interpolate")(flat.expand(1, 3, *size))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_resampling_keeps_the_sum_when_scaled_by_the_grids() -> None:
    smooth = torch.linspace(0, 1, 16).repeat(16)[None]  # a ramp on 16x16
    smaller = resample(smooth, (16, 16), (8, 8)) * (256 / 64)
    assert smaller.sum().item() == pytest.approx(smooth.sum().item(), rel=0.01)


def test_resizing_to_a_larger_patch_keeps_the_tokens_of_resized_patches() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 3 * 4 * 4)
    patch = torch.randn(2, 3, 4, 4)
    larger = F.interpolate(patch, (8, 8), mode="bilinear", align_corners=False)
    resized = resize_stem(weight, 4, 8, "pseudo_inverse")
    torch.testing.assert_close(
        larger.flatten(1) @ resized.mT, patch.flatten(1) @ weight.mT, rtol=1e-4, atol=1e-4
    )


def test_the_original_stays_and_the_copy_is_its_own() -> None:
    model = small()
    model.class_names = tuple("abcdefghij")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy = resize(model, 32)
    with torch.no_grad():
        for parameter in copy.parameters():
            assert parameter.requires_grad
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert copy.class_names == model.class_names


def test_fresh_token_mixing_keeps_everything_else() -> None:
    model = small()
    fresh = resize(model, 24, method="fresh")
    for name, value in fresh.state_dict().items():
        if "mlp_tokens" not in name:
            assert torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize(("size", "method"), [(18, "auto"), (24, "tiles")])
def test_what_does_not_fit_is_named(size: int, method: str) -> None:
    with pytest.raises(UsageError, match=r"18x18|6x6"):
        resize(small(), size, method=method)


@pytest.mark.parametrize("new", [2, 6, 8])
def test_a_resampled_stem_sees_a_patch_as_resized_to_the_old_size(new: int) -> None:
    random = torch.Generator().manual_seed(0)
    patches = torch.randn(5, 3, new, new, generator=random)
    weight = torch.randn(10, 3 * 4 * 4, generator=random)
    as_before = F.interpolate(patches, (4, 4), mode="bilinear", antialias=True)
    expected = as_before.flatten(1) @ weight.mT
    found = patches.flatten(1) @ resize_stem(weight, 4, new).mT
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_by_default_smaller_images_get_smaller_patches_where_pixels_allow_it() -> None:
    model = small()  # 4x4 patches of 4 pixels
    kept, changed = resize(model, 8), resize(model, 12, method="interpolate")
    assert (kept.config.grid, kept.config.patch_size) == ((4, 4), 2)
    assert (changed.config.grid, changed.config.patch_size) == ((3, 3), 4)
    no_whole_pixels = resize(model, (8, 12))
    assert (no_whole_pixels.config.grid, no_whole_pixels.config.patch_size) == ((2, 3), 4)
    mixing = "blocks.0.mlp_tokens.fc1.weight"
    assert torch.equal(kept.state_dict()[mixing], model.state_dict()[mixing])
