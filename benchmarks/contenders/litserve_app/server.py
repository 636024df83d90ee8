"""LitServe as its documentation serves a model: an API class, one worker on the processor."""

import os
import sys

import joblib
import litserve as ls
import pandas as pd


class OnlineSales(ls.LitAPI):
    def setup(self, device):  # noqa: ARG002
        self.model = joblib.load(os.environ["MODEL_FILE"])

    def decode_request(self, request):
        return pd.DataFrame([request]).astype("float64")

    def predict(self, frame):
        probability = float(self.model.predict_proba(frame)[0, 1])
        return {"prediction": int(self.model.predict(frame)[0]), "probability": probability}

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = ls.LitServer(OnlineSales(), accelerator="cpu", devices=1, workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
