"""What a run went through: the ancestors of a candidate, and what the search cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.limits import Limits
from ecad_dsl.evolution.objectives import QUALITIES, chosen, point, with_found, with_rewards
from ecad_dsl.evolution.store import Evaluation, RunStore
from ecad_dsl.evolution.words import in_words


@dataclass(frozen=True)
class Ancestor:
    """One candidate on the way to another, and what was done to the one before it."""

    evaluation: Evaluation
    added: tuple[str, ...]
    """Rules that it has and its parent had not."""
    removed: tuple[str, ...]
    words: str
    """What was done, as a person would say it; for the first of all, its name."""
    other: Evaluation | None
    """The second parent, where two were crossed."""


def find(evaluations: Iterable[Evaluation], name: str) -> Evaluation:
    """The candidate that is called so: by the start of its key, or by its file (``macs-35.4-4d9b.ecad``).

    Raises:
        EcadError: there is none, or several.
    """
    key = name.rsplit("/", 1)[-1].removesuffix(".ecad").rsplit("-", 1)[-1]
    found = [evaluation for evaluation in evaluations if evaluation.key.startswith(key)]
    if len(found) == 1:
        return found[0]
    if found:
        raise EcadError(f"{len(found)} candidates have a key that begins with {key!r}; write more of it")
    raise EcadError(
        f"no candidate of the run has a key that begins with {key!r}; `ecad runs show` lists those of the front"
    )


def lineage(evaluations: Iterable[Evaluation], key: str) -> list[Ancestor]:
    """From one of the first population, by first parents, to the candidate with this key."""
    by_key = {evaluation.key: evaluation for evaluation in evaluations}
    line = [by_key[key]]
    while (parents := line[0].parents) and parents[0] in by_key and by_key[parents[0]] not in line:
        line.insert(0, by_key[parents[0]])
    story = []
    before: list[str] = []
    for parent, evaluation in zip([None, *line], line, strict=False):
        rules = evaluation.program.splitlines()
        story.append(
            Ancestor(
                evaluation,
                tuple(rule for rule in rules if rule not in before),
                tuple(rule for rule in before if rule not in rules),
                in_words(parent.program, evaluation.program) if parent else evaluation.edit,
                next((by_key[other] for other in evaluation.parents[1:] if other in by_key), None),
            )
        )
        before = rules
    return story


def objectives(settings: Mapping[str, Any], evaluations: Iterable[Evaluation]) -> tuple[str, ...]:
    """What the front of a run is of: with reward in place of fidelity, once rewards are known."""
    names = chosen(settings.get("objectives", settings.get("objective", "reward")))
    if "reward" in names or all(evaluation.reward is None for evaluation in evaluations):
        return names
    return with_rewards(names)


def front(evaluations: Iterable[Evaluation], objectives: Sequence[str]) -> list[Evaluation]:
    """Those that no other one beats in these objectives, the cheapest first."""
    kept: tuple[Evaluation, ...] = ()
    for evaluation in evaluations:
        if evaluation.objectives.keys() >= {*objectives}:
            kept = with_found(kept, evaluation, lambda e: point(e.objectives, objectives))
    return sorted(kept, key=lambda evaluation: evaluation.macs)


def within_limits(evaluations: Iterable[Evaluation], settings: Mapping[str, Any]) -> list[Evaluation]:
    """Those that keep to the limits of the run with these settings."""
    limits, everything = Limits.of(settings), settings.get("all_macs")
    if everything is None:  # an older run, whose limits held for what was bred alone
        return list(evaluations)
    return [e for e in evaluations if not limits.violation(e.macs / everything, e.objectives)]


def most_measured(store: RunStore, quality: str) -> list[Evaluation]:
    """Those measured on the most prompts: all of them, unless generations measure on parts in turn."""
    counts = {key: len(values) for key, values in store.measurements(quality).items()}
    most = max(counts.values(), default=0)
    return [evaluation for evaluation in store.evaluations() if counts.get(evaluation.key, 0) == most]


def in_one_line(story: Sequence[Ancestor]) -> str:
    """ "FORA 3 -> period 3 to 4 on cross -> ..."."""
    return " -> ".join(
        ancestor.words + (f" (crossed with {ancestor.other.key[:8]})" if ancestor.other else "") for ancestor in story
    )


def pictures(store: RunStore) -> dict[str, int]:
    """How many pictures of each candidate were drawn; one where only means were measured."""
    counts = store.pictures()
    return {e.key: counts.get(e.key, sum(name in e.objectives for name in QUALITIES)) for e in store.evaluations()}


def macs(store: RunStore) -> int:
    """Multiply-accumulates of all pictures that the search has drawn."""
    drawn = pictures(store)
    return sum(evaluation.macs * drawn[evaluation.key] for evaluation in store.evaluations())
