"""PyTorch and what is built for it fit together, in constraints.txt and when they are loaded."""

import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def pinned(name: str) -> Version:
    """Return the one version of a library that constraints.txt allows."""
    lines = map(Requirement, CONSTRAINTS.read_text().splitlines())
    (constraint,) = (line for line in lines if line.name == name)
    (exact,) = constraint.specifier
    assert exact.operator == "=="
    return Version(exact.version)


def test_the_pinned_torchvision_takes_the_pinned_torch() -> None:
    if Version(version("torchvision")).public != pinned("torchvision").public:
        pytest.skip("another torchvision than the pinned one is installed here")
    needed = map(Requirement, requires("torchvision") or ())
    (torch,) = (one for one in needed if one.name == "torch")
    assert pinned("torch") in torch.specifier


def test_torch_and_torchvision_are_pinned_to_releases_of_one_pair() -> None:
    """torchvision 0.15 was built for torch 2.0, 0.16 for 2.1, and so on since."""
    torch, torchvision = pinned("torch"), pinned("torchvision")
    assert (torch.major, torchvision.major) == (2, 0)
    assert torchvision.minor - torch.minor == 15


def test_torchvisions_operators_work_beside_this_package_after_timm() -> None:
    """Operators that are declared twice, or not at all, end the import."""
    code = (
        "import timm, torch, torchvision.ops, mlpmixer\n"
        "mlpmixer.create_model\n"
        "boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9]])\n"
        "print(torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9]), 0.5).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[1]"
