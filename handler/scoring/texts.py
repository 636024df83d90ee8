"""A text becomes numbers as scikit-learn's vectorizers make them, with Python's own ``re`` and ``str``.

No operator of ONNX splits, lower-cases and counts texts as Python does, so a graph takes the numbers, not
the text. How they are made is stated by a recipe: the one-row program holds it as an operator's parameters,
and the graph in its metadata, under ``KEY``::

    [{"input": "t0", "feature": "x2", "analyzer": "word", "terms": ["bad", "good"], ...}, ...]

``idf`` and each of ``columns`` are base64 there.
https://scikit-learn.org/stable/modules/feature_extraction.html#text-feature-extraction
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from handler.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: The key of the graph's metadata, whose value is a JSON list with one recipe per input.
KEY = "texts"
#: What scikit-learn makes one space before it takes groups of letters.
BLANKS = re.compile(r"\s\s+")
#: Terms whose hash is kept.
MOST_HASHED = 65_536


class Vectorizer:
    """One recipe, ready to use: scikit-learn's analyzer, counts and weights; safe in several threads.

    ``analyzer``: ``word``, ``char`` or ``char_wb``; ``pattern`` finds words, and where it is None,
    ``str.split`` does. ``accents``: None, ``unicode`` or ``ascii``, how they are stripped. ``terms``: the
    columns' terms, or None where a term's hash gives its column; half of the columns' counts are negative
    then, if ``signed``. ``binary``: terms are not counted, only noted. ``idf``: the columns' weights.
    ``above``: a number becomes 1 where it is above that, which is 0 at least, and 0 elsewhere. Of the
    ``width`` numbers only the ``chosen`` may be wanted, and of these only their products with ``columns``.
    """

    def __init__(
        self,
        *,
        width: int,
        analyzer: str = "word",
        pattern: str | None = None,
        lowercase: bool = False,
        accents: str | None = None,
        stop_words: Sequence[str] = (),
        ngrams: Sequence[int] = (1, 1),
        terms: Sequence[str] | None = None,
        signed: bool = False,
        binary: bool = False,
        sublinear: bool = False,
        idf: Sequence[float] | None = None,
        norm: str | None = None,
        above: float | None = None,
        chosen: Sequence[int] | None = None,
        columns: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self._lowercase = lowercase
        self._strip = _strip_accents(accents)
        self._split: Callable[[str], list[str]] = re.compile(pattern).findall if pattern else str.split
        self._stop_words = frozenset(stop_words)
        self._lengths = range(ngrams[0], ngrams[1] + 1)
        self._terms = {"word": self._words, "char": self._chars, "char_wb": self._chars_in_words}[analyzer]
        if terms is None:
            self._count = _hashed(width, signed)
        else:
            self._count = _known({term: index for index, term in enumerate(terms)})
        self._binary, self._sublinear, self._idf, self._norm = binary, sublinear, idf, norm
        self._above = above
        self._columns = columns
        self._places = None if chosen is None else {index: place for place, index in enumerate(chosen)}
        self._width = width
        #: How many numbers a text becomes.
        self.size = len(columns or chosen or range(width))
        self._arrays: dict[str, np.ndarray] = {}

    def row(self, text: str) -> list[float]:
        """The numbers of one text."""
        counts = self.counts(text)
        indices = sorted(counts)  # in which order scikit-learn sums
        values = [1.0] * len(indices) if self._binary else [float(counts[index]) for index in indices]
        if self._sublinear:
            values = [math.log(value) + 1.0 for value in values]
        if self._idf is not None:
            weights = self._idf
            values = [value * weights[index] for index, value in zip(indices, values, strict=True)]
        if self._norm is not None:
            length = (
                math.sqrt(sum([value * value for value in values]))
                if self._norm == "l2"
                else sum(map(abs, values))
            )
            if length:
                values = [value / length for value in values]
        if self._above is not None:
            limit = self._above
            values = [1.0 if value > limit else 0.0 for value in values]
        if (places := self._places) is not None:
            kept = [(index, value) for index, value in zip(indices, values, strict=True) if index in places]
            indices, values = [places[index] for index, _ in kept], [value for _, value in kept]
        if self._columns is not None:
            return [
                sum(map(operator.mul, values, [column[index] for index in indices]))
                for column in self._columns
            ]
        numbers = [0.0] * self.size
        for index, value in zip(indices, values, strict=True):
            numbers[index] = value
        return numbers

    def table(self, texts: Iterable[str]) -> np.ndarray:
        """The numbers of some texts, shape (n, ``size``): as ``row``, for all of them at once."""
        import numpy as np

        found = list(map(self.counts, texts))
        n = len(found)
        rows = np.repeat(np.arange(n), list(map(len, found)))
        indices = np.array([index for counts in found for index in counts], np.int64)
        values = np.array([count for counts in found for count in counts.values()], np.float64)
        order = np.argsort(rows * self._width + indices)
        indices, values = indices[order], values[order]
        if self._binary:
            values[:] = 1.0
        if self._sublinear:
            values = np.log(values) + 1.0
        if self._idf is not None:
            values = values * self._array("idf", self._idf)[indices]
        if self._norm is not None:
            sizes = values * values if self._norm == "l2" else np.abs(values)
            lengths = np.bincount(rows, sizes, n)
            if self._norm == "l2":
                lengths = np.sqrt(lengths)
            lengths[lengths == 0.0] = 1.0
            values = values / lengths[rows]
        if self._above is not None:
            values = (values > self._above).astype(np.float64)
        if self._places is not None:
            places = np.full(self._width, -1)
            places[list(self._places)] = list(self._places.values())
            indices = places[indices]
            kept = indices >= 0
            rows, indices, values = rows[kept], indices[kept], values[kept]
        if self._columns is not None:
            columns = self._array("columns", self._columns)
            # NumPy counts nothing at all in whole numbers.
            sums = [np.bincount(rows, values * each[indices], n).astype(np.float64) for each in columns]
            return np.stack(sums, axis=1)
        table = np.zeros((n, self.size))
        table[rows, indices] = values
        return table

    def _array(self, name: str, values: Sequence[Any]) -> np.ndarray:
        """Numbers of the recipe as an array, made once: one row has no need of numpy."""
        import numpy as np

        if name not in self._arrays:
            self._arrays[name] = np.array(values, np.float64)
        return self._arrays[name]

    def counts(self, text: str) -> dict[int, int]:
        """How often the terms of a text are in it, by their columns."""
        return self._count(self.terms(text))

    def terms(self, text: str) -> Iterable[str]:
        """The terms of a text, as scikit-learn's ``build_analyzer()`` gives them, groups in any order."""
        if self._lowercase:
            text = text.lower()
        if self._strip is not None:
            text = self._strip(text)
        return self._terms(text)

    # Not as lists: a long text has many times its own size of terms.

    def _words(self, text: str) -> Iterable[str]:
        words = self._split(text)
        if self._stop_words:
            words = [word for word in words if word not in self._stop_words]
        if self._lengths.stop == 2:
            return words
        return (
            " ".join(group)
            for length in self._lengths
            for group in zip(*(words[start:] for start in range(length)), strict=False)
        )

    def _chars(self, text: str) -> Iterator[str]:
        text = BLANKS.sub(" ", text)
        for length in self._lengths:
            for start in range(len(text) - length + 1):
                yield text[start : start + length]

    def _chars_in_words(self, text: str) -> Iterator[str]:
        """A word with a space on both sides, one shorter than a group once."""
        for word in BLANKS.sub(" ", text).split():
            padded = f" {word} "
            for length in self._lengths:
                yield padded[:length]
                for start in range(1, len(padded) - length + 1):
                    yield padded[start : start + length]
                if len(padded) <= length:
                    break


def _known(index_of: dict[str, int]) -> Callable[[Iterable[str]], dict[int, int]]:
    """Counts terms by their column; other terms do not count."""

    def count(terms: Iterable[str]) -> dict[int, int]:
        counts: dict[int, int] = {}
        for term in terms:
            index = index_of.get(term)
            if index is not None:
                counts[index] = counts.get(index, 0) + 1
        return counts

    return count


def _hashed(width: int, signed: bool) -> Callable[[Iterable[str]], dict[int, int]]:
    """Counts terms by a column that their hash gives, as ``FeatureHasher`` does."""
    kept: dict[str, tuple[int, int]] = {}

    def place(term: str) -> tuple[int, int]:
        number = murmur3(term.encode())
        found = abs(number) % width, -1 if signed and number < 0 else 1
        if len(kept) < MOST_HASHED:
            kept[term] = found
        return found

    def count(terms: Iterable[str]) -> dict[int, int]:
        counts: dict[int, int] = {}
        for term in terms:
            index, sign = kept.get(term) or place(term)
            counts[index] = counts.get(index, 0) + sign
        return counts

    return count


def murmur3(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, as a signed number.

    https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp
    """
    mask = 0xFFFFFFFF
    end = len(data) & ~3
    state = 0
    for start in range(0, end, 4):
        word = int.from_bytes(data[start : start + 4], "little") * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) * 0x1B873593 & mask
        state ^= word
        state = ((state << 13 | state >> 19) & mask) * 5 + 0xE6546B64 & mask
    if end < len(data):
        word = int.from_bytes(data[end:], "little") * 0xCC9E2D51 & mask
        state ^= (word << 15 | word >> 17) * 0x1B873593 & mask
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    state ^= state >> 16
    return state - (1 << 32) if state >> 31 else state


def _strip_accents(how: str | None) -> Callable[[str], str] | None:
    if how is None:
        return None
    from unicodedata import combining, normalize

    def ascii_only(text: str) -> str:
        return normalize("NFKD", text).encode("ASCII", "ignore").decode("ASCII")

    def without_marks(text: str) -> str:
        if text.isascii():
            return text
        return "".join(letter for letter in normalize("NFKD", text) if not combining(letter))

    return {"ascii": ascii_only, "unicode": without_marks}[how]


def recipes(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The recipes in a graph's metadata by the input that each makes.

    ``feature`` of each is the input that the text itself would be; the rest is for ``Vectorizer``.
    """
    import json

    by_input = {}
    for recipe in json.loads(metadata.get(KEY, "[]")):
        if "idf" in recipe:
            recipe["idf"] = _doubles(recipe["idf"])
        if "columns" in recipe:
            recipe["columns"] = list(map(_doubles, recipe["columns"]))
        by_input[recipe.pop("input")] = recipe
    return by_input


def _doubles(packed: str) -> list[float]:
    """Doubles that are base64 of their bytes, little-endian: JSON takes ten times as long to read them."""
    import base64
    import sys
    from array import array

    values = array("d", base64.b64decode(packed))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
