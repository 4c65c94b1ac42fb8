"""Follow an operation of the local ECR, through all that it calls in api/, to the errors that it can raise.

It starts at the function that runs, so wrappers are followed into what they wrap. Classes are followed into every
method, but Call only into the members that are asked for: it has some for every kind of operation.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

from ecrdrag.localecr import api
from ecrdrag.localecr.api.call import Call

HERE = Path(api.__path__[0])


def errors_within_reach(operation: Callable[..., object]) -> set[str]:
    """Return the names of the errors that an operation can raise."""
    seen: set[FunctionType] = set()
    waiting = list(functions_of(operation))
    errors: set[str] = set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        for tree in code_of(function):
            errors |= spelled_out(tree)
            waiting += [found for thing in named(function, tree) for found in functions_of(thing)]
    return errors


def code_of(function: FunctionType) -> Iterator[ast.AST]:
    """Give the function's code: what begins where it does, which for lambdas may be several."""
    for node in ast.walk(parsed(function.__code__.co_filename)):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
            if min(one.lineno for one in (node, *decorators)) == function.__code__.co_firstlineno:
                yield node


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text("utf-8"))


def spelled_out(tree: ast.AST) -> set[str]:
    """List the errors that a piece of code makes itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
            assert isinstance(node.args[0], ast.Constant), "the walk reads names of errors, not expressions"
            found.add(str(node.args[0].value))
    return found


def functions_of(thing: object) -> Iterator[FunctionType]:
    """List the functions of api/ that a name can lead to: itself, the methods of a class, the entries of a table."""
    if isinstance(thing, property | staticmethod | classmethod):
        yield from functions_of(thing.fget if isinstance(thing, property) else thing.__func__)
    elif inspect.isclass(thing):
        if thing.__module__.startswith(f"{api.__name__}.") and thing is not Call:
            yield from (one for member in vars(thing).values() for one in functions_of(member))
    elif callable(thing):
        if isinstance(thing, FunctionType) and Path(thing.__code__.co_filename).parent == HERE:
            yield thing
        yield from functions_of(getattr(thing, "__wrapped__", None))
    elif isinstance(thing, Mapping):
        yield from (one for entry in thing.values() for one in functions_of(entry))
    elif isinstance(thing, list | tuple):
        yield from (one for entry in thing for one in functions_of(entry))


def named(function: FunctionType, tree: ast.AST) -> Iterator[object]:
    """List what a function refers to: names of its module and of what encloses it, and members of modules and Calls."""
    known = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    calls = set(names_of_calls(function, tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield known.get(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in calls:
                yield inspect.getattr_static(Call, node.attr, None)
            elif isinstance(module := known.get(node.value.id), ModuleType):
                yield getattr(module, node.attr, None)


def names_of_calls(function: FunctionType, tree: ast.AST) -> Iterable[str]:
    """List the variables that hold a Call: parameters said to be one, self in its methods, and changed copies."""
    if function.__qualname__.startswith("Call."):
        yield "self"
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name) and node.annotation.id == "Call":
            yield node.arg
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made_by = node.value.func.id if isinstance(node.value.func, ast.Name) else ""
            if made_by in ("Call", "replace"):
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))
