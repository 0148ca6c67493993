"""The page and its WebSocket, as an ASGI application."""

import pathlib

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from emojax.inference.serve.clients import Clients
from emojax.inference.serve.guard import Guard

_PAGE = pathlib.Path(__file__).parent / "page"


def make(clients: Clients, host: str) -> Starlette:
  """For clients who reach it as `host` or on this machine."""

  async def about(request: Request) -> JSONResponse:
    del request
    return JSONResponse(clients.about())

  routes = [
    Route("/about", about),
    WebSocketRoute("/listen", clients.serve),
    Mount("/", StaticFiles(directory=_PAGE, html=True)),
  ]
  return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)])
