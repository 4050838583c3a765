"""How grpc hands requests on: as the generated code does, but for bytes that are no message.

grpc's own answer to those is UNKNOWN with the parser's words, and a traceback in the log that whoever connects can make
as long as they like. Here they are an INVALID_ARGUMENT like any other, told to who has a token.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from gateway.api.runner import Runner, ServicerContext
from gateway.domain.identity import Identity
from gateway.errors import InvalidArgument

REQUEST: Final = "request"
"""What errors name that are about the whole."""


class Malformed:
    """What stands for a request that could not be read.

    Args:
        why: The parser's words.
    """

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why

    def refuse(self) -> NoReturn:
        """Say so.

        Raises:
            InvalidArgument: Always.
        """
        raise InvalidArgument(
            REQUEST, f"is no message of this rpc ({self.why}); send it as the proto has it, text in UTF-8"
        )


def reader_of(method: MethodDescriptor) -> Callable[[bytes], Any]:
    """Reads the requests of an rpc."""
    parse: Callable[[bytes], Any] = GetMessageClass(method.input_type).FromString

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            return Malformed(str(error))

    return read


def register_handlers(server: grpc.aio.Server, service: ServiceDescriptor, servicer: Any, runner: Runner) -> None:
    """Have a server answer a service's rpcs that take one request; to be called after the generated registration.

    Args:
        server: The last registration for a method counts there.
        service: Whose rpcs; those with a stream of requests are left as they are.
        servicer: Has a method for each.
        runner: Says what is malformed.
    """
    handlers = {
        method.name: _handler(method, getattr(servicer, method.name), runner)
        for method in service.methods
        if not method.client_streaming
    }
    server.add_registered_method_handlers(service.full_name, handlers)


def _handler(method: MethodDescriptor, answer: Callable[..., Any], runner: Runner) -> "grpc.RpcMethodHandler[Any, Any]":
    async def unary(request: Any, context: ServicerContext[Any, Any]) -> Any:
        if type(request) is Malformed:
            return await runner.run(method.name, context, request, _refuse)
        return await answer(request, context)

    async def stream(request: Any, context: ServicerContext[Any, Any]) -> None:
        if type(request) is Malformed:
            await runner.run_stream(method.name, context, request, _refuse_stream)
        else:
            await answer(request, context)

    write = GetMessageClass(method.output_type).SerializeToString
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(stream, reader_of(method), write)
    return grpc.unary_unary_rpc_method_handler(unary, reader_of(method), write)


async def _refuse(request: Malformed, _: Identity) -> Any:
    request.refuse()


async def _refuse_stream(request: Malformed, _: Identity) -> AsyncGenerator[Any, None]:
    request.refuse()
    yield
