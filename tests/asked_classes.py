"""Finds in a file's source where it asks for the class of something."""

import ast
from collections.abc import Iterable, Iterator

_PACKAGE = "mlpmixer"


def network_classes(sources: Iterable[str]) -> set[str]:
    """Return the names of the classes in the sources that are networks or parts of them.

    They stem from `nn.Module`; `ImageModel` itself, what everyone may ask of a model, is none.
    """
    bases: dict[str, list[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [ast.unparse(base) for base in node.bases]
    found = {"ImageModel"}
    while (
        more := {
            name
            for name, above in bases.items()
            if any(base.startswith("nn.") or base.split(".")[-1] in found for base in above)
        }
        - found
    ):
        found |= more
    return found - {"ImageModel"}


def asked_classes(source: str, classes: set[str]) -> set[str]:
    """Return which of the classes a file asks for.

    It may do so by isinstance or issubclass, by comparing types or their names, by a pattern of
    `match` or by a table. Names that the file gives to tuples of classes, and its functions that
    return such, are looked into.
    """
    file = _File(ast.parse(source))
    found: set[str] = set()
    for node in ast.walk(file.tree):
        for asked in _asked(node):
            found |= file.classes(asked)
        if isinstance(node, ast.Compare):
            found |= _names_of_types(node)
    return found & classes


def _asked(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions in which a node would name the class that it asks for."""
    match node:
        case ast.Call(func=ast.Name("isinstance" | "issubclass"), args=[_, asked]):
            yield asked
        case ast.Compare(left=left, comparators=others):
            yield from (left, *others)
        case ast.MatchClass(cls=asked):
            yield asked
        case ast.Dict(keys=keys):
            yield from (key for key in keys if key is not None)


def _names_of_types(comparison: ast.Compare) -> set[str]:
    """Return the texts that a type's name is compared with."""
    sides = [comparison.left, *comparison.comparators]
    if not any(isinstance(one, ast.Attribute) and one.attr == "__name__" for one in sides):
        return set()
    parts = (part for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant))
    return {part.value for part in parts if isinstance(part.value, str)}


class _File:
    """What names mean in a file."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.imported: dict[str, str | None] = {}
        """Names for what is imported, with its own name; None for what is from elsewhere."""
        self.given: dict[str, list[ast.expr]] = {}
        """What the file gives a name to, or returns from a function of that name."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._note(node)
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(name)], value=value):
                    self.given[name] = [value]
                case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value):
                    self.given[name] = [value]
                case ast.FunctionDef(name=name):
                    returns = (one for one in ast.walk(statement) if isinstance(one, ast.Return))
                    self.given[name] = [one.value for one in returns if one.value is not None]

    def _note(self, node: ast.Import | ast.ImportFrom) -> None:
        module = node.module if isinstance(node, ast.ImportFrom) else None
        for alias in node.names:
            ours = (module or alias.name).split(".")[0] == _PACKAGE
            name = alias.asname or (alias.name if module else alias.name.split(".")[0])
            self.imported[name] = alias.name if ours else None

    def classes(self, asked: ast.expr, within: frozenset[str] = frozenset()) -> set[str]:
        """Return the last parts of the names that an expression consists of."""
        match asked:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return self._all(parts, within)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.Add(), right=right):
                return self._all([left, right], within)
            case ast.Starred(value=value):
                return self.classes(value, within)
            case ast.Name(name) | ast.Call(func=ast.Name(name)) if name in self.given:
                return set() if name in within else self._all(self.given[name], within | {name})
            case ast.Name(name):
                return {self.imported.get(name, name) or ""}
            case ast.Attribute(attr=name):
                root = ast.unparse(asked).split(".")[0]
                return set() if self.imported.get(root, root) is None else {name}
        return set()

    def _all(self, parts: list[ast.expr], within: frozenset[str]) -> set[str]:
        return set().union(*(self.classes(part, within) for part in parts))
