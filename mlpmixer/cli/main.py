"""The command `mixer`: finds the verb, runs it, and words errors. Light to import."""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from mlpmixer.errors import MixerError, unknown_name


class Verb(NamedTuple):
    """A verb's module, which has `run(arguments) -> int`, and what it does in a line."""

    module: str
    summary: str


VERBS = {
    "train": Verb("mlpmixer.cli.train", "train a model from scratch and report on it"),
    "finetune": Verb("mlpmixer.cli.finetune", "train on from a checkpoint, at any resolution"),
    "eval": Verb("mlpmixer.cli.evaluate", "measure a trained model on labelled images"),
    "fewshot": Verb("mlpmixer.cli.fewshot", "probe a representation with a few images a class"),
    "inspect": Verb(
        "mlpmixer.cli.inspect", "look inside: weights, layers, what predictions rest on"
    ),
    "info": Verb("mlpmixer.cli.info", "list models, or show one: layers, parameters, GMACs"),
    "convert": Verb("mlpmixer.cli.convert", "rewrite a checkpoint in another layout"),
    "study": Verb("mlpmixer.cli.study", "the paper's experiments on your own data"),
    "data": Verb("mlpmixer.cli.data", "look at a data source: counts, sizes, a contact sheet"),
}

_EXAMPLES = """\
examples:
  mixer train --recipe quick --data digits --out runs/digits
  mixer eval runs/digits
  mixer info mixer_b16
  mixer convert Mixer-B_16.npz mixer_b16.safetensors
  mixer data digits --out digits.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 for a failure, 2 for wrong use."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"mixer {version('mlpmixer')}")
        return 0
    debug = "--debug" in arguments
    try:
        if arguments[0] not in VERBS:
            raise unknown_name("verb", arguments[0], VERBS, "`mixer --help` shows examples.")
        verb = importlib.import_module(VERBS[arguments[0]].module)
        return int(verb.run([one for one in arguments[1:] if one != "--debug"]))
    except MixerError as error:
        if debug:
            raise
        print(f"mixer: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        if debug:
            raise
        print("mixer: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        sys.stderr.close()
        return 1


def _help() -> str:
    lines = [f"  {name:<10}{verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: mixer VERB [OPTIONS]",
            "",
            "MLP-Mixer: train, measure and understand all-MLP image models and their rivals.",
            "",
            "verbs:",
            *lines,
            "",
            "`mixer VERB --help` shows a verb's options; --debug shows tracebacks.",
            "",
            _EXAMPLES.rstrip(),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
