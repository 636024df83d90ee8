"""Tables that readers of CSV may stumble over: drawn ones, and two that are tried at every byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from handler.manifest import Feature

LINE_ENDS = ("\n", "\r\n", "\r")
CELLS = (
    "1", "45", "45.0", "4.5e1", "45.5", "-0", "+5", "", " ", " 7 ", "\t8", "1e400", "1e-400", "nan", "-inf",
    "Infinity", "1_0", "٣", "0x10", ".5", "5.", ".", "e5", "1e5 ", "007", "9007199254740991",
    "9007199254740993", "9223372036854775808", "1" * 40, "3.5e38", "yes", "No", "TRUE", "t", "2",
    "Zürich", "東京", "gas", "heat pump", "x;y", "a|b", "a\tb", "a,b", 'say "hi"', '"', '""', "line\nbreak",
    "cr\r\nlf", "lone\rcr", "\n", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "'", "#",
    "\\", '\\"', "\x00", "\x001", "NULL", "NA", "𝒳", "\U0010ffff", "e\u0301", "\u200b", "\ufeff", "\ufeff1",
    "\u00a05",
)  # fmt: skip
EXTRAS = ("id", "", "prediction", "probability", "prediction_2", "x,y", "x;y", "a|b\tc", 'q"q',
          "two\nlines", "Ünïcødé 😀", " note ", "'", "#", "\u2028")  # fmt: skip
SOUND = {
    "integer": ("1", "45", "30.0", " 7", "007", "2e1"),
    "number": ("80.5", "1", "-3.25", ".5", "1e2", "99.123456789"),
    "boolean": ("yes", "0", "TRUE", "n"),
    "category": ("Oslo", "東京", "gas", "heat pump", "elsewhere", "a,b"),
}


def written(draw: Any, cell: str, delimiter: str, raw: bool) -> str:
    """A cell as a file may spell it: quoted where it must be, or for no reason; with ``raw`` not always."""
    quoted = '"' + cell.replace('"', '""') + '"'
    if any(each in cell for each in (delimiter, '"', "\n", "\r")):
        return quoted if not raw or draw(st.integers(0, 9)) else cell
    return cell if draw(st.integers(0, 4)) else quoted


@st.composite
def files(draw: Any, features: list[dict[str, Any]]) -> tuple[bytes, str]:
    """A CSV with the features' columns, anything around and between them, and its delimiter."""
    delimiter = draw(st.sampled_from(",,;\t|"))
    by_name: dict[str, Any] = {feature["name"]: feature for feature in features}
    extras = draw(st.lists(st.sampled_from(EXTRAS), max_size=3))
    header = draw(st.permutations([*by_name, *(f"\x00{extra}" for extra in extras)]))
    plain = draw(st.booleans())  # no quotes at all: the way in which a line is a record

    def spell(cell: str, raw: bool = True) -> str:
        if plain:
            return "".join(each for each in cell if each not in f'"\r\n{delimiter}')
        return written(draw, cell, delimiter, raw)

    def cell(column: str) -> str:
        kind = by_name[column]["kind"] if column in by_name else None
        if kind and draw(st.integers(0, 7)):
            return draw(st.sampled_from(SOUND[kind]))
        return draw(st.sampled_from(CELLS))

    ends = draw(st.sampled_from([("\n",), ("\r\n",), ("\r",), LINE_ENDS]))
    heads = [column.removeprefix("\x00") for column in header]
    if heads[0] in by_name and draw(st.booleans()):
        heads[0] = draw(st.sampled_from(["'{}", " {}", "{} "])).format(heads[0])
    parts = [draw(st.sampled_from(["", "", "\ufeff"])), draw(st.sampled_from(["", "", ends[0]]))]
    parts += [delimiter.join(spell(head, raw=False) for head in heads), ends[0]]
    for _ in range(draw(st.integers(0, 8))):
        shape = draw(st.integers(0, 11))
        if shape == 0:
            parts.append(draw(st.sampled_from(ends)))
        columns = list(header)
        if shape == 1:
            columns = columns[: draw(st.integers(1, len(columns)))]
        elif shape == 2:
            columns += ["\x00"] * draw(st.integers(1, 2))
        row = [cell(column) for column in columns]
        if shape == 3:
            row = [*[cell(column) for column in header], ""]
        parts += [delimiter.join(map(spell, row)), draw(st.sampled_from(ends))]
    if draw(st.integers(0, 2)) == 0:
        parts.pop()
    return "".join(parts).encode(), delimiter


NASTY = (
    "\ufeff 'age ,note,new_user,total_pages_visited\r\n"
    "45,a,0,5\r\n"
    '25,"two\nlines",1,29\r\n'
    "\r\n"
    '30,"cr\r\nlf, ""quoted""",0,1\n'
    'x,"é𝒳\u2028",0,5\n'
    "1,short,0\n"
    "1,long,0,5,\n"
    '"26",5" pipe,"1","28"\n'
    "\n\n"
    "27,\x00\x85,1,27\r"
    "28,after cr,1,26\r\n"
    ',,,\n"",""","""," ",nan\n'
    '29,"last",1,25'
)
PLAIN = (
    "new_user;age;note;total_pages_visited\r\n"
    "0;45;a;5\r\n0;x;é𝒳\u2028;5\r\n1;25;\x00;29\r\n0;1;short\r\n0;1;long;5;\r\n1; 26\t;;28.0\r\n;;;\r\n"
    "1;27;l;2e1"
)


#: How a large table looks: no quotes, rows that repeat, cells that hold line ends, empty cells.
LOOKS = ("plain", "repeating", "quoted", "semicolons")


def large(features: Sequence[Feature], size: int, look: str, seed: int = 0) -> bytes:
    """A table of about ``size`` bytes, with an ``id``, a ``note`` and a bad row here and there, and some of
    another width among the first.

    Values lie far beyond those of the training data too, so that probabilities are close to 0 and 1.
    """
    random = Random(seed)
    delimiter = ";" if look == "semicolons" else ","
    notes = {
        "quoted": ('"two\nlines, and ""quotes"""', '""', "plain", '"\r\n\n1,2,3\n"', '"é,𝒳"'),
        "semicolons": ("", "", "a,b", "é"),
    }.get(look, ("", "n", "é", "a b"))
    lines = [delimiter.join(["id", *(spelt(each.name, delimiter) for each in features), "note"])]
    length, pool = 0, [_values(random, features) for _ in range(60)]
    while length < size:
        values = random.choice(pool) if look == "repeating" else _values(random, features)
        number = "7" if look == "repeating" else str(len(lines))
        row = [number, *(spelt(each, delimiter) for each in values), random.choice(notes)]
        if random.random() < 0.02:
            row = [number, *("?" * len(features)), random.choice(notes)]
        if length < 2000 and random.random() < 0.2:  # elsewhere the rows are regular, and so read by polars
            row = random.choice([row[:-2], [*row, ""], [""]])
        lines.append(delimiter.join(row))
        length += len(lines[-1].encode()) + 1
    return "\n".join(lines).encode()


def spelt(cell: str, delimiter: str) -> str:
    """A cell, quoted where it must be."""
    special = any(each in cell for each in (delimiter, '"', "\n", "\r"))
    return '"' + cell.replace('"', '""') + '"' if special else cell


def _values(random: Random, features: Sequence[Feature]) -> list[str]:
    return [_value(random, each) for each in features]


def _value(random: Random, feature: Feature) -> str:
    if feature.nullable and random.random() < 0.1:
        return ""
    if feature.kind == "boolean":
        return random.choice(["yes", "no"])
    if feature.kind == "category":
        return random.choice([*feature.categories, *(["elsewhere"] if feature.open else [])]) or "gas"
    if feature.kind == "text":
        return " ".join(random.choices(["good", "AWFUL", "the", "plot", "中文", "7", "it's"], k=5))
    if feature.kind == "date":
        return f"{random.randint(2000, 2030)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    far = random.choice([1, 1, 1, 10])
    low, high = feature.minimum or 0.0, feature.maximum or 1.0
    value = random.uniform(low - far * (high - low) / 2, high + far * (high - low) / 2)
    return str(round(value)) if feature.kind == "integer" else str(round(value, 3))


def header_of(table: bytes) -> bytes:
    """The first record of a table, as it stands."""
    lines = list(io.StringIO(table.decode(), newline=""))
    reader = csv.reader(lines)
    next(reader)
    return "".join(lines[: reader.line_num]).encode()
