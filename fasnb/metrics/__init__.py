"""From scores to numbers: TPR at a fixed FPR and its kin (``pad``), how sure they are (``uncertainty``), the scores table
and its means (``scores``), rows beside the published ones (``comparisons``), differences that hold the luck of seeds
(``differences``), verdicts on claims (``verdicts``) and what else they rest on (``evidence``), and ensembles.

It knows neither frames nor networks, and imports ``paper`` and ``tools`` alone.
"""

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
from fasnb.metrics.scores import IncompleteError, average, check_complete, read_scores, write_scores
from fasnb.metrics.uncertainty import FPRS, Report, bootstrap, clopper_pearson, compare, evaluate, interval
