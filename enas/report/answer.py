"""The answer in sentences: what was found, whether that is better than chance, and what it costs.

No sentence says more than the figures do: where an interval includes 0, nothing is better or worse than random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enas.records import standing
from enas.report.networks import FOUND, called, compared
from enas.report.what import Searched, Several, Trained, Values
from enas.words import (
    PROXY,
    best_of_many,
    cost,
    cost_number,
    counted,
    deviation,
    duration,
    interval,
    listed,
    percent,
    points,
    reward_differs,
    whole,
)


def verdict(gap: Mapping[str, Any]) -> str:
    """What a difference with its interval says."""
    return f"{standing(gap['low'], gap['high'])} random"


def of_search(run: Searched) -> list[str]:
    """The answer of one search."""
    if run.result is None:
        return _so_far(run)
    result, best = run.result, run.result["finalists"][0]
    counts = listed([cost("params", best["params"]), cost("macs", best["macs"])])
    tested = [each.result["test_accuracy"] for each in run.trained if each.name == FOUND and each.result is not None]
    after = f", {percent(tested[0])} test accuracy after training from scratch" if tested else ""
    lead = f"The search found {result['text']}, a network of {counts} for one image{after}; {_lead(result)}."
    sentences = [lead, *_wanted(result), *compared(run.trained)]
    if result.get("audit") is not None:
        text = str(result["audit"]["sentence"])
        sentences.append(f"The audit, which trained networks on their own, says: {text}.")
    if result["random_baseline"] is None:
        return [*sentences, *_judged(run, result, best)]
    sentences.append(_chance(result["random_baseline"]))
    if result.get("audit") is None:
        after = "The audit that it is to end with is not done yet" if run.audit_due else "There was no audit"
        sentences.append(
            f"{after}: no uniform architectures were trained beside the found one, so whether it is better than those "
            "once trained is not known (enas audit RUN finds out)."
        )
    return [*sentences, PROXY]


def _lead(result: Values) -> str:
    """The best that can be said of what was found beside chance, in a part of a sentence."""
    report = result.get("audit")
    if report is not None and report["verdict"] != "unknown":
        return f"an audit, which trained networks on their own, finds it {report['verdict']}"
    if result["random_baseline"] is not None:
        return f"by proxy accuracy alone what the search proposes is {verdict(_gap(result))}"
    verb = "has" if reward_differs(result) else "is"
    count = whole(result["evaluations"])
    return f"it {verb} {best_of_many(result)} of the {count} networks that were judged each by itself"


def _gap(result: Values) -> Mapping[str, Any]:
    gap: Mapping[str, Any] = result["random_baseline"]["controller_minus_random"]
    return gap


def of_several(run: Several) -> list[str]:
    """The answer of searches with several seeds."""
    if run.result is None:
        done = sum(search.result is not None for search in run.searches.values())
        return [f"{done} of {run.planned} searches are finished; what they have in common is told once all are."]
    statistics, count = run.result["statistics"], len(run.result["runs"])
    gap = statistics.get("audit_gap") or statistics.get("controller_minus_random")
    by = "audits, in which networks are trained on their own," if "audit_gap" in statistics else "proxy accuracy alone"
    lead = f"{count} searches that differ in their seed alone are done"
    lead += "" if gap is None else f": by {by} what they find is {verdict(gap)}"
    sentences = [
        f"{lead}.",
        f"They took {duration(run.result['elapsed_s'])} in all. The intervals are those of the mean over the seeds "
        "(Student, 95 %).",
    ]
    for key, words in (
        ("audit_gap", "By audits, in which networks are trained on their own, what they found is"),
        ("controller_minus_random", "By proxy accuracy what they propose is"),
    ):
        found = statistics.get(key)
        if found is not None:
            sentences.append(
                f"{words} {verdict(found)}: mean difference from random {points(found['mean'])}, interval "
                f"{interval(found)} ({found['count']} seeds)."
            )
    for key, words in (("accuracy", "validation accuracy"), ("true_accuracy", "true test accuracy from the table")):
        found = statistics.get(key)
        if found is not None:
            spread = "" if found["sd"] is None else f", standard deviation {deviation(found['sd'])}"
            sentences.append(f"The best network of a search has a mean {words} of {percent(found['mean'])}{spread}.")
    return [*sentences, PROXY] if "controller_minus_random" in statistics else sentences


def of_training(run: Trained) -> list[str]:
    """The answer of one training."""
    if run.result is None:
        return [f"The training of {run.config.arch} is not finished, so there is no test accuracy yet."]
    result = run.result
    counts = listed([cost("params", result["params"]), cost("macs", result["macs"])])
    images, epochs = whole(result["test_images"], "images"), counted(run.config.epochs, "epoch")
    return [
        f"{result['text']}, a network of {counts} for one image, has {percent(result['test_accuracy'])} test accuracy "
        f"on {images} after {epochs} from scratch. One training (n = 1): another seed would give a somewhat different "
        "figure."
    ]


def status(run: Searched | Several | Trained) -> str:
    """What is to be said first: that it is not finished. Empty where it is."""
    if run.result is None:
        far = f", {_far(run)} done" if isinstance(run, Searched) else ""
        return f"Not finished{far}: this page shows what there is so far. Go on: {run.resume}"
    missing = _missing(run) if isinstance(run, Searched) else {}
    if not missing:
        return ""
    ways = "; ".join(dict.fromkeys(missing.values()))
    return f"The search is finished, but not {listed(list(missing))}. Go on: {ways}"


def _missing(run: Searched) -> dict[str, str]:
    """What is to come after a finished search and is not done, each with the command that does it."""
    found = {"its audit": run.resume} if run.audit_due else {}
    open_ended = {each.name: each.resume for each in run.trained if each.result is None}
    begun = {each.name for each in run.trained}
    for name in dict.fromkeys([*run.planned, *open_ended]):
        if name in open_ended or name not in begun:
            state = "" if name in begun else ", which has not begun"
            found[f"the training of {called(name)}{state}"] = run.resume if name in run.planned else open_ended[name]
    return found


def _far(run: Searched) -> str:
    if run.shares_weights:
        return f"{len(run.of_kind('epoch')):,} of {counted(run.epochs, 'epoch')}"
    generations = run.of_kind("generation")
    return f"{generations[-1]['evaluations'] if generations else 0} of {run.config.evaluations} networks"


def _so_far(run: Searched) -> list[str]:
    """What an unfinished search can say."""
    sentences = [f"There is no answer yet: the search has {_far(run)} done."]
    records = run.of_kind("epoch", "generation")
    if not records:
        return sentences
    last = records[-1]
    if not run.shares_weights:
        if last["best_arch"] is not None:
            found = f"{last['best_arch']}, validation accuracy {percent(last['best_accuracy'])}"
            sentences.append(f"Best so far: {found}.")
        return sentences
    gap = last["controller_minus_random"]
    sentences.append(
        f"After the last epoch what it proposes is {verdict(gap)} by proxy accuracy: difference {points(gap['mean'])}, "
        f"95 % interval {interval(gap)}. Best of that small sample: {last['best_arch']} "
        f"({percent(last['best_proxy_accuracy'])})."
    )
    return [*sentences, PROXY]


def _chance(baseline: Values) -> str:
    gap, ours, random = (baseline[name] for name in ("controller_minus_random", "controller", "random"))
    return (
        f"By proxy accuracy what the search proposes is {verdict(gap)}: its architectures have a mean of "
        f"{percent(ours['mean'])}, uniform ones {percent(random['mean'])}, a difference of {points(gap['mean'])} with "
        f"the 95 % interval {interval(gap)} ({whole(ours['count'])} and {whole(random['count'])} architectures, "
        f"{whole(baseline['images'], 'validation images')})."
    )


def _judged(run: Searched, result: Values, best: Values) -> list[str]:
    """Of a search that judged each architecture by itself."""
    sentence = f"It has {percent(best['accuracy'])} validation accuracy"
    sentence += " and " if reward_differs(result) else ", "
    sentence += f"{best_of_many(result)} of {whole(result['evaluations'])} networks"
    sentence += f", of which {whole(result['failed'])} failed." if result["failed"] else "."
    if reward_differs(result):
        sentence += " The reward is not the accuracy alone, so others may be more accurate."
    elif not run.looks_up:
        sentence += " The best of many is flattered by chance: judged again it would most likely do a little worse."
    sentences = [sentence]
    if "true_accuracy" in best:
        rank = f"rank {whole(best['true_rank'])} of {whole(best['ranked'])} in the table"
        sentences.append(
            f"In this table validation and test accuracy are one figure: {rank}."
            if run.sees_truth
            else f"Its true test accuracy is {percent(best['true_accuracy'])}: {rank}."
        )
    return [*sentences, "This run judged no random architectures apart, so it does not say how far it is from chance."]


def _wanted(result: Values) -> list[str]:
    """The costs beside their limits and targets."""
    report = result.get("costs")
    if report is None:
        return []
    parts: list[str] = []
    for name, each in report["costs"].items():
        found = cost(name, each["found"])
        if each["limit"]:
            kept = "within" if each["found"] <= each["limit"] else "above"
            parts.append(f"{found} are {kept} the limit of {cost_number(each['limit'])}")
        if each["target"]:
            distance = _distance(each["found"] / each["target"])
            parts.append(f"{found} are {distance} the target of {cost_number(each['target'])}")
    sizes = _sizes(report)
    return [f"Costs{sizes}: {listed(parts)}."] if parts else []


def _sizes(report: Values) -> str:
    sizes = [f"{name} {report[name]}" for name in ("width", "depth") if report[name] is not None]
    return f" of the network with {listed(sizes)}" if sizes else ""


def _distance(ratio: float) -> str:
    change = round(100 * (ratio - 1))
    return "at" if change == 0 else f"{abs(change)} % {'above' if change > 0 else 'below'}"
