"""A Lambda handler as AWS's template for scikit-learn has it: load when imported, predict the body."""

import json
import os

import joblib
import pandas as pd

model = joblib.load(os.environ["MODEL_FILE"])


def handler(event, context):  # noqa: ARG001
    frame = pd.DataFrame([json.loads(event["body"])]).astype("float64")
    probability = float(model.predict_proba(frame)[0, 1])
    body = {"prediction": int(model.predict(frame)[0]), "probability": probability}
    return {"statusCode": 200, "body": json.dumps(body)}
