"""FastAPI as its documentation serves a model: a validated body, the model loaded once, plain functions."""

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL_FILE"])


class Customer(BaseModel):
    age: int
    new_user: int
    total_pages_visited: int


def answer(customer):
    frame = pd.DataFrame([customer]).astype("float64")
    probability = float(model.predict_proba(frame)[0, 1])
    return {"prediction": int(model.predict(frame)[0]), "probability": probability}


@app.get("/predict")
def predict_one(age: int, new_user: int, total_pages_visited: int):
    return answer({"age": age, "new_user": new_user, "total_pages_visited": total_pages_visited})


@app.post("/predict")
def predict(customer: Customer):
    return answer(customer.model_dump())
