"""What a run's store tells afterwards, or while the run is on its way."""

from pathlib import Path

import pytest

from ecad_dsl import EcadError
from ecad_dsl.evolution import history
from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.evolution.words import in_words
from ecad_dsl.schedule import compile, parse
from tests.evolution.synthetic import Synthetic


def test_the_line_of_a_candidate_leads_from_the_first_population_to_it_edit_by_edit(tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(), tmp_path, population=10, generations=6, seed=1)
    with RunStore(tmp_path, create=False) as store:
        evaluations = store.evaluations()
    assert len(evaluations) == last.evaluated - last.remembered
    spec = Synthetic().spec
    for evaluation in evaluations:
        story = history.lineage(evaluations, evaluation.key)
        assert story[-1].evaluation == evaluation
        assert story[0].evaluation.generation == 0
        generations = [ancestor.evaluation.generation for ancestor in story]
        assert generations == sorted(set(generations))
        rules: set[str] = set()
        for ancestor in story:
            rules = (rules - set(ancestor.removed)) | set(ancestor.added)
            assert rules == set(ancestor.evaluation.program.splitlines())
        assert compile(parse(story[-1].evaluation.program), spec, 20).key == evaluation.key
        assert (story[0].words == evaluation.edit) == (len(story) == 1)
        assert history.in_one_line(story).count(" -> ") == len(story) - 1
    front = history.front(evaluations, ("reward", "macs"))
    assert [(e.macs, e.reward) for e in front] == [(c.macs, c.quality) for c in last.front]


def test_candidates_are_found_by_their_file_or_the_start_of_their_key(tmp_path: Path) -> None:
    list(evolve(Synthetic(), tmp_path, population=8, generations=1, seed=1))
    with RunStore(tmp_path, create=False) as store:
        evaluations = store.evaluations()
    key = evaluations[3].key
    for name in (key, key[:10], f"macs-35.4-{key[:10]}.ecad", f"front/macs-35.4-{key[:10]}.ecad"):
        assert history.find(evaluations, name).key == key
    with pytest.raises(EcadError, match="no candidate"):
        history.find(evaluations, "nothing")
    with pytest.raises(EcadError, match="write more of it"):
        history.find(evaluations, "")


def test_a_run_may_be_looked_at_while_it_is_on_its_way(tmp_path: Path) -> None:
    search = evolve(Synthetic(), tmp_path, population=8, generations=1, seed=1)
    for _ in range(3):
        next(search)
    with RunStore(tmp_path, create=False) as store:
        assert len(store.evaluations()) == 3
        assert store.settings()["population"] == 8
    search.close()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("cache cross every 3 steps", "cache cross every 4 steps", "period 3 to 4 on cross"),
        ("cache cross every 3 steps", "cache cross every 3 steps offset 1", "offset 0 to 1 on cross"),
        ("cache cross every 3 steps", "cache cross, ffn every 3 steps", "cross to cross, ffn"),
        ("reuse all in blocks 2-5", "reuse all in blocks 2-6", "blocks 2-5 to blocks 2-6 on all"),
        ("reuse all from step 2", "reuse all", "from step 2 to all steps on all"),
        ("reuse all from step 2", "recompute all from step 2", "reuse to recompute on all"),
        ("cache all", "cache all every 2 steps", "no period to every 2 steps on all"),
        ("cache all every 2 steps", "cache all every 2 steps\nreuse ffn at step 3", "plus `reuse ffn at step 3`"),
        ("cache all every 2 steps\nreuse ffn at step 3", "cache all every 2 steps", "less `reuse ffn at step 3`"),
        ("reuse self at step 1\nrecompute ffn", "recompute ffn\nreuse self at step 1", "`recompute ffn` moved"),
        ("reuse all", "reuse all", "the same rules"),
        ("", "\n".join(f"reuse ffn at step {n}" for n in range(1, 6)), "and 2 more"),
    ],
)
def test_an_edit_is_told_in_words(before: str, after: str, words: str) -> None:
    assert in_words(before, after).endswith(words)
