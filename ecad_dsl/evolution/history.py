"""What a run went through: the ancestors of a candidate, and what the search cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ecad_dsl.errors import EcadError
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


def front(evaluations: Iterable[Evaluation], quality: str) -> list[Evaluation]:
    """Those that no other one beats in both quality (``reward`` or ``fidelity``) and MACs, the cheapest first."""
    kept: list[Evaluation] = []
    measured = [evaluation for evaluation in evaluations if quality in evaluation.objectives]
    for evaluation in sorted(measured, key=lambda e: (e.macs, -e.objectives[quality])):
        if not kept or evaluation.objectives[quality] > kept[-1].objectives[quality]:
            kept.append(evaluation)
    return kept


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
    return {
        e.key: counts.get(e.key, sum(quantity in e.objectives for quantity in ("reward", "fidelity")))
        for e in store.evaluations()
    }


def macs(store: RunStore) -> int:
    """Multiply-accumulates of all pictures that the search has drawn."""
    drawn = pictures(store)
    return sum(evaluation.macs * drawn[evaluation.key] for evaluation in store.evaluations())
