"""The rules of CONTRIBUTING.md: who may import whom, and what stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from asked_classes import asked_classes, network_classes

from mlpmixer.cli.verbs import find_verbs

PACKAGE = Path(__file__).parents[1] / "mlpmixer"
LEAVES = {
    *(
        "cores",
        "errors",
        "files",
        "formatting",
        "json_text",
        "memory",
        "native_library",
        "randomness",
        "ranks",
    ),
    *("runtime", "toml_files", "values"),
}
"""Single modules at the top of the package; everyone may import them."""
APART = ("measures", "run", "report")
"""Rooms that are given plain values: they import none of the levels, and everyone may use them."""
LONGEST = 400
MAY_ASK = {
    ("engines/training_blocks.py", "MixerBlock"): "only the very block has a faster twin",
    ("training/by_position.py", "StochasticDepth"): "one of the layers that draw, beside PyTorch's",
}
"""Files that ask for a class of ours, and why."""
SHARED_NAMES = {
    "__init__.py": "of every package",
    **dict.fromkeys(("onnx.py", "openvino.py", "torch.py"), "a library: written, read and run"),
    "description.py": "of a served model and of an exported one",
}
"""Names that several files have, and what they stand for."""


def levels() -> dict[str, int]:
    """Return how high each room stands, by the line of arrows in CONTRIBUTING.md."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("cli → "))
    rooms = [step.split(", ") for step in reversed(line.split(" → "))]
    found = {room: level for level, step in enumerate(rooms) for room in step}
    return {**found, "__main__": len(rooms)}


def imports(file: Path) -> set[str]:
    """Return the modules of this package that a file imports, also inside functions.

    "mlpmixer" alone stands for its front: `import mlpmixer`, or a public name from it.
    """
    return named(file, ast.walk(ast.parse(file.read_text())))


def loaded_with(file: Path) -> set[str]:
    """Return the modules of this package that are loaded before a file's own lines have run.

    They are those that it imports outside functions, and the packages around these, unless the file
    itself is in them.
    """
    found = named(file, run_on_loading(ast.parse(file.read_text()).body))
    around = {above for name in found for above in packages_around(name)}
    return found | around - {dotted(file), *packages_around(dotted(file))}


def packages_around(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def run_on_loading(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements that run while a module is loaded: not those of functions and types."""
    for statement in statements:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from run_on_loading(statement.orelse)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield statement
            yield from run_on_loading(ast.iter_child_nodes(statement))


def named(file: Path, nodes: Iterable[ast.AST]) -> set[str]:
    """Return the modules of this package that the import statements among a file's nodes name."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: imports are absolute"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else node.module for name in inside}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "mlpmixer"}


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def modules() -> dict[str, set[str]]:
    """Return what each module of the package imports of it, by dotted names, the front left out."""
    graph = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        if file != PACKAGE / "__init__.py":
            graph[dotted(file)] = imports(file) - {"mlpmixer"}
    return graph


def dotted(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(module: str) -> str:
    return module.split(".")[1]


def test_the_arrows_name_every_room() -> None:
    assert levels().keys() | LEAVES | set(APART) == set(map(room, modules()))


def test_nothing_imports_upwards() -> None:
    level = levels()
    for module, imported in modules().items():
        for other in imported:
            here, there = room(module), room(other)
            if there in LEAVES or there == here:
                continue
            assert here not in LEAVES, f"{module} is a leaf and imports {other}"
            if there in APART:
                continue
            assert here not in APART, f"{module} imports {other}: it is given plain values"
            assert level[there] <= level[here], f"{module} imports {other}"


def test_the_front_is_for_users_and_for_what_models_pass_upwards() -> None:
    users = {
        dotted(file)
        for file in PACKAGE.rglob("*.py")
        if file != PACKAGE / "__init__.py" and "mlpmixer" in imports(file)
    }
    allowed = {"mlpmixer.models.interface"}
    assert {module for module in users if room(module) != "cli"} == allowed


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the first circle found in a graph, "" where there is none."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := visit(other, (*path, name)):
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := visit(name, ()))), [])


def test_no_module_imports_in_a_circle() -> None:
    assert not circle(modules())


def test_no_module_is_loaded_in_a_circle() -> None:
    """Neither the front nor a package is loaded again by what is loaded with it."""
    graph = {dotted(file): loaded_with(file) for file in sorted(PACKAGE.rglob("*.py"))}
    assert "mlpmixer.data.sources.declaration" in graph["mlpmixer.data.sources"]
    assert not circle(graph)


def test_no_room_imports_in_a_circle() -> None:
    """Rooms are the packages right under `mlpmixer`; those within a room may use each other."""
    rooms: dict[str, set[str]] = {}
    for module, imported in modules().items():
        rooms.setdefault(room(module), set()).update(
            room(other) for other in imported if room(other) != room(module)
        )
    assert not circle(rooms)


def test_comparators_know_nothing_of_mixer() -> None:
    graph = modules()
    reached, waiting = set(), ["mlpmixer.models.comparators"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += graph.get(module, ())
    assert "mlpmixer.models.small_comparators" in reached
    assert not reached & {"mlpmixer.models.mixer", "mlpmixer.models.presets"}


def test_nobody_asks_for_the_class_of_a_network_or_of_a_part() -> None:
    """What one can do is asked of itself; so another may take its place."""
    sources = {
        file.relative_to(PACKAGE).as_posix(): file.read_text() for file in PACKAGE.rglob("*.py")
    }
    classes = network_classes(sources.values())
    assert classes > {"TimmModel", "ExportedModel", "Mixer", "MixerBlock", "OptimizedModel"}
    assert classes > {"NativeMixerBlock", "PatchEmbedding", "ShuffledInput", "WrappedModel"}
    asked = {
        (name, one) for name, source in sources.items() for one in asked_classes(source, classes)
    }
    assert asked <= MAY_ASK.keys()


@pytest.mark.parametrize(
    "question",
    [
        "isinstance(x, Mixer)",
        "isinstance(x, (nn.Linear, models.mixer.Mixer))",
        "isinstance(x, nn.Linear | Mixer)",
        "issubclass(kind, Mixer)",
        "type(x) is Mixer",
        "x.__class__ != mixer.Mixer",
        "type(x) in {Mixer, nn.Linear}",
        "type(x).__name__ == 'Mixer'",
        "{Mixer: 1, nn.Linear: 2}[type(x)]",
        "match x:\n    case mixer.Mixer():\n        pass",
        "from mlpmixer.models.mixer import Mixer as Network\nisinstance(x, Network)",
        "KINDS = (nn.Linear, Mixer)\nisinstance(x, KINDS)",
        "def kinds():\n    return (Mixer,)\nisinstance(x, (nn.Linear, *kinds()))",
    ],
)
def test_a_question_for_a_class_is_found_in_each_form(question: str) -> None:
    assert asked_classes(question, {"Mixer"}) == {"Mixer"}


@pytest.mark.parametrize(
    "harmless",
    [
        "Mixer(config).depth == 2",
        "isinstance(x, nn.Linear) and y is None",
        "def build(config: Mixer) -> Mixer:\n    return Mixer(config)",
        "from timm.models.mlp_mixer import Mixer\nisinstance(x, Mixer)",
        "import timm\nisinstance(x, timm.models.Mixer)",
        "layout == 'Mixer'",
    ],
)
def test_what_only_names_a_class_is_no_question_for_it(harmless: str) -> None:
    assert asked_classes(harmless, {"Mixer"}) == set()


def test_nobody_looks_for_a_models_device() -> None:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and file.name != "interface.py":
                looked_for = ast.unparse(node)
                assert not looked_for.endswith("parameters()).device"), f"{file}: {looked_for}"


VERBS = [*find_verbs().values(), *find_verbs("study").values()]


@pytest.mark.parametrize(
    "module", ["mlpmixer", "mlpmixer.cli.main", *(verb.module for verb in VERBS)]
)
def test_the_command_line_starts_without_the_heavy_libraries(module: str) -> None:
    heavy = ("torch", "timm", "matplotlib", "datasets", "sklearn", "pandas")
    code = f"import sys, {module}; print([n for n in {heavy!r} if n in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_no_two_files_outside_the_command_line_share_a_name() -> None:
    """So that a name tells the feature. Verbs' files may be called as what they call."""
    places: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        if "cli" not in file.relative_to(PACKAGE).parts:
            places.setdefault(file.name, []).append(str(file.relative_to(PACKAGE)))
    shared = {name: where for name, where in places.items() if len(where) > 1}
    assert not {name: where for name, where in shared.items() if name not in SHARED_NAMES}
    assert shared.keys() == SHARED_NAMES.keys(), "a name that is no longer shared"


def test_no_two_public_classes_share_a_name() -> None:
    """So that a name in a message, a traceback or a search means one thing."""
    places: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{dotted(file)}:{node.lineno}")
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_no_file_is_longer_than_400_lines() -> None:
    files = [*PACKAGE.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]
    long = {
        str(file): count
        for file in files
        if (count := len(file.read_text().splitlines())) > LONGEST
    }
    assert not long
