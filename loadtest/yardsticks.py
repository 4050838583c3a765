"""What the same messages and commands cost when nothing is done with them.

`python -m loadtest.yardsticks` is the empty grpc.aio handler: it serves CallAuthorization with constant answers, by
themselves or in a Session, on uvloop and with the options of the front.
"""

import asyncio
import hashlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio
import uvloop
from google.protobuf.message import Message

from gateway.address import Address
from gateway.parent_watch import exit_with_parent, report_ready
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationServicer, add_CallAuthorizationServicer_to_server
from loadtest.pipeline import Command, Pipeline

EMPTY_SCRIPT: Final = "#!lua\n"
EMPTY_SCRIPT_SHA: Final = hashlib.sha1(EMPTY_SCRIPT.encode()).hexdigest()
EMPTY_FUNCTION: Final = "bench_empty"
_EMPTY_LIBRARY: Final = (
    f"#!lua name={EMPTY_FUNCTION}\nredis.register_function('{EMPTY_FUNCTION}', function(KEYS, ARGV) end)"
)


def load_empty(pipeline: Pipeline) -> None:
    """Load the empty script and the empty function."""
    pipeline.ask("SCRIPT", "LOAD", EMPTY_SCRIPT)
    pipeline.ask("FUNCTION", "LOAD", "REPLACE", _EMPTY_LIBRARY)


def as_empty_script(command: Command) -> Command:
    """The empty script with the keys and arguments of an FCALL."""
    return ("EVALSHA", EMPTY_SCRIPT_SHA, *command[2:])


def as_empty_function(command: Command) -> Command:
    """The empty function with the keys and arguments of an FCALL."""
    return ("FCALL", EMPTY_FUNCTION, *command[2:])


_GRANTED: Final = pb.AuthorizeCallResponse(
    decision=pb.GRANTED,
    reason=pb.FUNDED,
    granted_seconds=60,
    category=pb.CATEGORY_INTERNATIONAL,
    price_per_minute_micros=120_000,
    available_micros=999_880_000,
)
_ENDED: Final = pb.EndCallResponse(billed_seconds=61, debited_micros=240_000, available_micros=999_760_000)
_ANSWERED: Final = pb.AnswerCallResponse(granted_seconds=60, available_micros=999_880_000)
_TICKED: Final = pb.TickCallResponse(granted_seconds=120, debited_micros=120_000, available_micros=999_760_000)
_SENT: Final = pb.AuthorizeMessageResponse(
    decision=pb.GRANTED, reason=pb.FUNDED, debited_micros=8_500, available_micros=999_991_500
)
_QUOTED: Final = pb.QuoteCallResponse(
    decision=pb.GRANTED, reason=pb.FUNDED, category=pb.CATEGORY_INTERNATIONAL, price_micros=120_000
)
_OTHERS: Final[dict[str | None, dict[str, Any]]] = {
    "answer_call": {"answer_call": _ANSWERED},
    "tick_call": {"tick_call": _TICKED},
    "authorize_message": {"authorize_message": _SENT},
}
"""By operation; the two that nearly all measures ask for are asked about first, and by the quickest way."""


def _always(answer: Message) -> Any:
    """An rpc that answers a constant."""

    async def rpc(_self: object, _request: Message, _context: object) -> Message:
        return answer

    return rpc


class EmptyHandler(CallAuthorizationServicer):
    """Answers what the gateway answers to a funded call, without asking anybody."""

    AuthorizeCall = _always(_GRANTED)
    AnswerCall = _always(_ANSWERED)
    TickCall = _always(_TICKED)
    EndCall = _always(_ENDED)
    AuthorizeMessage = _always(_SENT)
    QuoteCall = _always(_QUOTED)

    async def Session(  # type: ignore[override]  # noqa: N802  # written to the context, which the stubs do not know
        self,
        request_iterator: AsyncIterator[pb.SessionRequest],  # noqa: ARG002  # read from the context
        context: grpc.aio.ServicerContext[pb.SessionRequest, pb.SessionResponse],
    ) -> None:
        """A constant for each operation, one message for each message."""
        while isinstance(request := await context.read(), pb.SessionRequest):  # else grpc's end of file
            results = [
                pb.Result(tag=operation.tag, authorize_call=_GRANTED)
                if operation.HasField("authorize_call")
                else pb.Result(tag=operation.tag, end_call=_ENDED)
                if operation.HasField("end_call")
                else pb.Result(tag=operation.tag, **_OTHERS[operation.WhichOneof("operation")])
                for operation in request.operations
            ]
            await context.write(pb.SessionResponse(results=results))


async def serve_empty() -> None:
    """Serve until SIGTERM, on a port that the system chooses and that is reported."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    # The rpcs that nobody calls are left out.
    add_CallAuthorizationServicer_to_server(EmptyHandler(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    report_ready("empty", listen=Address("127.0.0.1", port))
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    exit_with_parent()
    sys.exit(uvloop.run(serve_empty()))
