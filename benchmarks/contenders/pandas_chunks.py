"""Files scored as a notebook would: pandas in chunks, the pickled pipeline, ``to_csv``.

Of a folder, each file is scored on its own.
"""

import sys
from pathlib import Path

import joblib
import pandas as pd

source, target, bundle, *size = sys.argv[1:]
model = joblib.load(f"{bundle}/model.joblib")
texts = not hasattr(model, "feature_names_in_")  # the pipeline of one column of text is given that column


def score(source, target):
    for place, chunk in enumerate(pd.read_csv(source, chunksize=int(size[0]) if size else 250_000)):
        probabilities = model.predict_proba(chunk.iloc[:, 0] if texts else chunk)
        chunk["prediction"] = model.classes_[probabilities.argmax(axis=1)]
        if len(model.classes_) == 2:
            chunk["probability"] = probabilities[:, 1]
        else:
            names = [f"probability_{label}" for label in model.classes_]
            chunk = pd.concat([chunk, pd.DataFrame(probabilities, chunk.index, names)], axis=1)
        chunk.to_csv(target, mode="w" if place == 0 else "a", header=place == 0, index=False)


if Path(source).is_dir():
    for file in sorted(Path(source).iterdir()):
        score(file, Path(target) / file.name)
else:
    score(source, target)
