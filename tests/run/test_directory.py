import math
import resource
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.run.directory import RunDirectory

RECIPE = '[model]\nname = "mixer_s16"\n'


@pytest.fixture
def run(tmp_path):
    with RunDirectory.create(tmp_path / "runs" / "flowers", RECIPE) as directory:
        yield directory


def scalars(run, name):
    run.close()
    accumulator = EventAccumulator(str(run.path))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def test_a_new_run_holds_its_recipe_and_can_be_opened(run):
    assert RunDirectory.open(run.path).recipe.read_text() == RECIPE


@pytest.mark.parametrize("name", ["recipe.toml", "metrics.jsonl", "model.safetensors"])
def test_another_run_is_never_written_over(tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match=r"already holds a run.*--out") as caught:
        RunDirectory.create(tmp_path, RECIPE)
    assert "--resume" not in str(caught.value)  # there is no state to resume from
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_a_run_with_a_saved_state_can_be_continued_in_place_of_a_new_one(tmp_path):
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "state.pt").touch()
    with pytest.raises(UsageError, match=f"or continue that run by --resume {tmp_path}"):
        RunDirectory.create(tmp_path, RECIPE)


def test_a_run_that_ended_before_its_first_state_can_be_begun_again(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "images.jsonl.gz").touch()
    assert RunDirectory.create(tmp_path, RECIPE).recipe.read_text() == RECIPE


def test_a_path_that_a_shell_would_split_is_quoted(tmp_path):
    run = tmp_path / "my run"
    (run / "last").mkdir(parents=True)
    (run / "last" / "state.pt").touch()
    with pytest.raises(UsageError, match=f"--resume '{run}'"):
        RunDirectory.create(run, RECIPE)


def test_an_empty_folder_can_become_a_run(tmp_path):
    assert RunDirectory.create(tmp_path, RECIPE).recipe.exists()


def test_a_file_cannot_become_a_run(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(UsageError, match=r"is a file.*--out"):
        RunDirectory.create(path, RECIPE)
    with pytest.raises(UsageError, match=r"cannot write to .*--out"):
        RunDirectory.create(path / "run", RECIPE)
    assert path.read_text() == "precious"


def test_a_folder_without_write_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # permissions do not bind root
    with pytest.raises(UsageError, match=r"permission denied.*--out"):
        RunDirectory.create(tmp_path, RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_opening_says_what_is_missing(tmp_path, run):
    with pytest.raises(UsageError, match="does not exist"):
        RunDirectory.open(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="it is a file"):
        RunDirectory.open(run.recipe)
    with pytest.raises(UsageError, match=r"recipe\.toml is missing\. Did you mean .*flowers"):
        RunDirectory.open(run.path.parent)


def test_records_are_on_disk_at_once_and_come_back_in_order(run):
    run.log({"step": 1, "loss": 2.5, "note": "first"})
    run.log({"step": np.int64(2), "loss": np.float32(0.5), "validation_loss": math.nan})
    assert RunDirectory.open(run.path).records() == [
        {"step": 1, "loss": 2.5, "note": "first"},
        {"step": 2, "loss": 0.5, "validation_loss": None},
    ]


def test_numbers_reach_tensorboard_under_the_same_names(run):
    run.log({"step": 1, "loss": 2.5, "note": "text", "best": True})
    run.log({"step": 2, "loss": np.float32(0.5)})
    assert scalars(run, "loss") == [(1, 2.5), (2, 0.5)]


def test_a_record_needs_its_step(run):
    with pytest.raises(KeyError):
        run.log({"loss": 1.0})
    assert run.records() == []


def test_resuming_forgets_later_steps_in_both_logs(run, monkeypatch):
    # Event files of one second are told apart by a counter in their names, and read in the order
    # of the names: from a fixed start the second file comes second.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1))
    for step in (1, 2, 3):
        run.log({"step": step, "loss": float(step)})
    run.truncate_after(2)
    run.log({"step": 3, "loss": 30.0})
    assert [record["loss"] for record in run.records()] == [1.0, 2.0, 30.0]
    assert scalars(run, "loss") == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_resuming_drops_a_line_that_a_crash_cut_short(run):
    run.log({"step": 1, "loss": 1.0})
    run.close()
    whole = run.metrics.read_bytes()
    run.metrics.write_bytes(whole + b'{"step": 2, "lo')
    assert len(run.records()) == 1
    run.truncate_after(5)
    assert run.metrics.read_bytes() == whole


def test_logging_after_a_crash_starts_a_line_of_its_own(run):
    run.metrics.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    run.log({"step": 2})
    assert [record["step"] for record in run.records()] == [1, 2]


def test_a_damaged_line_is_named(run):
    run.metrics.write_bytes(b'{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(MixerError, match=r"metrics\.jsonl, line 2 is damaged"):
        run.records()


def test_resuming_a_run_that_logged_nothing_is_fine(run):
    run.truncate_after(0)
    assert run.records() == []


def test_of_two_processes_that_begin_a_run_one_is_refused_before_it_writes(tmp_path):
    with RunDirectory(tmp_path), pytest.raises(UsageError, match="in use by another training"):
        RunDirectory.create(tmp_path, "")
    assert not (tmp_path / "recipe.toml").exists()


@contextmanager
def disk_of(size):
    """Let no file become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, was)


def test_a_full_disk_is_named_and_the_run_is_free_again(tmp_path):
    log = {"step": 1, "loss": 2.5}

    def write():
        with RunDirectory.open(tmp_path) as run, disk_of(10):
            run.log(log)

    RunDirectory.create(tmp_path, RECIPE)
    with pytest.raises(MixerError, match=r"cannot write .*metrics\.jsonl: File too large\."):
        write()
    with RunDirectory.open(tmp_path) as run:
        run.log(log)


@pytest.mark.parametrize("method", ["add_scalar", "close"])
def test_a_disk_that_is_too_full_for_tensorboard_is_named(tmp_path, monkeypatch, method):
    def fail(*_):
        raise OSError(28, "No space left on device")

    def write():
        with RunDirectory.open(tmp_path) as run:
            run.log({"step": 1, "loss": 2.5})

    RunDirectory.create(tmp_path, RECIPE)
    monkeypatch.setattr(f"torch.utils.tensorboard.SummaryWriter.{method}", fail)
    with pytest.raises(MixerError, match=rf"cannot write {tmp_path}: No space left on device\."):
        write()
    with RunDirectory.open(tmp_path):
        pass  # it is free
