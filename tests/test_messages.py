"""What messages, help and guides tell a reader to type is there: every command, option and name of the package."""

import ast
import builtins
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import click
import nbformat
import pytest
from conftest import REPOSITORY as ROOT

from fasnb import metrics
from fasnb.command.main import cli
from fasnb.lab import Explorer, Study, plots

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


def texts(path: Path, kind: str = "markdown") -> Iterator[str]:
    """What a file tells people: literals of code, docstrings among them; a guide; a notebook's cells of a kind."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        yield from (cell.source for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == kind)
    elif path.suffix == ".py" and kind == "markdown":
        nodes = list(ast.walk(ast.parse(text)))
        yield from (ast.unparse(node) for node in nodes if isinstance(node, ast.JoinedStr))
        yield from (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
    else:
        yield text


COMMANDS = commands(cli)
SOURCES = [text for path in [*CODE, *ROOT.glob("notebooks/*.ipynb")] for text in texts(path, "code")]
DEFINED = {*dir(builtins), *(name for text in SOURCES for name in re.findall(r"(?:def|class) (\w+)", text))}
OPTION, CALL = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]"), re.compile(r"(?<!`)`([a-z_]\w*)\(")
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
    found += [name for name in DOTTED.findall(text) if not is_there(name)]
    return found + [name for name in CALL.findall(text) if name not in DEFINED]


@pytest.mark.parametrize("path", [*CODE, *GUIDES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_people_are_told_to_type_is_there(path):
    assert not [name for text in texts(path) for name in lost(text)]


def test_misspelt_commands_options_and_names_are_found():
    text = "fasnb evalute; fasnb run --minuts 3; fasnb plan --minutes 3; `avarage(x)` or fasnb.average, study.score"
    found = ["--minuts", "fasnb evalute", "run --minuts", "plan --minutes", "fasnb.average", "study.score", "avarage"]
    assert lost(text) == found
    assert not lost("fasnb run --minutes 3; fasnb data check --root DIR; `average(x)`, metrics.average, study.scores")
