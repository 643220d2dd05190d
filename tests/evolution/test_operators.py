"""Mutations and crossovers: whatever they make of a program, the next generation can live with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl.evolution.bits import BitSearch, random_bits
from ecad_dsl.evolution.crossover import CROSSOVERS, ExchangeBlocks, ExchangeComponents, ExchangeSteps
from ecad_dsl.evolution.genome import Origin, Rules, Space, grow
from ecad_dsl.evolution.initial import first_population
from ecad_dsl.evolution.mutation import MUTATIONS, Merge, Mutation, Retime, Split
from ecad_dsl.evolution.parts import random_rule
from ecad_dsl.language import Program
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import compile, format, parse

SPACES = [Space(load_spec(name), steps) for name, steps in (("reference", 20), ("flux.1-dev", 28), ("pixart-alpha", 2))]
MUTATION_NAMES = [type(mutation).__name__ for mutation, _ in MUTATIONS]


SEEDS = st.integers(0, 2**32 - 1)


def a_program(space: Space, random: np.random.Generator) -> Rules:
    return tuple(random_rule(space, random) for _ in range(int(random.integers(1, 7))))


def rows(rules: Rules, space: Space) -> tuple[int, ...]:
    schedule = space.compiled(rules)
    assert schedule is not None
    return schedule.rows


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.spec.name)
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_whatever_is_made_of_programs_that_compile_compiles_and_can_be_read_again(space: Space, seed: int) -> None:
    random = np.random.default_rng(seed)
    rules = a_program(space, random)
    for crossover in CROSSOVERS:
        rows(crossover(rules, a_program(space, random), space, random), space)
    for mutation, _ in [*MUTATIONS, *MUTATIONS]:
        mutated = mutation(rules, space, random)
        if mutated is not None:
            schedule = compile(Program(mutated), space.spec, space.steps)
            assert schedule.rows == rows(mutated, space)
            assert parse(format(Program(mutated))).rules == mutated
            rules = mutated[-8:] or rules


@pytest.mark.parametrize("mutation", [m for m, _ in MUTATIONS], ids=MUTATION_NAMES)
def test_a_mutation_finds_something_to_do_and_what_it_does_is_something_else(mutation: Mutation) -> None:
    space, random = SPACES[0], np.random.default_rng(0)
    found = changed = 0
    for _ in range(150):
        rules = a_program(space, random)
        for other in (Split(), Retime()):
            rules = other(rules, space, random) or rules
        mutated = mutation(rules, space, random)
        found += mutated is not None
        changed += mutated is not None and mutated != rules
    assert found > 50
    assert changed >= 0.7 * found


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.spec.name)
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_splitting_changes_no_cell_and_merging_the_halves_neither(space: Space, seed: int) -> None:
    random = np.random.default_rng(seed)
    rules = a_program(space, random)
    halved = Split()(rules, space, random)
    if halved is None:
        return
    assert len(halved) == len(rules) + 1
    assert rows(halved, space) == rows(rules, space)
    (at,) = [i for i in range(len(rules)) if halved[: i + 2] != rules[: i + 2] and halved[:i] == rules[:i]][:1]
    merged = Merge()(halved[at : at + 2], space, random)
    if merged is not None:
        assert rows(merged, space) == rows(halved[at : at + 2], space)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.spec.name)
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_child_of_exchanged_steps_has_in_each_step_the_cells_of_one_parent(space: Space, seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = a_program(space, random), a_program(space, random)
    child = rows(ExchangeSteps()(one, other, space, random), space)
    inside = [step for step in range(space.steps) if child[step] != rows(one, space)[step]]
    window = range(inside[0], inside[-1] + 1) if inside else range(0)
    assert all(child[step] == rows(other, space)[step] for step in window)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.spec.name)
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_child_of_exchanged_blocks_has_in_each_block_the_cells_of_one_parent(space: Space, seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = a_program(space, random), a_program(space, random)
    child = rows(ExchangeBlocks()(one, other, space, random), space)
    mine, theirs = rows(one, space), rows(other, space)
    for block in range(space.spec.blocks):
        bits = space.spec.block_bits(range(block, block + 1))
        cells = [row & bits for row in child]
        assert cells in ([row & bits for row in mine], [row & bits for row in theirs])


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_bits_spelled_as_rules_are_the_same_cells(seed: int) -> None:
    for space in SPACES:
        genomes = BitSearch(space, random_bits(space, 4, np.random.default_rng(seed)), seed).ask()
        assert compile(genomes[0].program, space.spec, space.steps).rows == genomes[0].schedule.rows


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
