"""From scores to numbers: TPR at a fixed FPR and its kin (``pad``), means of scores (``ensembles``), how sure a number
is (``uncertainty``), and what it says beside the published ones and of the paper's claims (``comparisons``).
"""

from fasnb.data.scores import read_scores, write_scores
from fasnb.metrics.comparisons import beside_published, difference, errors_by_attack, holm, judge, pairs, thresholds
from fasnb.metrics.ensembles import IncompleteError, average, check_complete, facts, first_seed, growth, matrix, subsets
from fasnb.metrics.pad import (
    acer,
    allowed_attacks,
    apcer,
    apcer_by_attack,
    auc,
    bpcer,
    det,
    eer,
    eer_threshold,
    fpr_name,
    hter,
    roc,
    threshold_at_fpr,
    tpr_at_fpr,
)
from fasnb.metrics.uncertainty import FPRS, Report, attacks_needed, bootstrap, evaluate, exact, interval, measure
