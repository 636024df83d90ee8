"""The same FastAPI application behind Mangum, its adapter for Lambda."""

from fastapi_app import app
from mangum import Mangum

handler = Mangum(app, lifespan="off")
