"""Frames: which there are and what is known of each (``frames``), who sees which (``folds``), how real files are found,
read, checked and written (``casia_surf``), decoded once (``store``) and turned into batches (``augment``); the scores
table (``scores``) and what the authors released (``released``).

It imports ``paper`` and ``tools``.
"""

from fasnb.data.casia_surf import CasiaSurf, find
from fasnb.data.folds import attack_folds, read_attack_folds, subject_folds
from fasnb.data.frames import FRAME_COLUMNS, ListError, frame_table, read_list
from fasnb.data.released import read_released, read_snapshots, released_frames, write_submission
from fasnb.data.scores import read_scores, score_table, write_scores
from fasnb.data.store import Source, Store, build
