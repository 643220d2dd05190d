"""Specs as TOML: one file a shipped model in this folder, and files of the user's own.

A file that says ``base = "pixart-alpha"`` has all that the shipped spec of that name has, but for what it says itself:
keys of ``[config]``, ``[inputs]``, ``[groups]``, ``[checkpoint]`` and ``[defaults]`` take the place of single ones,
everything else as a whole.
``[blocks]`` gives stacks other numbers of blocks. ``unset`` lists the arguments of the class that are None, for which
TOML has no word.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_origin

from ecad_dsl.errors import EcadError
from ecad_dsl.files import read_start
from ecad_dsl.language.tree import KEYWORDS, NAME, check_name
from ecad_dsl.models.spec import ROLES, Component, ModelSpec, Stack

MAX_BYTES = 1 << 20
MAX_BLOCKS = 10_000
"""Of one stack."""

_TABLES = ("groups", "config", "inputs", "checkpoint", "defaults")
_KEYS = {"base", "title", "transformer", "stacks", "blocks", "unset", *_TABLES}
_TITLES: dict[type, str] = {str: "a text", int: "a whole number", list: "a list", dict: "a table"}
_T = TypeVar("_T")


@cache
def spec_names() -> tuple[str, ...]:
    """Names of the shipped specs, sorted."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def is_spec_file(name: str | PathLike[str]) -> bool:
    """Whether a model is named by the file of its spec."""
    return Path(name).suffix == ".toml"


def load_spec(name: str | PathLike[str]) -> ModelSpec:
    """The shipped spec of this name, or the spec in a file (``mine.toml``), which is called by the file's stem.

    Raises:
        EcadError: no such spec, and the message names the ones there are; or the file is missing or wrong.
    """
    if is_spec_file(name):
        return read_spec(read_start(name, MAX_BYTES + 1), _name(Path(name).stem), str(name))
    return _shipped(str(name))


@cache
def _shipped(name: str) -> ModelSpec:
    if name not in spec_names():
        raise EcadError(
            f"unknown model {name!r}; known models: {', '.join(spec_names())}."
            " The spec of any other is a file: `ecad models inspect CLASS -o mine.toml`"
        )
    return read_spec(_text(name), name, f"{name}.toml")


def _name(stem: str) -> str:
    """What a program calls the model of a file: its stem, with what no name has replaced."""
    name = re.sub(r"[^a-z0-9_.]+", "-", stem.lower()).strip("-.")
    return name if NAME.fullmatch(name) and name not in KEYWORDS else f"model-{name}".strip("-")


def _text(name: str) -> bytes:
    return resources.files(__package__).joinpath(f"{name}.toml").read_bytes()


def read_spec(text: bytes, name: str, place: str) -> ModelSpec:
    """The spec in the text of a file. ``place`` is what messages call the file.

    Raises:
        EcadError: it is no spec; the message says what is wrong where.
    """
    try:
        spec = _spec(_data(text), name)
        _check_names(spec)
    except EcadError as error:
        raise EcadError(f"{place}: {error}") from None
    return spec


def _data(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise EcadError(f"larger than {MAX_BYTES >> 20} MiB, so no model spec")
    try:
        data = tomllib.loads(text.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise EcadError(f"no TOML: {error}") from None
    unknown = data.keys() - _KEYS
    if unknown:
        raise EcadError(f"a spec has no key {min(unknown)!r}; its keys are {', '.join(sorted(_KEYS))}")
    if "base" not in data:
        return data
    base = _get(data, "base", str)
    if base not in spec_names():
        raise EcadError(f"base {base!r} is no shipped model; those are {', '.join(spec_names())}")
    return _merged(_data(_text(base)), data)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **own}
    for key in _TABLES:
        merged[key] = {**base.get(key, {}), **_get(own, key, dict, {})}
    return merged


def _spec(data: Mapping[str, Any], name: str) -> ModelSpec:
    groups = {
        group: tuple(_get({group: members}, group, list[str]))
        for group, members in _get(data, "groups", dict, {}).items()
    }
    unset = dict.fromkeys(_get(data, "unset", list[str], []))
    spec = ModelSpec(
        name=name,
        title=_get(data, "title", str, name),
        transformer=_get(data, "transformer", str),
        stacks=tuple(map(_stack, _get(data, "stacks", list[dict[str, Any]]))),
        groups=groups,
        config={**_get(data, "config", dict, {}), **unset},
        inputs=_get(data, "inputs", dict, {}),
        checkpoint=_get(data, "checkpoint", dict, {}),
        defaults=_get(data, "defaults", dict, {}),
    )
    counts: Mapping[str, Any] = _get(data, "blocks", dict, {})
    unknown = counts.keys() - {stack.name for stack in spec.stacks}
    if unknown:
        raise EcadError(f"[blocks] has {min(unknown)!r}, which is no stack")
    spec = spec.resized({stack: _get(counts, stack, int) for stack in counts})
    for stack in spec.stacks:
        if not 1 <= stack.blocks <= MAX_BLOCKS:
            raise EcadError(f"the stack {stack.name} must have 1 to {MAX_BLOCKS:,} blocks, not {stack.blocks}")
    return spec


def _stack(data: dict[str, Any]) -> Stack:
    stack = Stack(
        name=_get(data, "name", str),
        path=_get(data, "path", str),
        blocks=_get(data, "blocks", int),
        components=tuple(map(_component, _get(data, "components", list[dict[str, Any]]))),
    )
    if not stack.path.isidentifier():
        raise EcadError(f"the path of the stack {stack.name} must be an attribute of the transformer")
    return stack


def _component(data: dict[str, Any]) -> Component:
    component = Component(
        name=_get(data, "name", str),
        module=_get(data, "module", str),
        aliases=tuple(_get(data, "aliases", list[str], [])),
        feeds=_get(data, "feeds", str, None),
        norms=tuple(_get(data, "norms", list[str], [])),
    )
    for module in (component.module, *component.norms):
        if not all(part.isidentifier() for part in module.split(".")):
            raise EcadError(f"{module!r} of the component {component.name} must be an attribute of the block, as attn1")
    return component


def _get(table: Mapping[str, Any], key: str, kind: Any, *default: _T) -> Any | _T:
    """The value of a key, of this kind: str, int, dict, list[str] or list[dict]."""
    if key not in table:
        if default:
            return default[0]
        raise EcadError(f"the key {key!r} is missing")
    value = table[key]
    outer = get_origin(kind) or kind
    if not isinstance(value, outer) or isinstance(value, bool):
        raise EcadError(f"{key!r} must be {_TITLES[outer]}")
    if outer is list:
        inner = get_origin(kind.__args__[0]) or kind.__args__[0]
        if not all(isinstance(item, inner) for item in value):
            raise EcadError(f"{key!r} must be a list, and each of its items {_TITLES[inner]}")
    return value


def _check_names(spec: ModelSpec) -> None:
    """Refuse what the language could not name, or what would have two meanings."""
    _check_distinct("stack", [stack.name for stack in spec.stacks])
    components = set(spec.component_names)
    for stack in spec.stacks:
        if stack.name != "blocks":
            check_name(stack.name)
        own = [component.name for component in stack.components]
        _check_distinct("component", [*own, *(alias for c in stack.components for alias in c.aliases)])
        for name in (*own, *(alias for component in stack.components for alias in component.aliases)):
            check_name(name)
        for component in stack.components:
            _check_aliases(component, components | spec.groups.keys() | {*ROLES, "all"})
            if component.feeds is not None and component.feeds not in own:
                raise EcadError(f"{component.name} feeds {component.feeds!r}, which is no component of {stack.name}")
    if not components or "all" in components | spec.groups.keys():
        raise EcadError("a spec has at least one component, and none of its names is `all`")
    for group, members in spec.groups.items():
        check_name(group)
        _check_group(spec, group, members)


def _check_distinct(noun: str, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EcadError(f"the name {twice!r} stands twice for a {noun}")


def _check_aliases(component: Component, taken: set[str]) -> None:
    for alias in component.aliases:
        if alias in taken:
            raise EcadError(f"the alias {alias!r} of {component.name} is the name of a component, a group or a role")


def _check_group(spec: ModelSpec, group: str, members: tuple[str, ...]) -> None:
    known = {name for stack in spec.stacks for c in stack.components for name in (c.name, *c.aliases)}
    wrong = next((member for member in members if member not in known), None)
    if wrong is not None:
        raise EcadError(f"the group {group} has {wrong!r}, which is no component")
    if group in spec.component_names and set(members) != {group}:
        raise EcadError(f"{group!r} is a component, so no group of others may have its name; rename the component")


# Writing.


def to_toml(spec: ModelSpec) -> str:
    """The text of a spec's file. What :func:`load_spec` reads from it is equal, but for the name and for tuples.

    Raises:
        EcadError: the configuration holds what TOML has no word for.
    """
    lines = [f"title = {_value(spec.title)}", f"transformer = {_value(spec.transformer)}"]
    unset = [key for key, value in spec.config.items() if value is None]
    if unset:
        lines.append(f"unset = {_value(unset)} # arguments that are None")
    if spec.groups:
        lines += ["", "[groups]", *(f"{_key(name)} = {_value(list(members))}" for name, members in spec.groups.items())]
    for stack in spec.stacks:
        lines += ["", "[[stacks]]", f"name = {_value(stack.name)}", f"path = {_value(stack.path)}"]
        lines += [f"blocks = {stack.blocks}", "components = [", *map(_component_line, stack.components), "]"]
    for title in ("config", "inputs", "checkpoint", "defaults"):
        table: Mapping[str, Any] = getattr(spec, title)
        if table:
            lines += ["", f"[{title}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


def _component_line(component: Component) -> str:
    said: dict[str, Any] = {"name": component.name, "module": component.module}
    if component.aliases:
        said["aliases"] = component.aliases
    if component.feeds is not None:
        said["feeds"] = component.feeds
    if component.norms:
        said["norms"] = component.norms
    return f"    {_value(said)},"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            # JSON's escapes are TOML's, but for the delete character, which TOML wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            return f"{{ {', '.join(f'{_key(str(key))} = {_value(inner)}' for key, inner in value.items())} }}"
    raise EcadError(f"a spec cannot hold {value!r} of the configuration; TOML has no word for it")
