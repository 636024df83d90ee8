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


def answers(customers):
    frame = pd.DataFrame(customers).astype("float64")
    pairs = zip(model.predict(frame).tolist(), model.predict_proba(frame)[:, 1].tolist(), strict=True)
    return [{"prediction": label, "probability": probability} for label, probability in pairs]


def answer(customer):
    return answers([customer])[0]


@app.get("/predict")
def predict_one(age: int, new_user: int, total_pages_visited: int):
    return answer({"age": age, "new_user": new_user, "total_pages_visited": total_pages_visited})


@app.post("/predict")
def predict(customer: Customer):
    return answer(customer.model_dump())


@app.post("/predict_many")
def predict_many(customers: list[Customer]):
    return answers([customer.model_dump() for customer in customers])
