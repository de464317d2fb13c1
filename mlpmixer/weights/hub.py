"""Reading models of the Hugging Face hub through the mixin of huggingface_hub."""

from pathlib import Path
from typing import Any, Self

from mlpmixer.models.hub import HubFolder, hub_failures
from mlpmixer.models.interface import ImageModel
from mlpmixer.weights.checkpoint import HUB_PREFIX, download, load_folder


class HubModel(HubFolder):
    """A model that `from_pretrained` reads, beside what it inherits."""

    model: ImageModel

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
    with hub_failures(f"cannot get {name} from the Hugging Face hub"):
        return HubModel.from_pretrained(name, **options).model
