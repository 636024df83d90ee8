"""What two models take differently, by their manifests alone: features, labels and thresholds, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from handler.charts import cut
from handler.manifest import Feature, Manifest

#: Names that are listed of those that only one model knows, and the letters of each.
NAMED, LONGEST = 5, 40


class Difference(NamedTuple):
    """What both models take differently, in words: of a feature, or of the model where that is empty."""

    feature: str
    this: str
    other: str


def differences(this: Manifest, other: Manifest) -> Iterator[Difference]:
    """What both models take differently: features first, in the order of this model."""
    own, others = ({each.name: each for each in manifest.features} for manifest in (this, other))
    for name in dict.fromkeys((*own, *others)):
        here, there = own.get(name), others.get(name)
        words = _described(here, there), _described(there, here)
        if words[0] != words[1]:
            yield Difference(name, *words)
    labels = [[str(each) for each in manifest.classes] for manifest in (this, other)]
    if sorted(labels[0]) != sorted(labels[1]):
        yield Difference("", *(_list("knows", mine, theirs) for mine, theirs in (labels, labels[::-1])))
    elif this.task == "binary" and labels[0] != labels[1]:
        yield Difference("", *(f"its probability is that of '{each[1]}'" for each in labels))
    thresholds = [manifest.threshold or 0.5 for manifest in (this, other)]
    if thresholds[0] != thresholds[1] and this.task == other.task == "binary":
        yield Difference("", *(f"predicts the second label from {each:g} on" for each in thresholds))


def _described(feature: Feature | None, other: Feature | None) -> str:
    """A feature, in what the other model's of the same name may differ."""
    if feature is None:
        return "is not a feature"
    words = [feature.kind, "may be missing" if feature.nullable else "is never missing"]
    if feature.format is not None:
        words.append(f"as {feature.format}")
    if other is not None and feature.kind == other.kind == "category":
        words.append("takes others" if feature.open else "takes no others")
        words.append(_list("knows", feature.categories, other.categories))
    if other is not None:
        words.append(_list("is missing where it is", feature.missing_words, other.missing_words))
    return ", ".join(filter(None, words))


def _list(verb: str, names: Sequence[str], others: Sequence[str]) -> str:
    """The names that are not among the others, as far as there is room."""
    more = [name for name in names if name not in set(others)]
    shown = ", ".join(f"'{cut(name, LONGEST)}'" for name in more[:NAMED])
    rest = f" and {len(more) - NAMED:,} more" if len(more) > NAMED else ""
    return f"{verb} {shown}{rest}" if more else ""
