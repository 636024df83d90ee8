"""How numbers are spelled: one value and a whole column read alike, and a column's format is inferred."""

from __future__ import annotations

import math
import re

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.manifest import Feature
from handler.schema import (
    LARGEST_NUMBER,
    LONGEST_VALUE,
    NUMBER,
    InvalidValue,
    Value,
    is_number,
    parse_text,
    to_text,
)
from handler.spelling import BLANKS, FORMAT, format_of, spelling
from handler.tables.series import Series

FORMATS = (
    "1234,5", "1,234.5", "1.234,5", "1 234,5", "1 234.5", "1'234.5", "1'234,5", "$1,234.5", "1.234,5 €",
    "€1234,5", "CHF 1'234.5", "1 234,5 EUR", "1234.5%", "1234,5 %", "£1234.5",
)  # fmt: skip
WORDS = ("na", "n/a", "nan", "-", ".", "?", "größe")


def asked(feature: Feature, text: str) -> Value | tuple[str, str]:
    """The value, or the code and the rule of why there is none."""
    try:
        return parse_text(feature, text)
    except InvalidValue as error:
        return error.code, error.rule


def assert_alike(feature: Feature, texts: list[str]) -> None:
    """A column's sound values are those of ``parse_text``, which refuses none of them."""
    column, doubtful = Series([feature]).parse(feature, pl.Series(texts, dtype=pl.String))
    values = column.tolist()
    for index, text in enumerate(texts):
        one = asked(feature, text)
        if doubtful is None or not doubtful[index]:
            assert one == values[index] or (one != one and math.isnan(values[index])), (text, one)


@given(st.text("0019+-.eE_ a\u0661") | st.from_regex(NUMBER, fullmatch=True))
@example("")
@example("1e999")
@example("infinity")
@example("9" * 5000)
def test_one_text_is_a_number_as_the_pattern_of_columns_says(text: str) -> None:
    assert is_number(text) is bool(re.fullmatch(NUMBER, text))


@pytest.mark.parametrize(
    ("format", "text", "value"),
    [
        ("1234,5", "3,5", 3.5),
        ("1234,5", "-1234567,25", -1234567.25),
        ("1.234,5", "1.234", 1234.0),
        ("1.234,5", "1.234.567,5", 1234567.5),
        ("1.234,5", "1234567,5", 1234567.5),
        ("1.234,5", "12", 12.0),
        ("1.234,5", "1e3", 1000.0),
        ("1.234,5", "\u22125", -5.0),
        ("1.234,5", " 5,5\t", 5.5),
        ("1,234.5", "1,234", 1234.0),
        ("1,234.5", "1234.5", 1234.5),
        ("1 234,5", "1 234,5", 1234.5),
        ("1 234,5", "1\u00a0234,5", 1234.5),
        ("1\u00a0234,5", "1\u202f234", 1234.0),
        ("1'234.5", "1'234'567.5", 1234567.5),
        ("1'234.5", "1\u2019234", 1234.0),
        ("$1,234.5", "$1,234.50", 1234.5),
        ("$1,234.5", "-$5", -5.0),
        ("$1,234.5", "$-5", -5.0),
        ("$1,234.5", "\u2212 $ 5", -5.0),
        ("$1,234.5", "5 $", 5.0),
        ("$1,234.5", "5", 5.0),
        ("1.234,5 €", "1.234,5\u00a0€", 1234.5),
        ("1.234,5 €", "€1.234,5", 1234.5),
        ("CHF 1'234.5", "CHF 1'200", 1200.0),
        ("CHF 1'234.5", "12 CHF", 12.0),
        ("1234.5%", "12%", 12.0),
        ("1234.5%", "12.5 %", 12.5),
        ("1234.5%", "%12", 12.0),
        ("1234.5%", "0.12", 0.12),
    ],
)
def test_what_a_format_reads(format: str, text: str, value: float) -> None:
    feature = Feature("price", "number", format=format)
    assert parse_text(feature, text) == value
    values, doubtful = Series([feature]).parse(feature, pl.Series([text]))
    assert (values.tolist(), doubtful) == ([value], None)


@pytest.mark.parametrize(
    ("format", "text", "code"),
    [
        ("1.234,5", "1.5", "not_a_number"),
        ("1.234,5", "1.23,4", "not_a_number"),
        ("1.234,5", "0.123", "not_a_number"),
        ("1.234,5", "1.2345", "not_a_number"),
        ("1.234,5", "1.234.5", "not_a_number"),
        ("1.234,5", "1 234", "not_a_number"),
        ("1234,5", "1234.5", "not_a_number"),
        ("1,234.5", "1,2345", "not_a_number"),
        ("$1,234.5", "€5", "not_a_number"),
        ("$1,234.5", "$5$", "not_a_number"),
        ("$1,234.5", "-$-5", "not_a_number"),
        ("$1,234.5", "$", "not_a_number"),
        ("$1,234.5", "- 5", "not_a_number"),
        ("1.234,5", "\u0661", "not_a_number"),
        ("1.234,5", "-inf", "not_finite"),
        ("1.234,5", "NaN", "not_finite"),
        ("1.234,5", "1e400", "not_finite"),
        ("1.234,5", "1e39", "out_of_range"),
        ("1.234,5", "", "missing"),
        ("1.234,5", "1" * (LONGEST_VALUE + 1), "not_a_number"),
    ],
)
def test_what_a_format_refuses(format: str, text: str, code: str) -> None:
    feature = Feature("price", "number", format=format)
    with pytest.raises(InvalidValue) as caught:
        parse_text(feature, text)
    assert caught.value.code == code
    _, doubtful = Series([feature]).parse(feature, pl.Series([text]))
    assert doubtful is not None
    assert doubtful.all()


def test_a_refused_text_is_shown_the_spelling_and_never_itself() -> None:
    assert asked(Feature("price", "number", format="1.234,5 €"), "12x") == (
        "not_a_number",
        "must be a number, spelled as 1.234,5 €",
    )
    assert asked(Feature("count", "integer", format="1.234,5"), "1,x") == (
        "not_a_number",
        "must be a whole number, spelled as 1.234",
    )
    assert asked(Feature("count", "integer", format="1.234,5"), "1,5")[0] == "not_an_integer"  # type: ignore[index]


#: Texts of the characters that numbers are spelled with, and numbers spelled in some format.
MARKED = st.text(st.sampled_from("0123456789.,' \u00a0\u202f\u2019+-\u2212eE$€%CHF"), max_size=12)
SPELLED = st.tuples(
    st.sampled_from(["", "-", "+", "\u2212", "$", "-$", "$-", "€ ", "CHF ", "%"]),
    st.integers(0, 10**10),
    st.sampled_from(["", ",", ".", " ", "\u202f", "'", "\u2019"]),
    st.sampled_from(["", ".", ",", ".5", ",5", ".25e3", ",123"]),
    st.sampled_from(["", "%", " %", "€", "\u00a0€", " EUR", "CHF", "$"]),
).map(lambda parts: f"{parts[0]}{parts[1]:,}".replace(",", parts[2]) + parts[3] + parts[4])
TEXTS = st.one_of(
    MARKED, SPELLED, st.sampled_from(["", " ", "NA", "nan", "-nan", "inf", "Größe", "?", "1" * 101])
)


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=20),
    format=st.sampled_from([None, *FORMATS]),
    kind=st.sampled_from(["integer", "number"]),
    nullable=st.booleans(),
    words=st.sampled_from([(), WORDS]),
)
@example(texts=["-nan", "NAN", "nan"], format=None, kind="number", nullable=True, words=WORDS)
def test_a_column_and_one_value_read_alike(
    texts: list[str], format: str | None, kind: str, nullable: bool, words: tuple[str, ...]
) -> None:
    feature = Feature("price", kind, nullable, format=format, missing_words=words)  # type: ignore[arg-type]
    assert_alike(feature, texts)


@given(
    texts=st.lists(
        st.text(st.sampled_from("aA\tB \u00a0"), max_size=4)
        | st.sampled_from(["NA", " na ", "n/a", "İ", "-"]),
        min_size=1,
        max_size=12,
    ),
    categories=st.lists(st.text(st.sampled_from("aAB "), min_size=1, max_size=3), unique=True).map(tuple),
    open=st.booleans(),
    nullable=st.booleans(),
    words=st.sampled_from([(), ("na", "n/a")]),
)
@example(texts=[" a", "a"], categories=(" a",), open=False, nullable=False, words=())
def test_a_column_of_categories_and_one_value_read_alike(
    texts: list[str], categories: tuple[str, ...], open: bool, nullable: bool, words: tuple[str, ...]
) -> None:
    feature = Feature("city", "category", nullable, categories=categories, open=open, missing_words=words)
    assert_alike(feature, texts)


@given(text=st.text(max_size=8) | st.sampled_from(FORMATS))
def test_a_format_reads_itself_and_nothing_else_is_one(text: str) -> None:
    found = spelling(text)
    if found is not None:
        assert found.plain(text) == "1234.5"
        assert FORMAT.fullmatch(text)
    assert (text not in FORMATS) or found


@pytest.mark.parametrize(
    "text", ["1234.5", "1,234,5", "1.234.5", "", "1,235.5", "$1234.5€", "€", "1234", "(1234.5)"]
)
def test_what_is_not_a_format(text: str) -> None:
    assert spelling(text) is None


@pytest.mark.parametrize("part", ["1", "1.", "1.234.", "$", " ", "\u00a0", "e", "-"])
def test_a_text_that_is_not_a_number_costs_time_that_grows_with_its_length(part: str) -> None:
    """With a repeat inside another repeat, or beside one that shares characters, this would not end."""
    for format in FORMATS:
        found = spelling(format)
        assert found is not None
        assert found.plain(part * 100_000 + "x") is None


@pytest.mark.parametrize(
    ("texts", "delimiter", "format"),
    [
        (["1,5", "2,75", "1234"], ";", "1234,5"),
        (["1,5", "2,75", "1234"], ",", "1234,5"),
        (["1,234", "12,345"], ",", "1,234.5"),
        (["1,234", "12,345"], "\t", "1,234.5"),
        (["1,234", "12,345"], ";", "1234,5"),
        (["1,234", "1,234.5"], ";", "1,234.5"),
        (["1,234", "12,345,678"], ";", "1,234.5"),
        (["1,234", "0,123"], ",", "1234,5"),
        (["1,234", "1,5"], ",", "1234,5"),
        (["1.234", "5,5"], ";", "1.234,5"),
        (["1.234", "2.345", "1.234.567"], ";", "1.234,5"),
        (["1.234", "2.345"], ";", None),
        (["1.234", "967", "-12.345", "0"], ";", "1.234,5"),
        (["1.234", "967", "12.345"], ",", None),
        (["1.234", "967", "12.34"], ";", None),
        (["1.234", "0.967", "12"], ";", None),
        (["1.234", "1967"], ";", None),
        (["967", "12"], ";", None),
        (["€ 1.234", "€ 2.500"], ";", "€ 1.234,5"),
        (["€ 1.234", "€ 2.500"], ",", "€ 1234.5"),
        (["1 234", "5"], ",", "1 234.5"),
        (["1\u202f234", "5,5"], ";", "1 234,5"),
        (["1'234.50", "3"], ",", "1'234.5"),
        (["$5", "6", "7", "$1,200.50"], ",", "$1,234.5"),
        (["5 USD", "1,200 USD"], ",", "1,234.5 USD"),
        (["5 USD", "1200", "3"], ",", None),
        (["12%", "5 %", "3%"], ",", "1234.5%"),
        (["12%", "5", "3"], ",", None),
        (["12,5 %", "5 %", "3"], ";", "1234,5 %"),
        (["\u22125", "3.5"], ",", "1,234.5"),
        (["999.99"] * 97 + ["1,299.99"] * 3, ",", "1,234.5"),
        (["1,5"] * 97 + ["x"] * 3, ";", "1234,5"),
        (["1,5"] * 90 + ["x"] * 10, ";", None),
        (["0"] * 97 + ["1,5", "a", "b", "c"], ";", None),
        (["1.5", "2", "-3e5"], ",", None),
        (["a", "b"], ",", None),
        (["12.05.2020", "13.05.2020"], ";", None),
        (["192.168.10.1", "10.0.0.1"], ",", None),
        ([], ",", None),
    ],
)  # fmt: skip
def test_the_format_that_a_column_has(texts: list[str], delimiter: str, format: str | None) -> None:
    assert format_of(texts, delimiter) == format
    assert format_of([f" {text}\t" for text in texts], delimiter) == format


@given(
    numbers=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30),
    format=st.sampled_from(FORMATS),
    decimals=st.integers(1, 2),
)
def test_a_column_spelled_in_a_format_is_read_by_the_one_that_is_inferred(
    numbers: list[int], format: str, decimals: int
) -> None:
    found = spelling(format)
    assert found is not None
    mark = found.thousands[:1]
    texts = []
    for number in numbers:
        whole, _, fraction = f"{number / 100:,.{decimals}f}".partition(".")
        text = whole.replace(",", mark) + found.decimal + fraction
        texts.append(format.replace(f"1{mark}234{found.decimal}5", text))
    inferred = format_of(texts, ";" if found.decimal == "," else ",")
    feature = Feature("price", "number", format=inferred)
    given = Feature("price", "number", format=format)
    assert [parse_text(feature, text) for text in texts] == [parse_text(given, text) for text in texts]


@given(
    value=st.floats(-LARGEST_NUMBER, LARGEST_NUMBER) | st.integers(-(2**53), 2**53),
    format=st.sampled_from(FORMATS),
)
def test_a_number_is_spelled_as_it_is_read(value: float, format: str) -> None:
    feature = Feature("price", "number", format=format)
    assert parse_text(feature, to_text(feature, value)) == value


def test_blanks_of_every_kind_are_alike() -> None:
    feature = Feature("price", "number", format="1 234,5 €")
    assert {parse_text(feature, f"1{blank}234,5{blank}€") for blank in BLANKS} == {1234.5}
