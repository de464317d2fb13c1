"""`mixer study`: the paper's experiments on your own data."""

from collections.abc import Sequence

from mlpmixer.cli.verbs import run_verb, verb_lines

_EXAMPLES = """\
examples:
  mixer study scale --data digits --downstream digits --models mixer_nano bit_nano \\
      --fractions 0.3 1 --steps 60 --finetune-steps 30 --recipe quick --out runs/scale
  mixer study permutation --data digits --recipe quick --steps 100 --out runs/permutation
  mixer study compare --data digits --recipe quick --steps 60 --out runs/compare
  mixer study recipes --data digits --recipe quick --grid small_mixer --candidates 6 --epochs 4 \\
      --out runs/recipes
"""


def run(arguments: Sequence[str]) -> int:
    """Run the study that the first argument names; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    return run_verb(arguments[0], arguments[1:], within="study")


def _help() -> str:
    return "\n".join(
        [
            "usage: mixer study STUDY [OPTIONS]",
            "",
            "The paper's experiments, on your own data. Each is a grid that can be stopped and",
            "started again; --dry-run tells how long it will take.",
            "",
            "studies:",
            *verb_lines(within="study"),
            "",
            "`mixer study STUDY --help` shows a study's options.",
            "",
            _EXAMPLES.rstrip(),
        ]
    )
