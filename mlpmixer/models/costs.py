"""What each listed model costs: counted once, kept in costs.json, read without PyTorch.

To count all of them takes half a minute of a small machine, which nobody wants to wait for who
asks for a list. `python -m mlpmixer.models.costs` counts them again after a model was changed; a
test holds that the table is right.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("costs.json")


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """A row: a model at its own image size with its own head."""

    name: str
    parameters: int
    macs: int
    """Multiply-accumulates of a forward pass for one image."""
    image_size: tuple[int, int]
    """Height and width in pixels."""
    num_classes: int


def listed_costs() -> list[ModelCost]:
    """Return the rows of the table, in the order of `list_models`."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return [ModelCost(**{**row, "image_size": tuple(row["image_size"])}) for row in rows]


def count_cost(name: str) -> ModelCost:
    """Count what a model costs, from a copy without numbers."""
    import torch

    from mlpmixer.models.model_summary import count_macs, count_parameters
    from mlpmixer.models.registry import create_model

    with torch.device("meta"):
        model = create_model(name)
    return ModelCost(
        name=name,
        parameters=count_parameters(model),
        macs=count_macs(model),
        image_size=model.image_size,
        num_classes=model.num_classes,
    )


def write_table() -> None:
    """Count all models and write the table, a line a model."""
    from mlpmixer.files import write_text
    from mlpmixer.models.registry import list_models

    rows = [json.dumps(asdict(count_cost(name))) for name in list_models()]
    write_text(TABLE, "[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    write_table()
