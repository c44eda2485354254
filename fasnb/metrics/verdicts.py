"""What the scores of a report say of the paper's claims: shown, opposite, undecided or not measured.

The statistics are those of ``differences``; how often verdicts err was simulated in ``benchmarks/verdicts.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fasnb.metrics.comparisons import methods_of, seeds_of
from fasnb.metrics.differences import Luck, Method, decide, difference, holm, luck_of
from fasnb.metrics.pad import fpr_name
from fasnb.metrics.provenance import carried
from fasnb.paper.experiments import EXPERIMENTS, MEMBERS
from fasnb.paper.published import Finding

LEVEL = 0.05

MEANS = "{a} has {points} TPR than {b}"
"""What a difference of two methods says, as a rule."""


@dataclass(frozen=True)
class Evidence:
    """What was found on a claim: how far it speaks for it (above zero) or against it (below), in points.

    ``p`` is its two-sided p value and takes part in Holm's correction; NaN where there is no test, and ``reason`` says why.
    Without a difference the claim counts as not measured, and ``reason`` says what it would take. ``meaning`` says in words
    what the difference is one of; ``least`` names the comparison that it comes from, where a claim needs several.
    """

    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    seeds: str = "–"
    reason: str = ""
    meaning: str = ""
    least: str = ""

    def saying(self, said: str) -> "Evidence":
        """The same, with ``said`` before its reason."""
        return replace(self, reason=_joined(said, self.reason))


def compared(value: float, up: str = "more", down: str = "less") -> str:
    """A difference in points without its sign: 0.77 points less."""
    way = f"{up} or {down}" if round(value, 2) == 0 else up if value > 0 else down
    return f"{abs(value):.2f} points {way}"


def _between(low: float, high: float) -> str:
    """Both ends of an interval, without signs."""
    one_sided = low >= 0 or high <= 0
    first, last = sorted((low, high), key=abs) if one_sided else (low, high)
    return f"{abs(first):.2f} to {compared(last)}" if one_sided else f"{compared(first)} to {compared(last)}"


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def of_pairs(
    pairs: Sequence[tuple[str, str]],
    methods: Mapping[str, Method],
    units: int,
    luck: Luck | None = None,
    means: str = MEANS,
) -> Evidence:
    """Evidence on a claim that the first of each pair has the higher value; the difference is the least of them.

    Args:
        methods: name -> TPRs of its seeds, or other values in [0, 1] that are treated alike.
        units, luck: as of ``difference``; by default the luck of these methods.
        means: what the difference says, with ``{a}`` and ``{b}`` for the methods and ``{points}`` for it.
    """
    luck = luck_of(list(methods.values())) if luck is None else luck
    parts = [difference(methods[better], methods[worse], luck, units) for better, worse in pairs]
    decision = decide(parts)
    part, names = parts[decision.least], pairs[decision.least]
    least = f"least of {len(parts)}: {_title(names[0])} above {_title(names[1])}" if len(parts) > 1 else ""
    a, b = map(_named, names)
    meaning = means.format(a=a, b=b, points=compared(100 * part.value))
    meaning += f", the weakest of {len(parts)} comparisons that must all hold" if least else ""
    seeded = all(each.seeded for each in parts)
    reason = "" if seeded else _one_seed(pairs, methods)
    limits = (100 * part.value, 100 * part.low, 100 * part.high)
    seeds = seeds_of(*(methods[name] for name in names))
    return Evidence(*limits, decision.p if seeded else np.nan, seeds, reason, meaning, least)


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
        speaks least for it), ``adjusted p``, ``seeds`` of the better and the worse method, ``reason``, and all of it in
        a ``sentence`` or several. The verdict is shown or opposite (adjusted p below 0.05), undecided (else, and wherever a
        method has one seed) or not measured.
    """
    methods, units = methods_of(models, fpr, replicates)
    luck, found = luck_of(list(methods.values())), []
    for finding in findings:
        lacking = [name for name in dict.fromkeys(sum(finding.pairs, ())) if name not in methods]
        if finding.evidence in (evidence or {}):
            found.append(evidence[finding.evidence])
        elif finding.pairs and not lacking:
            found.append(of_pairs(finding.pairs, methods, units, luck, f"at FPR = {fpr_name(fpr)} {MEANS}"))
        else:
            found.append(Evidence(reason=f"it takes {_scores(lacking, absent or {}) if lacking else finding.needs}"))
    adjusted = holm({i: each.p for i, each in enumerate(found)})
    tested = sum(not np.isnan(p) for p in adjusted.values())
    rows = [_row(*pair, adjusted[i], tested) for i, pair in enumerate(zip(findings, found, strict=True))]
    return carried(pd.DataFrame(rows), models, [fpr], replicates, "seeds")


def _title(name: str) -> str:
    return EXPERIMENTS[name].title if name in EXPERIMENTS and name not in MEMBERS else name


def _named(name: str) -> str:
    """A title within a sentence: in quotation marks where it has commas of its own."""
    title = "the ensemble" if name == "ensemble" else _title(name)
    return f'"{title}"' if "," in title else title


def _one_seed(pairs: Sequence[tuple[str, str]], methods: Mapping[str, Method]) -> str:
    names = [name for name in dict.fromkeys(sum(pairs, ())) if methods[name].seeds == 1]
    alone = [_named(name) for name in names if methods[name].single] or ["a member of the ensemble"] * bool(names)
    what = f"one seed of {' and '.join(alone)}" if alone else "all seeds at 100%"
    return f"{what}, so no verdict: what another seed would change is not known"


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
    why = _joined(found.reason, _undecided(finding, found, tested) if verdict == "undecided" else "")
    row = {"claim": finding.claim, "section": finding.section, "verdict": verdict}
    row |= {"difference": found.difference, "low": found.low, "high": found.high, "adjusted p": p}
    said = _sentence(finding.claim, verdict, found, p, why)
    meaning = found.meaning if finding.evidence else ""  # that of pairs stands in the claim and the number
    return row | {"seeds": found.seeds, "reason": _joined(found.least, meaning, why), "sentence": said}


def _sentence(claim: str, verdict: str, found: Evidence, p: float, why: str) -> str:
    """The verdict first, then the number with what it means, then why: for people who have not seen the table."""
    parts = [f"{verdict.capitalize()}: {claim}"]
    reasons = [why] if verdict == "not measured" else why.split("; ")
    if verdict != "not measured":
        limits = "" if np.isnan(found.low) else f"95% interval: {_between(found.low, found.high)}"
        seeds = "" if found.seeds == "–" else f"seeds: {found.seeds}"
        sure = f"adjusted p = {p:.3f}" if verdict in ("shown", "opposite") else ""
        beside = _joined(limits, seeds, sure)
        number = found.meaning or f"the difference is {found.difference:+.2f} points"
        parts.append(f"{number}{f' ({beside})' if beside else ''}")
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in [*parts, *reasons] if part)


def _undecided(finding: Finding, found: Evidence, tested: int) -> str:
    """Why, where the evidence has not said so itself, and what a verdict would take."""
    if found.p < LEVEL:
        return f"clear as a single comparison, but not among the {tested} claims that are tested together"
    takes = f"a verdict takes {finding.needs}" if finding.needs else ""
    if np.isnan(found.p):
        return takes
    takes = takes if finding.pairs else ""  # what is needed to test the claim at all was there
    if np.isnan(found.low):
        held = "" if found.difference else "nothing here tells the two apart"
    elif found.low <= 0 <= found.high:
        held = "the interval holds zero, so either may be the higher"
    else:
        held = f"clear as a single comparison, but not as one of {len(finding.pairs)}"
    return "; ".join(filter(None, [held, takes]))


def sentences(table: pd.DataFrame, sections: Sequence[str], unmeasured: bool = False) -> str:
    """The verdicts on the claims of some sections, a sentence each; ``table`` as of ``judge``, of the whole report.

    Args:
        unmeasured: also the claims that were not measured, with the reason.
    """
    chosen = table[table["section"].isin(sections)]
    tested = chosen["verdict"] != "not measured"
    told = list(chosen.loc[tested, "sentence"]) or ["None of these claims can be measured on this source."]
    return "\n".join([*told, *(chosen.loc[~tested, "sentence"] if unmeasured else ())])
