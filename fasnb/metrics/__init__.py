"""From scores to numbers (``pad``), their means (``ensembles``), ``uncertainty``, and ``comparisons`` of methods."""

from fasnb.data.scores import read_scores, write_scores
from fasnb.metrics.comparisons import beside_published, errors, errors_by_attack, holm, judge, ratios, thresholds
from fasnb.metrics.ensembles import IncompleteError, average, check_complete, facts, first_seed, matrix
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
    mean_error,
    roc,
    threshold_at_fpr,
    tpr_at_fpr,
)
from fasnb.metrics.uncertainty import FPRS, Report, attacks_needed, bootstrap, evaluate, exact, interval, measure
