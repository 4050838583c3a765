"""Where a request comes from."""

from starlette.requests import Request


def peer_of(request: Request) -> str:
    """The address at the other end of the connection: that of a proxy, since anybody may send a header with another."""
    return request.client.host if request.client is not None else ""
