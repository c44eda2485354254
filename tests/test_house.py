"""How the package is built: rooms import downward only, budgets hold, functions are short; and what messages, help and
guides tell a reader to type is there: every command, option and name of the package."""

import ast
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import click
import nbformat
import pytest

import fasnb
from fasnb import metrics
from fasnb.command.main import cli
from fasnb.lab import Explorer, Study, plots

PACKAGE = Path(fasnb.__file__).parent

ROOMS = {
    "tools": 301,
    "paper": 457,
    "data": 1350,
    "model": 868,
    "training": 1027,
    "metrics": 662,
    "lab": 888,
    "command": 1433,
}
"""Room -> how many lines it may have, all counted: what it has. Each imports itself and those before it."""

ROOT = PACKAGE.parent
BUDGETS = {"fasnb": 7000, "synthsurf": 1900, "tests": 5001, "benchmarks": 972, "notebooks": 384}

LONGEST = 40  # lines of a function, its docstring not counted


def _name(path: Path) -> str:
    return ".".join(("fasnb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


PATHS = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in PATHS.items()}


def room_of(module: str) -> str:
    """The room of a module; of the package itself and of ``fasnb.__main__`` their own short names."""
    return (module.split(".") + [""])[1]


def imported(nodes) -> set[str]:
    """Modules of the package that import statements name, packages of which something else is taken included."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"from .{node.module or ''}: name the package in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & PATHS.keys() or {node.module}
    return {name for name in found if name.split(".")[0] == "fasnb"}


def test_every_room_has_its_place_and_says_what_it_is_for():
    assert {room_of(name) for name in PATHS} - {"", "__main__"} == set(ROOMS)
    assert all(ast.get_docstring(TREES[f"fasnb.{room}"]) for room in ROOMS)


def test_a_module_imports_only_what_is_there_in_its_room_and_those_before_it():
    """Imports inside functions count too. What the package itself holds, such as its version, is free to all."""
    order = ["", *ROOMS, "__main__"]
    upward = [
        f"{name} imports {other}"
        for name, tree in TREES.items()
        for other in sorted(imported(ast.walk(tree)))
        if other not in PATHS or order.index(room_of(other)) > order.index(room_of(name))
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


CODE = sorted([*ROOT.glob("fasnb/**/*.py"), *ROOT.glob("synthsurf/*.py"), *ROOT.glob("notebooks/*.py")])
GUIDES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md"), ROOT / "Makefile", *ROOT.glob("notebooks/*.ipynb")])
OTHERS = "--depth --porcelain --quiet --disable-pip-version-check --no-compile --nbval-lax --nbval-current-env"
OTHERS = {*OTHERS.split(), "--nbval-cell-timeout", "--help", "--version"}  # of git, pip, nbval; of every command
OTHERS |= {o for path in ROOT.glob("benchmarks/*.py") for o in re.findall(r'"(--[a-z-]+)"', path.read_text())}
NO_COMMAND = {"import", "needs", "synthsurf"}  # words that follow "fasnb" elsewhere
OBJECTS = {"study": {*dir(Study), *vars(Study("smoke"))}, "explorer": {*dir(Explorer), "js"}}  # as notebooks call them
OBJECTS |= {"plots": dir(plots), "metrics": dir(metrics), "check": ["solution"]}


def commands(group: click.Group, before: str = "") -> dict[str, set[str]]:
    """``run``, ``data make`` and so on -> the command's options."""
    found = {}
    for name, command in group.commands.items():
        found[f"{before}{name}"] = {option for parameter in command.params for option in parameter.opts}
        found |= commands(command, f"{before}{name} ") if isinstance(command, click.Group) else {}
    return found


def texts(path: Path) -> Iterator[str]:
    """What a file tells people: literals of code, docstrings among them; a guide; a notebook's text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        yield from (cell.source for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "markdown")
    elif path.suffix == ".py":
        nodes = list(ast.walk(ast.parse(text)))
        yield from (ast.unparse(node) for node in nodes if isinstance(node, ast.JoinedStr))
        yield from (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
    else:
        yield text


COMMANDS = commands(cli)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
DOTTED = re.compile(rf"(?<![\w./])(?:fasnb|{'|'.join(OBJECTS)})(?:\.[A-Za-z_]\w*)+(?!-)\b")


def is_there(name: str) -> bool:
    """Whether a dotted name leads to something: fasnb.metrics.errors to its end, study.plan.of as far as ``study.plan``."""
    root, first, *_ = name.split(".")
    try:
        return first in OBJECTS[root] if root in OBJECTS else pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


def lost(text: str) -> list[str]:
    """What a text tells to type and is not there."""
    found = [option for option in OPTION.findall(text) if option not in OTHERS.union(*COMMANDS.values())]
    for first, second, rest in re.findall(r"\bfasnb ([a-z]+)(?: ([a-z]+))?([^`\n;]*)", text):
        name = f"{first} {second}" if f"{first} {second}" in COMMANDS else first
        found += [f"{name} {option}" for option in OPTION.findall(rest) if option not in COMMANDS.get(name, OTHERS)]
        found += [f"fasnb {first}"] if name not in COMMANDS and first not in NO_COMMAND else []
    return found + [name for name in DOTTED.findall(text) if not is_there(name)]


@pytest.mark.parametrize("path", [*CODE, *GUIDES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_people_are_told_to_type_is_there(path):
    assert not [name for text in texts(path) for name in lost(text)]


def test_misspelt_commands_options_and_names_are_found():
    text = "fasnb evalute; fasnb run --minuts 3; fasnb plan --minutes 3; fasnb.average, study.score"
    found = ["--minuts", "fasnb evalute", "run --minuts", "plan --minutes", "fasnb.average", "study.score"]
    assert lost(text) == found
    assert not lost("fasnb run --minutes 3; fasnb data check --root DIR; fasnb.metrics.average, study.scores")
