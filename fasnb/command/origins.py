"""``codecheck.yml``: of every published table and figure the notebook, the cell and the command that make it, and its SHA-256.

Written by ``fasnb publish``, in the form of https://codecheck.org.uk (version 1.0) with a few keys more for each file.
"""

import hashlib
import html
import json
import re
from pathlib import Path

import nbformat

from fasnb.lab.tables import parts_of
from fasnb.tools.files import write_text

HEAD = """\
# Written by `fasnb publish`; do not edit. Every published table and figure: what made it, and its SHA-256.
---
version: https://codecheck.org.uk/spec/config/1.0/
paper:
  title: Recognizing Multi-Modal Face Spoofing with Face Recognition Networks
  authors:
    - name: Aleksandr Parkin
    - name: Oleg Grinchuk
  reference: CVPR Workshops 2019
manifest:
"""


def origins(folder: Path) -> dict[str, dict[str, str]]:
    """Table or figure of a results folder, as a path below it -> what made it.

    Args:
        folder: has ``notebooks`` (executed), ``tables`` (CSV) and ``figures`` (PNG).

    Raises:
        ValueError: no cell of the executed notebooks shows one of them; all such are named.
    """
    found = {}
    for path in sorted((folder / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        commit = notebook.metadata.get("fasnb", {}).get("commit", "")
        for cell in notebook.cells:
            for file, sentence in _shown_by(cell):
                made = {"notebook": path.stem, "cell": _name(cell), "comment": sentence, "commit": commit}
                found.setdefault(file, made)
    files = [
        f"{kind}/{p.name}"
        for kind, end in (("tables", "csv"), ("figures", "png"))
        for p in (folder / kind).glob(f"*.{end}")
    ]
    lost = sorted(set(files) - set(found))
    if lost:
        raise ValueError(
            f"no cell of the executed notebooks in {folder} shows {', '.join(lost)}; delete what an earlier run left"
        )
    return {file: found[file] for file in sorted(files)}


def _name(cell) -> str:
    """A cell's tag, or its id where it has none of its own."""
    own = [tag for tag in cell.metadata.get("tags", ()) if tag not in ("nbval-check-output", "lesson")]
    return own[0] if own else cell.id


def _shown_by(cell) -> list[tuple[str, str]]:
    """Files that a cell shows, each with its caption's sentence: by the outputs, and the names that the cell's source has."""
    if cell.cell_type != "code":
        return []
    pages = [data.get("text/html") or data.get("text/markdown", "") for data in _data(cell)]
    shown = [(f"tables/{name}.csv", page) for page in pages for name in re.findall(r'<table[^>]*id="T_([^"]+)"', page)]
    if any("image/png" in data for data in _data(cell)):
        names = re.findall(r'"(\d\d-[\w-]+)"', cell.source)
        told = [page for page in pages if page and "<table" not in page]
        shown += [(f"figures/{name}.png", page) for name, page in zip(names, told, strict=False)]
    return [(file, _sentence(page)) for file, page in shown]


def _data(cell) -> list[dict]:
    return [output["data"] for output in cell.outputs if "data" in output]


def _sentence(page: str) -> str:
    found = re.search(r"<em>(.*?)</em>|^\*(.*)\*$", page, re.DOTALL)
    text = html.unescape(re.sub("<[^>]*>", "", next(filter(None, found.groups()), ""))) if found else ""
    return parts_of(" ".join(text.split()))[0]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_codecheck(home: Path, name: str, makers: dict[str, dict[str, str]]) -> Path:
    """Write into a repository's ``codecheck.yml`` what ``results/published/<name>`` holds now; what is said of others stays.

    Args:
        makers: ``origins`` of the study that was published.
    """
    entries, file = {}, home / "codecheck.yml"
    if file.is_file():
        blocks = file.read_text(encoding="utf-8").partition("manifest:\n")[2].split("  - file: ")[1:]
        entries = {json.loads(block.splitlines()[0]): block for block in blocks}
    published = f"results/published/{name}/"
    entries = {
        path: block for path, block in entries.items() if not path.startswith(published) and (home / path).is_file()
    }
    for path, made in makers.items():
        if not (home / published / path).is_file():
            continue
        entry = {"comment": made["comment"], "notebook": f"notebooks/{made['notebook']}.ipynb", "cell": made["cell"]}
        entry |= {"command": f"fasnb run --profile {name} --only {made['notebook'][:2]}", "commit": made["commit"]}
        entry |= {"sha256": sha256(home / published / path)}
        words = [f"    {key}: {_quoted(value)}\n" for key, value in entry.items()]
        entries[published + path] = f"{_quoted(published + path)}\n{''.join(words)}"
    return write_text(file, HEAD + "".join(f"  - file: {entries[path]}" for path in sorted(entries)))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of JSON is one of YAML
