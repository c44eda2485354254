"""What the scores of a report say of the paper's claims: shown, opposite, undecided or not measured.

The statistics are those of ``differences``; how often verdicts err was simulated in ``benchmarks/verdicts.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fasnb.metrics.comparisons import methods_of, seeds_of
from fasnb.metrics.differences import Luck, Method, decide, difference, holm, luck_of
from fasnb.metrics.provenance import carried
from fasnb.paper.experiments import EXPERIMENTS, MEMBERS
from fasnb.paper.published import Finding

LEVEL = 0.05


@dataclass(frozen=True)
class Evidence:
    """What was found on a claim: how far it speaks for it (above zero) or against it (below), in points.

    ``p`` is its two-sided p value and takes part in Holm's correction; NaN where there is no test, and ``reason`` says why.
    Without a difference the claim counts as not measured, and ``reason`` says what it would take.
    """

    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    seeds: str = "–"
    reason: str = ""

    def saying(self, said: str) -> "Evidence":
        """The same, with ``said`` before its reason."""
        return replace(self, reason="; ".join(filter(None, [said, self.reason])))


def of_pairs(
    pairs: Sequence[tuple[str, str]], methods: Mapping[str, Method], units: int, luck: Luck | None = None
) -> Evidence:
    """Evidence on a claim that the first of each pair has the higher value; the difference is the least of them.

    Args:
        methods: name -> TPRs of its seeds, or other values in [0, 1] that are treated alike.
        units, luck: as of ``difference``; by default the luck of these methods.
    """
    luck = luck_of(list(methods.values())) if luck is None else luck
    parts = [difference(methods[better], methods[worse], luck, units) for better, worse in pairs]
    decision = decide(parts)
    part, names = parts[decision.least], pairs[decision.least]
    reason = f"least of {len(parts)}: {_title(names[0])} above {_title(names[1])}" if len(parts) > 1 else ""
    seeded = all(each.seeded for each in parts)
    reason = reason if seeded else "; ".join(filter(None, [reason, _one_seed(pairs, methods)]))
    limits = (100 * part.value, 100 * part.low, 100 * part.high)
    return Evidence(*limits, decision.p if seeded else np.nan, seeds_of(*(methods[name] for name in names)), reason)


def judge(
    models: pd.DataFrame,
    findings: Sequence[Finding],
    fpr: float,
    replicates: int = 1000,
    evidence: Mapping[str, Evidence] | None = None,
    absent: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """What a study's scores say of all the paper's claims, which share Holm's correction: give all of a report at once.

    A claim of pairs says that one method has a higher TPR@FPR than another, in each pair. See ``differences`` for the
    interval and the p value.

    Args:
        models: scores table with one score a frame, experiment and seed; the seed is missing for an ensemble of all seeds.
        evidence: name (``Finding.evidence``) -> what was found at ``fpr`` besides; it goes before a claim's pairs.
        absent: experiment -> why its scores are not there.

    Returns:
        One row a claim: ``claim``, ``section``, ``verdict``, ``difference``, ``low``, ``high`` (points; of the pair that
        speaks least for it), ``adjusted p``, ``seeds`` of the better and the worse method, and ``reason``. The verdict is
        shown or opposite (adjusted p below 0.05), undecided (else, and wherever a method has one seed) or not measured.
    """
    methods, units = methods_of(models, fpr, replicates)
    luck, found = luck_of(list(methods.values())), []
    for finding in findings:
        lacking = [name for name in dict.fromkeys(sum(finding.pairs, ())) if name not in methods]
        if finding.evidence in (evidence or {}):
            found.append(evidence[finding.evidence])
        elif finding.pairs and not lacking:
            found.append(of_pairs(finding.pairs, methods, units, luck))
        else:
            found.append(Evidence(reason=f"it takes {_scores(lacking, absent or {}) if lacking else finding.needs}"))
    adjusted = holm({i: each.p for i, each in enumerate(found)})
    tested = sum(not np.isnan(p) for p in adjusted.values())
    rows = [_row(*pair, adjusted[i], tested) for i, pair in enumerate(zip(findings, found, strict=True))]
    return carried(pd.DataFrame(rows), models, [fpr], replicates, "seeds")


def _title(name: str) -> str:
    return EXPERIMENTS[name].title if name in EXPERIMENTS and name not in MEMBERS else name


def _one_seed(pairs: Sequence[tuple[str, str]], methods: Mapping[str, Method]) -> str:
    names = [name for name in dict.fromkeys(sum(pairs, ())) if methods[name].seeds == 1]
    alone = [_title(name) for name in names if methods[name].single] or ["a member of the ensemble"] * bool(names)
    what = f"one seed of {' and '.join(alone)}" if alone else "all seeds at 100%"
    return f"{what}: what another seed would change is not known"


def _scores(lacking: Sequence[str], absent: Mapping[str, str]) -> str:
    why = "; ".join(dict.fromkeys(absent[name] for name in lacking if name in absent))
    return f"scores of {'; '.join(map(_title, lacking))}" + (f" ({why})" if why else "")


def _row(finding: Finding, found: Evidence, p: float, tested: int) -> dict:
    if np.isnan(found.difference):
        verdict = "not measured"
    elif p < LEVEL:
        verdict = "shown" if found.difference > 0 else "opposite"
    else:
        verdict = "undecided"
    why = [found.reason, _undecided(finding, found, tested) if verdict == "undecided" else ""]
    row = {"claim": finding.claim, "section": finding.section, "verdict": verdict}
    row |= {"difference": found.difference, "low": found.low, "high": found.high, "adjusted p": p}
    return row | {"seeds": found.seeds, "reason": "; ".join(filter(None, why))}


def _undecided(finding: Finding, found: Evidence, tested: int) -> str:
    """Why, where the evidence has not said so itself, and what a verdict would take."""
    if found.p < LEVEL:
        return f"clear alone, not among {tested} claims"
    takes = f"a verdict takes {finding.needs}" if finding.needs else ""
    if np.isnan(found.p):
        return takes
    takes = takes if finding.pairs else ""  # what is needed to test the claim at all was there
    if np.isnan(found.low):
        held = "" if found.difference else "nothing here tells the two apart"
    elif found.low <= 0 <= found.high:
        held = "the interval holds zero"
    else:
        held = f"clear as one comparison, not as one of {len(finding.pairs)}"
    return "; ".join(filter(None, [held, takes]))


def sentences(table: pd.DataFrame, sections: Sequence[str], unmeasured: bool = False) -> str:
    """The verdicts on the claims of some sections, a sentence each; ``table`` as of ``judge``, of the whole report.

    Args:
        unmeasured: also the claims that were not measured, with the reason.
    """
    chosen = table[table["section"].isin(sections)]
    tested = chosen["verdict"] != "not measured"
    lines = []
    for row in chosen[tested].to_dict("records"):
        limits = "" if np.isnan(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
        p = "" if np.isnan(row["adjusted p"]) else f", adjusted p = {row['adjusted p']:.3f}"
        seeds = "" if row["seeds"] == "–" else f"seeds: {row['seeds']}"
        said = "; ".join(filter(None, [f"{row['difference']:+.2f} points{limits}{p}", seeds, row["reason"]]))
        lines.append(f"{row['claim']}: {row['verdict']} here ({said}).")
    head = f"At FPR = {table.attrs['fpr']}, where a TPR is compared:"
    told = [head, *lines] if lines else ["None of these claims can be measured on this source."]
    left = chosen[~tested].to_dict("records") if unmeasured else ()
    return "\n".join([*told, *(f"{row['claim']}: not measured here; {row['reason']}." for row in left)])
