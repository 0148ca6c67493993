"""Who may ask, and what browsers are told of the page.

A page of another site can send requests to this machine, also under a name of
its own that it lets point here (DNS rebinding). So the `Host` has to be one
that this server is known by, and the `Origin` the same.
"""

import ipaddress
import urllib.parse
from collections.abc import MutableMapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CONTENT = {
  "default-src": "'none'",
  "script-src": "'self'",
  "style-src": "'self'",
  "connect-src": "'self'",
  "img-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'none'",
  "frame-ancestors": "'none'",
}
_HEADERS = {
  "content-security-policy": "; ".join(map(" ".join, _CONTENT.items())),
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "microphone=(self), camera=(), geolocation=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cache-control": "no-cache",
}


class Guard:
  """Lets through, to another application, what comes from its own page."""

  def __init__(self, app: ASGIApp, host: str):
    """`host`: the name or address at which the server listens."""
    self._app, self._host = app, host.lower()

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 403 to what does not; in one line."""
    if scope["type"] == "lifespan":
      await self._app(scope, receive, send)
      return

    async def send_headers(message: MutableMapping) -> None:
      if message["type"].endswith("response.start"):
        MutableHeaders(scope=message).update(_HEADERS)
      await send(message)

    if why := self._refusal(scope):
      refusal = PlainTextResponse(f"{why}\n", status_code=403)
      await refusal(scope, receive, send_headers)
    else:
      await self._app(scope, receive, send_headers)

  def _refusal(self, scope: Scope) -> str:
    """Why a request is not answered; '' where it is."""
    headers = Headers(scope=scope)
    host, origin = headers.get("host", ""), headers.get("origin")
    if not self._is_known(_name(f"//{host}")):
      return "this page is not served under that name; see --host"
    # Browsers name the origin of every WebSocket; who has none is no page.
    is_own = origin is not None and _netloc(origin) == host.lower()
    is_needed = origin is not None or scope["type"] == "websocket"
    return "this is for its own page only" if is_needed and not is_own else ""

  def _is_known(self, name: str) -> bool:
    if name in _LOOPBACK or name == self._host:
      return True
    # At all addresses of this machine: those can be no name of another site.
    return _is_any(self._host) and _is_address(name)


def _netloc(url: str) -> str:
  try:
    return urllib.parse.urlsplit(url).netloc.lower()
  except ValueError:
    return ""


def _name(url: str) -> str:
  """Of a URL the host, without its port; '' where it makes no sense."""
  try:
    return urllib.parse.urlsplit(url).hostname or ""
  except ValueError:
    return ""


def _is_address(name: str) -> bool:
  try:
    ipaddress.ip_address(name)
  except ValueError:
    return False
  return True


def _is_any(host: str) -> bool:
  return _is_address(host) and ipaddress.ip_address(host).is_unspecified
