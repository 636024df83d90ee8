"""BentoML as its documentation serves a model: a service class, the model loaded in its constructor."""

import os

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1)
class OnlineSales:
    def __init__(self):
        self.model = joblib.load(os.environ["MODEL_FILE"])

    @bentoml.api
    def predict(self, age: int, new_user: int, total_pages_visited: int) -> dict:
        record = {"age": age, "new_user": new_user, "total_pages_visited": total_pages_visited}
        frame = pd.DataFrame([record]).astype("float64")
        probability = float(self.model.predict_proba(frame)[0, 1])
        return {"prediction": int(self.model.predict(frame)[0]), "probability": probability}
