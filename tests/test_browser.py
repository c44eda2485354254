"""Every notebook in JupyterLab, and the explorer in JupyterLab and in the report, driven in a real browser.

``make test-browser`` runs these; they need Chromium. Screenshots are left in ``screenshots/`` to be looked at.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from test_explorer import unpacked

from fasnb.data.frames import frame_table
from fasnb.data.scores import score_table
from fasnb.lab import NOTEBOOKS, Explorer, Study
from fasnb.metrics import apcer_by_attack, fpr_name, threshold_at_fpr
from fasnb.paper import MEMBERS

if os.environ.get("FASNB_BROWSER") != "1":
    pytest.skip("make test-browser runs the tests in a browser", allow_module_level=True)

from playwright.sync_api import sync_playwright

PICTURES = REPOSITORY / "screenshots"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
EVIL = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "=HYPERLINK(1)", '"x', "+1,2"]
SERVED = [name for name, notebook in NOTEBOOKS.items() if "synthetic" in notebook.sources]
SETTINGS = {  # what a person would answer or never see: no news, no windowing that takes cells out of the page
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
OPEN = """async (path) => {
    const app = window.jupyterapp;
    const panel = await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
    await panel.context.ready;
    await panel.sessionContext.ready;
    await app.commands.execute("notebook:run-all-cells");
    return panel.content.model.toJSON();
}"""
DRAWN = "[...document.querySelectorAll('.fasnb-explorer .tile img')].filter((i) => i.naturalWidth).length == 12"
CLOSE = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.sessionContext.shutdown();
    panel.dispose();
}"""


@pytest.fixture(scope="session")
def browser():
    PICTURES.mkdir(exist_ok=True)
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", nowhere])
        yield browser
        browser.close()


class Watched:
    """A page that keeps what it asked of the network, and every error and message box of it."""

    def __init__(self, browser, url: str):
        self.page = browser.new_page(viewport={"width": 1400, "height": 1500}, accept_downloads=True)
        self.asked, self.errors = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.goto(url)


@pytest.fixture(scope="session")
def lab(browser, smoke, tmp_path_factory):
    """JupyterLab with every notebook that serves the smoke profile, on results that are there already."""
    folder = tmp_path_factory.mktemp("lab")
    out = shutil.copytree(smoke, folder / "results")
    (folder / "notebooks").mkdir()
    for name in SERVED:
        notebook = load_notebook_node(str(REPOSITORY / "notebooks" / f"{name}.ipynb"))
        notebook = parameterize_notebook(notebook, {"profile": "smoke", "out": str(out)})
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    (folder / "config" / "labconfig").mkdir(parents=True)
    (folder / "config" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    places = {name: folder / name.lower() for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    env = os.environ | {name: str(place) for name, place in places.items()}
    env |= {"JUPYTER_CONFIG_DIR": str(folder / "config"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    never = "check_for_updates_class=jupyterlab.NeverCheckForUpdate"
    command += ["--LabApp.expose_app_in_browser=True", f"--LabApp.{never}"]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + 90
        while not (found := list(places["JUPYTER_RUNTIME_DIR"].glob("jpserver-*.json"))):
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        about = json.loads(found[0].read_text())
        watched = Watched(browser, f"{about['url']}lab?token={about['token']}")
        watched.url = about["url"]
        ready = "window.jupyterapp && document.querySelector('.jp-LauncherCard')"
        watched.page.wait_for_function(ready, timeout=90_000)
        watched.page.evaluate("window.jupyterapp.shell.collapseLeft()")
        watched.asked.clear()
        yield watched
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def explorer(smoke):
    """The explorer of notebook 07 as the tests know it: its table and the scores that it is made of."""
    study = Study("smoke", out=smoke)
    return Explorer(study.scores(*MEMBERS), study.sources["valid"], study.profile.fprs)


def counts(scope) -> dict[str, int]:
    """What the explorer counts, read in one step."""
    names = ["true-positives", "false-positives", "bona-fide", "attacks"]
    read = """(one, names) => Object.fromEntries(names.map((name) =>
        [name, Number(one.closest(".fasnb-explorer").querySelector(`[data-testid="${name}"]`).textContent)]))"""
    return scope.get_by_test_id("threshold").evaluate(read, names)


def expected(table: pd.DataFrame, method: str, threshold: float, keep=True) -> dict[str, int]:
    """The same from scores and labels: a frame is accepted at a score of the threshold or more."""
    accepted, bona_fide = (table[method] >= threshold) & keep, (table["label"] == 1) & keep
    attacks = (table["label"] == 0) & keep
    passed = {"true-positives": accepted & bona_fide, "false-positives": accepted & attacks}
    return {name: int(rows.sum()) for name, rows in (passed | {"bona-fide": bona_fide, "attacks": attacks}).items()}


def choose(scope, testid: str, value: str) -> None:
    scope.get_by_test_id(testid).select_option(value)


def frames(scope) -> list[str]:
    return scope.get_by_test_id("frame").evaluate_all("tiles => tiles.map((tile) => tile.dataset.sample)")


def first_by(key: pd.Series) -> list[str]:
    return list(key.sort_values(kind="stable").index)


def threshold_of(scope) -> float:
    """The threshold as it is; what is shown has fewer digits."""
    exact, shown = scope.get_by_test_id("threshold").evaluate("(field) => [field.dataset.exact, field.value]")
    assert shown == "" or (len(shown) <= 9 and abs(float(shown) - float(exact)) < 1e-4) or shown == exact
    return float(exact)


def drive(scope, page, table: pd.DataFrame, fprs) -> None:
    """Everything that one can do, each time counted again in Python."""
    rng = np.random.default_rng(7)
    columns = [name for name in table if name not in ("label", "attack", "subject", "disagreement")]
    for method in ["ensemble", *rng.choice(columns, 3, replace=False)]:
        choose(scope, "method", method)
        for fpr in fprs:
            choose(scope, "target-fpr", fpr_name(fpr))
            threshold = threshold_at_fpr(table["label"], table[method], fpr)
            assert threshold_of(scope) == threshold
            assert counts(scope) == expected(table, method, threshold)
        for threshold in [*rng.choice(table[method], 3), *rng.random(2)]:  # on a score, where >= and > differ; anywhere
            scope.get_by_test_id("threshold").fill(repr(float(threshold)))
            assert counts(scope) == expected(table, method, threshold)
    choose(scope, "method", "ensemble")
    threshold = float(table["ensemble"].iloc[3])
    scope.get_by_test_id("threshold").fill(repr(threshold))
    filters(scope, table, threshold, columns.index("ensemble"))
    orders(scope, table, threshold)
    drag(scope, page, table)
    brush(scope, page, table)


def filters(scope, table, threshold, position) -> None:
    wrong = (table["ensemble"] >= threshold) != (table["label"] == 1)
    keep = {"filter-class": ("0", table["label"] == 0), "filter-error": (f"wrong {position}", wrong)}
    kind, subjects = int(table["attack"].max()), sorted(table["subject"].unique())
    keep |= {"filter-attack": (str(kind), table["attack"] == kind)}
    keep |= {"filter-subject": ("2", table["subject"] == subjects[2])}
    for testid, (value, mask) in keep.items():
        choose(scope, testid, value)
        assert counts(scope) == expected(table, "ensemble", threshold, mask)
        assert scope.locator(".of-all").first.is_hidden()  # an FPR of a part of the frames is none
        assert "APCER" not in scope.get_by_test_id("by-attack").inner_text()
        choose(scope, testid, "")


def orders(scope, table, threshold) -> None:
    assert frames(scope) == first_by(-table["disagreement"])[:12]
    choose(scope, "sort", "distance")
    near = first_by((table["ensemble"] - threshold).abs())
    assert frames(scope) == near[:12]
    scope.get_by_test_id("next").click()
    assert frames(scope) == near[12:24]
    choose(scope, "sort", "error")
    above = table["ensemble"] - threshold
    assert frames(scope) == first_by((-above).where(table["label"] == 0, above))[:12]
    choose(scope, "sort", "disagreement")


def drag(scope, page, table) -> None:
    handle = scope.get_by_test_id("handle")
    handle.scroll_into_view_if_needed()
    box, before = handle.bounding_box(), threshold_of(scope)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 10, steps=4)
    page.mouse.up()
    moved = threshold_of(scope)
    assert moved != before and counts(scope) == expected(table, "ensemble", moved)
    handle.press("ArrowLeft")
    assert threshold_of(scope) < moved and counts(scope) == expected(table, "ensemble", threshold_of(scope))


def brush(scope, page, table) -> None:
    """A box from between two scores to the right end of the scatter selects the frames there, until it is cleared."""
    scatter = scope.get_by_test_id("scatter")
    scatter.scroll_into_view_if_needed()
    box, ordered = scatter.bounding_box(), np.sort(table["ensemble"])
    inner = ordered[len(ordered) // 4 : -len(ordered) // 4]
    widest = np.argmax(np.diff(inner))
    score = (inner[widest] + inner[widest + 1]) / 2  # far enough from both that a pixel does not matter
    page.mouse.move(box["x"] + 52 + score * (box["width"] - 52 - 14), box["y"] + 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 30, steps=4)
    page.mouse.up()
    inside = table[table["ensemble"] > score]
    assert frames(scope) == first_by(-inside["disagreement"])[:12]
    assert scope.get_by_test_id("heading").inner_text().startswith(f"{len(inside)} selected frames")
    scope.get_by_test_id("clear").click()
    assert "selected" not in scope.get_by_test_id("heading").inner_text()


def walk(scope, page, explorer, smoke: Path) -> None:
    """Every guided walk of the chapter, each begun from other settings; and the links below Figures 3 and 4."""
    header, _ = unpacked((smoke / "explorer" / "07-explorer.html").read_text())
    table, methods = explorer.table, list(explorer.methods)
    borders = explorer.thresholds.loc[header["fpr"], methods]
    wrong = (table[methods] >= borders).ne(table["label"] == 1, axis=0)
    assert len(header["walks"]) == 5
    for k, taken in enumerate(header["walks"]):
        choose(scope, "filter-class", str(k % 2))
        choose(scope, "target-fpr", "1e-1")
        scope.get_by_role("button", name=taken["title"], exact=True).click()
        controls = dict.fromkeys(("against", "filter-error", "filter-class"), "")
        controls |= {"method": methods[-1], "sort": "disagreement"} | taken["controls"]
        assert scope.get_by_test_id("look").inner_text() == taken["look"]
        assert {name: scope.get_by_test_id(name).input_value() for name in controls} == controls
        assert threshold_of(scope) == borders[controls["method"]]
        score, border = table[controls["method"]], borders[controls["method"]]
        keys = {"disagreement": -table["disagreement"], "distance": (score - border).abs()}
        keys["error"] = (border - score).where(table["label"] == 0, score - border)
        keep = table.index.isin(table.index[taken["frames"]] if taken["frames"] else table.index)
        if controls["filter-error"]:
            keep &= wrong.nunique(axis=1) == 2  # methods disagree
        if controls["filter-class"]:
            keep &= table["label"] == int(controls["filter-class"])
        assert frames(scope) == first_by(keys[controls["sort"]][keep])[:12] != []
    for number in (3, 4):
        link = page.locator(f"a[title='Frames of Figure {number}']")
        link.scroll_into_view_if_needed()
        page.wait_for_timeout(1000)  # until the browser has painted what came into sight
        link.click()
        pressed = scope.locator("button[aria-pressed=true]")
        pressed.filter(has_text=f"Frames of Figure {number}").wait_for()
        assert "selected" in scope.get_by_test_id("heading").inner_text()
    scope.get_by_test_id("clear").click()


def exported(scope, page, path: Path) -> list[list[str]]:
    with page.expect_download() as download:
        scope.get_by_test_id("export").click()
    download.value.save_as(path)
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("name", SERVED)
def test_a_notebook_runs_in_jupyterlab(lab, name, explorer, smoke):
    lab.errors.clear()
    notebook = lab.page.evaluate(OPEN, f"{name}.ipynb")
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    failed = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert not failed, failed[0]["evalue"]
    assert all(cell["execution_count"] for cell in cells if "".join(cell["source"]).strip())
    if name == "07_disagreement":
        scope = lab.page.locator(".fasnb-explorer")
        scope.wait_for()
        scope.evaluate("(root) => root.scrollIntoView()")
        lab.page.wait_for_function(DRAWN)
        lab.page.screenshot(path=PICTURES / "lab-explorer.png")
        drive(scope, lab.page, explorer.table, explorer.fprs)
        walk(scope, lab.page, explorer, smoke)
    lab.page.screenshot(path=PICTURES / f"lab-{name}.png")
    lab.page.evaluate(CLOSE)
    assert not lab.errors, lab.errors
    assert not [url for url in lab.asked if not url.startswith((lab.url, "data:", "blob:"))]


def test_the_report_explores_without_a_kernel(browser, smoke, explorer, tmp_path):
    report = (smoke / "report.html").as_uri()
    watched = Watched(browser, report)
    frame, scope = watched.page.locator("iframe.explorer"), watched.page.frame_locator("iframe.explorer")
    scope.get_by_test_id("frame").first.wait_for()
    frame.evaluate("(frame) => frame.scrollIntoView()")
    watched.page.wait_for_timeout(1000)  # a frame that was out of sight is painted a moment later
    watched.page.screenshot(path=PICTURES / "report-explorer.png")
    drive(scope, watched.page, explorer.table.drop(columns=explorer.singles.columns), explorer.fprs)  # of methods alone
    walk(scope, watched.page, explorer, smoke)
    for k in range(5):
        scope.get_by_test_id("walks").locator("button").nth(k).click()
        assert scope.locator(".tile").count() and not scope.locator(".tile .none").count()  # every picture is here
    choose(scope, "sort", "disagreement")
    rows = exported(scope, watched.page, tmp_path / "frames.csv")
    attacks = explorer.table.loc[first_by(-explorer.table["disagreement"])].query("label == 0")
    assert [row[0] for row in rows[1:]] == list(attacks.index)
    column = rows[0].index("ensemble score")
    assert [float(row[column]) for row in rows[1:]] == list(attacks["ensemble"])
    assert not watched.errors and watched.asked == [report, "about:srcdoc"][: len(watched.asked)]
    assert (smoke / "explorer" / "07-explorer.html").stat().st_size < 5e6


def test_equal_scores_and_names_from_data(browser, tmp_path):
    """Many ties, scores of exactly 0 and 1, and names that are markup, script and formulas."""
    rng, names = np.random.default_rng(3), EVIL + [f"{i}-color.jpg" for i in range(395)]
    label = rng.integers(0, 2, 400)
    about = {"attack": np.where(label == 1, 0, rng.integers(1, 7, 400)), "label": label}
    about |= {"subject": [EVIL[i % 2] if i % 3 else f"s{i % 7}" for i in range(400)]}
    table = frame_table(sample=names, rgb=names, depth=names, ir=names, **about)
    values = {name: (rng.random(400) * (0.6 + 0.4 * label)).round(1) for name in "ABC"}
    scores = pd.concat([score_table(table, score, name, 1, 7) for name, score in values.items()])
    strange = Explorer(scores, fprs=(0.3, 0.1, 0.0, 1.0))
    page = strange.write_page(tmp_path / "strange.html").as_uri()
    watched = Watched(browser, page)
    drive(watched.page, watched.page, strange.table, strange.fprs)
    assert frames(watched.page) == first_by(-strange.table[["A", "B", "C"]].std(axis=1, ddof=0))[:12]
    choose(watched.page, "method", "B")
    known, threshold = strange.table, threshold_of(watched.page)
    for kind, rate in apcer_by_attack(known["label"], known["B"], threshold, known["attack"]).items():
        assert watched.page.get_by_test_id(f"apcer-{kind}").inner_text() == f"{100 * rate:.2f}%"
    rows = exported(watched.page, watched.page, tmp_path / "frames.csv")
    assert {"'=HYPERLINK(1)", "'+1,2", '"x', EVIL[0], EVIL[1]} <= {row[0] for row in rows}
    assert not watched.errors and watched.asked == [page]
