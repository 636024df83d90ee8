"""Writes ``handler/start.bin`` into a folder: what a first prediction runs, in one file.

    python -S -B -P -X no_debug_ranges containers/first_answer.py FOLDER PLACE

The folder becomes a zip, or an image's; it lies at PLACE when it serves. The Python that it is for runs
this, which needs nothing but the standard library and the folder, where the modules are compiled and the
bundle lies. It predicts a golden row in the three ways in which requests come, and packs the modules that
this imports, as ``containers/start.py`` reads them. So that a start does less:

- Annotations of functions are left out. Those of classes, which named tuples are made of, stay.
- Protocols, which are for type checkers, are None.
- A large function that no prediction called is a stand-in: on its first call it takes its code from the
  module's bytecode, and calls itself again.
- The manifest is parsed, and the bundle's files have a hash that is faster than sha256: see
  ``handler.PACKED``.
"""

from __future__ import annotations

import ast
import json
import marshal
import operator
import os
import sys
from _imp import source_hash
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from importlib.util import MAGIC_NUMBER
from io import StringIO
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any
from urllib.parse import urlencode

NAME = "start.bin"
#: Bytes of marshalled code from which a function that is not called becomes a stand-in, which has some 300.
#: The start takes as long with any number from 300 to 900.
LARGE = 600
#: The environment of the run that is recorded: that of Lambda, and no setting.
ENVIRON = {"AWS_LAMBDA_RUNTIME_API": "localhost", "AWS_LAMBDA_FUNCTION_NAME": "function"}


def main(folder: Path, place: Path) -> None:
    """Write the file."""
    os.chdir(folder)  # as on Lambda; the bundle is the one below it
    os.environ.clear()
    os.environ.update(ENVIRON)
    target = folder / "handler" / NAME
    target.unlink(missing_ok=True)  # import must find the modules that this packs
    sys.path.insert(0, str(folder))
    files = packed()
    called = record(files)
    # Import moves a module to the end when it is loaded: each stands after those that it imports.
    loaded = [(name, module) for name, module in sys.modules.items() if name.startswith("handler.")]
    modules = [
        (name, hasattr(module, "__path__"), compiled(module, called, place)) for name, module in loaded
    ]
    target.write_bytes(MAGIC_NUMBER + marshal.dumps((files, modules)))


def record(files: Mapping[str, tuple[bytes, Any]]) -> set[CodeType]:
    """Start the handler, which knows the files, and have it predict; returns the code that was called."""
    import handler

    handler.PACKED.update(files)  # type: ignore[union-attr]
    for name in [each for each in sys.modules if each.startswith("handler.")]:
        del sys.modules[name]
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, arg: object) -> None:  # noqa: ARG001
        called.add(frame.f_code)

    with redirect_stderr(StringIO()):  # the log
        sys.setprofile(note)
        try:
            from handler.app import application, lambda_handler

            for event in events(application().model):
                lambda_handler(event, None)
        finally:
            sys.setprofile(None)
    return called


def events(model: Any) -> Iterator[Mapping[str, Any]]:
    """A golden row by query, as JSON, and in a direct invoke."""
    from handler.schema import to_text

    row = model.manifest.golden[0]["record"]
    query = urlencode({each.name: to_text(each, row.get(each.name)) for each in model.schema.features})
    request = {"version": "2.0", "rawPath": "/predict", "rawQueryString": "", "headers": {"accept": "*/*"}}
    yield {**request, "rawQueryString": query, "requestContext": {"http": {"method": "GET"}}}
    yield {
        **request,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(row),
        "requestContext": {"http": {"method": "POST"}},
    }
    yield row


def packed() -> dict[str, tuple[bytes, Any]]:
    """``handler.PACKED`` of the bundle: its manifest, and the files that this vouches for."""
    from handler.bundle import Bundle
    from handler.manifest import MANIFEST

    model = Path("handler/model")
    manifest = Bundle.open(model).manifest
    contents = {each.name: each.read_bytes() for each in sorted(model.iterdir()) if each.is_file()}
    known = {**manifest.files, MANIFEST: manifest.packed()}
    return {
        name: (source_hash(0, content), known[name])
        for name, content in contents.items()
        if name == MANIFEST or manifest.vouches(name, content)
    }


def compiled(module: ModuleType, called: set[CodeType], place: Path) -> CodeType:
    """A module's code at ``place``, with stand-ins for large functions that were not called."""
    loader: Any = module.__loader__
    code = loader.get_code(module.__name__)
    tree = ast.parse(loader.get_source(module.__name__))
    idle = {name: each for name, each in functions(code).items() if each not in called}
    Shorter(module, idle).visit(tree)
    path = place / Path(loader.path).relative_to(Path.cwd())
    done: CodeType = compile(tree, str(path), "exec", dont_inherit=True, optimize=2)
    return done


def functions(code: CodeType) -> dict[str, CodeType]:
    """The code of a module's functions and classes by qualified name, as a stand-in finds its own."""
    from handler import codes_of  # type: ignore[attr-defined]  # of containers/start.py

    return dict(codes_of(code))


class Shorter(ast.NodeTransformer):
    """Leaves annotations out, and has a call stand in the place of a function's body.

    ``idle``: code that was not called.
    """

    def __init__(self, module: ModuleType, idle: Mapping[str, CodeType]) -> None:
        self._module = module
        self._idle = idle
        self._classes: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if [each.id for each in node.bases if isinstance(each, ast.Name)] == ["Protocol"]:
            nothing = ast.Assign([ast.Name(node.name, ast.Store())], ast.Constant(None))
            return ast.fix_missing_locations(ast.copy_location(nothing, node))
        self._classes.append(node.name)
        self.generic_visit(node)
        self._classes.pop()
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A module's own annotations are for type checkers, too."""
        if self._classes:
            return node
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        for each in ast.walk(node):
            if isinstance(each, ast.FunctionDef):
                each.returns = None
            elif isinstance(each, ast.arg):
                each.annotation = None
        name = ".".join([*self._classes, node.name])
        if self._can_wait(name, node):
            node.body = [standing_in(name, node)]
        return node

    def _can_wait(self, name: str, node: ast.FunctionDef) -> bool:
        """Whether it is a large plain function that was not called, and its qualified name finds it.

        Then it has no closure, and no decorator has put something else in its place.
        """
        code = self._idle.get(name)
        names = [each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)]
        if (
            code is None
            or code.co_firstlineno != node.lineno
            or code.co_freevars
            or len(marshal.dumps(code)) < LARGE
            or node.decorator_list
            # Python knows some such names, and has classes spell others in their own way.
            or any(each.startswith("__") for each in (node.name, *names))
            or name.partition(".")[0] in names
        ):
            return False
        found = operator.attrgetter(name)(self._module)
        return isinstance(found, FunctionType) and found.__code__ == code


def standing_in(name: str, node: ast.FunctionDef) -> ast.stmt:
    """What a stand-in does: it takes its own code, and calls itself with what it was given."""
    given = node.args
    words = [each.arg for each in (*given.posonlyargs, *given.args)]
    words += [f"*{given.vararg.arg}"] if given.vararg else []
    words += [f"{each.arg}={each.arg}" for each in given.kwonlyargs]
    words += [f"**{given.kwarg.arg}"] if given.kwarg else []
    (statement,) = ast.parse(f"return __loader__.wake({name})({', '.join(words)})").body
    for each in ast.walk(statement):
        if isinstance(each, (ast.stmt, ast.expr)):
            ast.copy_location(each, node)
            each.end_lineno, each.end_col_offset = each.lineno, each.col_offset
    return statement


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
    except Exception as error:
        if type(error).__name__ != "BundleError":  # of the folder's own handler
            raise
        sys.exit(str(error))
