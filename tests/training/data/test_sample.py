"""The synthetic sample."""

from __future__ import annotations

import pandas as pd

from training.data import sample


def test_the_sample_is_shaped_like_the_real_file() -> None:
    frame = sample.rows(555)
    assert list(frame.columns) == ["age", "new_user", "total_pages_visited", "converted"]
    assert frame.shape == (316_200, 4)
    assert frame["converted"].sum() == 10_200
    assert frame["age"].between(17, 80).all()
    assert frame["total_pages_visited"].between(1, 29).all()
    assert set(frame["new_user"]) == {0, 1}
    pd.testing.assert_frame_equal(frame, sample.rows(555))
    assert not frame.equals(sample.rows(556))
