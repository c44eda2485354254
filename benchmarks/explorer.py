"""How long the explorer takes to redraw: 57,710 frames (the real test set) and 30 methods, in Chromium.

python benchmarks/explorer.py [--frames 57710] [--chromium PATH]

Scores are drawn at random. Measured in the browser for each step: the time until the next picture was painted, and the time
that the page's main thread worked for it (script, layout, painting), which other work on the machine does not lengthen.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

from fasnb.data.frames import frame_table
from fasnb.lab.explorer import Explorer
from fasnb.metrics.scores import score_table

FOLDS, SEEDS = (1, 2, 3), (7, 704)  # with four experiments: 24 networks, four means, the ensemble
STEPS = """async ([testid, values, settings]) => {
    const find = (id) => document.querySelector(`[data-testid="${id}"]`);
    const set = (element, value) => { element.value = value; element.dispatchEvent(new Event(element.tagName === "SELECT" ? "change" : "input")); };
    const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    for (const [id, value] of Object.entries(settings)) set(find(id), value);
    const times = [];
    for (const value of values) {
        await painted();
        const start = performance.now();
        set(find(testid), value);
        await painted();
        times.push(performance.now() - start);
    }
    return times;
}"""
CASES = {
    "threshold, sorted by disagreement": ("threshold", {}),
    "threshold, sorted by distance": ("threshold", {"sort": "distance"}),
    "threshold, frames on which methods disagree": ("threshold", {"filter-error": "split"}),
    "threshold, scatter of two methods": ("threshold", {"against": "B", "filter-error": "any"}),
    "another method": ("method", {"filter-error": "", "against": ""}),
    "target FPR": ("target-fpr", {}),
}


def made_up(frames: int) -> pd.DataFrame:
    """Scores of 24 networks on frames of 600 subjects."""
    rng = np.random.default_rng(0)
    label = (rng.random(frames) < 0.3).astype(int)
    names = [f"Testing/{i // 1000:04d}/{i:06d}-color.jpg" for i in range(frames)]
    known = {
        "subject": [f"s{i % 600}" for i in range(frames)],
        "attack": np.where(label, 0, rng.integers(1, 4, frames)),
    }
    table = frame_table(sample=names, rgb=names, depth=names, ir=names, label=label, **known)
    shared, parts = rng.normal(size=frames), []
    for name in "ABCD":
        for fold, seed in [(fold, seed) for fold in FOLDS for seed in SEEDS]:
            odds = 4 * (2 * label - 1) + shared + 1.5 * rng.normal(size=frames)
            parts.append(score_table(table, (1 / (1 + np.exp(-odds))).astype("f4"), name, fold, seed))
    return pd.concat(parts, ignore_index=True)


def worked(metrics) -> float:
    """Seconds that the page's main thread has worked."""
    return next(m["value"] for m in metrics.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=57710)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    given = parser.parse_args()
    table = made_up(given.frames)
    started = time.monotonic()
    explorer = Explorer(table)
    print(
        f"{explorer.table.shape[1] - 4} methods, {given.frames:,} frames: built in {time.monotonic() - started:.1f} s"
    )
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = explorer.write_page(Path(folder) / "page.html")
        print(f"sent to a notebook: {len(explorer.data) / 1e6:.1f} MB; as a page: {page.stat().st_size / 1e6:.1f} MB")
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(viewport={"width": 1400, "height": 1000})
        started = time.monotonic()
        view.goto(page.as_uri())
        view.get_by_test_id("frame").first.wait_for(timeout=120_000)
        print(
            f"opened in {time.monotonic() - started:.1f} s; milliseconds of a step: median (largest); of the main thread"
        )
        metrics = view.context.new_cdp_session(view)
        metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
        values = {"threshold": np.linspace(0.1, 0.9, 21).tolist(), "method": list("ABCD") * 3}
        values["target-fpr"] = ["1e-2", "1e-3", "1e-4"] * 4
        for name, (testid, settings) in CASES.items():
            before = worked(metrics)
            times = view.evaluate(STEPS, [testid, values[testid], settings])
            each = 1000 * (worked(metrics) - before) / len(times)
            print(f"{name}: {np.median(times):.0f} ({max(times):.0f}), {each:.0f}")
        browser.close()


if __name__ == "__main__":
    main()
