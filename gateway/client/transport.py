"""The road to a gateway: opening a Session stream, and what broke it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.client.errors import error_info
from gateway.client.tls import Tls, TlsFilesError, dial
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

_DETAILS: Final = "grpc-status-details-bin"

_MADE_UP: Final = "Internal error from Core"
"""What grpc.aio says of its own accord of a write that failed, even where the gateway has said why it ended the stream.
"""

_SAID_LATE_SECONDS: Final = 1.0
"""How long after such a write the gateway's own word may take."""

T = TypeVar("T")

_OPTIONS: Final = (
    *CHANNEL_OPTIONS,
    # One channel a connection: the pauses between attempts are the client's own, not gRPC's, which grow to 2 minutes.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 << 20),
)


class StreamBroken(Exception):
    """The stream is over, or there is none.

    Attributes:
        code: The gRPC code by name.
        message: In the gateway's words, or gRPC's.
        reason: ErrorInfo's; empty if no gateway said so.
        field: The field at fault; empty if it is none's.
    """

    def __init__(self, code: str, message: str, reason: str = "", field: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.field = field


class Stream(Protocol):
    """A Session. At most one write and one read at a time; cancelling either breaks the stream."""

    async def write(self, request: pb.SessionRequest) -> None:
        """Send; returns when there is room for more. Raises StreamBroken."""
        ...

    async def read(self) -> pb.SessionResponse | None:
        """The next response; None: the gateway ended the stream well. Raises StreamBroken."""
        ...

    async def done_writing(self) -> None:
        """Say that nothing more will be sent; the gateway answers what it has and ends the stream."""
        ...

    async def leaving(self) -> None:
        """Return when the gateway asks its clients to connect anew (it drains, before it stops)."""
        ...

    async def close(self) -> None:
        """Give the stream up."""
        ...


class Transport(Protocol):
    """Opens streams."""

    async def connect(self, limit_seconds: float) -> Stream:
        """Open a stream. Raises StreamBroken."""
        ...


class GrpcTransport:
    """Opens Session streams with grpc.aio, each on a connection of its own.

    Args:
        target: As gRPC takes it, e.g. `gateway.example:50051`.
        token: Goes as bearer token with the stream; empty: none does.
        switch_id: For an operator's token: the switch that this stream is for.
        tls: None for a connection in the clear.
    """

    def __init__(
        self, target: str, token: str, switch_id: str | None, tls: grpc.ChannelCredentials | Tls | None
    ) -> None:
        self._target = target
        self._tls = tls
        self._metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {token}"),) if token else ()
        if switch_id is not None:
            self._metadata += (("x-switch-id", switch_id),)

    async def connect(self, limit_seconds: float) -> Stream:
        """Open a stream.

        Raises:
            StreamBroken: Nothing answers there in time.
        """
        try:
            channel = dial(self._target, self._tls, _OPTIONS)
        except TlsFilesError as error:
            raise StreamBroken("UNAVAILABLE", str(error)) from None
        try:
            async with asyncio.timeout(limit_seconds):
                await self._wait_ready(channel)
            stub: CallAuthorizationAsyncStub = CallAuthorizationStub(channel)
            return _GrpcStream(channel, stub.Session(metadata=self._metadata))
        except TimeoutError:
            await channel.close()
            raise StreamBroken("UNAVAILABLE", f"{self._target} did not answer within {limit_seconds:g} s") from None
        except BaseException:
            await channel.close()
            raise

    async def _wait_ready(self, channel: grpc.aio.Channel) -> None:
        state = channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise StreamBroken("UNAVAILABLE", f"nothing answers at {self._target}")
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)


class _Status(NamedTuple):
    """How a stream ended, in the words of whoever ended it."""

    code: str
    message: str
    details: bytes | None

    @property
    def is_made_up(self) -> bool:
        return self.code == "INTERNAL" and self.message == _MADE_UP


class _GrpcStream:
    def __init__(self, channel: grpc.aio.Channel, call: Any) -> None:
        self._channel = channel
        self._call = call
        self._statuses: list[_Status] = []
        self._ended = asyncio.Event()
        call.add_done_callback(self._note_status)

    async def write(self, request: pb.SessionRequest) -> None:
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
            raise await self._broken(error) from None

    async def read(self) -> pb.SessionResponse | None:
        try:
            response = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
            raise await self._broken(error) from None
        return response if isinstance(response, pb.SessionResponse) else None  # else it is grpc's end of file

    async def done_writing(self) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    async def leaving(self) -> None:
        # A gateway that drains sends GOAWAY, of which grpc shows no more than that the channel is not READY any longer.
        await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()

    async def _broken(self, error: BaseException) -> StreamBroken:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise error
        # A cancelled write takes the read with it, and grpc says CancelledError there to a task that nobody cancelled.
        status = await self._status()
        if status.details is not None:
            with suppress(DecodeError):
                return StreamBroken(status.code, status.message, *error_info(Status.FromString(status.details).details))
        return StreamBroken(status.code, status.message)

    async def _status(self) -> _Status:
        """The gateway's word, where it said one: STOPPING decides whether what is owed may have happened.

        A write that fails as the gateway ends the stream puts INTERNAL in the place of the status that has come, or
        that is about to (https://github.com/grpc/grpc/issues/36066).
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_SAID_LATE_SECONDS):
                while all(status.is_made_up for status in self._statuses):
                    self._ended.clear()
                    await self._ended.wait()
        return next((status for status in self._statuses if not status.is_made_up), _Status("INTERNAL", _MADE_UP, None))

    def _note_status(self, call: Any) -> None:
        """Called each time grpc sets the status of the call, at which moment its parts can be had without waiting."""
        trailers = _without_waiting(call.trailing_metadata())
        details = next((value for key, value in trailers or () if key == _DETAILS and isinstance(value, bytes)), None)
        code, message = _without_waiting(call.code()).name, _without_waiting(call.details()) or ""
        self._statuses.append(_Status(code, message, details))
        self._ended.set()


def _without_waiting(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        coroutine.close()
    raise AssertionError("it had something to wait for")
