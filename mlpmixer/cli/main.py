"""The command `mixer`: finds the verb, runs it, and words errors. Light to import."""

import logging
import os
import sys
from collections.abc import Sequence

from mlpmixer.cli.verbs import run_verb, verb_lines
from mlpmixer.cores import start_watching, wait_briefly
from mlpmixer.errors import EndedElsewhere, MixerError, Terminated, UsageError, short_of_memory
from mlpmixer.formatting import printable
from mlpmixer.run.console import let_all_characters_pass

_EXAMPLES = """\
examples:
  mixer train --recipe quick --data digits --out runs/digits
  mixer eval runs/digits
  mixer predict runs/digits photo.jpg
  mixer info mixer_b16
  mixer export runs/digits --out digits.onnx
  mixer convert Mixer-B_16.npz mixer_b16.safetensors
  mixer data digits --out digits.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 for a failure, 2 for wrong use."""
    let_all_characters_pass()
    logging.getLogger("mlpmixer").handlers = [_Remarks(logging.WARNING)]
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"mixer {version('mlpmixer')}")
        return 0
    debug = "--debug" in arguments
    start_watching()
    wait_briefly()
    try:
        return run_verb(arguments[0], [one for one in arguments[1:] if one != "--debug"])
    except MixerError as error:
        if debug:
            raise
        if _tells(error):
            lines = "\n".join(map(printable, str(error).split("\n")))
            print(f"mixer: {lines}", file=sys.stderr)
        return error.exit_status
    except Terminated:
        print("mixer: told to stop; the same command goes on.", file=sys.stderr)
        return Terminated.exit_status
    except KeyboardInterrupt:
        if debug:
            raise
        print("mixer: stopped.", file=sys.stderr)
        return 130
    except (MemoryError, RuntimeError) as error:
        if debug or not (said := short_of_memory(error)):
            raise
        print(f"mixer: {said}; --debug shows where it happened.", file=sys.stderr)
        return MixerError.exit_status
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        sys.stderr.close()
        return 1


def _tells(error: MixerError) -> bool:
    """Say whether this process tells an error.

    Of several that torchrun started all find what is wrong with a request, and the first one tells
    it; a failure is told by the process that met it.
    """
    rank = os.environ.get("RANK") or "0"
    return not isinstance(error, EndedElsewhere) and (
        rank == "0" or not isinstance(error, UsageError)
    )


class _Remarks(logging.Handler):
    """Shows what the package logs, as when it reads weights, like the command's own warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {printable(record.getMessage())}", file=sys.stderr)


def _help() -> str:
    return "\n".join(
        [
            "usage: mixer VERB [OPTIONS]",
            "",
            "MLP-Mixer: train, measure and understand all-MLP image models and their rivals.",
            "",
            "verbs:",
            *verb_lines(),
            "",
            "`mixer VERB --help` shows a verb's options; --debug shows tracebacks.",
            "",
            _EXAMPLES.rstrip(),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
