"""The first population: schedules that people have written by hand, then variations of them."""

from __future__ import annotations

from dataclasses import replace

from ecad_dsl.evolution.genome import Genome, Origin, Rules, Space, grow
from ecad_dsl.evolution.parts import Random, random_rule
from ecad_dsl.language.tree import Action, Components, Every, FromTo, LastSteps, Rule


def first_population(space: Space, size: int, random: Random) -> list[Genome]:
    """``size`` different genomes: the hand-made ones first, random programs where these do not suffice."""
    # Whatever is found has to be better than fewer steps without a cache.
    fewer = [grow((), space.at(steps), Origin(f"{steps} steps")) for steps in reversed(space.step_counts[:-1])]
    grown = (grow(rules, space, Origin(name)) for name, rules in hand_made(space))
    return _filled([genome for genome in (*fewer, *grown) if genome is not None], space, size, random)


def random_population(space: Space, size: int, random: Random) -> list[Genome]:
    """``size`` different genomes of a few random rules each."""
    return _filled([], space, size, random)


def _filled(begun: list[Genome], space: Space, size: int, random: Random) -> list[Genome]:
    genomes: dict[str, Genome] = {}
    for genome in begun:
        genomes.setdefault(genome.key, genome)
    for _ in range(100 * size):
        if len(genomes) >= size:
            break
        there = space.at(int(random.choice(space.step_counts))) if len(space.step_counts) > 1 else space
        rules = tuple(random_rule(there, random) for _ in range(int(random.integers(1, 5))))
        new = grow(rules, there, Origin("random rules"))
        if new is not None:
            genomes.setdefault(new.key, new)
    return list(genomes.values())[:size]


def hand_made(space: Space) -> list[tuple[str, Rules]]:
    """FORA, also with a free start or tail, a pace of its own for each role, TGATE, and blends of these, by name."""
    everything = Components(("all",))

    def fora(period: int) -> Rule:
        return Rule(Action.CACHE, everything, every=Every(period))

    def tail(count: int) -> Rule:
        return Rule(Action.RECOMPUTE, everything, steps=LastSteps(count))

    def gate(percent: int) -> Rule:
        return Rule(Action.REUSE, Components(("cross",)), steps=FromTo(max(1, space.steps * percent // 100)))

    # Every family before the variations of any: a small population takes the first of them.
    programs: list[tuple[str, Rules]] = [("recompute everything", ())]
    programs += [(f"FORA {n}", (fora(n),)) for n in (2, 3, 4, 5, 6)]
    if space.spec.select("cross"):
        programs += [(f"TGATE {percent} %", (gate(percent),)) for percent in (50, 25, 75)]
        programs.append(("FORA 2 with TGATE 50 %", (fora(2), gate(50))))
    programs += [(f"FORA {n}, last {k} steps free", (fora(n), tail(k))) for n, k in ((3, 1), (4, 2), (6, 3))]
    # The first steps draw the outline, which nothing later can mend.
    free_starts = ((3, 2), (4, 2), (5, 3))
    programs += [(f"FORA {n} from step {k}", (replace(fora(n), steps=FromTo(k)),)) for n, k in free_starts]
    roles = [role for role in ("self", "cross", "ffn") if space.spec.select(role)]
    for role in roles:
        programs.append((f"{role} every 2 steps", (Rule(Action.CACHE, Components((role,)), every=Every(2)),)))
    for role in roles:
        programs.append((f"FORA 3, {role} every 6", (fora(3), Rule(Action.CACHE, Components((role,)), every=Every(6)))))
    programs.append(("compute once", (Rule(Action.REUSE, everything),)))
    return programs
