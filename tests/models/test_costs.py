"""The table of what models cost is what counting gives."""

import subprocess
import sys

import pytest
import torch

from mlpmixer.models.costs import count_cost, listed_costs
from mlpmixer.models.registry import create_model, list_models

REMEDY = "count again: python -m mlpmixer.models.costs"
LISTED = {one.name: one for one in listed_costs()}


def test_the_table_lists_the_models_that_there_are() -> None:
    assert list(LISTED) == list_models(), REMEDY


@pytest.mark.parametrize("name", [*list_models("*_nano"), "mixer_s32", "vit_b16", "bit_r50x1"])
def test_a_row_is_what_counting_gives(name: str) -> None:
    assert LISTED[name] == count_cost(name), REMEDY


def test_parameters_and_sizes_of_all_models_are_right() -> None:
    for name, listed in LISTED.items():
        with torch.device("meta"):
            model = create_model(name)
        parameters = sum(one.numel() for one in model.parameters())
        found = (parameters, model.image_size, model.num_classes)
        assert found == (listed.parameters, listed.image_size, listed.num_classes), REMEDY


def test_models_are_listed_without_pytorch() -> None:
    code = (
        "import sys\n"
        "from mlpmixer.cli.main import main\n"
        "main(['info'])\n"
        "assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(f"\n{name} " in shown.stdout for name in list_models())
