"""A model as a repository of the Hugging Face hub: through the mixin of huggingface_hub.

The folder holds the weights as safetensors with all that builds the model again, the same in
config.json for the hub to read, and the model card, README.md. Nothing in it is pickled.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is re-exported
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)

from mlpmixer.errors import MixerError, UsageError, first_line
from mlpmixer.files import write_json, write_text
from mlpmixer.formatting import size_text, without_secrets
from mlpmixer.models.interface import ImageModel
from mlpmixer.weights.model_files import HUB_CONFIG, HUB_PREFIX, load_folder
from mlpmixer.weights.own_format import MODEL_FILE, write_model

HUB_CARD = "README.md"
_SHORT_CARD = """\
---
{{ card_data }}
---

# {{ name }}

An image classifier: {{ name }} for images of {{ size }} pixels and {{ classes }} classes. How well
it classifies was not recorded here.

```python
import mlpmixer

model = mlpmixer.load("hf-hub:USER/NAME")  # where this folder lies, or its path
```
"""


class HubFolder(
    ModelHubMixin,
    library_name="mlpmixer",
    pipeline_tag="image-classification",
    model_card_template=_SHORT_CARD,
):
    """A model that is written into a folder, uploaded, and read by `from_pretrained`.

    Args:
        model: any model of `create_model`.
        card: the model card; by default a short one.
    """

    def __init__(self, model: ImageModel, card: ModelCard | None = None) -> None:
        self.model = model
        self.card = card

    def generate_model_card(self, *args: Any, **options: Any) -> ModelCard:
        """Return the card, or a short one."""
        if self.card is not None:
            return self.card
        size = size_text(self.model.image_size)
        facts = {"name": self.model.name, "size": size, "classes": self.model.num_classes}
        return super().generate_model_card(*args, **facts, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        model = self.model
        facts = public_facts(model.facts)
        write_model(model, save_directory / MODEL_FILE, model.class_names, facts)
        description = {
            "library_name": "mlpmixer",
            "name": model.name,
            "options": model.options,
            "class_names": model.class_names,
            "loss": model.loss,
            "preprocessing": model.preprocessing.to_json(),
        }
        write_json(save_directory / HUB_CONFIG, description)
        if not (save_directory / HUB_CARD).exists():
            write_text(save_directory / HUB_CARD, str(self.generate_model_card()))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        if Path(model_id).is_dir():
            return cls(load_folder(Path(model_id)))
        chosen = {name: options[name] for name in _OF_A_DOWNLOAD if name in options}
        return cls(load_folder(download(model_id, **chosen)))


_OF_A_DOWNLOAD = ("revision", "cache_dir", "force_download", "local_files_only", "token")


def from_pretrained(name: str | Path, **options: Any) -> ImageModel:
    """Read a model of the Hugging Face hub, or of a folder in that form.

    Args:
        name: "user/name", "hf-hub:user/name", or the folder.
        options: of `huggingface_hub.ModelHubMixin.from_pretrained`: revision, token, cache_dir,
            force_download, local_files_only.

    Returns:
        The model as `mlpmixer.load` returns it.

    Raises:
        UsageError: the name is of the wrong form, or the folder holds no known layout.
        MixerError: there is no such model, its files are damaged, or the network fails.
    """
    name = str(name).removeprefix(HUB_PREFIX)
    # Not by the mixin's own: around it, no failure of the hub can be told from a damaged file.
    return HubFolder._from_pretrained(model_id=name, **options).model


def download(name: str, **options: Any) -> Path:
    """Return the local folder with the files of a model on the Hugging Face hub.

    Args:
        name: "user/name".
        options: of `huggingface_hub.snapshot_download`: revision, token, cache_dir.

    Raises:
        UsageError: the name is of the wrong form.
        MixerError: there is no such model, or the network fails.
    """
    with hub_failures(f"cannot get {name} from the Hugging Face hub"):
        return Path(snapshot_download(name, allow_patterns=[MODEL_FILE, HUB_CONFIG], **options))


def public_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a model came about as others may see it; see `public_name`."""
    told = dict(facts)
    for key in ("data", "teacher"):
        if isinstance(told.get(key), str):
            told[key] = public_name(told[key])
    return told


def public_name(source: str) -> str:
    """Return a data source or checkpoint as others may see it.

    That is without this machine's folders, and without the keys that an address may hold.
    """
    if source.startswith(("hf:", "hf-hub:")):
        return source
    return re.split(r"[/\\]", without_secrets(source).rstrip("/\\"))[-1]


@contextmanager
def hub_failures(attempt: str) -> Iterator[None]:
    """Word what goes wrong with the hub or the network in one line that starts with `attempt`.

    Raises:
        UsageError: the repository's name is of the wrong form.
        MixerError: nobody is logged in, the account lacks the right, or the network fails.
    """
    try:
        yield
    except MixerError:
        raise
    except HFValidationError as error:
        raise UsageError(f"{attempt}: a repository is called user/name.") from error
    except LocalTokenNotFoundError as error:
        raise MixerError(f"{attempt}: {_LOG_IN}") from error
    except RepositoryNotFoundError as error:
        raise MixerError(f"{attempt}: {_NO_REPOSITORY}") from error
    except HfHubHTTPError as error:
        remedies = {401: _LOG_IN, 403: _NO_RIGHT}
        remedy = remedies.get(error.response.status_code, first_line(error))
        raise MixerError(f"{attempt}: {remedy}") from error
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        raise MixerError(f"{attempt}: {first_line(error)}. Check the network.") from error


_LOG_IN = "you are not logged in. Run `hf auth login`, or set HF_TOKEN to a token that may write."
_NO_REPOSITORY = "there is none of that name, or it is private. Check it, or run `hf auth login`."
_NO_RIGHT = "this account may not write there. Use a name of its own, or another token."
