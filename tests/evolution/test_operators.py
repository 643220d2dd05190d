"""Mutations and crossovers: whatever they make of a program, the next generation can live with it."""

import numpy as np
import pytest

from ecad_dsl.evolution.crossover import CROSSOVERS, ExchangeComponents
from ecad_dsl.evolution.genome import Origin, Space, grow
from ecad_dsl.evolution.initial import first_population, hand_made
from ecad_dsl.evolution.mutation import MUTATIONS, random_rule
from ecad_dsl.language import Program
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import compile, format, parse

SPACES = [Space(load_spec(name), steps) for name, steps in (("reference", 20), ("flux.1-dev", 28), ("pixart-alpha", 2))]
MUTATION_NAMES = [type(mutation).__name__ for mutation, _ in MUTATIONS]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.spec.name)
@pytest.mark.parametrize("mutation", [m for m, _ in MUTATIONS], ids=MUTATION_NAMES)
def test_a_mutation_nearly_always_gives_a_program_that_compiles_and_differs(mutation, space) -> None:
    random = np.random.default_rng(0)
    tries = compiled = changed = 0
    for _ in range(60):
        rules = tuple(random_rule(space, random) for _ in range(int(random.integers(1, 6))))
        mutated = mutation(rules, space, random)
        if mutated is None:
            continue
        tries += 1
        schedule = space.compiled(mutated)
        compiled += schedule is not None
        changed += mutated != rules
        if schedule is not None:  # what is bred can be written to a file and read again
            assert parse(format(Program(mutated))).rules == mutated
    assert tries > 5
    assert compiled >= 0.8 * tries
    assert changed >= 0.5 * tries


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.spec.name)
@pytest.mark.parametrize("crossover", CROSSOVERS, ids=lambda c: type(c).__name__)
def test_every_crossover_of_programs_that_compile_compiles(crossover, space) -> None:
    random = np.random.default_rng(1)
    programs = [rules for _, rules in hand_made(space) if space.compiled(rules)]
    for _ in range(60):
        one, other = (programs[int(i)] for i in random.integers(len(programs), size=2))
        assert space.compiled(crossover(one, other, space, random)) is not None


def test_exchanged_components_do_what_their_parent_did() -> None:
    space = SPACES[0]
    one, other = parse("cache all every 2 steps").rules, parse("cache all every 5 steps").rules
    random = np.random.default_rng(3)
    child = compile(Program(ExchangeComponents()(one, other, space, random)), space.spec, space.steps)
    parents = [compile(Program(rules), space.spec, space.steps).masks["blocks"] for rules in (one, other)]
    for component in range(3):
        cells = child.masks["blocks"][:, :, component]
        assert any(bool((cells == parent[:, :, component]).all()) for parent in parents)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.spec.name)
def test_the_first_population_holds_fora_and_no_schedule_twice(space) -> None:
    population = first_population(space, 40, np.random.default_rng(0))
    keys = [genome.key for genome in population]
    assert len(keys) == len(set(keys))
    fora = compile(parse("cache all every 3 steps"), space.spec, space.steps)
    assert fora.key in keys


@pytest.mark.parametrize("space", SPACES[:2], ids=lambda space: space.spec.name)
def test_a_small_first_population_holds_every_family(space) -> None:
    names = {genome.origin.edit for genome in first_population(space, 18, np.random.default_rng(0))}
    assert {"recompute everything", "FORA 3", "FORA 4, last 2 steps free"} <= names
    assert ("TGATE 50 %" in names) == bool(space.spec.select("cross"))


def test_growing_drops_rules_without_effect_and_nothing_else() -> None:
    space = SPACES[0]
    rules = parse(
        "cache ffn every 2 steps\nreuse all from step 3\ncache all every 3 steps\nrecompute ffn at step 0"
    ).rules
    genome = grow(rules, space, Origin("test"))
    assert genome is not None
    assert genome.rules == parse("cache all every 3 steps").rules
    assert genome.schedule.rows == compile(Program(rules), space.spec, space.steps).rows


def test_too_many_rules_do_not_grow() -> None:
    space = Space(load_spec("reference"), 20, max_rules=2)
    rules = parse("reuse self at step 3\nreuse cross at step 4\nreuse ffn at step 5").rules
    assert grow(rules, space, Origin("test")) is None
