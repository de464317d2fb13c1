"""What a verb takes for a model: weights that are stored somewhere, or a model's name."""

from pathlib import Path


def is_stored(name: str) -> bool:
    """Tell whether weights are meant, not a model's name."""
    from mlpmixer.weights.model_files import HUB_PREFIX

    return name.startswith(HUB_PREFIX) or any(
        Path(one).exists() for one in (name, name.rpartition("#")[0]) if one
    )
