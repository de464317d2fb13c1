"""Named recipes: the paper's, and those for small images.

The paper's hyperparameters: section 3.1, appendix A and table 5 of
https://arxiv.org/abs/2105.01601, and the released settings for ImageNet.
"""

from pathlib import Path

from mlpmixer.data.options import AugmentOptions
from mlpmixer.errors import unknown_name
from mlpmixer.training.recipe import (
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    Recipe,
    ScheduleOptions,
)

PRETRAIN_JFT = Recipe(
    model=ModelOptions(model="mixer_b16"),
    augment=AugmentOptions(crop="inception"),
    optimizer=OptimizerOptions(batch_size=4096, learning_rate=3e-3, weight_decay=0.03),
    schedule=ScheduleOptions(epochs=7, schedule="linear", warmup_steps=10_000),
    loss=LossOptions(loss="sigmoid"),
)
"""JFT-300M: crops and flips alone, no further regularisation; multi-label."""

PRETRAIN_IMAGENET21K = Recipe(
    model=ModelOptions(model="mixer_b16", stochastic_depth=0.1, head_bias=-10.0),
    augment=AugmentOptions(
        crop="inception",
        randaugment_operations=2,
        randaugment_magnitude=10,
        mixup_alpha=0.2,
        mixup_probability=1.0,
    ),
    optimizer=OptimizerOptions(batch_size=4096, learning_rate=1e-3, weight_decay=0.1),
    schedule=ScheduleOptions(epochs=300, schedule="linear", warmup_steps=10_000),
    loss=LossOptions(loss="sigmoid"),
)
"""ImageNet-21k: RandAugment, mixup and stochastic depth."""

PRETRAIN_IMAGENET = Recipe(
    model=ModelOptions(model="mixer_b16", stochastic_depth=0.1, head_bias=-6.9),
    augment=AugmentOptions(
        crop="inception",
        randaugment_operations=2,
        randaugment_magnitude=15,
        mixup_alpha=0.5,
        mixup_probability=1.0,
    ),
    optimizer=OptimizerOptions(batch_size=4096, learning_rate=1e-3, weight_decay=0.1),
    schedule=ScheduleOptions(
        epochs=300, schedule="linear", warmup_steps=10_000, final_learning_rate=0.01
    ),
    loss=LossOptions(loss="sigmoid"),
)
"""ImageNet-1k as released: sigmoid loss, head bias -6.9; reaches 76.3 % top-1 with B/16."""

FINETUNE = Recipe(
    model=ModelOptions(model="mixer_b16"),
    augment=AugmentOptions(crop="inception"),
    optimizer=OptimizerOptions(
        optimizer="sgd", batch_size=512, learning_rate=0.03, weight_decay=0.0
    ),
    schedule=ScheduleOptions(steps=10_000, warmup=0.05),
)
"""Transfer: SGD with momentum 0.9, no weight decay, cosine decay after a warm-up of a twentieth."""

SMALL = Recipe(
    optimizer=OptimizerOptions(optimizer="muon", learning_rate=2e-3, matrix_learning_rate=0.01),
    schedule=ScheduleOptions(epochs=20),
)
"""Images of the size of CIFAR's, on one small machine; found by measurement (docs/results.md)."""

QUICK = Recipe(
    augment=AugmentOptions(pad=1, flip=0.0),
    optimizer=OptimizerOptions(optimizer="muon", batch_size=64, learning_rate=2e-3),
    schedule=ScheduleOptions(epochs=40),
)
"""Some hundred to some thousand tiny pictures of signs; no flips."""

RECIPES: dict[str, Recipe] = {
    "small": SMALL,
    "quick": QUICK,
    "finetune": FINETUNE,
    "pretrain_imagenet": PRETRAIN_IMAGENET,
    "pretrain_imagenet21k": PRETRAIN_IMAGENET21K,
    "pretrain_jft": PRETRAIN_JFT,
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or the one in that TOML file.

    Raises:
        UsageError: neither is there, or the file has a field that is unknown.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name.endswith(".toml") or "/" in name:
        return Recipe.from_toml(Path(name))
    raise unknown_name("recipe", name, RECIPES, "Or give a path that ends in .toml.")
