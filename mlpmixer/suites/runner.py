"""Running a suite: what was measured before is taken over, what lacks its data is left out.

The folder of a suite holds one folder a task, named after the task and a key of what its result
follows from. In it lies result.json, and the run directory of a training.
"""

import re
import shutil
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path

from mlpmixer.data.sources import open_source
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import write_json, write_text
from mlpmixer.formatting import percent
from mlpmixer.models.digest import model_digest
from mlpmixer.models.interface import ImageModel
from mlpmixer.run.console import Console
from mlpmixer.run.directory import LAST
from mlpmixer.suites.definition import Suite, Task
from mlpmixer.suites.protocols import SuiteContext, blank, check, lacks_labels, measure
from mlpmixer.suites.result import SuiteResult, TaskResult, read_result
from mlpmixer.weights.checkpoint import load

RESULT = "result.json"


def run_suite(
    suite: Suite, setting: SuiteContext, out: Path, console: Console, *, strict: bool = False
) -> SuiteResult:
    """Measure a model on every task of a suite whose data is there.

    Args:
        suite: the tasks.
        setting: the model, and what to measure it with.
        out: the suite's folder. Results of the same task and model that it holds are taken over; a
            training that was interrupted goes on. In the end it has the table as suite.json and
            suite.csv.
        console: takes messages and progress.
        strict: raise an error where data is not there or a task fails, instead of leaving it out.

    Raises:
        UsageError: a task cannot be done with this model, found before the first one begins; or
            data is not there and `strict` asks for all of it.
        MixerError: the model or a stored result is damaged, or no task's data is there.
    """
    model = load(setting.source)
    digest = model_digest(model)
    folders = {task.name: out / _folder(task, setting, digest) for task in suite.tasks}
    before = _measured_before(suite, folders, console)
    results = {
        task.name: before[task.name]
        for task in suite.tasks
        if task.name in before and not lacks_labels(task, before[task.name])
    }
    waiting = [task for task in suite.tasks if task.name not in results]
    left_out = _without_data(waiting, suite, setting, model, console)
    if left_out and strict:
        raise UsageError(f"--strict: there is no data for {', '.join(left_out)}.")
    if len(left_out) == len(suite.tasks):
        raise MixerError(f"there is no data for any of the {len(left_out)} tasks of {suite.name}.")
    results |= {name: before.get(name, blank) for name, blank in left_out.items()}
    waiting = [task for task in waiting if task.name not in left_out]
    try:
        for number, task in enumerate(waiting, start=1):
            console.message(f"task {number} of {len(waiting)}: {task.name}, {task.kind}")
            folder = folders[task.name]
            result = _measure(task, setting, folder, console, strict)
            results[task.name] = before.get(task.name, result) if result.failed else result
    except KeyboardInterrupt:
        console.message("stopped; the same command goes on with what is missing")
        raise
    ordered = tuple(results[task.name] for task in suite.tasks)
    outcome = SuiteResult(suite.name, setting.source, ordered)
    write_json(out / "suite.json", outcome.to_json())
    write_text(out / "suite.csv", outcome.to_csv())
    return outcome


def _folder(task: Task, setting: SuiteContext, digest: str) -> str:
    """Return the name of a task's folder, with a key of what its result follows from."""
    content = f"{digest} {task.data} {task.protocol!r} {setting.runtime.precision}"
    key = blake2b(content.encode(), digest_size=6).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', task.name)}-{key}"


def _measured_before(
    suite: Suite, folders: dict[str, Path], console: Console
) -> dict[str, TaskResult]:
    """Return the results that the folders hold, by task.

    Raises:
        MixerError: one is damaged.
    """
    found = {}
    for task in suite.tasks:
        file = folders[task.name] / RESULT
        if not file.exists():
            continue
        found[task.name] = read_result(file)
        again = "; again now, with label sets" if lacks_labels(task, found[task.name]) else ""
        console.message(f"{task.name} was measured before: {file}{again}")
    return found


def _without_data(
    tasks: list[Task], suite: Suite, setting: SuiteContext, model: ImageModel, console: Console
) -> dict[str, TaskResult]:
    """Return the tasks whose data is not there, with the reason; check all the others.

    Raises:
        UsageError: a task cannot be done with this model.
    """
    found = {}
    for task in tasks:
        problem = task.unavailable
        if not problem:
            try:
                with console.progress(f"looking for {task.data}") as progress:
                    dataset = open_source(task.data)
                    progress.update(1.0)
            except MixerError as error:
                problem = " ".join(str(error).split())
        if problem:
            console.warning(f"{task.name} is left out: {problem}")
            found[task.name] = replace(blank(task), problem=problem)
            continue
        try:
            check(task, setting, model, dataset)
        except UsageError as error:
            raise UsageError(f"suite {suite.name}, task {task.name!r}: {error}") from None
    return found


def _measure(
    task: Task, setting: SuiteContext, folder: Path, console: Console, strict: bool
) -> TaskResult:
    """Do a task and store its result; where it fails, say so and return that."""
    try:
        result = measure(task, setting, folder, console)
    except MixerError as error:
        if strict:
            raise
        console.warning(f"{task.name} failed: {error}")
        return replace(blank(task), problem=str(error), failed=True)
    write_json(folder / RESULT, asdict(result))
    shutil.rmtree(folder / "run" / LAST, ignore_errors=True)  # nothing is left to resume
    assert result.accuracy is not None
    console.message(f"{task.name}: {percent(result.accuracy, 2)}")
    return result
