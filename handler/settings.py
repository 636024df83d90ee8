"""The environment, read once and checked: every setting of the function stands here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from handler.errors import SettingError
from handler.typed import Literal, NamedTuple

Platform = Literal["lambda", "cloud_run", "local"]

#: Lambda passes 6 MB of event; base64 makes 4 bytes of 3, and headers need room.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
#: Cloud Run passes 32 MiB over HTTP/1. https://cloud.google.com/run/quotas
BODY_LIMITS: Mapping[Platform, int] = {
    "lambda": 4 * 1024 * 1024,
    "cloud_run": 30 * 1024 * 1024,
    "local": 30 * 1024 * 1024,
}
#: Where training writes a bundle, below the working directory.
MODEL_DIR = os.path.join("handler", "model")
#: Seconds in which a request must come, where our own server reads it: ``handler/server.py``.
READ_TIMEOUT = 20
#: The Cloud Run Admin API, and who gives a service's token. https://cloud.google.com/run/docs/reference/rest
RUN_API = "https://run.googleapis.com"
METADATA_HOST = "metadata.google.internal"
#: Seconds for which a captured record waits to be written with others.
CAPTURE_SECONDS = 60
_CAPTURE = r"(?:s3|gs)://[\w.-]{1,222}(?:/(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f]+)*/?"
_JOB = r"projects/[\w.:-]+/locations/[\w-]+/jobs/[\w-]+"
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LOG_LEVELS: tuple[LogLevel, ...] = ("DEBUG", "INFO", "WARNING", "ERROR")


class Settings(NamedTuple):
    """The settings; sizes in bytes, ``timeout`` in seconds (of Cloud Run; None: unknown), ``memory`` in
    megabytes (of Lambda).

    ``job`` and ``large_bytes``: the Cloud Run job that scores tables above that size, or neither.
    ``explain``: how many of its strongest features a batch writes for each row. ``block_bytes``: 0 for as
    many as suit the table, see ``handler.tables.records.block_bytes``. ``capture_uri``: where a
    ``capture_share`` of requests is kept, with the id columns ``capture_ids``, each record after
    ``capture_seconds``.
    """

    model_dir: str = MODEL_DIR
    model_public_key: str | None = None
    input_uri: tuple[str, ...] = ()
    output_uri: str | None = None
    log_level: LogLevel = "INFO"
    max_body_bytes: int = BODY_LIMITS["local"]
    block_bytes: int = 0
    workers: int = 1
    threads: int = 4
    cors_origins: tuple[str, ...] = ()
    allow_http: bool = False
    timeout: float | None = None
    memory: int | None = None
    processors: int = 1
    task: tuple[int, int] | None = None
    read_timeout: float = READ_TIMEOUT
    job: str | None = None
    large_bytes: int | None = None
    run_api: str = RUN_API
    metadata_host: str = METADATA_HOST
    explain: int = 0
    capture_uri: str | None = None
    capture_share: float = 1.0
    capture_seconds: int = CAPTURE_SECONDS
    capture_ids: tuple[str, ...] = ()
    platform: Platform = "local"
    function_name: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from ``environ``; raises ``SettingError`` that names the variable."""
        platform = _platform(environ)
        named = environ.get("LOG_LEVEL", "INFO").upper()
        level = next((each for each in LOG_LEVELS if each == named), None)
        if level is None:
            raise SettingError("LOG_LEVEL", f"must be one of {', '.join(LOG_LEVELS)}")
        allow_http = any(
            environ.get(variable, "").lower() in ("1", "true")
            for variable in ("AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")
        )
        job, large_bytes = _job(environ)
        return cls(
            model_dir=environ.get("MODEL_DIR") or _bundle(),
            model_public_key=environ.get("MODEL_PUBLIC_KEY") or None,
            input_uri=_words(environ, "INPUT_URI"),
            output_uri=environ.get("OUTPUT_URI") or None,
            log_level=level,
            max_body_bytes=_count(environ, "MAX_BODY_BYTES", BODY_LIMITS[platform]),
            block_bytes=_count(environ, "BLOCK_BYTES", 0),
            workers=_count(environ, "WORKERS", _processors() + (_processors() + 1) // 2),
            threads=_count(environ, "THREADS", 4 * _processors()),
            cors_origins=_words(environ, "CORS_ORIGINS"),
            allow_http=allow_http,
            timeout=_count(environ, "CLOUD_RUN_TIMEOUT_SECONDS", 0) or None,
            memory=_count(environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0) or None,
            processors=_processors(),
            task=_task(environ),
            read_timeout=_count(environ, "READ_TIMEOUT_SECONDS", READ_TIMEOUT),
            job=job,
            large_bytes=large_bytes,
            run_api=_run_api(environ, job, allow_http),
            metadata_host=environ.get("GCE_METADATA_HOST") or METADATA_HOST,
            explain=_count(environ, "EXPLAIN", 0),
            capture_uri=_capture_uri(environ),
            capture_share=_share(environ, "CAPTURE_SHARE"),
            capture_seconds=_count(environ, "CAPTURE_SECONDS", CAPTURE_SECONDS, least=0),
            capture_ids=tuple(filter(None, map(str.strip, environ.get("CAPTURE_IDS", "").split(",")))),
            platform=platform,
            function_name=environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        )


def port_of(text: str, name: str = "PORT") -> int:
    """The port that ``name``, a variable or a flag, holds; raises ``SettingError``."""
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 65536):
        raise SettingError(name, "must be a port: a whole number from 1 to 65535, such as 8080")
    return int(text)


def _bundle() -> str:
    """The bundle below the working directory, or else the one beside this package, as in a checkout.

    Where there is neither, the first is the one to train.
    """
    beside = os.path.join(os.path.dirname(__file__), "model")
    found = (folder for folder in (MODEL_DIR, beside) if os.path.exists(os.path.join(folder, "model.json")))
    return next(found, MODEL_DIR)


def _platform(environ: Mapping[str, str]) -> Platform:
    """Which platform runs this, by the variables that the platforms document."""
    if "AWS_LAMBDA_FUNCTION_NAME" in environ or "AWS_LAMBDA_RUNTIME_API" in environ:
        return "lambda"
    # A service of Cloud Run, or a job. https://cloud.google.com/run/docs/container-contract#env-vars
    return "cloud_run" if "K_SERVICE" in environ or "CLOUD_RUN_JOB" in environ else "local"


def _job(environ: Mapping[str, str]) -> tuple[str | None, int | None]:
    """JOB and LARGE_BYTES: both or neither."""
    job, large_bytes = environ.get("JOB") or None, _count(environ, "LARGE_BYTES", 0) or None
    if job is None and large_bytes is None:
        return None, None
    if job is None or not re.fullmatch(_JOB, job, re.ASCII):
        raise SettingError(
            "JOB",
            "must be the full name of the Cloud Run job that scores objects above LARGE_BYTES: "
            "projects/PROJECT/locations/REGION/jobs/NAME",
        )
    if large_bytes is None:
        raise SettingError("LARGE_BYTES", "must be the bytes above which JOB scores an object")
    return job, large_bytes


def _run_api(environ: Mapping[str, str], job: str | None, allow_http: bool) -> str:
    """The base URL of the Cloud Run Admin API, which gcloud takes from the same variable."""
    variable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"
    url = environ.get(variable) or RUN_API
    schemes = ("https://", "http://") if allow_http else ("https://",)
    host = next((url.removeprefix(scheme) for scheme in schemes if url.startswith(scheme)), "")
    if job is not None and (not host or host.startswith("/")):
        raise SettingError(
            variable, "must be an https:// URL (http:// too, where GOOGLE_ALLOW_HTTP is true)"
        )
    return url.rstrip("/")


def _capture_uri(environ: Mapping[str, str]) -> str | None:
    uri = environ.get("CAPTURE_URI") or None
    if uri is None:
        return None
    if "://" in uri and not re.fullmatch(_CAPTURE, uri, re.ASCII):
        raise SettingError("CAPTURE_URI", "must be s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a folder")
    folder = uri.rstrip("/") + "/"
    for prefix in _words(environ, "INPUT_URI"):
        if folder.startswith(prefix.rstrip("/") + "/"):
            raise SettingError("CAPTURE_URI", "must not lie below INPUT_URI: what is there is to be scored")
    return uri


def _share(environ: Mapping[str, str], variable: str) -> float:
    text = environ.get(variable, "")
    if not text:
        return 1.0
    if not re.fullmatch(r"0|1|1\.0+|0?\.[0-9]{1,15}", text, re.ASCII):
        raise SettingError(variable, "must be a number from 0 to 1, such as 0.1 for a tenth of requests")
    return float(text)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _task(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Which of how many tasks of a Cloud Run job this process is; None where it is none.

    https://cloud.google.com/run/docs/container-contract#jobs-env-vars
    """
    count, text = _count(environ, "CLOUD_RUN_TASK_COUNT", 0), environ.get("CLOUD_RUN_TASK_INDEX", "")
    if not count:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:10]) < count):
        raise SettingError("CLOUD_RUN_TASK_INDEX", "must be a whole number below CLOUD_RUN_TASK_COUNT")
    return int(text), count


def _words(environ: Mapping[str, str], variable: str) -> tuple[str, ...]:
    """Comma- or space-separated words."""
    return tuple(environ.get(variable, "").replace(",", " ").split())


def _count(environ: Mapping[str, str], variable: str, default: int, least: int = 1) -> int:
    text = environ.get(variable, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text[:20]) < 1 << 40):
        raise SettingError(variable, f"must be a whole number of {least} or more")
    return int(text)
