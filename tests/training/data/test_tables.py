"""Tables as people have them are taken with no flag, and with a note on what was done: ten of each kind.

They are judged here without a fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from handler.manifest import Feature
from handler.spelling import MISSING_NUMBERS, MISSING_TEXTS
from training.data import files, reading
from training.data.columns import ColumnSpec
from training.data.notes import Refused
from training.data.reading import Dataset
from training.data.targets import Target
from training.report.columns import columns

ROWS = 60


def dataset(
    column: Sequence[str], target: Sequence[str] = (), delimiter: str = ",", name: str = "x", **spec: object
) -> Dataset:
    """A table of that column, of numbers ``a`` that say nothing, and of a target ``y`` of two classes."""
    target = target or ["no" if index * 7 % 3 else "yes" for index in range(len(column))]
    a = [str(index * 37 % 11) for index in range(len(column))]
    rows = [(name, "a", "y"), *zip(column, a, target, strict=True)]
    quoted = (delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    table = files.parse("\n".join(quoted).encode(), "rows.csv")
    return reading.prepare(table, ColumnSpec("y", **spec))  # type: ignore[arg-type]


def feature(made: Dataset, name: str = "x") -> Feature:
    return next(each for each in made.features if each.name == name)


def target(made: Dataset) -> Target:
    assert made.target is not None
    return made.target


def cells(*parts: str, rows: int = ROWS) -> list[str]:
    """So many rows of the texts, again and again."""
    return [parts[index % len(parts)] for index in range(rows)]


def numbers(rows: int = ROWS, step: float = 1.5) -> list[str]:
    """Numbers that differ, in an order that says nothing."""
    return [f"{index * 23 % rows * step + 10:g}" for index in range(rows)]


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "NaN", "null", "nil", "-", "?", ".", " na ", "NULL", "none", "#N/A"]
)
def test_words_are_missing_among_numbers(word: str) -> None:
    made = dataset([word if index % 5 == 0 else cell for index, cell in enumerate(numbers())])
    x = feature(made)
    assert x.nullable
    assert x.kind == "number"
    assert {*MISSING_NUMBERS, word.strip().lower()} == set(x.missing_words)
    assert f"'x' is missing where it is '{word.strip()}'" in columns(made)


@pytest.mark.parametrize("word", ["NA", "N/A", "NaN", "null", " NA", "na ", "n/a", "nan", "NULL", "Null"])
def test_words_are_missing_among_categories(word: str) -> None:
    x = feature(dataset(cells("gas", "oil", "none", word)))
    assert (x.categories, x.nullable) == (("gas", "none", "oil"), True)
    assert x.missing_words == MISSING_TEXTS


@pytest.mark.parametrize(
    "word", ["none", "None", "-", "?", ".", "nil", "unknown", "other", "missing", "NONE", "no"]
)
def test_words_that_are_levels_of_a_category(word: str) -> None:
    x = feature(dataset(cells("gas", "oil", word)))
    assert word in x.categories
    assert not x.nullable


@pytest.mark.parametrize(
    ("spell", "delimiter", "expected"),
    [
        pytest.param(lambda n: f"{n + 0.5:.1f}".replace(".", ","), ";", "1234,5", id="comma"),
        pytest.param(lambda n: f"{n + 0.5:.1f}".replace(".", ","), "\t", "1234,5", id="comma and tab"),
        pytest.param(lambda n: f"{n + 0.5:,.1f}", ",", "1,234.5", id="thousands"),
        pytest.param(
            lambda n: f"{n + 0.5:,.1f}".translate(str.maketrans(",.", ".,")), ";", "1.234,5", id="German"
        ),
        pytest.param(
            lambda n: f"{n + 0.5:,.1f}".replace(",", " ").replace(".", ","), ";", "1 234,5", id="French"
        ),
        pytest.param(lambda n: f"{n + 0.5:,.1f}".replace(",", "'"), ",", "1'234.5", id="Swiss"),
        pytest.param(lambda n: f"${n + 0.5:,.2f}", ",", "$1,234.5", id="dollars"),
        pytest.param(lambda n: f"{n + 0.5:.2f} €".replace(".", ","), ";", "1234,5 €", id="euros"),
        pytest.param(lambda n: f"£{n + 0.5:.2f}", ",", "£1234.5", id="pounds"),
        pytest.param(lambda n: f"{n + 0.5:.1f}%", ",", "1234.5%", id="percent"),
        pytest.param(lambda n: f"CHF {n + 0.5:.2f}", ",", "CHF 1234.5", id="francs"),
        pytest.param(lambda n: f"{n:,}", ",", "1,234.5", id="whole thousands"),
    ],
)
def test_spelled_numbers(spell, delimiter: str, expected: str) -> None:  # type: ignore[no-untyped-def]
    amounts = [index * 37 % ROWS * 61 + 900 for index in range(ROWS)]
    made = dataset([spell(amount) for amount in amounts], delimiter=delimiter)
    x = feature(made)
    assert x.kind in ("number", "integer")
    assert x.format == expected
    assert np.floor(made.columns[0].values).tolist() == amounts
    assert f"'x' is read as numbers such as {expected}" in columns(made)


@pytest.mark.parametrize(
    "stray", ["", "odd", "1O", "12,5", "n.d.", "see below", "3-4", ">100", "**", "k.A.", "x"]
)
def test_a_few_texts_among_numbers_are_missing_and_stay_so_when_served(stray: str) -> None:
    made = dataset([stray if index in (3, 40) else cell for index, cell in enumerate(numbers(200))])
    x = feature(made)
    assert x.kind == "number"
    assert stray.lower() in ("", *x.missing_words)
    assert made.columns[0].missing == 2
    if stray:
        assert f"'x' holds numbers, and in 2 rows '{stray}', which is taken as missing" in columns(made)


@pytest.mark.parametrize(
    "word", ["inf", "-inf", "Infinity", "1e400", "-1e400", "1e39", "-Infinity", "INF", "1e300", "+inf"]
)
def test_infinities_are_missing(word: str) -> None:
    made = dataset([word if index == 3 else cell for index, cell in enumerate(numbers())])
    x = feature(made)
    assert {word.lower(), "inf", "-inf", "infinity"} <= set(x.missing_words)
    assert made.columns[0].missing == 1
    assert "'x' is infinite, or over 3.4e38, in 1 row, which is taken as missing" in columns(made)


@pytest.mark.parametrize(
    "texts",
    [
        cells("1", "2", "3", "4+"),
        cells("1", "2", "A"),
        cells("0", "1", "1-2", "more"),
        [f"{chr(65 + index % 26)}{index % 10}{chr(65 + index % 3)}" for index in range(50)] * 2,
        cells("007", "12A", "13"),
        cells("S", "M", "L", "38", "40"),
        cells("<10", "10", "20", "30", ">30"),
        cells("2", "2b", "3", "3b"),
        cells("1st", "2", "3"),
        ["5"] * 97 + ["five", "5", "6"],
    ],
    ids=lambda texts: f"{texts[0]} {texts[-1]}",
)
def test_codes_stay_categories(texts: list[str]) -> None:
    x = feature(dataset(texts))
    assert x.kind == "category"
    assert x.categories == tuple(sorted(set(texts)))
    assert not x.nullable


@pytest.mark.parametrize(
    ("first", "text", "expected"),
    [
        (1, "{y:04}-{m:02}-{d:02}", "%Y-%m-%d"),
        (1, "{y:04}/{m:02}/{d:02} {h:02}:00", "%Y/%m/%d %H:%M"),
        (1, "{y:04}-{m:02}-{d:02}T{h:02}:30:00", "%Y-%m-%dT%H:%M:%S"),
        (1, "{d:02}/{m:02}/{y:04}", "%d/%m/%Y"),
        (1, "{m}/{d}/{y:04}", "%m/%d/%Y"),
        (1, "{d:02}.{m:02}.{y:04}", "%d.%m.%Y"),
        (1, "{m}/{d}/{yy:02}", "%m/%d/%y"),
        (1, "{y} {b}", "%Y %b"),
        (1, "{y}Q{q}", "%YQ%q"),
        (1, "{d} {b} {y}", "%d %b %Y"),
        (1, "{b} {d}, {y}", "%b %d, %Y"),
        (1, "{y:04}-{m:02}", "%Y-%m"),
    ],
)
def test_dates(first: int, text: str, expected: str) -> None:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    texts = [
        text.format(
            y=2001 + index % 20,
            yy=1 + index % 20,
            m=1 + index * 5 % 12,
            b=months[index * 5 % 12],
            d=first + index * 11 % 28,
            h=index % 24,
            q=1 + index % 4,
        )
        for index in range(120)
    ]
    made = dataset(texts)
    x = feature(made)
    assert (x.kind, x.format) == ("date", expected)
    assert f"'x' is read as dates of the format {expected}" in columns(made)


@pytest.mark.parametrize("separator", ["/", "-", "."])
@pytest.mark.parametrize("year", ["2024", "24"])
@pytest.mark.parametrize("time", ["", " 10:30"])
def test_dates_that_may_be_either_are_left_out_with_the_flag_that_says_which(
    separator: str, year: str, time: str
) -> None:
    texts = [
        f"{1 + index % 12:02}{separator}{1 + index * 7 % 12:02}{separator}{year}{time}"
        for index in range(ROWS)
    ]
    made = dataset(texts)
    assert made.ignored == ("x",)
    said = columns(made)
    directives = f"%d{separator}%m{separator}%{'Y' if year == '2024' else 'y'}{' %H:%M' if time else ''}"
    assert f"--kind 'x=date:{directives}'" in said
    x = feature(dataset(texts, kinds={"x": f"date:{directives}"}))
    assert (x.kind, x.format) == ("date", directives)


@pytest.mark.parametrize(
    "texts",
    [
        [f"c{index}" for index in range(ROWS)],
        [f"user-{index:04x}" for index in range(ROWS)],
        [f"{index:032x}" + "f" for index in range(ROWS)],
        [f"person{index}@example.org" for index in range(ROWS)],
        [f"Mazda RX{index}" for index in range(ROWS)],
        [f"Braund, Mr. Owen {chr(65 + index % 26)}{index}" for index in range(ROWS)],
        [f"2024/{index}" for index in range(1000, 1000 + ROWS)],
        [f"AB-{index * 7919 % 997}" for index in range(ROWS)],
        [f"https://example.org/{index}" for index in range(ROWS)],
        [f"k{index % 98}" for index in range(100)],
        [f"id{index}" if index else "" for index in range(ROWS)],
    ],
    ids=lambda texts: texts[1],
)
def test_texts_that_differ_are_carried_through(texts: list[str]) -> None:
    made = dataset(texts)
    assert made.ids == ("x",)
    assert "'x' identifies the row" in columns(made)


@pytest.mark.parametrize("words", range(5, 15))
def test_free_text_of_many_words_is_a_feature(words: int) -> None:
    texts = [
        " ".join(f"word{(index * 31 + place) % 400}" for place in range(words)) for index in range(ROWS)
    ]
    made = dataset(texts)
    assert feature(made).kind == "text"
    assert "'x' is taken as free text" in columns(made)


@pytest.mark.parametrize("many", range(70, 80))
def test_single_words_that_are_neither_ids_nor_categories_are_left_out(many: int) -> None:
    made = dataset([f"w{index % many}" for index in range(100)])
    assert made.ignored == ("x",)
    assert "too many for a category (--kind 'x=category'" in columns(made)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("", [str(index + 1) for index in range(ROWS)]),
        ("", [str(index) for index in range(ROWS)]),
        ("", [f"Mazda RX{index}" for index in range(ROWS)]),
        ("", [str(index * 23 % ROWS) for index in range(ROWS)]),
        ("rownames", [str(index + 1) for index in range(ROWS)]),
        ("rownames", [f"Alabama {index}" for index in range(ROWS)]),
        ("Unnamed: 0", [str(index) for index in range(ROWS)]),
        ("Unnamed: 0", [str(3 * index) for index in range(ROWS)]),
        ("index", [str(index) for index in range(ROWS)]),
        ("X", [str(index + 1) for index in range(ROWS)]),
        ("X.1", [str(index) for index in range(ROWS)]),
    ],
)
def test_a_leading_index_is_left_out(name: str, texts: list[str]) -> None:
    made = dataset(texts, name=name)
    assert [each.name for each in made.features] == ["a"]
    assert len(made.ignored) == 1
    assert "the rows, and is left out (--kind '" in columns(made)


@pytest.mark.parametrize("name", ["index", "rownames", "X", "id", "X.1", "row.names"])
def test_a_feature_that_does_not_count_is_kept_whatever_its_name(name: str) -> None:
    assert (
        feature(dataset([str(index * 7 % 30) for index in range(ROWS)], name=name), name).kind == "integer"
    )


def test_an_index_further_right_is_noted_and_kept() -> None:
    table = files.parse(
        ("a,index,y\n" + "".join(f"{i % 7},{i},{i * 3 % 2}\n" for i in range(ROWS))).encode(), "rows.csv"
    )
    made = reading.prepare(table, ColumnSpec("y"))
    assert [each.name for each in made.features] == ["a", "index"]
    assert "'index' differs in every row" in columns(made)


@pytest.mark.parametrize("kept", [20, 25, 30, 35, 40, 45, 50, 55, 58, 59])
def test_rows_without_a_target_are_left_out(kept: int) -> None:
    words = ["", "NA", " ", "nan"]
    if kept < ROWS / 2:
        return
    texts = [("no" if index % 3 else "yes") if index < kept else words[index % 4] for index in range(ROWS)]
    made = dataset(numbers(), texts)
    assert made.table.rows == len(target(made).labels) == len(made.columns[0].values) == kept
    assert made.rows_left_out == ROWS - kept
    assert f"'y' is missing in {ROWS - kept} row" in columns(made)
    assert set(target(made).labels) == {"no", "yes"}


def test_gaps_that_only_rows_without_a_target_have_are_served() -> None:
    targets = cells("yes", "no", "yes", "no")
    texts = numbers()
    for row in (3, 17):
        texts[row], targets[row] = "n/a", ""
    assert feature(dataset(texts, targets)).nullable
    assert not feature(dataset(numbers(), targets)).nullable


def test_too_few_rows_with_a_target_are_refused() -> None:
    with pytest.raises(Refused, match=r"missing in 31 rows of 60, which is more than half"):
        dataset(numbers(), ["yes" if i % 2 else "no" for i in range(29)] + [""] * 31)
    with pytest.raises(Refused, match="and fewer than 20 are left"):
        dataset(numbers(30), ["yes" if i % 2 else "no" for i in range(19)] + [""] * 11)


@pytest.mark.parametrize("classes", range(2, 13))
def test_text_classes_of_one_row_are_left_out(classes: int) -> None:
    texts = [f"class {index % 2}" for index in range(100)]
    texts[5 : 5 + classes - 1] = [f"rare {index}" for index in range(classes - 1)]
    made = dataset(numbers(100), texts)
    assert set(target(made).labels) == {"class 0", "class 1"}
    assert made.table.rows == 100 - (classes - 1)
    assert "of one row" in columns(made)


@pytest.mark.parametrize(
    ("texts", "classifies"),
    [
        (cells("0", "1"), True),
        (cells("1", "2", "3"), True),
        (cells("-1", "1"), True),
        (cells("5", "6", "7", "8", "9", "10"), True),
        (cells("1", "2", "3", "4", "5", "6", "7"), False),
        ([str(index % 20) for index in range(200)], True),
        ([str(index % 21) for index in range(300)], False),
        ([*cells("0", "1"), "2"], False),
        ([str(index) for index in range(ROWS)], False),
        (cells("0.5", "1"), False),
        (cells("01", "02", "10"), True),
        ([f"{index % 30:02}" for index in range(90)], True),
        (cells("TRUE", "FALSE"), True),
    ],
)
def test_whole_numbers_are_classes_or_a_quantity(texts: list[str], classifies: bool) -> None:
    made = dataset(numbers(len(texts)), texts)
    assert target(made).classifies == classifies
    whole = target(made).numbers is not None and all("." not in text for text in texts)
    assert ("which are taken as a quantity" in columns(made)) == (whole and not classifies)


def test_a_targets_codes_keep_their_zeros_and_its_blanks_are_stripped() -> None:
    assert set(target(dataset(numbers(), cells("01", "02", "10"))).labels) == {"01", "02", "10"}
    assert set(target(dataset(numbers(), cells("yes", "yes ", " no", "no\t"))).labels) == {"no", "yes"}


@pytest.mark.parametrize(
    "texts",
    [
        [""] * ROWS,
        cells("", "NA"),
        cells("?"),
        cells("7"),
        cells("seven"),
        cells("7.0", "7"),
        cells(" x", "x "),
    ],
    ids=str,
)
def test_what_says_nothing_is_left_out(texts: list[str]) -> None:
    made = dataset(texts)
    assert made.ignored == ("x",)
    assert "and is left out" in columns(made)


@pytest.mark.parametrize("count", [3, 5, 10, 20, 50])
def test_many_columns_of_which_the_same_is_to_be_said_share_a_note(count: int) -> None:
    names = [f"c{index}" for index in range(count)]
    text = ",".join(["a", *names, "y"]) + "\n"
    text += "".join(f"{i * 7 % 11},{'7,' * count}{i * 3 % 2}\n" for i in range(ROWS))
    made = reading.prepare(files.parse(text.encode(), "rows.csv"), ColumnSpec("y"))
    assert made.ignored == tuple(names)
    (note,) = [line for line in columns(made).splitlines() if line.startswith("note: ")]
    assert note.startswith("note: 'c0', 'c1'")
    assert "have the same value in every row and are left out" in note
    assert len(note) < 160


@pytest.mark.parametrize("texts", [cells("red ", " red", "blue", "\tblue "), cells("a b", " a b")], ids=str)
def test_blanks_around_categories_are_stripped(texts: list[str]) -> None:
    made = dataset([*texts, "green"])
    assert feature(made).categories == tuple(sorted({text.strip() for text in [*texts, "green"]}))
    assert {*made.columns[0].values} == {text.strip() for text in [*texts, "green"]}


def test_what_alone_predicts_the_target_is_noted() -> None:
    classes = [str(int(index >= 40)) for index in range(100)]
    for x in (
        [str(index) for index in range(100)],
        [f"{index * 1.5:g}" for index in range(100)],
        ["low" if each == "0" else "high" for each in classes],
        ["" if each == "0" else "5" for each in classes],
    ):
        made = dataset(x, classes, name="leak")
        assert "'leak' alone predicts 'y' almost perfectly" in columns(made)
        assert "(--drop 'leak')" in columns(made)
    prices = [f"{2.5 * index * 23 % 100:g}" for index in range(100)]
    assert "'leak' alone predicts 'y'" in columns(
        dataset(prices, [f"{float(each) ** 3:g}" for each in prices], name="leak")
    )
    random = np.random.default_rng(0)
    noise = [f"{each:.3f}" for each in random.normal(size=400)]
    for y in (random.integers(0, 2, 400), (random.random(400) > 0.97).astype(int), random.normal(size=400)):
        assert "alone predict" not in columns(dataset(noise, [f"{each:g}" for each in y]))


def test_a_number_that_many_rows_share_predicts_only_their_likeliest_class() -> None:
    random = np.random.default_rng(0)
    ages = random.integers(18, 80, 3000)
    drawn = [str(each) for each in random.integers(0, 2, 3000)]
    assert "alone predict" not in columns(dataset([str(each) for each in ages], drawn))
    of_age = [str(int(each >= 40)) for each in ages]
    assert "'x' alone predicts 'y'" in columns(dataset([str(each) for each in ages], of_age))


def test_a_column_without_a_value_in_the_rows_to_fit_on_is_left_out() -> None:
    made = dataset(["5" if index == 7 else "" for index in range(ROWS)])
    rest = reading.without_values(made, np.array([index for index in range(ROWS) if index != 7]))
    assert [each.name for each in rest.features] == ["a"]
    assert rest.ignored == ("x",)
    assert reading.without_values(made, np.arange(ROWS)) is made


def test_all_problems_are_told_at_once_with_a_command_that_has_none() -> None:
    rows = "".join(f"k{i},x{i % 3},{i % 7},0{i % 9}.0{i % 9}.2024,{i % 2}\n" for i in range(ROWS))
    table = files.parse(f"id,'a,b c,when,y\n{rows}".encode(), "rows.csv")
    command = ["train", "--data", "rows.csv", "--target", "Y", "--kind", "a=number", "--kind=b c=boolean"]
    command += ["--drop", "nothing", "--nullable", "B C", "--id", "y"]
    kinds = {"a": "number", "b c": "boolean"}
    spec = ColumnSpec("Y", drop=("nothing",), ids=("y",), kinds=kinds, nullable=("B C",))
    with pytest.raises(Refused) as refused:
        reading.prepare(table, spec)
    assert str(refused.value) == "rows.csv cannot be learnt from as it is, for 6 reasons:"
    *problems, said, ready = refused.value.lines_after(command)
    assert len(problems) == 6
    assert said == "this command would train:"
    assert ready.strip() == (
        "train --data rows.csv --target y --nullable 'b c' --kind a=category --kind 'b c=integer'"
    )
    cured = ColumnSpec("y", kinds={"a": "category", "b c": "integer"}, nullable=("b c",))
    assert feature(reading.prepare(table, cured), "b c").nullable


@pytest.mark.parametrize(
    ("stated", "meant", "cells"),
    [
        ("number", "a whole number", [str(i) if i % 20 else "A-1" for i in range(ROWS)]),
        ("boolean", "a number", [f"{i},5" if i else "0,25" for i in range(ROWS)]),
        ("integer", "a date", [f"2024-01-{1 + i % 28:02}" if i else "later" for i in range(ROWS)]),
    ],
)
def test_a_wrong_kind_is_cured_by_leaving_it_out_where_the_right_one_would_refuse_cells_too(
    stated: str, meant: str, cells: list[str]
) -> None:
    rows = "".join(f"{cell};{i % 7};{i % 2}\n" for i, cell in enumerate(cells))
    table = files.parse(f"x;b;y\n{rows}".encode(), "rows.csv")
    spec = ColumnSpec("y", kinds={"x": stated})
    with pytest.raises(Refused, match=f"leave the kind out, and it is read as {meant}") as refused:
        reading.prepare(table, spec)
    command = ["train", "--target", "y", "--kind", f"x={stated}"]
    assert refused.value.lines_after(command) == ["this command would train:", "  train --target y"]
    assert reading.prepare(table, ColumnSpec("y")).features
    with pytest.raises(Refused) as refused:  # no flag undoes what a file states
        reading.prepare(table, ColumnSpec("y"), ColumnSpec(kinds={"x": stated}))
    assert refused.value.lines_after(["train"]) == []


@pytest.mark.parametrize("given", ["'âge", "âge", " âge ", '"âge"', "\ufeffâge"])
def test_flags_take_names_as_in_the_file_or_cleaned(given: str) -> None:
    rows = "".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(ROWS))
    table = files.parse(f"'âge, b ,'y\n{rows}".encode(), "rows.csv")
    for target_name in ("y", "'y"):
        spec = ColumnSpec(target_name, ids=(given,), kinds={" b ": "category"})
        made = reading.prepare(table, spec)
        assert made.ids == ("âge",)
        assert feature(made, "b").kind == "category"


@pytest.mark.parametrize("values", [51, 60, 300, 1000, 4000])
@pytest.mark.parametrize("gaps", [0.0, 0.6])
def test_random_classes_are_not_predicted_by_numbers_that_repeat(values: int, gaps: float) -> None:
    random = np.random.default_rng(0)
    x = [str(each) for each in random.integers(0, values, 6000)]
    x = ["" if each < gaps else text for each, text in zip(random.random(6000), x, strict=True)]
    for share in (0.5, 0.07):
        y = [str(int(each < share)) for each in random.random(6000)]
        assert "alone predict" not in columns(dataset(x, y))


def test_numbers_that_repeat_and_part_the_classes_are_noted() -> None:
    x = [index * 23 % 80 for index in range(800)]
    assert "'x' alone predicts 'y'" in columns(
        dataset([str(each) for each in x], [str(each // 20) for each in x])
    )


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([f"id{index}" for index in range(ROWS)], "identifies the row"),
        (["7"] * ROWS, "has the same value in every row"),
        ([""] * ROWS, "has no value in any row"),
    ],
)
def test_nullable_is_noted_where_the_column_is_not_a_feature(texts: list[str], why: str) -> None:
    made = columns(dataset(texts, nullable=("x", "a")))
    assert f"note: 'x' {why}" in made
    assert "note: 'x' is not a feature, and may be missing in requests without --nullable" in made
    assert "'a' is not a feature" not in made


@pytest.mark.parametrize("strays", range(1, 5))  # of 99 rows that have a target
def test_rows_in_which_a_quantity_is_a_text_are_left_out(strays: int) -> None:
    prices = numbers(100)
    prices[10 : 10 + strays] = ["sold", "on request", "sold", "sold"][:strays]
    prices[50] = "n/a"
    made = dataset(numbers(100, 2.5), prices)
    assert (target(made).classifies, made.rows_left_out) == (False, 1 + strays)
    assert target(made).numbers is not None
    rows = f"{strays} row{'s' if strays > 1 else ''}"
    assert f"'y' holds numbers, and in {rows} another text, such as '" in columns(made)


def test_a_quantity_with_more_texts_is_refused() -> None:
    prices = numbers(100)
    prices[10:16] = ["sold"] * 6
    with pytest.raises(Refused, match=r"in 6 rows another text, such as 'sold'; correct or empty"):
        dataset(numbers(100, 2.5), prices)


def test_a_classifier_takes_the_texts_among_numbers_as_classes() -> None:
    y = [str(index % 25) for index in range(200)]
    y[3:9] = ["other"] * 6
    rows = "".join(f"{index * 7 % 31},{each}\n" for index, each in enumerate(y))
    table = files.parse(f"x,y\n{rows}".encode(), "rows.csv")
    for pipeline, classes in (("logistic", 26), ("a.module:build", 26), (None, 25), ("ridge", 25)):
        made = target(reading.prepare(table, ColumnSpec("y"), pipeline=pipeline))
        assert (len(set(made.labels.tolist())), made.classifies) == (classes, classes == 26)


@pytest.mark.parametrize(
    ("y", "pipeline", "threshold", "messages", "flags"),
    [
        (cells("yes", "no"), "ridge", None, ["'y' holds text, and pipeline 'ridge' predicts"], "logistic"),
        (numbers(), "svc", None, ["60 different numbers, and pipeline 'svc' sorts rows"], "linear"),
        (cells("a", "b", "c"), None, "auto", ["--threshold is for two classes, and the target has 3"], ""),
        (numbers(), "mlp", "0.4", ["--threshold is for classes, and pipeline 'mlp' predicts numbers"], ""),
        (
            cells("yes", "no"),
            "lasso",
            "0.4",
            ["'y' holds text, and pipeline 'lasso'", "--threshold is for classes, and pipeline 'lasso'"],
            "logistic",
        ),
    ],
)
def test_what_a_pipeline_with_a_name_cannot_fit_is_said_with_all_else(
    y: list[str], pipeline: str | None, threshold: str | None, messages: list[str], flags: str
) -> None:
    rows = "".join(f"{index * 7 % 31},{each}\n" for index, each in enumerate(y))
    table = files.parse(f"x,y\n{rows}".encode(), "rows.csv")
    with pytest.raises(Refused) as refused:
        reading.prepare(table, ColumnSpec("y", drop=("z",)), pipeline=pipeline, threshold=threshold)
    first, *others = [problem.message for problem in refused.value.problems]
    assert first.startswith("--drop names 'z'")
    assert len(others) == len(messages)
    for message, expected in zip(others, messages, strict=True):
        assert expected in message
    stated = [
        word
        for flag, value in (("--pipeline", pipeline), ("--threshold", threshold))
        if value
        for word in (flag, value)
    ]
    ready = refused.value.lines_after(["train", "--drop", "z", *stated])[-1].split()
    unchanged = ["--pipeline", pipeline] if pipeline and not flags else []
    assert ready == ["train", *(["--pipeline", flags] if flags else unchanged)]


def test_without_a_target_there_is_no_threshold() -> None:
    table = files.parse(b"x,z\n" + b"1,2\n3,4\n5,7\n" * 9, "rows.csv")
    with pytest.raises(Refused, match="--threshold is for classes, and pipeline 'kmeans' has no target"):
        reading.prepare(table, ColumnSpec(), supervised=False, pipeline="kmeans", threshold="auto")
