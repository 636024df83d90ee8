"""A file scored as a notebook would: pandas in chunks, the pickled pipeline, ``to_csv``."""

import sys

import joblib
import pandas as pd

source, target, bundle = sys.argv[1:]
model = joblib.load(f"{bundle}/model.joblib")
for place, chunk in enumerate(pd.read_csv(source, chunksize=250_000)):
    probabilities = model.predict_proba(chunk.astype("float64"))
    chunk["prediction"] = model.classes_[probabilities.argmax(axis=1)]
    chunk["probability"] = probabilities[:, 1]
    chunk.to_csv(target, mode="w" if place == 0 else "a", header=place == 0, index=False)
