import json

import pytest
import torch
from torch import nn

from mlpmixer.errors import UsageError
from mlpmixer.models.comparators import COMPARATORS, create, knows
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import count_macs, count_parameters
from mlpmixer.models.registry import create_model

FAMILIES = ("vit", "bit", "nfnet", "halonet")
SMALL = [f"{family}_{size}" for family in FAMILIES for size in ("nano", "micro", "mini")]


def hollow(name: str, **options: object) -> ImageModel:
    with torch.device("meta"):
        return create_model(name, **options)  # type: ignore[arg-type]


def with_random_head(model: ImageModel) -> ImageModel:
    """Let gradients through to the layers before the head, which starts at zero."""
    for layer in model.net.get_classifier().modules():  # type: ignore[union-attr, operator]
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight)
    return model


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        ("vit_b16", 86_567_656, 17.6),
        ("vit_l16", 304_326_632, 61.6),
        ("bit_r50x1", 25_549_352, 4.1),
        ("bit_r152x4", 936_533_224, 182.8),
        ("nfnet_f0", 71_489_284, 7.0),
        ("nfnet_f4", 316_069_172, 121.1),
        ("halonet", 8_100_056, 3.0),
    ],
)
def test_the_papers_rivals_have_their_published_size(
    name: str, parameters: int, gmacs: float
) -> None:
    model = hollow(name)
    assert count_parameters(model) == parameters
    assert count_macs(model) / 1e9 == pytest.approx(gmacs, abs=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_small_rivals_match_the_mixer_of_their_name(name: str) -> None:
    model, mixer = hollow(name), hollow(f"mixer_{name.split('_')[1]}")
    assert count_parameters(model) == pytest.approx(count_parameters(mixer), rel=0.1)
    assert 0.9 < count_macs(model) / count_macs(mixer) < 2


@pytest.mark.parametrize("family", FAMILIES)
def test_larger_images_cost_small_rivals_no_more(family: str) -> None:
    usual, larger = hollow(f"{family}_nano"), hollow(f"{family}_nano", image_size=64)
    assert count_macs(larger) < 1.05 * count_macs(usual)


@pytest.mark.parametrize("family", FAMILIES)
def test_small_rivals_take_gradients_in_bfloat16(family: str) -> None:
    torch.manual_seed(0)
    model = with_random_head(create_model(f"{family}_nano"))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.randn(2, 3, 32, 32)).float().square().mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(one is not None and one.isfinite().all() for one in gradients.values())
    entrance = model.net.patch_embed if family == "vit" else model.net.stem
    stem = next(entrance.parameters())
    assert stem.grad.abs().sum() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_start_at_the_head_bias(family: str) -> None:
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(create_model(f"{family}_nano").eval()(images), torch.zeros(2, 10))
    biased = create_model(f"{family}_nano", num_classes=3, head_bias=-1.5).eval()
    assert torch.equal(biased(images), torch.full((2, 3), -1.5))
    biased.reset_classifier(4)
    assert biased.num_classes == 4
    assert torch.equal(biased(images), torch.full((2, 4), -1.5))


@pytest.mark.parametrize("family", FAMILIES)
def test_options_build_the_same_model_again(family: str) -> None:
    model = create_model(
        f"{family}_nano", image_size=(16, 32), num_classes=5, dropout=0.1, stochastic_depth=0.2
    )
    again = create_model(model.name, **json.loads(json.dumps(model.options)))
    assert again.options == model.options
    again.load_state_dict(with_random_head(model).state_dict())
    images = torch.randn(2, 3, 16, 32)
    assert torch.equal(again.eval()(images), model.eval()(images))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 64), (128, 128)])
def test_small_rivals_take_images_of_many_sizes(family: str, size: tuple[int, int]) -> None:
    model = hollow(f"{family}_nano", image_size=size)
    assert model.image_size == size
    images = torch.empty(2, 3, *size, device="meta")
    assert model(images).shape == (2, 10)
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    assert pooled.shape == (2, model.num_features)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 64, 64\).*\(3, 32, 32\)|expected"):
        create_model("bit_nano")(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("halonet_nano", (33, 64), "image size 33x64 .* --image-size 32 64"),
        ("halonet", (100, 100), "image size 100x100 .* --image-size 128"),
        ("vit_b16", (230, 230), "image size 230x230 .* 16x16 .* --image-size 224"),
        ("timm:halonet26t", (224, 224), "image size 224x224 .* --image-size 256"),
    ],
)
def test_a_size_that_does_not_fit_is_named_with_one_that_does(
    name: str, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        hollow(name, image_size=size)


@pytest.mark.parametrize("size", [224, 384])
def test_halonet_takes_the_usual_sizes(size: int) -> None:
    images = torch.empty(1, 3, size, size, device="meta")
    assert hollow("halonet", image_size=size).eval()(images).shape == (1, 1000)


def test_any_model_of_timm_is_built_at_the_size_asked_for() -> None:
    model = create_model("timm:vit_tiny_patch16_224", image_size=(64, 32), num_classes=3)
    assert model(torch.zeros(2, 3, 64, 32)).shape == (2, 3)
    assert hollow("timm:resnet18").num_classes == 1000
    assert knows("timm:resnet18")
    assert not knows("resnet18")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm:vit_tiny_patch17_224", {}, "vit_tiny_patch16_224"),
        ("timm:vit_tiny_patch16_224.nothing", {}, "nothing"),
        ("vit_nano", {"embed_dimm": 64}, "vit_nano has no option 'embed_dimm'"),
        ("timm:vgg11", {"stochastic_depth": 0.1}, "vgg11 has no option 'stochastic_depth'"),
        ("bit_nano", {"dropout": 1.5}, "dropout 1.5"),
        ("vit_nano", {"num_heads": 5}, "vit_nano cannot be built"),
        ("halonet_nano", {"depths": (1, 2)}, "halonet_nano cannot be built"),
        ("vit_b16", {"pretrained": True}, "fresh weights"),
        ("vit_b16", {"checkpoint_path": "x.pth"}, "checkpoint_path is no option.*fresh weights"),
        ("timm:resnet18", {"pretrained_cfg_overlay": {"file": "x.pth"}}, "pretrained_cfg_overlay"),
        ("bit_nano", {"in_chans": 4}, "in_chans 4 .* 3 channels.* in_channels"),
        ("timm:qwen3_vit_416m_enc", {}, "no image classifier|unknown timm model"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message), torch.device("meta"):
        create(name, image_size=None, num_classes=None, **options)


@pytest.mark.parametrize("family", ["vit", "bit"])
def test_stochastic_depth_drops_branches_while_training(family: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 3, 32, 32).repeat(8, 1, 1, 1)
    model = create_model(f"{family}_nano", stochastic_depth=0.5)
    features = model.forward_features(images)
    assert not torch.allclose(features[0], features[1:], atol=1e-3)
    steady = create_model(f"{family}_nano").forward_features(images)
    torch.testing.assert_close(steady[1:], steady[:1].expand_as(steady[1:]))


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_leaves_gradients_as_they_are(family: str) -> None:
    torch.manual_seed(0)
    model = with_random_head(create_model(f"{family}_nano", image_size=16)).eval()
    images = torch.randn(2, 3, 16, 16)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(images).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]  # type: ignore[union-attr]

    plain = gradients()
    model.set_grad_checkpointing(True)
    torch.testing.assert_close(gradients(), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_intermediates_are_those_of_the_last_stages(family: str) -> None:
    model = create_model(f"{family}_nano").eval()
    images = torch.randn(1, 3, 32, 32)
    final, picked = model.forward_intermediates(images, indices=2, norm=True)
    assert len(picked) == 2
    assert torch.equal(final, model.forward_features(images))
    first, last = model.forward_intermediates(
        images, indices=2, output_fmt="NLC", intermediates_only=True
    )
    grid = (64, 64) if family == "vit" else (256, 64)  # tokens, or pixels of the maps
    assert (first.shape[1], last.shape[1]) == grid
    everything = model.forward_intermediates(images, intermediates_only=True)
    assert torch.equal(everything[-1].flatten(2).transpose(1, 2), last)


def test_names_are_the_papers_and_the_small_ones() -> None:
    paper = {"vit_b16", "vit_l16", "bit_r50x1", "bit_r152x4", "halonet"}
    assert set(COMPARATORS) == paper | {f"nfnet_f{i}" for i in range(5)} | set(SMALL)
