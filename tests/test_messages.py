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

from fasnb import metrics
from fasnb.command.main import cli
from fasnb.lab import Explorer, Study, plots

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted([*ROOT.glob("fasnb/**/*.py"), *ROOT.glob("synthsurf/*.py"), *ROOT.glob("notebooks/*.py")])
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
GUIDES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md"), ROOT / "Makefile"])
OTHERS = set(  # options of git, pip, nbval and papermill
    "--depth --porcelain --quiet --disable-pip-version-check --no-compile --nbval-lax --nbval-current-env"
    " --nbval-cell-timeout --inject-output-path".split()
)
OTHERS |= {o for path in ROOT.glob("benchmarks/*.py") for o in re.findall(r'"(--[a-z-]+)"', path.read_text())}
NO_COMMAND = {"import", "needs", "synthsurf"}  # words that follow "fasnb" elsewhere
OBJECTS = {"study": {*dir(Study), *vars(Study("smoke"))}, "explorer": dir(Explorer)}  # as notebooks call them
OBJECTS |= {"plots": dir(plots), "metrics": dir(metrics), "check": ["solution"]}


def commands(group: click.Group, before: str = "") -> dict[str, set[str]]:
    """``run``, ``data make`` and so on -> the command's options."""
    found = {}
    for name, command in group.commands.items():
        found[f"{before}{name}"] = {option for parameter in command.params for option in parameter.opts}
        found |= commands(command, f"{before}{name} ") if isinstance(command, click.Group) else {}
    return found


COMMANDS = commands(cli)
OPTIONS = set.union({"--help", "--version"}, OTHERS, *COMMANDS.values())
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


def texts(path: Path) -> Iterator[str]:
    """What a file tells people: literals of code, docstrings among them; a guide; the text of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        yield from (cell.source for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "markdown")
    elif path.suffix == ".py":
        nodes = list(ast.walk(ast.parse(text)))
        yield from (ast.unparse(node) for node in nodes if isinstance(node, ast.JoinedStr))
        yield from (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
    else:
        yield text


def defined() -> set[str]:
    """Names of every function and class of the package and of notebooks' cells, and Python's own."""
    cells = [cell.source for path in NOTEBOOKS for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    trees = [ast.parse(text) for text in (*(path.read_text(encoding="utf-8") for path in CODE), *cells)]
    kinds = ast.FunctionDef | ast.ClassDef
    return {*dir(builtins)} | {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


DEFINED = defined()


def is_there(name: str) -> bool:
    """Whether a dotted name leads to something: fasnb.metrics.errors to its end, study.plan.of as far as ``study.plan``."""
    root, first, *_ = name.split(".")
    if root in OBJECTS:
        return first in OBJECTS[root]
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def lost(text: str) -> list[str]:
    """What a text tells to type and is not there."""
    found = [option for option in OPTION.findall(text) if option not in OPTIONS]
    for first, second, rest in re.findall(r"\bfasnb ([a-z]+)(?: ([a-z]+))?([^`\n;]*)", text):
        name = f"{first} {second}" if f"{first} {second}" in COMMANDS else first
        if name in COMMANDS:
            found += [f"{name} {o}" for o in OPTION.findall(rest) if o not in COMMANDS[name] | {"--help"}]
        elif first not in NO_COMMAND:
            found.append(f"fasnb {first}")
    dotted = rf"(?<![\w./])(?:fasnb|{'|'.join(OBJECTS)})(?:\.[A-Za-z_]\w*)+(?!-)\b"
    found += [name for name in re.findall(dotted, text) if name != "explorer.js" and not is_there(name)]
    return found + [name for name in re.findall(r"(?<!`)`([a-z_]\w*)\(", text) if name not in DEFINED]


@pytest.mark.parametrize("path", [*CODE, *NOTEBOOKS, *GUIDES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_people_are_told_to_type_is_there(path):
    assert not [name for text in texts(path) for name in lost(text)]


def test_misspelt_commands_options_and_names_are_found():
    text = (
        "fasnb evalute; fasnb run --minuts 3; fasnb plan --minutes 3; call `avarage(x)` or fasnb.average, study.score"
    )
    found = ["--minuts", "fasnb evalute", "run --minuts", "plan --minutes", "fasnb.average", "study.score", "avarage"]
    assert lost(text) == found
    assert not lost(
        "fasnb run --minutes 3; fasnb data check --root DIR; `average(x)`, fasnb.metrics.average, study.scores"
    )
