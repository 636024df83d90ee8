"""What training says of a model's quality on the console."""

from __future__ import annotations

import numpy as np

from handler.manifest import Contract
from handler.scoring.metrics import measure
from handler.scoring.scorers import Scores
from training.report import console


def said(truth: np.ndarray, positive: np.ndarray) -> str:
    """What is printed of a binary model with those probabilities of "yes"."""
    contract = Contract((), "binary", ("no", "yes"))
    scores = Scores((positive >= 0.5).astype(int), np.column_stack([1 - positive, positive]))
    measured = measure(contract, truth, scores, truth)
    return console.quality(measured, contract, None, truth, scores, imported=False)


def test_a_guess_stands_beside_the_models_metrics() -> None:
    truth = np.array([0] * 60 + [1] * 40)
    text = said(truth, np.where(truth == 1, 0.9, 0.1))
    assert "always the most frequent class would have: accuracy 0.6000" in text
    assert "--threshold" not in text


def test_a_threshold_is_suggested_where_another_is_far_better() -> None:
    truth = np.array([0] * 160 + [1] * 40)
    text = said(truth, np.where(truth == 1, 0.4, 0.1))
    assert "note: predicted from 0.4 on, 'yes' has f1 1.0000 (--threshold 0.4, or auto)" in text
