"""The command `mixer`: finds the verb, runs it, and words errors. Light to import."""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from mlpmixer.cli.verbs import run_verb, verb_lines
from mlpmixer.cores import start_watching, wait_briefly
from mlpmixer.errors import EndedElsewhere, MixerError, Terminated, UsageError, short_of_memory
from mlpmixer.formatting import printable
from mlpmixer.ranks import Ranks
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
    status = _status(list(sys.argv[1:] if arguments is None else arguments))
    try:
        print(end="", flush=True)
    except OSError as error:
        _let_output_go()
        if status == 0 and not isinstance(error, BrokenPipeError):
            _tell(f"mixer: cannot write the output: {error.strerror or error}.")
        return status or MixerError.exit_status
    return status


def _status(arguments: Sequence[str]) -> int:
    """Do what was asked for, word its errors, and return the exit status."""
    debug = "--debug" in arguments
    try:
        return _answer(arguments)
    except MixerError as error:
        if debug:
            raise
        if _tells(error):
            lines = "\n".join(map(printable, str(error).split("\n")))
            _tell(f"mixer: {lines}")
        return error.exit_status
    except Terminated:
        _tell("mixer: told to stop; the same command goes on.")
        return Terminated.exit_status
    except KeyboardInterrupt:
        if debug:
            raise
        _tell("mixer: stopped.")
        return 130
    except (MemoryError, RuntimeError) as error:
        if debug or not (said := short_of_memory(error)):
            raise
        _tell(f"mixer: {said}; --debug shows where it happened.")
        return MixerError.exit_status
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        return MixerError.exit_status
    except OSError as error:
        if debug or error.errno is None:  # a library's own kind of error, not the system's
            raise
        _tell(f"mixer: {_worded(error)}")
        return MixerError.exit_status


def _answer(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"mixer {version('mlpmixer')}")
        return 0
    start_watching()
    wait_briefly()
    try:
        return run_verb(arguments[0], [one for one in arguments[1:] if one != "--debug"])
    except SystemExit as stop:  # after a verb's --help
        return int(stop.code or 0)


def _worded(error: OSError) -> str:
    """Return what the system refused, in a line."""
    reason = error.strerror or str(error)
    if isinstance(error.filename, str | bytes):
        return f"cannot use {printable(os.fsdecode(error.filename))}: {reason}."
    return f"{reason}. --debug shows where it happened."


def _tells(error: MixerError) -> bool:
    """Say whether this process tells an error.

    Of several that torchrun started all find what is wrong with a request, and the first one tells
    it; a failure is told by the process that met it.
    """
    if isinstance(error, EndedElsewhere):
        return False
    try:
        leads = Ranks.of_environment().leads
    except UsageError:  # which is what is told
        return True
    return leads or not isinstance(error, UsageError)


def _tell(text: str) -> None:
    with suppress(OSError):  # nobody is there to be told
        print(text, file=sys.stderr)


def _let_output_go() -> None:
    """Let the interpreter put what nobody takes nowhere, rather than complain of it in the end."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _Remarks(logging.Handler):
    """Shows what the package logs, as when it reads weights, like the command's own warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell(f"warning: {printable(record.getMessage())}")


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
