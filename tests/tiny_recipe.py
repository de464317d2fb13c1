"""A recipe of a training on digits that takes a fraction of a second."""

_RECIPE = """
batch_size = 32
width = 16
depth = 1
tokens_mlp_dim = 8
channels_mlp_dim = 32
patch_size = 4
data = "digits"
device = "cpu"
workers = 0
"""


def tiny_recipe(steps: int, evaluations: int) -> str:
    """Return the recipe as TOML, validated so many times in so many steps."""
    return f"steps = {steps}\nevaluations = {evaluations}{_RECIPE}"
