"""What goes wrong between the sidecar and Kamailio."""


class KamailioError(Exception):
    """The root of these."""


class ProtocolError(KamailioError):
    """What came is not what `tollgate.cfg` sends."""


class RpcFailed(KamailioError):
    """Kamailio did not answer a JSON-RPC request, or not as expected."""


class RpcRefused(RpcFailed):
    """Kamailio answered a JSON-RPC request with an error: a dialog that is gone, a command it does not have.

    Attributes:
        code: The error's.
    """

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {code} {message}")
        self.code = code
