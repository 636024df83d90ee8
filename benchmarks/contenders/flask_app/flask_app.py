"""The book chapter's application in Flask: GET /predict for a customer, scikit-learn behind it."""

import os

import joblib
import pandas as pd
from flask import Flask, jsonify, request

app = Flask(__name__)
model = joblib.load(os.environ["MODEL_FILE"])


@app.route("/predict")
def predict():
    names = ("age", "new_user", "total_pages_visited")
    frame = pd.DataFrame([{name: float(request.args[name]) for name in names}])
    probability = float(model.predict_proba(frame)[0, 1])
    return jsonify({"prediction": int(model.predict(frame)[0]), "probability": probability})
