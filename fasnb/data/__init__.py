"""Frames: which there are and what is known of each (``frames``), who sees which (``folds``), how real files are read,
checked and written (``casia_surf``, ``casia_check``, ``casia_write``), decoded once (``store``) and turned into batches
(``augment``); the authors' scores (``released``), and folders of faces to pre-train on.

It imports ``metrics``, ``paper`` and ``tools``.
"""

from fasnb.data.casia_surf import CasiaSurf, find
from fasnb.data.folds import attack_folds, read_attack_folds, subject_folds
from fasnb.data.frames import FRAME_COLUMNS, ListError, frame_table, read_list
from fasnb.data.released import read_released, released_frames
from fasnb.data.store import Source, Store, build
from fasnb.data.submission import write_submission
