"""The explorer without a browser: what it is made of, what it refuses, and what stands in its place."""

import gzip
import json
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fasnb.command.report import _chapter
from fasnb.data.frames import frame_table
from fasnb.lab.explorer import Explorer
from fasnb.lab.show import Show
from fasnb.metrics import scores
from fasnb.paper import profile

NAMES = ["</script><script>alert(1)</script>", *(f"{i}-color.jpg" for i in range(39))]


class Pictures:
    """A source of which every fifth frame cannot be read."""

    channels = {"rgb": 3, "depth": 1, "ir": 1}

    def __init__(self):
        self.frames = pd.DataFrame({"sample": NAMES})

    def read(self, rows):
        if any(row % 5 == 0 for row in rows):
            raise ValueError("broken")
        return np.full((len(rows), 5, 20, 20), 7, dtype=np.uint8)


def table(networks=(("A", 1, 7), ("A", 2, 7), ("B", 1, 7)), **known) -> pd.DataFrame:
    label = np.arange(40) % 2
    frames = frame_table(sample=NAMES, rgb=NAMES, depth=NAMES, ir=NAMES, label=label, **known)
    rng = np.random.default_rng(0)
    return pd.concat([scores.score_table(frames, rng.random(40), *network) for network in networks])


def unpacked(page: str) -> tuple[dict, bytes]:
    """Header and body of what a page holds."""
    packed = gzip.decompress(b64decode(re.search(r'id="packed">([^<]*)<', page).group(1)))
    length = int.from_bytes(packed[:4], "little")
    return json.loads(packed[4 : 4 + length]), packed[4 + length :]


def test_methods_are_the_experiments_their_ensemble_and_the_networks():
    explorer, given = Explorer(table()), table()
    assert list(explorer.methods) == ["A", "B", "ensemble"]
    assert list(explorer.singles) == ["A fold 1 seed 7", "A fold 2 seed 7"]  # B is one network: no second time
    whole = scores.average(given, over=("fold", "seed", "experiment")).set_index("sample")["score"]
    assert explorer.table["ensemble"].equals(whole.reindex(explorer.table.index).rename("ensemble"))


@pytest.mark.parametrize("averaged", [False, True])
def test_one_method_alone_will_do(averaged):
    given = table([("A", 1, 7)])
    explorer = Explorer(scores.average(given) if averaged else given)
    assert list(explorer.methods) == ["A"] and explorer.singles.empty and len(explorer.data) > 40 * 8


def test_a_page_holds_every_score_to_the_last_bit_and_no_markup_from_names(tmp_path):
    explorer = Explorer(table(subject=["s"] * 40), Pictures())
    page = explorer.write_page(tmp_path / "page.html").read_text()
    header, body = unpacked(page)
    at, size = header["scores"]
    planes = np.frombuffer(body[at : at + size], "u1").reshape(8, -1)
    values = planes.T.copy().view("<f8").reshape(len(header["methods"]), -1)
    assert (values.T == explorer.table[[m["name"] for m in header["methods"]]].to_numpy()).all()
    assert header["samples"] == NAMES and "alert(1)" not in page and page.count("</script") == 2
    assert header["pictures"] and {frame % 5 for frame, *_ in header["pictures"]} == {1, 2, 3, 4}
    assert "default-src 'none'" in page and not re.search(r"https?://", page)


def test_without_pictures_a_page_says_so(tmp_path):
    header, _ = unpacked(Explorer(table()).write_page(tmp_path / "page.html").read_text())
    assert not header["images"] and not header["pictures"] and header["attacks"] == {} and header["subjects"] == []


@pytest.mark.parametrize(
    "change, options, reason",
    [
        (lambda t: t.assign(label=pd.array([pd.NA] * len(t), dtype="Int8")), {}, "labels are missing"),
        (lambda t: t.assign(label=1), {}, "none of them attack"),
        (lambda t: t.iloc[:-1], {}, "networks scored different frames"),
        (lambda t: t, {"fpr": 2.0}, "must lie in"),
        (lambda t: t, {"fprs": ()}, "give at least one target FPR"),
    ],
)
def test_what_cannot_be_counted_is_refused(change, options, reason):
    with pytest.raises(ValueError, match=reason):
        Explorer(change(table()), **options)


def test_without_a_live_front_end_a_figure_stands_in_its_place_and_no_widget_is_made():
    explorer = Explorer(table())
    shown = explorer._repr_mimebundle_()
    assert b64decode(shown["image/png"]).startswith(b"\x89PNG") and set(shown) == {"image/png", "text/plain"}
    assert explorer.comm is None


def test_the_report_holds_the_explorer_where_its_figure_stood(tmp_path):
    Show(profile.load("smoke"), tmp_path)(Explorer(table()), "x", "All frames")
    output = new_output("display_data", {"image/png": "iVBORw0KGgo="}, metadata={"fasnb": {"page": "explorer/x.html"}})
    cells = [new_markdown_cell("# A & B"), new_code_cell("explorer", outputs=[output])]
    body = _chapter("07", new_notebook(cells=cells), tmp_path, HTMLExporter(template_name="basic"))["body"]
    assert body.count("<iframe") == 1 and "image/png" not in body
    assert "allow-same-origin" not in body and "startPage(" in body
