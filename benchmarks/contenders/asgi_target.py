"""This project's handler as a target of functions-framework's ASGI server, to compare it with WSGI."""

from starlette.responses import Response

from handler.app import application
from handler.web.messages import Request

app = application()


async def http(request):
    event = Request(
        method=request.method,
        path=request.url.path,
        query=tuple(request.query_params.multi_items()),
        headers=dict(request.headers),
        body=await request.body(),
    )
    answer = app.handle(event)
    return Response(answer.body, answer.status, dict(answer.headers))
