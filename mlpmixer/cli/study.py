"""`mixer study`: finds the study and runs it. Light to import."""

import importlib
from collections.abc import Sequence
from typing import NamedTuple

from mlpmixer.errors import unknown_name


class StudyVerb(NamedTuple):
    """A study's module, which has `run(arguments) -> int`, and what it asks in a line."""

    module: str
    question: str


STUDIES = {
    "scale": StudyVerb("mlpmixer.cli.study_scale", "who gains most from more pre-training data?"),
    "permutation": StudyVerb("mlpmixer.cli.study_permutation", "who minds a shuffled input?"),
    "compare": StudyVerb("mlpmixer.cli.study_compare", "what do accuracy and speed cost?"),
}

_EXAMPLES = """\
examples:
  mixer study scale --data digits --downstream digits --models mixer_nano bit_nano \\
      --fractions 0.3 1 --steps 60 --finetune-steps 30 --recipe quick --out runs/scale
  mixer study permutation --data digits --recipe quick --steps 100 --out runs/permutation
  mixer study compare --data digits --recipe quick --steps 60 --out runs/compare
"""


def run(arguments: Sequence[str]) -> int:
    """Run the study that the first argument names; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] not in STUDIES:
        raise unknown_name("study", arguments[0], STUDIES, "`mixer study --help` lists all.")
    study = importlib.import_module(STUDIES[arguments[0]].module)
    return int(study.run(list(arguments[1:])))


def _help() -> str:
    width = max(map(len, STUDIES)) + 2
    return "\n".join(
        [
            "usage: mixer study STUDY [OPTIONS]",
            "",
            "The paper's experiments, on your own data. Each is a grid that can be stopped and",
            "started again; --dry-run tells how long it will take.",
            "",
            "studies:",
            *(f"  {name:<{width}}{verb.question}" for name, verb in STUDIES.items()),
            "",
            "`mixer study STUDY --help` shows a study's options.",
            "",
            _EXAMPLES.rstrip(),
        ]
    )
