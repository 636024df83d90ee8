"""``serve``: functions-framework's server in the place of this process."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlencode

from handler.commands import common
from handler.errors import FunctionError
from handler.schema import to_text
from handler.settings import Settings, port_of


def add_serve(add: common.Add) -> None:
    """Add ``serve`` and its flags."""
    command = add(
        serve,
        "serve over HTTP, with functions-framework",
        "",
        "--port 8081",
        "--host 0.0.0.0 --model build/wine",
    )
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    command.add_argument("--port", metavar="PORT", help="default: $PORT, or 8080")


def serve(options: argparse.Namespace, settings: Settings) -> int:
    """Serve over HTTP with functions-framework, as Cloud Run does."""
    port = (
        port_of(os.environ.get("PORT") or "8080")
        if options.port is None
        else port_of(options.port, "--port")
    )
    _require_free(options.host, port)
    model = common.whole_model(settings)  # a bad bundle is reported here, in one line
    base = f"http://{options.host}:{port}"
    example = model.manifest.golden[0]["record"]
    known = [each for each in model.manifest.features if example.get(each.name) is not None]
    query = urlencode({each.name: to_text(each, example[each.name]) for each in known})
    if not options.quiet:
        print(f"serving {model.manifest.name} {model.manifest.version} on {base}", file=sys.stderr)
        print(f"  page        {base}/", file=sys.stderr)
        print(f"  Swagger UI  {base}/apidocs", file=sys.stderr)
        print(f"  try         curl '{base}/predict?{query}'", file=sys.stderr)
        print("  stop        Ctrl-C", file=sys.stderr, flush=True)
    root = Path(__file__).resolve().parents[2]
    # The server is this very package, and a pipeline of one's own may be where the command was typed.
    paths = [str(root), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ |= {"HOST": options.host, "PORT": str(port), "MODEL_DIR": str(settings.model_dir)}
    # Ctrl-C waits until the server can heed it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(sys.executable, [sys.executable, "-P", "-m", "handler.server"])


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise FunctionError(
                f"cannot listen on {host}:{port}: ports below 1024 are for the administrator; "
                "choose another port: --port 8080, or PORT=8080 make serve"
            ) from error
        except OSError as error:
            other = 8081 if port != 8081 else 8082
            raise FunctionError(
                f"cannot listen on {host}:{port} ({error.strerror}); "
                f"choose another port: --port {other}, or PORT={other} make serve"
            ) from error
