"""A synthetic stand-in for online_sales.csv, with its columns, its size, its balance and plausible effects.

Every number here is invented; only the shape of the real file and the direction of its effects are
imitated. Training prints "synthetic" wherever this data is named.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

NAME = "online_sales_synthetic"


def rows(seed: int, rows: int = 316_200, converted: int = 10_200) -> pd.DataFrame:
    """``rows`` visitors, exactly ``converted`` of whom bought; the same for the same arguments."""
    random = np.random.default_rng(seed)
    age = np.clip(17 + random.gamma(2.7, 5.04, rows), 17, 80).astype(np.int64)
    new_user = (random.random(rows) < 0.685).astype(np.int64)
    pages = 1 + np.minimum(random.negative_binomial(1.75, 0.29 + 0.03 * new_user), 28)
    # The visitors with the highest score buy, so that their number is exact.
    score = 0.75 * pages - 1.7 * new_user - 0.064 * age + random.logistic(size=rows)
    bought = np.zeros(rows, dtype=np.int64)
    bought[np.argsort(score, kind="stable")[rows - converted :]] = 1
    return pd.DataFrame(
        {"age": age, "new_user": new_user, "total_pages_visited": pages, "converted": bought}
    )
