"""Text vectorizers as recipes: what ``handler.scoring.texts`` is told to make of a text.

``vectorized`` puts a node of ours where a graph has the text; ``text_inputs`` then makes an input of it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

from training.export.nodes import REAL, TEXT, Nodes, Part, Table

#: The operators of our nodes, which no runtime has: ``text_inputs.lift`` leaves none of them.
COUNTS, WEIGHTS = "TextCounts", "TextWeights"

#: What ``vectorized`` knows.
KINDS = (CountVectorizer, HashingVectorizer, TfidfTransformer)

#: The parameters of ``handler.scoring.texts.Vectorizer``, and the feature that it reads.
Recipe = dict[str, Any]


def vectorized(nodes: Nodes, step: Any, table: Table) -> Part:
    """The columns that one of ``KINDS`` makes, by a node that ``lift`` takes out again."""
    (given,) = table
    weighs = isinstance(step, TfidfTransformer)
    if given.kind != (REAL if weighs else TEXT) or not (weighs or given.width == 1):
        raise NotImplementedError(f"{type(step).__name__} of other columns than one of texts")
    recipe = _tfidf(step) if weighs else recipe_of(step)
    name = nodes.add(WEIGHTS if weighs else COUNTS, given.name, recipe=json.dumps(recipe))
    return Part(name, REAL, given.width if weighs else recipe["width"])


def _width(vectorizer: Any) -> int:
    if isinstance(vectorizer, HashingVectorizer):
        return int(vectorizer.n_features)
    if not hasattr(vectorizer, "vocabulary_"):  # it was given, and nothing has asked for it yet
        vectorizer._validate_vocabulary()
    return len(vectorizer.vocabulary_)


def recipe_of(vectorizer: Any) -> Recipe:
    """The parameters of ``handler.scoring.texts.Vectorizer``; raises ``NotImplementedError``."""
    kind = type(vectorizer).__name__
    if vectorizer.input != "content":
        raise NotImplementedError(f"{kind} of files")
    if np.dtype(vectorizer.dtype) not in (np.float64, np.int64):
        raise NotImplementedError(f"{kind} of the dtype {np.dtype(vectorizer.dtype)}")
    recipe = {"width": _width(vectorizer), "binary": bool(vectorizer.binary), **_analyzer(vectorizer)}
    if isinstance(vectorizer, HashingVectorizer):
        return {**recipe, "signed": bool(vectorizer.alternate_sign), "norm": vectorizer.norm}
    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    if not all(isinstance(term, str) for term in terms):
        raise NotImplementedError(f"{kind} of terms that are not texts")
    weights = _tfidf(vectorizer._tfidf) if isinstance(vectorizer, TfidfVectorizer) else {}
    return {**recipe, "terms": terms, **weights}


def _analyzer(vectorizer: Any) -> Recipe:
    """How a text becomes terms; the only functions that are known are ``str.split`` and ``str.lower``."""
    if vectorizer.analyzer is str.split:
        return {"analyzer": "word"}
    for name in ("analyzer", "tokenizer", "preprocessor", "strip_accents"):
        own = getattr(vectorizer, name)
        if callable(own) and (name, own) not in (("tokenizer", str.split), ("preprocessor", str.lower)):
            called = getattr(own, "__name__", type(own).__name__)
            raise NotImplementedError(
                f"{type(vectorizer).__name__} with the {name} '{called}', which is Python code"
            )
    low, high = map(int, vectorizer.ngram_range)
    if low < 1:
        raise NotImplementedError(f"{type(vectorizer).__name__} with groups of no terms")
    recipe: Recipe = {"analyzer": vectorizer.analyzer, "ngrams": [low, high]}
    if vectorizer.preprocessor is str.lower:
        recipe["lowercase"] = True
    else:
        recipe |= {"lowercase": bool(vectorizer.lowercase), "accents": vectorizer.strip_accents or None}
    if vectorizer.analyzer == "word":
        if vectorizer.tokenizer is None:
            recipe["pattern"] = vectorizer.token_pattern
        recipe["stop_words"] = sorted(vectorizer.get_stop_words() or ())
    return recipe


def _tfidf(transformer: TfidfTransformer) -> Recipe:
    idf = {"idf": transformer.idf_.tolist()} if hasattr(transformer, "idf_") else {}
    if idf and transformer.idf_.dtype != np.float64:
        raise NotImplementedError(f"weights of the dtype {transformer.idf_.dtype}")
    return {**idf, "sublinear": bool(transformer.sublinear_tf), "norm": transformer.norm}
