"""Save the pickled pipeline as an MLflow model that predicts probabilities."""

import os
import sys

import joblib
import mlflow.sklearn

model = joblib.load(os.environ["MODEL_FILE"])
mlflow.sklearn.save_model(
    model,
    sys.argv[1],
    serialization_format="cloudpickle",
    pyfunc_predict_fn="predict_proba",
    pip_requirements=[],
)
