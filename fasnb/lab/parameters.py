"""What a notebook was given. papermill only warns of a parameter that no cell knows; here the notebook refuses it."""

import ast
import difflib
from collections.abc import Mapping
from os import PathLike

from IPython import get_ipython

from fasnb.paper.profile import ProfileError

INJECTED = "# Parameters\n"
"""Beginning of the cell that papermill puts behind the notebook's own parameters."""


def check_parameters(profile, settings, out) -> None:
    """Refuse a parameter that the running notebook does not have, and values of a wrong type.

    Raises:
        ProfileError: one sentence that names the parameter.
    """
    for name, near in _unknown():
        raise ProfileError(f"this notebook has no parameter {name!r}; {near}")
    if not isinstance(profile, str):
        raise ProfileError(f"profile = {profile!r} is not a text; give a profile's name or the path of a .toml file")
    if settings is not None and not isinstance(settings, Mapping):
        raise ProfileError(
            f"settings = {settings!r} is not a dictionary; give one, such as {{'epochs': 3}} (papermill: -y, not -p)"
        )
    for key in settings or {}:
        if not isinstance(key, str):
            raise ProfileError(f"settings has the key {key!r}, which is not a text; name a value of the profile")
    if out is not None and not isinstance(out, str | PathLike):
        raise ProfileError(f"out = {out!r} is not a path; give a folder, or None")


def _unknown() -> list[tuple[str, str]]:
    """Names that papermill assigned and the cells before do not, each with what was meant; empty outside a notebook."""
    shell = get_ipython()
    cells = shell.user_ns.get("In", []) if shell is not None else []
    known, unknown = [], []
    for source in cells:
        if source.startswith(INJECTED):
            unknown += [name for name in _assigned(source) if name not in known]
        elif not unknown:
            known += _assigned(source)
    return [(name, _meant(name, known)) for name in unknown]


def _meant(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"


def _assigned(source: str) -> list[str]:
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return []
    targets = [target for statement in body if isinstance(statement, ast.Assign) for target in statement.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]
