import io
import json
import os
import pty
import subprocess
import sys

import pytest

from mlpmixer.run.console import Console


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Streams:
    def __init__(self, mode, interval=10.0):
        self.out, self.err, self.clock = io.StringIO(), io.StringIO(), Clock()
        self.console = Console(
            mode, out=self.out, err=self.err, interval=interval, clock=self.clock
        )


def train(streams, steps=100, seconds=1.0):
    with streams.console.progress("Training") as progress:
        for step in range(1, steps + 1):
            streams.clock.now += seconds
            progress.update(step / steps, step=step, steps=steps, loss=1 / step)


def test_a_pipe_gets_a_line_now_and_then_and_one_at_the_end():
    streams = Streams("plain", interval=10.0)
    train(streams, steps=100, seconds=1.0)
    lines = streams.out.getvalue().splitlines()
    assert len(lines) == 11  # at seconds 1, 11, … 91 and the end
    assert lines[0] == "Training 1 %  step 1/100  loss 1.000"
    assert lines[1] == "Training 11 %  step 11/100  loss 0.091  1:29 left"
    assert lines[-1] == "Training 100 %  step 100/100  loss 0.010  in 1:40"


def test_facts_stay_until_given_again_and_have_units():
    streams = Streams("plain", interval=0)
    with streams.console.progress("Training") as progress:
        progress.update(
            0.5, epoch=1.5, epochs=3, minutes=2.5, of_minutes=5.0, train_accuracy=0.25,
            validation_accuracy=0.5, images_per_second=12345.6, learning_rate=3e-4,
        )  # fmt: skip
        progress.update(0.6, epoch=1.8, validation_accuracy=None)
    assert streams.out.getvalue().splitlines()[1] == (
        "Training 60 %  epoch 1.80/3  2.50/5 min  train 25.0 %  validation 50.0 %  "
        "12,346 images/s  learning rate 3.0e-04"
    )


def test_time_left_counts_only_the_work_of_this_session():
    streams = Streams("plain", interval=0)
    with streams.console.progress("Training") as progress:
        progress.update(0.5)  # resumed half way
        assert progress.time_left is None
        streams.clock.now = 60
        progress.update(0.75)
        assert progress.time_left == pytest.approx(60)


def test_work_inside_other_work_does_not_fill_the_log():
    streams = Streams("plain", interval=1000)
    with streams.console.progress("Training") as training:
        training.update(0.1)
        for _ in range(5):
            with streams.console.progress("Validating") as validating:
                validating.update(1.0)
    lines = streams.out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["Training", "Training"]


def test_interrupted_work_is_not_said_to_be_finished():
    streams = Streams("plain")
    with pytest.raises(KeyboardInterrupt), streams.console.progress("Training"):
        raise KeyboardInterrupt
    assert streams.out.getvalue() == ""


def test_messages_go_to_output_and_warnings_to_errors_in_a_pipe():
    streams = Streams("plain")
    streams.console.message("hello")
    streams.console.warning("careful")
    streams.console.result({"accuracy": 0.5}, "Accuracy 50 %")
    assert streams.out.getvalue() == "hello\nAccuracy 50 %\n"
    assert streams.err.getvalue() == "warning: careful\n"


def test_json_output_is_the_result_alone():
    streams = Streams("json", interval=0)
    streams.console.message("hello")
    streams.console.warning("careful")
    train(streams, steps=2)
    streams.console.result({"accuracy": 0.5, "loss": float("nan")}, "Accuracy 50 %")
    assert json.loads(streams.out.getvalue()) == {"accuracy": 0.5, "loss": None}
    assert streams.err.getvalue().startswith("hello\nwarning: careful\nTraining 50 %")


def test_the_mode_follows_the_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert Console.choose(json=False).mode == "live"
    assert Console.choose(json=True).mode == "json"
    monkeypatch.setenv("TERM", "dumb")
    assert Console.choose(json=False).mode == "plain"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("TERM", "xterm")
    assert Console.choose(json=False).mode == "plain"


ON_A_TERMINAL = """
from mlpmixer.run.console import Console
console = Console.choose(json=False)
assert console.mode == "live"
with console.progress("Training") as progress:
    progress.update(0.25, step=1, steps=4, loss=0.5)
    console.message("found [bold]7[/bold] classes")
    with console.progress("Validating") as inner:
        inner.update(0.5)
    {end}
"""


def run_on_a_terminal(end):
    """Return what a program with that last line writes to a terminal, and its exit status."""
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL.format(end=end)],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    return written.decode(), program.wait()


def test_a_terminal_gets_a_bar_with_messages_above_it():
    written, status = run_on_a_terminal("progress.update(1.0)")
    assert status == 0
    assert "100 %" in written
    assert "step 1/4   loss 0.500" in written
    assert "found [bold]7[/bold] classes\r\n" in written
    assert written.index("\x1b[?25l") < written.rindex("\x1b[?25h")  # cursor hidden, shown again


def test_the_terminal_is_restored_after_an_interrupt():
    written, status = run_on_a_terminal("raise KeyboardInterrupt")
    assert status != 0
    assert "\x1b[?25l" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_the_console_is_quick_to_import():
    code = (
        "import sys, mlpmixer.run.console;"
        "print([name for name in ('torch', 'matplotlib', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_character_is_too_much_for_an_encoding(encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    console = Console("plain", out=out, err=err)
    names = "caf\u00e9 \u65e5\u672c \udce9 \U0001f600"
    console.message(names)
    console.warning(names)
    console.result({}, names)
    with console.progress(names) as progress:
        progress.update(1.0)
    for stream in (out, err):
        for line in stream.buffer.getvalue().decode(encoding).splitlines():
            assert r"\xe9" in line
            assert "caf\u00e9" in line or encoding == "ascii"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("name", ["caf\u00e9", "\u65e5\u672c \U0001f600", "caf\udce9"])
def test_json_stays_json_in_every_encoding(encoding, name):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console("json", out=out, err=out).result({"names": [name]}, "")
    assert json.loads(out.buffer.getvalue().decode(encoding)) == {"names": [name]}


def test_control_characters_of_a_message_are_spelt_out():
    out = io.StringIO()
    Console("plain", out=out).message("a\x1b[31m red\u202e\nsecond line")
    assert out.getvalue() == "a\\x1b[31m red\\u202e\nsecond line\n"


class Unread(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text):
        raise BrokenPipeError

    def isatty(self):
        return True


@pytest.mark.parametrize("mode", ["live", "plain"])
def test_work_goes_on_and_messages_find_another_way_where_nobody_takes_its_output(mode):
    err = io.StringIO()
    console = Console(mode, out=Unread(), err=err, interval=0)
    with console.progress("Training") as progress:
        progress.update(0.5)
        console.message("stopped and saved")
    assert err.getvalue() == "stopped and saved\n"
    with pytest.raises(BrokenPipeError):
        console.result({}, "accuracy 50 %")
    assert err.getvalue() == "stopped and saved\n"
