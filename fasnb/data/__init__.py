"""Frames, who sees which, real files, decoded stores, batches; the scores table, and what the authors released."""

from fasnb.data.casia_surf import CasiaSurf, find
from fasnb.data.folds import attack_folds, subject_folds
from fasnb.data.frames import FRAME_COLUMNS, ListError, frame_table, read_list
from fasnb.data.released import read_released, read_snapshots, released_frames, write_submission
from fasnb.data.scores import completed, read_scores, score_table, write_scores
from fasnb.data.store import Source, Store, build_store
