"""Reading the structure of a transformer off its modules: the stacks of blocks, what in them can be cached, and names.

What a module is follows from how diffusers calls modules: the attribute's name, and the name of its class. Where a
block spells out its feed-forward as bare linear layers, those are looked up by name.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ecad_dsl.language.tree import KEYWORDS, NAME
from ecad_dsl.models import ROLES, Component, ModelSpec, Stack
from ecad_dsl.models.meta import submodule
from ecad_dsl.runtime.dataflow import holds, norms_of_components, source

_LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
"""Containers whose items are called by their position, so that none of them can be routed."""

_NO_COMPONENT = re.compile("norm|modul|embed|rope|rotary|dropout|scheduler", re.IGNORECASE)
"""Classes that neither are a component nor hold one."""
_ATTENTION = re.compile("attn|attention", re.IGNORECASE)
_FEED_FORWARD = re.compile("feed_?forward|mlp|moe|glu", re.IGNORECASE)
_KIND_WORDS = {"attn", "attention", "ff", "ffn", "mlp", "feed", "forward", "moe"}
"""Words of an attribute's name that tell the kind of a component and not which one it is."""
_FRAME_WORDS = {"block", "dec", "transformer"}
"""Words of the name of a block within a block."""

_LINEAR_FEED_FORWARDS = (
    {"proj_mlp": "mlp", "proj_out": "out"},
    {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"},
    {"ff_in": "ffn_in", "ff_out": "ffn_out"},
)
"""Feed-forwards as linear layers of the block itself: attribute and name. All but the last feed the last."""

_STREAMS = {"context": "text", "txt": "text", "t": "text", "img": "image", "i": "image", "gen": "image"}
"""The tokens that a component works on, by the word that diffusers has for them."""


@dataclass
class _Found:
    """A component of the blocks of a stack, on its way to a name."""

    module: str
    kind: Literal["attn", "self", "cross", "ffn"]
    """Of an attention, ``attn`` where nothing says what it attends to."""
    streams: list[str]
    feeds: str | None = None
    name: str = ""
    repeated: bool = False
    """Whether a block calls it more than once in a forward pass, so that it has no one output to keep."""

    @property
    def plain(self) -> bool:
        return not self.name and not self.streams


def read_structure(transformer: nn.Module, config: dict[str, Any]) -> ModelSpec | None:
    """The spec of any transformer that keeps its blocks in lists; None if no list has blocks with components."""
    found = {
        path: components
        for path, blocks in transformer.named_children()
        if isinstance(blocks, nn.ModuleList) and (components := _components(blocks))
    }
    if not found:
        return None
    found = {path: found[path] for path in _in_order_of_execution(type(transformer), list(found))}
    _name_components(list(found.values()), _picture(type(transformer)))
    names = _stack_names(found)
    taken = {component.name for components in found.values() for component in components}
    stacks = []
    for path, components in found.items():
        blocks = getattr(transformer, path)
        norms = _norms(blocks, components)
        stacks.append(Stack(names[path], path, len(blocks), tuple(_with_aliases(components, norms, taken))))
    title = type(transformer).__name__
    groups = _groups([component for components in found.values() for component in components])
    return ModelSpec(_name(type(transformer)), title, title, tuple(stacks), groups, config)


# Finding components.


def _components(blocks: Iterable[nn.Module]) -> list[_Found]:
    """The components of the blocks, attention first; some blocks may lack some of them."""
    found: dict[str, _Found] = {}
    for block in blocks:
        for component in _of_block(block):
            found.setdefault(component.module, component).repeated |= component.repeated
    cacheable = [component for component in found.values() if not component.repeated]
    return sorted(cacheable, key=lambda component: component.kind == "ffn")


def _of_block(block: nn.Module, prefix: str = "") -> Iterator[_Found]:
    names = [name for name, _ in block.named_children()]
    layers = _linear_feed_forward(names)
    for name, child in block.named_children():
        if name in layers:
            continue
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or _NO_COMPONENT.search(type(child).__name__):
            continue
        path, kind = f"{prefix}{name}", _kind(name, child)
        if kind is not None:
            component = _attention(path, name, child, names) if kind == "attn" else _Found(path, "ffn", _streams(path))
            component.repeated = _calls(block, name) > 1  # CogView4 feeds first the picture forward, then the text
            yield component
        elif not isinstance(child, nn.Sequential):
            yield from _of_block(child, f"{path}.")
    *_, last = layers.values() or [""]
    for attribute, name in layers.items():
        yield _Found(f"{prefix}{attribute}", "ffn", [], None if name == last else last, name)


def _kind(name: str, module: nn.Module) -> Literal["attn", "ffn"] | None:
    """What a module is. One that has no modules inside is a mere layer of the block."""
    if next(module.children(), None) is None:
        return None
    words = set(re.sub(r"\d", "", name).split("_"))
    if words & {"attn", "attention"}:
        return "attn"
    if words & {"ff", "ffn", "mlp"} or _FEED_FORWARD.search(name):
        return "ffn"
    if _ATTENTION.search(type(module).__name__):
        return "attn"
    return "ffn" if _FEED_FORWARD.search(type(module).__name__) else None


def _attention(path: str, name: str, module: nn.Module, siblings: Sequence[str]) -> _Found:
    words = name.split("_")
    streams = _streams(path)
    if "self" in words:
        return _Found(path, "self", streams)
    if "cross" in words or "to" in words:
        return _Found(path, "cross", streams)
    if "attn2" in words and "attn" in siblings:  # SD3.5: a second one, over the tokens of the picture alone
        return _Found(path, "attn", ["image"])
    if "attn2" in words and getattr(module, "is_cross_attention", True) is not False:
        return _Found(path, "cross", streams)
    return _Found(path, "attn", streams)


def _linear_feed_forward(names: Sequence[str]) -> Mapping[str, str]:
    """The layers of a feed-forward that the block spells out. By name alone: LoRA puts other classes around them."""
    return next((layers for layers in _LINEAR_FEED_FORWARDS if layers.keys() <= set(names)), {})


def _streams(path: str) -> list[str]:
    """The words of a path that tell a component from others of its kind."""
    words = [re.sub(r"\d", "", word) for word in re.split(r"[._]", path.lower())]
    told = [
        _STREAMS.get(word, word) for word in words if word not in _KIND_WORDS | _FRAME_WORDS | {"self", "cross", ""}
    ]
    return list(dict.fromkeys(told))


# What the source says.


def _calls(block: nn.Module, name: str) -> int:
    """How often one forward pass of the block calls a module of it, or hands it to what calls it."""
    forward = source(type(block), "forward")  # type: ignore[arg-type]
    return 1 if forward is None else _calls_in(forward.body, block, name)


def _calls_in(nodes: Iterable[ast.AST], block: nn.Module, name: str) -> int:
    calls = 0
    for node in nodes:
        match node:
            case ast.If(test=test, body=body, orelse=orelse) | ast.IfExp(test=test, body=body, orelse=orelse):
                taken = holds(test, block)
                branches = (branch if isinstance(branch, list) else [branch] for branch in (body, orelse))
                both = [_calls_in(branch, block, name) for branch in branches]
                calls += max(both) if taken is None else both[not taken]
                continue
            case ast.Call(func=func, args=arguments):
                calls += sum(_is_own(part, name) for part in (func, *arguments))
        calls += _calls_in(ast.iter_child_nodes(node), block, name)
    return calls


def _is_own(node: ast.AST, name: str | None = None) -> bool:
    """Whether it is ``self.name``, or any attribute of self."""
    own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return own and name in (None, node.attr)  # type: ignore[attr-defined]


def _in_order_of_execution(transformer: type, paths: list[str]) -> list[str]:
    """The paths as the forward pass comes to them: where it loops over a list, or else where it first speaks of it."""
    spoken = list(_spoken_of(transformer, "forward", set()))
    place = {}
    for path in paths:
        loops = [index for index, (name, looped) in enumerate(spoken) if name == path and looped]
        mentions = [index for index, (name, _) in enumerate(spoken) if name == path]
        place[path] = next(iter(loops or mentions), len(spoken))
    return sorted(paths, key=place.__getitem__)


def _spoken_of(transformer: type, method: str, seen: set[str]) -> Iterator[tuple[str, bool]]:
    """Attributes of ``self`` in the order of the source, and whether a loop runs over them; methods are gone into."""
    seen.add(method)
    tree = source(transformer, method)
    if tree is None:
        return
    loops = [node.iter for node in ast.walk(tree) if isinstance(node, ast.For | ast.comprehension)]
    looped = {id(node) for loop in loops for node in ast.walk(loop)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_own(node)]
    for node in sorted(attributes, key=lambda node: (node.lineno, node.col_offset)):
        if inspect.isfunction(getattr(transformer, node.attr, None)):
            if node.attr not in seen:
                yield from _spoken_of(transformer, node.attr, seen)
        else:
            yield node.attr, id(node) in looped


def _norms(blocks: Iterable[nn.Module], components: list[_Found]) -> dict[str, tuple[str, ...]]:
    """The norms of each component, by its path: those that prepare the same components in every block that has them."""
    modules = [component.module for component in components]
    found = [(block, norms_of_components(block, modules)) for block in blocks]
    readers: dict[str, frozenset[str]] = {}
    for _, norms in found:
        readers |= {norm: by | readers.get(norm, frozenset()) for norm, by in norms.items()}
    agreed = [norm for norm in readers if all(_agrees(block, norm, readers[norm], norms) for block, norms in found)]
    return {module: tuple(norm for norm in agreed if module in readers[norm]) for module in modules}


def _agrees(block: nn.Module, norm: str, readers: frozenset[str], found: Mapping[str, frozenset[str]]) -> bool:
    """Whether the norm prepares all of the components that the block has, and nothing else."""
    own = frozenset(module for module in readers if submodule(block, module) is not None)
    return submodule(block, norm) is None or found.get(norm) == own


# Names.


def _name(transformer: type) -> str:
    """WanTransformer3DModel: wan."""
    name = re.sub(r"Transformer|[123]D(?!i)|Model|\W", "", transformer.__name__).strip("_").lower()
    return name if NAME.fullmatch(name) else "model"


def _picture(transformer: type) -> str:
    """What the transformer draws: pictures or videos."""
    name = transformer.__name__
    return "video" if ("Video" in name or "3D" in name) and "Image" not in name else "image"


def _name_components(stacks: list[list[_Found]], picture: str) -> None:
    """Name by role, then by the tokens worked on. A name that is also a role must select all that the role does."""
    everything = [component for components in stacks for component in components]
    if any(component.kind in {"self", "cross"} for component in everything):
        for component in everything:
            component.kind = "self" if component.kind == "attn" else component.kind
    several = {kind for kind in ROLES if len({(c.name, *c.streams) for c in everything if c.kind == kind}) > 1}
    for component in everything:
        if component.kind not in several:
            component.streams = []
    for components in stacks:
        for component in components:
            if component.plain and component.kind in several:
                component.streams = [_plain_stream(component, components, picture)]
        for component in components:
            component.name = component.name or "_".join([component.kind, *component.streams])
        names = [component.name for component in components]
        for component in components:
            if names.count(component.name) > 1:
                component.name = f"{component.kind}_{re.sub(r'[^a-z0-9]+', '_', component.module.lower())}"
        _feed_attention(components)


def _plain_stream(component: _Found, components: list[_Found], picture: str) -> str:
    """What a component without a word for it works on: the picture where others of its kind work on something else."""
    others = [other.streams for other in components if other.kind == component.kind and other is not component]
    return picture if others and [picture] not in others else "joint"


def _feed_attention(components: list[_Found]) -> None:
    """In FLUX's single block, copied by many, the last layer reads attention and feed-forward side by side."""
    if {"mlp", "out"} <= {component.name for component in components}:
        for component in components:
            if component.kind != "ffn":
                component.feeds = "out"


def _with_aliases(
    components: list[_Found], norms: Mapping[str, tuple[str, ...]], taken: set[str]
) -> Iterator[Component]:
    """The attribute's name is an alias, where it means nothing else."""
    attributes = [component.module.rpartition(".")[2] for component in components]
    refused = taken | KEYWORDS | {*ROLES, "all"}
    for component, attribute in zip(components, attributes, strict=True):
        good = attribute not in refused and attributes.count(attribute) == 1 and NAME.fullmatch(attribute)
        aliases = (attribute,) if good else ()
        yield Component(component.name, component.module, aliases, component.feeds, norms.get(component.module, ()))


def _groups(components: list[_Found]) -> dict[str, tuple[str, ...]]:
    """The portable roles, but for those that are a component."""
    members = {
        "attn": [c.name for c in components if c.kind != "ffn"],
        "self": [c.name for c in components if c.kind in {"self", "attn"}],
        "cross": [c.name for c in components if c.kind == "cross"],
        "ffn": [c.name for c in components if c.kind == "ffn"],
    }
    groups = {role: tuple(dict.fromkeys(names)) for role, names in members.items()}
    return {role: names for role, names in groups.items() if names != (role,)}


def _stack_names(found: dict[str, list[_Found]]) -> dict[str, str]:
    """transformer_blocks and single_transformer_blocks: double and single; a list of its own kind: blocks, or joint."""
    names = {path: re.sub(r"(^|_)(stream|transformer|blocks?|layers)(?=_|$)", "", path).strip("_") for path in found}
    for path, name in names.items():
        if not name:
            names[path] = (
                _nameless(found[path]) if len(found) == 1 else "double" if "single" in names.values() else "main"
            )
    if any(name in KEYWORDS - {"blocks"} or not NAME.fullmatch(name) for name in names.values()):
        return {path: f"stack_{index}" for index, path in enumerate(found)}
    return names


def _nameless(components: list[_Found]) -> str:
    return "joint" if any("text" in component.streams for component in components) else "blocks"
