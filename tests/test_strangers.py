"""Files and values of strangers: refused in one sentence with exit status 2, and shown so that they can do no harm."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_scoring import own, surf  # noqa: F401

from fasnb.command.main import main
from fasnb.command.serve import open_checkpoint
from fasnb.data import casia_surf
from fasnb.data.image_folder import identity_folder
from fasnb.data.images import ImageError, open_image
from fasnb.lab.tables import Shown, latex, markdown, write_table
from fasnb.metrics import scores
from fasnb.tools.text import no_formula, plain

HOSTILE = "a\nb\x1b[31m\u202egnp.exe\x00"


def refused(capsys, *arguments: str) -> str:
    assert main([str(each) for each in arguments]) == 2
    _, began, error = capsys.readouterr().err.rpartition("fasnb: ")  # before it the bar of decoding, if any
    assert began and len(error.strip().splitlines()) == 1 and plain(error.strip()) == error.strip()
    return error


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes that claims to be so large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "huge", "thin", "link"])
def test_what_is_no_ordinary_image_is_named_and_not_decoded(surf, own, capsys, tmp_path, kind):  # noqa: F811
    layout = casia_surf.find(surf)
    name = layout.frames(["valid"])["depth"][0]
    path = casia_surf.CasiaSurf(layout.frames(["valid"]), surf).path(0, "depth")
    path.rename(tmp_path / "outside.jpg")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(tmp_path / "outside.jpg")
    else:
        bomb(path, *((13_000, 13_000) if kind == "huge" else (40_000, 10)))
    out = tmp_path / "s.csv"
    error = refused(
        capsys, "score", "--checkpoint", own, "--frames", layout.lists["valid"], "--root", surf, "--out", out
    )
    what = {
        "huge": "has 13000 x 13000 pixels",
        "thin": "has 40000 x 10 pixels",
        "link": "is a symbolic link that leaves",
    }
    assert name in error and what.get(kind, "is no ordinary file") in error and not out.exists()


def test_links_inside_the_root_and_a_root_that_is_a_link_are_followed(surf, own, tmp_path):  # noqa: F811
    frames = casia_surf.find(surf).frames(["valid"])
    path = casia_surf.CasiaSurf(frames, surf).path(0, "ir")
    path.rename(path.with_name("kept.jpg"))
    path.symlink_to(path.with_name("kept.jpg"))
    (tmp_path / "link").symlink_to(surf)
    assert casia_surf.CasiaSurf(frames, tmp_path / "link", 24).read([0]).shape == (1, 5, 24, 24)


def test_a_format_that_starts_other_programs_is_not_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(ImageError, match="not an image"), open_image(tmp_path / "a.jpg") as image:
        image.load()


def test_a_pipe_among_the_images_to_pretrain_on_is_named(tmp_path):
    for person in ("1", "2"):
        (tmp_path / person).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / person / "a.jpg")
    os.mkfifo(tmp_path / "1" / "b.jpg")
    with pytest.raises(ValueError, match=r"1 of 3 images cannot be used.*b\.jpg.*no ordinary file"):
        identity_folder(tmp_path).check(progress=False)


def test_a_list_that_is_a_pipe_is_refused(own, capsys, tmp_path):  # noqa: F811
    os.mkfifo(tmp_path / "list.txt")
    assert "pipe or device" in refused(capsys, "score", "--checkpoint", own, "--frames", tmp_path / "list.txt")


@pytest.mark.parametrize("name", ["label", "score", "subject", "attack", "experiment", "sample", "seed"])
@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, np.array([1.0])], ids=["list", "struct", "array"])
def test_nested_columns_are_refused(capsys, tmp_path, name, value):
    table = {"label": [1, 0], "score": [0.9, 0.1], "attack": [0, 1], "subject": ["a", "b"]} | {name: [value, value]}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    assert "s.parquet" in refused(capsys, "evaluate", tmp_path / "s.parquet")


def test_damaged_parquet_is_one_sentence(tmp_path):
    good = tmp_path / "s.parquet"
    scores.write_scores(
        pd.DataFrame({"label": [1, 0] * 50, "score": np.linspace(0, 1, 100), "attack": [0, 1] * 50}), good
    )
    raw, draw = good.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(raw)
        for place in draw.integers(4, len(raw), draw.integers(1, 6)):
            damaged[place] = draw.integers(256)
        good.write_bytes(damaged)
        try:
            scores.read_scores(good)
        except (ValueError, FileNotFoundError) as error:
            assert str(good) in str(error)


def test_two_columns_of_one_name_are_refused(capsys, tmp_path):
    columns = [pa.array([1, 0]), pa.array([0.5, 0.2]), pa.array([0.5, 0.2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["label", "score", "score"]), tmp_path / "s.parquet")
    assert "s.parquet" in refused(capsys, "evaluate", tmp_path / "s.parquet")


@pytest.mark.parametrize(
    "setting",
    [
        "train_frames=1000000000000",
        "valid_subjects=99999999999999999999",
        "train_frames=0x" + "F" * 5000,
        "learning_rate=1" + "0" * 400,
        "fprs=[" * 3000,
        "replicates=1e400",
        "resize=1000000",
        "fprs=[0x" + "F" * 5000 + "]",
    ],
    ids=lambda setting: setting[:30],
)
def test_values_that_overflow_are_refused(capsys, setting):
    error = refused(capsys, "plan", "--profile", "smoke", "--set", setting)
    assert setting.partition("=")[0] in error


def test_too_little_memory_is_one_sentence(capsys, monkeypatch, tmp_path):
    def exhausted(*_, **__):
        raise MemoryError("Unable to allocate 7 TiB")

    (tmp_path / "s.csv").write_text("label,score\n1,0.5\n0,0.2\n")
    monkeypatch.setattr("fasnb.metrics.evaluate", exhausted)
    assert "not enough memory (Unable to allocate 7 TiB)" in refused(capsys, "evaluate", tmp_path / "s.csv")


@pytest.mark.parametrize(
    "config", ["5", "[]", "{}", '{"architecture": 5}', '{"architecture": {"width": 1e999}}', "\x00", '{"seed": "x"}']
)
def test_a_damaged_config_is_one_sentence(own, config):  # noqa: F811
    (own.parent / "config.json").write_text(config)
    with pytest.raises(ValueError, match=r"config\.json cannot be read .*; lay the config\.json"):
        open_checkpoint(own)


def test_a_damaged_value_of_a_config_is_noticed(own):  # noqa: F811
    from test_scoring import SPECIFICATION, TINY

    from fasnb.model import weights
    from fasnb.model.network import build

    weights.save_network(build(TINY), own, key=SPECIFICATION.key)
    assert open_checkpoint(own).seed == 7
    text = SPECIFICATION.to_json()
    (own.parent / "config.json").write_text(text.replace('"learning_rate": 0.1', '"learning_rate": 0.3'))
    with pytest.raises(ValueError, match="is damaged, or of another run"):
        open_checkpoint(own)


def test_names_that_hide_or_move_text_are_shown_as_escapes(capsys, tmp_path):
    assert plain(HOSTILE) == r"a\nb\x1b[31m\u202egnp.exe\x00" and plain("Ä ж 顔 é") == "Ä ж 顔 é"
    table = pd.DataFrame({"frame": [HOSTILE, "=cmd()"], HOSTILE: [1, 2]})
    for text in (markdown(table, HOSTILE), latex(table, "t", HOSTILE), Shown(table, "t", HOSTILE)._repr_html_()):
        assert "\u202e" not in text and "\x1b" not in text and "\x00" not in text
    hostile = tmp_path / "a\u202eb\x1b[31m.csv"
    assert r"a\u202eb\x1b[31m.csv" in refused(capsys, "evaluate", hostile)
    hostile.write_text("label,score\n1,0.5\n0,0.2\n")
    assert main(["evaluate", str(hostile), "--fpr", "0.5"]) == 0
    assert r"a\u202eb\x1b[31m.csv" in capsys.readouterr().out


def test_a_spreadsheet_finds_no_formula(tmp_path):
    cells = ["=1+1", "+a", "-a", "@a", "-", "-1.5", "a=b", 3, None]
    assert no_formula(cells) == ["'=1+1", "'+a", "'-a", "'@a", "-", "-1.5", "a=b", 3, None]
    write_table(pd.DataFrame({"frame": ["=1+1"], "x": [-2.5]}), tmp_path, "t", "c")
    assert (tmp_path / "t.csv").read_text() == "frame,x\n'=1+1,-2.5\n"
    write_table(pd.DataFrame({"frame": [], "x": []}), tmp_path, "t", "c")
    assert (tmp_path / "t.csv").read_text() == "frame,x\n"
    table = pd.DataFrame({"sample": ["=1+1", "b"], "label": [1, 0], "score": [0.5, 0.25]})
    assert "'=1+1" in scores.write_scores(table, tmp_path / "s.csv").read_text()


def test_a_pipe_as_scores_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "s.csv")
    command = [sys.executable, "-m", "fasnb", "evaluate", str(tmp_path / "s.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
