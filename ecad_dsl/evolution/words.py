"""What was done to a program, in the words of somebody who did it: "period 3 to 4 on cross"."""

from __future__ import annotations

from collections.abc import Iterator

from ecad_dsl.language import tree
from ecad_dsl.language.formatter import format_part
from ecad_dsl.schedule import parse
from ecad_dsl.schedule.diff import RuleChange, diff_rules

MOST = 3
"""So many changes are told one by one."""


def in_words(before: str, after: str) -> str:
    """What makes one program's text of another's."""
    told = [words for change in diff_rules(parse(before), parse(after)) for words in _told(change)]
    if len(told) > MOST:
        told = [*told[:MOST], f"and {len(told) - MOST} more"]
    return ", ".join(told) or "the same rules"


def _told(change: RuleChange) -> Iterator[str]:
    match change.kind:
        case "added":
            yield f"plus `{change.after}`"
        case "removed":
            yield f"less `{change.before}`"
        case "moved" if change.after is not None:  # told once, though it comes twice
            yield f"`{change.after}` moved"
        case "changed":
            assert change.before is not None
            assert change.after is not None
            old, new = parse(change.before).rules, parse(change.after).rules
            yield from _edits(old[0], new[0]) if old and new else [f"`{change.before}` to `{change.after}`"]


def _edits(old: tree.Rule, new: tree.Rule) -> Iterator[str]:
    """Of two rules that differ in a clause."""
    on = f" on {_components(new)}"
    if old.components != new.components:
        yield f"{_components(old)} to {_components(new)}"
    if old.action != new.action:
        yield f"{old.action.value} to {new.action.value}{on}"
    if old.every != new.every:
        yield _pace(old.every, new.every) + on
    if old.blocks != new.blocks:
        yield f"{_blocks(old)} to {_blocks(new)}{on}"
    if old.steps != new.steps:
        yield f"{_steps(old)} to {_steps(new)}{on}"


def _pace(old: tree.Every | None, new: tree.Every | None) -> str:
    if old is not None and new is not None and old.offset == new.offset:
        return f"period {old.period} to {new.period}"
    if old is not None and new is not None and old.period == new.period:
        return f"offset {old.offset} to {new.offset}"
    return " to ".join(format_part(pace) if pace else "no period" for pace in (old, new))


def _components(rule: tree.Rule) -> str:
    excluded = rule.components.excluded
    return ", ".join(rule.components.names) + (f" except {', '.join(excluded)}" if excluded else "")


def _blocks(rule: tree.Rule) -> str:
    return "all blocks" if rule.blocks is None else ", ".join(map(format_part, rule.blocks))


def _steps(rule: tree.Rule) -> str:
    return "all steps" if rule.steps is None else format_part(rule.steps)
