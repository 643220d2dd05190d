"""Which norms of a block prepare the input of components and of nothing else, read off the source of its forward pass.

A value is followed from the norm that makes it, through names, branches and arithmetic, to whoever is called with it.
What the source does in any way not understood here counts as another reader: a norm that is found may be left out where
the components that it prepares are reused, and one that is missed only takes its time.
"""

from __future__ import annotations

import ast
import inspect
import operator
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from torch import nn

_NORM = re.compile("norm", re.IGNORECASE)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_CONVERSIONS = {"to", "type_as", "float", "contiguous"}
"""Methods that change neither values nor shape. Their own arguments say only which type."""
_DEEP = 4
"""Methods called within methods: a norm with modulation calls the norm itself."""

Value = frozenset[str] | tuple[Any, ...]
"""The norms that a value is made of, by path in the block; of a tuple, those of each part."""
NOTHING: frozenset[str] = frozenset()


def norms_of_components(block: nn.Module, components: Iterable[str]) -> dict[str, frozenset[str]]:
    """The components by path that each norm prepares, by path, where it prepares nothing else."""
    reading = _Reading(block, frozenset(components))
    reading.spoil(reading.call(block, "forward", "", {}))
    return {
        norm: frozenset(readers)
        for norm, readers in reading.readers.items()
        if readers and norm not in reading.spoiled and not norm.startswith(tuple(f"{c}." for c in reading.components))
    }


class _Reading:
    """What has been seen of one block."""

    def __init__(self, block: nn.Module, components: frozenset[str]) -> None:
        self.modules = dict(block.named_modules())
        self.components = components
        self.readers: dict[str, set[str]] = {}
        self.spoiled: set[str] = set()
        """Norms that something other than a component reads."""

    def spoil(self, value: Value) -> frozenset[str]:
        """Somebody reads the value."""
        self.spoiled |= _flat(value)
        return NOTHING

    def call(self, module: nn.Module, method: str, path: str, arguments: Mapping[str, Value], depth: int = 0) -> Value:
        """What a method of the module gives for these arguments."""
        tree = source(type(module), method)  # type: ignore[arg-type]
        if tree is None or method in vars(module) or depth > _DEEP:  # somebody put another method in its place
            return self.spoil(tuple(arguments.values()))
        scope = _Scope(self, path, dict(arguments), depth)
        scope.run(tree.body)
        return scope.returned if scope.returned is not None else NOTHING


class _Scope:
    """One method: what its names mean at the line that is read."""

    def __init__(self, reading: _Reading, path: str, names: dict[str, Value], depth: int) -> None:
        self.reading = reading
        self.path = path
        self.names = names
        self.depth = depth
        self.returned: Value | None = None

    def run(self, lines: Iterable[ast.stmt]) -> None:
        for line in lines:
            self.statement(line)

    def statement(self, line: ast.stmt) -> None:
        match line:
            case ast.Assign(targets=[target], value=value):
                self.bind(target, self.value(value))
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.bind(target, self.value(value))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value) if isinstance(op, _ARITHMETIC):
                # In place: who knows the same tensor by another name reads what is added to it.
                self.names[name] = self.sum(self.names.get(name, NOTHING), self.reading.spoil(self.value(value)))
            case ast.Return(value=value):
                returned = NOTHING if value is None else self.value(value)
                self.returned = returned if self.returned is None else self.either(self.returned, returned)
            case ast.If(test=test, body=body, orelse=orelse):
                self.branch(test, body, orelse)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                self.unknown(line)

    def branch(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        taken = holds(test, self.reading.modules[self.path.rstrip(".")])
        if taken is not None:
            self.run(body if taken else orelse)
            return
        self.reading.spoil(self.value(test))
        before = dict(self.names)
        self.run(body)
        after, self.names = self.names, before
        self.run(orelse)
        for name in after.keys() | self.names.keys():
            self.names[name] = self.either(after.get(name, NOTHING), self.names.get(name, NOTHING))

    def bind(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Tuple(elts=parts) if isinstance(value, tuple) and len(parts) == len(value):
                for part, one in zip(parts, value, strict=True):
                    self.bind(part, one)
            case ast.Tuple(elts=parts) if not any(isinstance(part, ast.Starred) for part in parts):
                self.reading.spoil(value)
                for part in parts:
                    self.bind(part, NOTHING)
            case _:
                self.reading.spoil(value)
                self.unknown(target)

    def value(self, node: ast.expr) -> Value:  # noqa: PLR0911 (one for each kind of expression)
        match node:
            case ast.Constant():
                return NOTHING
            case ast.Name(id=name):
                return self.names.get(name, NOTHING)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if not any(isinstance(p, ast.Starred) for p in parts):
                return tuple(self.value(part) for part in parts)
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _ARITHMETIC):
                return self.sum(self.value(left), self.value(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.reading.spoil(self.value(test))
                return self.either(self.value(body), self.value(orelse))
            case ast.Call():
                return self.call(node)
            case _:
                return self.unknown(node)

    def call(self, node: ast.Call) -> Value:
        path = self.own(node.func)
        if path is None:
            return self.method(node)
        reading, module = self.reading, self.reading.modules[path]
        arguments = self.arguments(node, type(module).forward)
        if path in reading.components:
            for norm in _flat(tuple(arguments.values())):
                reading.readers.setdefault(norm, set()).add(path)
            return NOTHING
        if isinstance(module, nn.Dropout | nn.Identity):
            return next(iter(arguments.values()), NOTHING)
        is_norm = _NORM.search(type(module).__name__)
        if is_norm and next(module.children(), None) is None:
            reading.spoil(tuple(arguments.values()))
            reading.readers.setdefault(path, set())
            return frozenset((path,))
        if is_norm or any(component.startswith(f"{path}.") for component in reading.components):
            return reading.call(module, "forward", f"{path}.", arguments, self.depth + 1)
        return reading.spoil(tuple(arguments.values()))

    def method(self, node: ast.Call) -> Value:
        """A method of the module that is read, or what is no module's at all."""
        module = self.reading.modules[self.path.rstrip(".")]
        match node.func:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                function = getattr(type(module), name, None)
                if inspect.isfunction(function) and list(inspect.signature(function).parameters)[:1] == ["self"]:
                    return self.reading.call(module, name, self.path, self.arguments(node, function), self.depth + 1)
            case ast.Attribute(value=ast.Name(id="torch"), attr="cat"):
                return self.joined(node)
        return self.foreign(node)

    def joined(self, node: ast.Call) -> Value:
        """Parts side by side. All of them must be of norms: a part that is one token must meet no whole one."""
        parts, *others = map(self.value, (*node.args, *(keyword.value for keyword in node.keywords)))
        self.reading.spoil(tuple(others))
        all_of_norms = isinstance(parts, tuple) and all(parts)
        return _flat(parts) if all_of_norms else self.reading.spoil(parts)

    def arguments(self, node: ast.Call, function: Any) -> dict[str, Value]:
        """By the parameter of the function, whose first is ``self``."""
        named = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.reading.spoil(self.value(keyword.value))
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            for argument in node.args:
                self.unknown(argument)
            return named
        parameters = list(inspect.signature(function).parameters)[1:]
        parameters += [f"argument {index}" for index in range(len(node.args))]  # of *args
        return dict(zip(parameters, map(self.value, node.args), strict=False)) | named

    def foreign(self, node: ast.Call) -> Value:
        """A function, or a method of a value."""
        arguments = tuple(map(self.value, (*node.args, *(keyword.value for keyword in node.keywords))))
        self.reading.spoil(arguments)
        match node.func:
            case ast.Attribute(value=of, attr=method):
                value = self.value(of)
                return value if method in _CONVERSIONS else self.reading.spoil(value)
            case ast.Name():
                return NOTHING
        return self.unknown(node.func)

    def own(self, node: ast.AST) -> str | None:
        """The path in the block of a module that is spoken of as ``self.norm1``."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        path = self.path + ".".join(names)
        spoken = isinstance(node, ast.Name) and node.id == "self" and bool(names)
        return path if spoken and path in self.reading.modules else None

    def unknown(self, node: ast.AST) -> frozenset[str]:
        """All that is spoken of here may be read; what is bound here may be anything, but no norm alone."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                self.reading.spoil(self.names.get(part.id, NOTHING))
            elif (path := self.own(part)) is not None:
                self.reading.spoiled |= {path, *(m for m in self.reading.modules if m.startswith(f"{path}."))}
        return NOTHING

    def sum(self, left: Value, right: Value) -> frozenset[str]:
        if isinstance(left, tuple) or isinstance(right, tuple):
            return self.reading.spoil((left, right))
        return left | right

    def either(self, one: Value, other: Value) -> Value:
        if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
            return tuple(map(self.either, one, other))
        return _flat((one, other))


def _flat(value: Value) -> frozenset[str]:
    return frozenset().union(*map(_flat, value)) if isinstance(value, tuple) else value


def holds(test: ast.expr, module: nn.Module) -> bool | None:
    """Whether a condition on plain attributes of the module (``self.norm_type == "layer"``) holds; None for others."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            held = holds(operand, module)
            return None if held is None else not held
        case ast.BoolOp(op=op, values=values):
            decisive = isinstance(op, ast.Or)
            parts = [holds(value, module) for value in values]
            return decisive if decisive in parts else None if None in parts else not decisive
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            try:
                return _COMPARISONS[type(op)](_plain(left, module), _plain(right, module))
            except (KeyError, _NotPlainError):
                return None
    try:
        return bool(_plain(test, module))
    except _NotPlainError:
        return None


class _NotPlainError(Exception):
    """The value is not known before the forward pass runs."""


def _plain(node: ast.expr, module: nn.Module) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Attribute(value=ast.Name(id="self"), attr=attribute) if attribute not in _SWITCHES:
            value = getattr(module, attribute, ...)
            if value is None or isinstance(value, str | int | float | nn.Module):
                return value
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return [_plain(part, module) for part in parts]
    raise _NotPlainError


_SWITCHES = {"training", "gradient_checkpointing"}
"""Attributes that are set now one way and now another."""
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


@cache
def source(cls: type, method: str) -> ast.FunctionDef | None:
    """The syntax tree of a method, None where there is no source: it was made at run time."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(cls, method))))
    except (OSError, TypeError, SyntaxError):
        return None
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef)), None)
