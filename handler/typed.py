"""What the request path needs of ``typing``, without its import.

A first answer would wait for that: 4 ms, and 8 ms more for twenty named tuples, since typing's compiles the
annotation of every field. ``collections.namedtuple``, which compiles a constructor, would take 1.3 ms for
them. To type checkers and to who reads, these are typing's own.
"""

from __future__ import annotations

from collections import _tuplegetter  # type: ignore[attr-defined]

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any as Any
    from typing import Literal as Literal
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
    from typing import cast as cast
    from typing import get_args as get_args
else:
    Any = object

    class Protocol:
        """What a class must have, which only type checkers ask."""

    class Literal:
        """``Literal["a", "b"]`` is the tuple of these words, as ``get_args`` gives it."""

        def __class_getitem__(cls, words):
            return words

    def get_args(words):
        return words

    def cast(_, value):
        return value

    class _Named(tuple):
        """What named tuples have in common."""

        __slots__ = ()

        def __new__(cls, *values, **named):
            if named:
                values = cls._completed(values, named)
            elif len(values) < len(cls._fields):
                values += cls._last[len(values) - len(cls._fields) :]
            if len(values) != len(cls._fields):
                raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}, each once")
            return tuple.__new__(cls, values)

        @classmethod
        def _completed(cls, values, named):
            """All members, of which some are given by name; none where a name is wrong, or given twice."""
            rest = cls._fields[len(values) :] if values else cls._fields
            if not cls._names.issuperset(named) or (values and not named.keys() <= set(rest)):
                return ()
            given = {**cls._field_defaults, **named}
            return [*values, *[given[field] for field in rest if field in given]]

        def _replace(self, **changes):
            values = [changes.pop(field, value) for field, value in zip(self._fields, self, strict=True)]
            if changes:
                raise TypeError(f"{type(self).__name__} has no {', '.join(changes)}")
            return tuple.__new__(type(self), values)

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._asdict().items())})"

        def __getnewargs__(self):  # as which it is pickled
            return tuple(self)

    class _Fields(type):
        """Makes a named tuple of the annotations that stand in a class, with its methods and defaults."""

        def __new__(meta, name, bases, members):
            if not bases:
                return super().__new__(meta, name, bases, members)
            fields = tuple(members.pop("__annotations__"))
            defaults = {field: members[field] for field in fields if field in members}
            getters = {field: _tuplegetter(place, None) for place, field in enumerate(fields)}
            members |= {**getters, "__slots__": (), "__match_args__": fields, "_fields": fields}
            members |= {"_names": frozenset(fields), "_field_defaults": defaults}
            members["_last"] = tuple(defaults.values())  # typing has them stand after the others, too
            return type(name, (_Named,), members)

    class NamedTuple(metaclass=_Fields):
        """typing's, as a class statement."""
