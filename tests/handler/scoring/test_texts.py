"""What serving makes of a text, against scikit-learn's own vectorizers: all of Unicode, every option."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.utils.murmurhash import murmurhash3_32

from handler.scoring.texts import Vectorizer, murmur3
from training.export.texts import recipe_of

#: Texts with what libraries treat differently: case, marks, other scripts' digits, joiners, apostrophes.
SAMPLES = (
    "The good, the BAD and the ugly",
    "good film's end: a b c I",
    "",
    "résumé re\u0301sume\u0301 RÉSUMÉ Straße STRASSE ẞ",
    "İstanbul ıstanbul Σίσυφος ΣΊΣΥΦΟΣ ﬁn",
    "中文 電影 good中文bad ๑๒๓ ١٢٣ 123",
    "snake_case __ _ don’t x\u200by a\u00adb naïve\u00a0bayes",
    "👍🏽 👨‍👩‍👧 🙂good e\u0301\u0302",
    "tabs\tand  \n\n lines\r\n   end ",
    "a" * 3000 + " " + "word " * 500,
)
LETTERS = st.characters(exclude_categories=("Cs",)) | st.sampled_from(
    "  aAbBéÉßİıΣςœ\u0301\u200b_'’-\n\t1١"
)
TEXTS = st.text(LETTERS, max_size=60) | st.sampled_from(SAMPLES)
#: The vectorizers and options that a user may give them.
OPTIONS: tuple[Any, ...] = (
    CountVectorizer(),
    CountVectorizer(lowercase=False),
    CountVectorizer(strip_accents="unicode", binary=True),
    CountVectorizer(strip_accents="ascii", min_df=2),
    CountVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 3)),
    CountVectorizer(token_pattern=r"([a-zé]+)['’]?", max_features=5),
    CountVectorizer(tokenizer=str.split, token_pattern=None, preprocessor=str.lower),
    CountVectorizer(analyzer=str.split),
    CountVectorizer(stop_words=["the", "good"], ngram_range=(2, 2)),
    CountVectorizer(vocabulary=["good", "film good", "bad"], ngram_range=(1, 2)),
    CountVectorizer(analyzer="char", ngram_range=(1, 4)),
    CountVectorizer(analyzer="char_wb", ngram_range=(2, 5), lowercase=False),
    TfidfVectorizer(),
    TfidfVectorizer(sublinear_tf=True, stop_words="english", norm="l1"),
    TfidfVectorizer(norm=None, smooth_idf=False),
    TfidfVectorizer(use_idf=False, binary=True, analyzer="char"),
    HashingVectorizer(n_features=37),
    HashingVectorizer(n_features=1 << 20, alternate_sign=False, norm="l1", ngram_range=(1, 2)),
    HashingVectorizer(n_features=3, binary=True, norm=None),
)


@cache
def fitted(index: int) -> tuple[Any, Vectorizer]:
    vectorizer = OPTIONS[index].fit(SAMPLES)
    return vectorizer, Vectorizer(**recipe_of(vectorizer))


@pytest.mark.parametrize("index", range(len(OPTIONS)), ids=lambda index: str(OPTIONS[index])[:60])
@settings(max_examples=25)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_numbers_are_those_of_scikit_learn(index: int, texts: list[str]) -> None:
    vectorizer, ours = fitted(index)
    analyze = vectorizer.build_analyzer()
    for text in texts:
        assert Counter(ours.terms(text)) == Counter(analyze(text))
    expected = vectorizer.transform(texts)
    table = ours.table(texts)
    for row, (text, numbers) in enumerate(zip(texts, table, strict=True)):
        known = np.zeros(expected.shape[1])
        one = expected[[row]].tocoo()
        known[one.coords[1]] = one.data
        np.testing.assert_allclose(numbers, known, rtol=1e-14, atol=0)
        if ours.size < 10_000:
            np.testing.assert_allclose(ours.row(text), numbers, rtol=1e-14, atol=0)


#: Every assigned code point, and some others: what libraries and versions of Unicode differ in.
POINTS = [
    point
    for point in range(sys.maxunicode + 1)
    if unicodedata.category(chr(point)) not in ("Cn", "Co", "Cs")
    or (point % 97 == 0 and not 0xD800 <= point <= 0xDFFF)
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lowercase": False, "token_pattern": r"\w+"},
        {"strip_accents": "unicode"},
        {"strip_accents": "ascii"},
        {"analyzer": "char"},
    ],
    ids=str,
)
def test_the_terms_of_every_code_point_are_those_of_scikit_learn(options: dict[str, Any]) -> None:
    """Each alone, within a word, twice, under an accent and after a letter."""
    vectorizer = CountVectorizer(**options).fit(["good film"])
    ours, analyze = Vectorizer(**recipe_of(vectorizer)), vectorizer.build_analyzer()
    for start in range(0, len(POINTS), 4096):
        letters = map(chr, POINTS[start : start + 4096])
        text = " ".join(f"{each} a{each}b {each}{each} {each}\u0301 e{each}" for each in letters)
        assert list(ours.terms(text)) == list(analyze(text))


@given(st.binary(max_size=40))
def test_the_hash_of_a_term_is_murmur3(data: bytes) -> None:
    assert murmur3(data) == murmurhash3_32(data, seed=0)


def test_a_part_of_the_numbers_is_what_is_chosen_of_all() -> None:
    vectorizer, ours = fitted(12)
    recipe = recipe_of(vectorizer)
    some = [4, 2, 9]
    weights = np.random.default_rng(0).normal(size=(3, recipe["width"]))
    whole = ours.table(SAMPLES)
    chosen = Vectorizer(**recipe, chosen=some)
    products = Vectorizer(**recipe, columns=weights.tolist())
    both = Vectorizer(**recipe, chosen=some, columns=weights[:, some].tolist())
    np.testing.assert_allclose(both.table(SAMPLES), whole[:, some] @ weights[:, some].T, atol=1e-14)
    np.testing.assert_array_equal(chosen.table(SAMPLES), whole[:, some])
    np.testing.assert_allclose(products.table(SAMPLES), whole @ weights.T, atol=1e-14)
    for text, numbers in zip(SAMPLES, whole, strict=True):
        np.testing.assert_allclose(chosen.row(text), numbers[some], atol=1e-15)
        np.testing.assert_allclose(products.row(text), weights @ numbers, atol=1e-14)
        np.testing.assert_allclose(both.row(text), weights[:, some] @ numbers[some], atol=1e-14)
    above = Vectorizer(**recipe, above=0.1)
    np.testing.assert_array_equal(above.table(SAMPLES), whole > 0.1)
    assert all(above.row(text) == (row > 0.1).tolist() for text, row in zip(SAMPLES, whole, strict=True))


def test_texts_without_a_known_term_are_zeros_in_doubles() -> None:
    vectorizer = Vectorizer(terms=["good", "bad"], width=2, pattern=r"(?u)\b\w\w+\b", columns=[[1.0, -1.0]])
    table = vectorizer.table(["7 7", ""])
    assert (table.dtype, table.tolist()) == (np.float64, [[0.0], [0.0]])
