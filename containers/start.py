"""How the zip of the request function starts, and Lambda's image: the end of its ``handler/__init__.py``.

It loads ``start.bin``, which ``containers/first_answer.py`` writes: the modules that a first prediction
needs, in one file, each after those that it imports. Import would find and read each of them by itself,
which takes longer. It does so where the file is missing, was written by another Python, or cannot be read,
and for all other modules. The last module is ``handler.app``, which on Lambda loads the bundle.
"""

import gc
import sys

# Under their public names, importlib.util and importlib.machinery would be loaded for them.
from importlib._bootstrap import ModuleSpec
from importlib._bootstrap_external import MAGIC_NUMBER, SourceFileLoader
from marshal import loads

#: What the bundle was packed with is filled in from ``start.bin``.
PACKED = {}


class Loader(SourceFileLoader):
    """Python's own, which also gives a function of ``start.bin`` its code, when that is first called."""

    codes = None

    def wake(self, function):
        """A stand-in with the code that it stands for, out of the module's bytecode.

        Two threads may do so at once: both give it the same code.
        """
        if self.codes is None:
            self.codes = dict(codes_of(self.get_code(self.name)))
        function.__code__ = self.codes[function.__qualname__]
        return function


def codes_of(code):
    """The code of each function and class in a module's code, by its qualified name."""
    for each in code.co_consts:
        if isinstance(each, type(code)):
            yield each.co_qualname, each
            yield from codes_of(each)


def start():
    """Load the modules of ``start.bin``; raises what one of them raises, which then is not loaded."""
    folder = __file__.rpartition("/")[0]
    try:
        with open(f"{folder}/start.bin", "rb", 0) as file:
            content = file.read()
        if not content.startswith(MAGIC_NUMBER):
            return
        packed, modules = loads(memoryview(content)[len(MAGIC_NUMBER) :])
    except (OSError, EOFError, ValueError, TypeError):
        return
    PACKED.update(packed)
    root, loaded = folder.removesuffix(__name__), sys.modules
    for name, is_package, code in modules:
        if name in loaded:
            continue
        path = root + name.replace(".", "/")
        file_name = f"{path}/__init__.py" if is_package else f"{path}.py"
        loader = Loader(name, file_name)
        spec = ModuleSpec(name, loader, origin=file_name, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations.append(path)
        module = module_of(spec)
        loaded[name] = module
        try:
            exec(code, module.__dict__)
        except BaseException:
            del loaded[name]
            raise
        parent, _, own_name = name.rpartition(".")
        setattr(loaded[parent], own_name, module)


def module_of(spec):
    """A module with what import gives it; ``importlib.util.module_from_spec`` takes three times as long."""
    module = type(sys)(spec.name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    module.__package__ = spec.parent
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    return module


collecting = gc.isenabled()
gc.disable()  # what a start makes stays, see ``handler/app.py``
try:
    start()
except Exception:  # noqa: BLE001, S110  the import that is under way does it again, and raises its error
    pass
finally:
    if collecting:
        gc.freeze()
        gc.enable()
