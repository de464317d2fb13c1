"""Shipping a trained model to the Hugging Face hub, with a card made from its run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import count_parameters
from mlpmixer.report.model_card import CardFacts, model_card
from mlpmixer.run.directory import RECIPE, RunDirectory
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.state import flat_values
from mlpmixer.weights.checkpoint import load
from mlpmixer.weights.hub import HubFolder, hub_failures, public_name
from mlpmixer.weights.model_files import HUB_PREFIX

_MAY_BE_FOLDERS = ("data", "start_from", "teacher", "teacher_class_names")
"""Fields of a recipe that may name a place on this machine."""
ClassNames = Sequence[str] | str | Path | None


def push_to_hub(
    source: str | Path | ImageModel, repo_id: str, *, class_names: ClassNames = None, **options: Any
) -> str:
    """Upload a model to the Hugging Face hub, and return the address of the commit.

    Args:
        source: a run directory, whose card tells what was measured; or anything that
            `mlpmixer.load` takes, or a model, with a card that describes the model alone.
        repo_id: "user/name".
        class_names: as in `mlpmixer.load`, for a source that is no model.
        options: of `huggingface_hub.ModelHubMixin.push_to_hub`: private, token, branch,
            commit_message, create_pr.

    Raises:
        UsageError: there is no such source, or the name is of the wrong form.
        MixerError: the source is damaged, nobody is logged in, or the network fails.
    """
    model = _model(source, class_names)
    folder = HubFolder(model, _card(source, model, f"{HUB_PREFIX}{repo_id}"))
    with hub_failures(f"cannot push to {repo_id}"):
        return folder.push_to_hub(repo_id, **options)


def save_pretrained(
    source: str | Path | ImageModel, folder: str | Path, *, class_names: ClassNames = None
) -> None:
    """Write the folder that `push_to_hub` uploads: weights, configuration and card.

    `class_names` are as in `mlpmixer.load`, for a source that is no model.

    Raises:
        UsageError: there is no such source.
        MixerError: the source is damaged, or the folder cannot be written.
    """
    model = _model(source, class_names)
    HubFolder(model, _card(source, model, Path(folder).name)).save_pretrained(folder)


def _model(source: str | Path | ImageModel, class_names: ClassNames) -> ImageModel:
    if not isinstance(source, ImageModel):
        return load(source, class_names=class_names)
    if class_names is not None:
        raise UsageError("a model brings its class names along: set model.class_names.")
    return source


def _card(source: str | Path | ImageModel, model: ImageModel, where: str) -> ModelCard | None:
    """Return the card of a run directory; None for anything else."""
    if isinstance(source, ImageModel) or not (Path(source) / RECIPE).exists():
        return None
    run = RunDirectory.open(source)
    recipe = Recipe.from_toml(run.recipe)
    recipe = recipe.override(
        {
            name: public_name(value)
            for name, value in flat_values(recipe).items()
            if name in _MAY_BE_FOLDERS and value is not None
        }
    )
    try:
        return model_card(
            CardFacts(
                model=model.name,
                where=where,
                parameters=count_parameters(model),
                image_size=model.image_size,
                num_classes=model.num_classes,
                class_names=model.class_names,
                data=recipe.data.data,
                start_from=recipe.model.start_from,
                recipe_toml=recipe.to_toml(),
                evaluation=json.loads(run.evaluation.read_text())
                if run.evaluation.exists()
                else {},
                records=tuple(run.records()),
                exclusive=model.loss == "softmax",
            )
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise MixerError(
            f"{run.evaluation} is damaged ({error!r}): remove it for a card without measures."
        ) from error
