"""The explorer without a browser: what it is made of, what it refuses, and what a page of it holds."""

import gzip
import json
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from conftest import random_scores

from fasnb.lab.explorer import Explorer, Walk, frame
from fasnb.metrics import average, threshold_at_fpr

NAMES = ["</script><script>alert(1)</script>", *(f"{i}-color.jpg" for i in range(39))]


class Pictures:
    """A source of which every fifth frame cannot be read."""

    channels = {"rgb": 3, "depth": 1, "ir": 1}
    frames = pd.DataFrame({"sample": NAMES})

    def read(self, rows):
        if any(row % 5 == 0 for row in rows):
            raise ValueError("broken")
        return np.full((len(rows), 5, 20, 20), 7, dtype=np.uint8)


def table(networks=(("A", 1, 7), ("A", 2, 7), ("B", 1, 7)), **known) -> pd.DataFrame:
    return random_scores(networks, NAMES, **known)


def unpacked(page: str) -> tuple[dict, np.ndarray]:
    """Header of what a page holds, and its doubles."""
    packed = gzip.decompress(b64decode(re.search(r'id="packed">([^<]*)<', page).group(1)))
    length = int.from_bytes(packed[:4], "little")
    return json.loads(packed[4 : 4 + length]), np.frombuffer(packed[4 + length :], "<f8")


def test_methods_are_experiments_their_ensemble_and_networks_or_one_alone_that_knows_nothing_besides(tmp_path):
    explorer, given = Explorer(table()), table()
    assert list(explorer.methods) == ["A", "B", "ensemble"]
    assert list(explorer.singles) == ["A fold 1 seed 7", "A fold 2 seed 7"]  # B is one network: no second time
    whole = average(given, over=("fold", "seed", "experiment")).set_index("sample")["score"]
    assert (explorer.table["ensemble"] == whole[explorer.table.index]).all()
    explorer.picked = [3, 1]
    assert list(explorer.selection.index) == [NAMES[3], NAMES[1]]
    for given in (table([("A", 1, 7)]), average(table([("A", 1, 7)]))):
        explorer = Explorer(given)
        assert list(explorer.methods) == ["A"] and explorer.singles.empty
        header, _ = unpacked(explorer.write_page(tmp_path / "page.html").read_text())
        assert not header["images"] and header["attacks"] == {} and header["subjects"] == []
    explorer = Explorer(pd.DataFrame({"label": [1, 0, 0], "score": [1.0, 0.2, 0.3], "attack": [None, "print", "mask"]}))
    header, _ = unpacked(explorer.write_page(tmp_path / "own.html").read_text())
    assert header["attacks"] == {"1": "mask", "2": "print"} and header["attack"] == [-1, 2, 1]


def test_a_page_holds_every_score_to_the_last_bit_and_no_markup_from_names(tmp_path):
    explorer = Explorer(table(subject=["s"] * 40), Pictures(), fprs=(0.1, 0.0, 1.0))
    page = explorer.write_page(tmp_path / "page.html").read_text()
    header, values = unpacked(page)
    names = [method["name"] for method in header["methods"]]
    assert (values.reshape(-1, 40).T == explorer.table[[*names, "disagreement"]].to_numpy()).all()
    for (fpr, _), thresholds in zip(header["fprs"], header["thresholds"], strict=True):
        wanted = [threshold_at_fpr(explorer.table["label"], explorer.table[name], fpr) for name in names]
        assert [-np.inf if value is None else value for value in thresholds] == wanted
    assert header["samples"] == NAMES and "alert(1)" not in page and page.count("</script") == 2
    assert header["images"] and {n % 5 for n, code in header["pictures"] if code} == {1, 2, 3, 4}
    assert "default-src 'none'" in page and not re.search(r"https?://", page)


def test_what_cannot_be_counted_is_refused():
    unlabelled = table().assign(label=pd.array([pd.NA] * 120, dtype="Int8"))
    for given, reason in ((unlabelled, "label"), (table().iloc[:-1], "networks scored different frames")):
        with pytest.raises(ValueError, match=reason):
            Explorer(given)
    with pytest.raises(ValueError, match="must lie in"):
        Explorer(table(), fpr=2.0)


@pytest.mark.parametrize("change", [{"frames": ["x"]}, {"controls": {"method": "C"}}, {"controls": {"against": "C"}}])
def test_a_walk_names_what_the_explorer_has(change):
    walks = Explorer(table(), walks=[Walk("One", "Look.", [NAMES[3]], {"against": "B"})]).walks
    assert walks[0]["frames"] == [3] and walks[0]["controls"] == {"against": "B"}
    with pytest.raises(ValueError, match="the walk 'One' names"):
        Explorer(table(), walks=[Walk("One", "Look.", **change)])


def test_without_widgets_there_is_a_sentence_or_a_page_apart_from_the_document_around_it(tmp_path):
    explorer = Explorer(table())
    assert set(explorer._repr_mimebundle_()) == {"text/plain"} and explorer.comm is None
    code = frame(explorer.write_page(tmp_path / "page.html"), 'a "title"')
    assert code.count("<") == 2 and "allow-same-origin" not in code and "&lt;main&gt;" in code
