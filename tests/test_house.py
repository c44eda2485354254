"""How the package is built: rooms import downward only, no circles, names apart from each other, short functions."""

import ast
import importlib.util
import re
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from pathlib import Path

import pytest

import fasnb

PACKAGE = Path(fasnb.__file__).parent

ROOMS = {
    "tools": 301,
    "paper": 457,
    "data": 1350,
    "model": 868,
    "training": 1024,
    "metrics": 662,
    "lab": 888,
    "command": 1433,
}
"""Room -> how many lines it may have, all counted: what it has. Each imports itself and those before it."""

ROOT = PACKAGE.parent
BUDGETS = {"fasnb": 6995, "synthsurf": 1900, "tests": 5870, "benchmarks": 947, "notebooks": 384}

LONGEST = 40  # lines of a function, its docstring not counted


def _name(path: Path) -> str:
    return ".".join(("fasnb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


PATHS = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in PATHS.items()}


def room_of(module: str) -> str:
    """The room of a module; of the package itself and of ``fasnb.__main__`` their own short names."""
    return (module.split(".") + [""])[1]


def imported(module: str, nodes) -> set[str]:
    """Modules of the package that import statements name, packages of which something else is taken included."""
    package = module if PATHS[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            submodules = {f"{source}.{alias.name}" for alias in node.names} & PATHS.keys()
            found |= submodules or {source}
    return {name for name in found if name.split(".")[0] == "fasnb"}


def at_import(node: ast.AST):
    """All nodes that run when a module is imported: everything outside functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


def test_every_room_has_its_place_and_says_what_it_is_for():
    assert {room_of(name) for name in PATHS} - {"", "__main__"} == set(ROOMS)
    assert all(ast.get_docstring(TREES[f"fasnb.{room}"]) for room in ROOMS)


@pytest.mark.parametrize("room", [*ROOMS, "", "__main__"])
def test_a_room_imports_only_what_is_there_in_itself_and_those_before_it(room):
    """Imports inside functions count too. What the package itself holds, such as its version, is free to all."""
    allowed = {"", *list(ROOMS)[: list(ROOMS).index(room) + 1]} if room in ROOMS else {"", *ROOMS}
    inside = {name: tree for name, tree in TREES.items() if room_of(name) == room}
    upward = [
        f"{name} imports {other}"
        for name, tree in inside.items()
        for other in sorted(imported(name, ast.walk(tree)))
        if room_of(other) not in allowed or other not in PATHS
    ]
    assert not upward, "\n".join(upward)


def _lines(paths) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


@pytest.mark.parametrize(("folder", "most"), [*((f"fasnb/{room}", ROOMS[room]) for room in ROOMS), *BUDGETS.items()])
def test_a_room_and_a_folder_stay_within_their_budgets(folder, most):
    """A line added needs two notebooks or a command that use it; a room that grows past this holds too many ideas."""
    assert _lines((ROOT / folder).rglob("*.py")) <= most
    assert _lines([PACKAGE / "lab" / "explorer.js"]) <= 500


def test_codecheck_names_what_the_repository_shows():
    named = re.findall(r"file: (\S+)", (ROOT / "codecheck.yml").read_text(encoding="utf-8"))
    assert 0 < len(named) <= 40
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_no_modules_import_each_other_in_a_circle():
    """A package's ``__init__`` is looked at as a module of its own, not as part of each of its modules."""
    graph = {name: imported(name, at_import(tree)) & PATHS.keys() - {name} for name, tree in TREES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {', '.join(error.args[1])}")


def test_no_two_modules_have_names_that_can_be_mixed_up():
    """Equal, or one the other with a letter or two more, in whatever rooms they are."""
    names = [name for name, path in PATHS.items() if not path.stem.startswith("__")]
    alike = [
        f"{one} and {other}"
        for one, other in combinations(names, 2)
        for short, long in [sorted((one.rpartition(".")[2], other.rpartition(".")[2]), key=len)]
        if long.startswith(short) and len(long) - len(short) <= 2
    ]
    assert not alike, "\n".join(alike)


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first, described = node.body[0], ast.get_docstring(node) is not None
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if described else 0)


def test_no_function_is_longer_than_a_page():
    functions = ((name, node) for name, tree in TREES.items() for node in ast.walk(tree))
    functions = ((name, node) for name, node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    long = [f"{name}.{node.name}: {_length(node)} lines" for name, node in functions if _length(node) > LONGEST]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_find_what_they_import(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
