"""What every channel to a gateway is opened with."""

from typing import Final

CHANNEL_OPTIONS: Final = (
    # A gateway is not to be reached by way of a web proxy of the environment.
    ("grpc.enable_http_proxy", 0),
    # Where a connection gets GOAWAY as a call begins on it (a gateway that drains), gRPC's core begins that call anew
    # on the same connection ("transparent retry", gRFC A6), in one turn without end and with more memory each time:
    # the process stands still until it has none left. tests/adversity/test_goaway.py shows it. Whoever asks a gateway
    # retries anyway, with the same id.
    ("grpc.enable_retries", 0),
)
