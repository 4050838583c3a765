"""What gateway.client does for a switch: failure handling, emergencies, commands, lost calls; and what it imports."""

import ast
import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gateway.client
from gateway.client import (
    Client,
    ClientBusy,
    ClientClosed,
    Command,
    CutCall,
    FailureHandling,
    FundsLow,
    FundsRestored,
    GatewayUnavailable,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    UnknownCall,
    is_emergency,
)
from gateway.client.commands import MAX_WAITING, Inbox
from gateway.client.live_calls import CallTable
from gateway.v1 import authorization_pb2 as pb
from tests.support.client import UNIX_START, FakeClock, close, failed, granted, open_client, settle
from tests.unit.test_client_operations import LONDON, authorize, names

CONTINUE = FailureHandling.CONTINUE
Answer = Callable[[pb.Operation], pb.Result | None]


def denied(operation: pb.Operation, reason: pb.Reason.ValueType = pb.INSUFFICIENT_FUNDS) -> pb.Result:
    return pb.Result(tag=operation.tag, authorize_call=pb.AuthorizeCallResponse(decision=pb.DENIED, reason=reason))


def message(client: Client, **options: Any) -> "asyncio.Task[pb.AuthorizeMessageResponse]":
    return asyncio.create_task(
        client.authorize_message(office_id="a", message_id="m", called_number=LONDON, segments=1, **options)
    )


async def taken(client: Client) -> list[Command]:
    """The commands that wait."""
    commands: list[Command] = []

    async def take() -> None:
        async for command in client.commands():
            commands.append(command)  # noqa: PERF401  # taken one by one until cancelled

    task = asyncio.create_task(take())
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return commands


# --- when no gateway answers ------------------------------------------------------------------------------------------


async def test_terminating_fails_and_keeps_nothing() -> None:
    for policy in (FailureHandling.TERMINATE, FailureHandling.RETRY_AND_TERMINATE):
        async with open_client(is_down=True, failure_handling=policy) as (client, _, clock):
            tasks = authorize(client, "1"), message(client)
            await clock.advance(1.1)
            for task in tasks:
                assert isinstance(task.exception(), GatewayUnavailable)
            assert client.live_calls == 0


async def test_continuing_lets_it_through_and_says_so() -> None:
    async with open_client(is_down=True, continued_seconds=600) as (client, _, clock):
        call, sms = authorize(client, "1", failure_handling=CONTINUE), message(client, failure_handling=CONTINUE)
        await clock.advance(1.1)
        assert (await call).SerializeToString() == pb.AuthorizeCallResponse(
            decision=pb.GRANTED, granted_seconds=600
        ).SerializeToString()
        assert ((await sms).decision, (await sms).reason) == (pb.GRANTED, pb.REASON_UNSPECIFIED)
        assert client.live_calls == 1


async def test_a_full_queue_lets_it_through_too_but_an_answer_or_a_closed_client_does_not() -> None:
    async with open_client(None, failure_handling=CONTINUE, max_pending=1) as (client, transport, clock):
        waiting = authorize(client, "0")
        await settle()
        assert (await authorize(client, "1")).decision == pb.GRANTED
        transport.stream.respond(failed(transport.stream.operations[0], "INVALID_ARGUMENT"))
        with pytest.raises(InvalidArgument):
            await waiting
        await close(client, clock)
        for task in (authorize(client, "2"), message(client)):
            with pytest.raises(ClientClosed):
                await task


async def test_a_message_that_went_without_the_gateway_is_paid_when_it_is_back() -> None:
    async with open_client(is_down=True, failure_handling=CONTINUE) as (client, transport, clock):
        sms = message(client)
        await clock.advance(10.0)
        assert (await sms).decision == pb.GRANTED
        transport.is_down = False
        await clock.advance(3.0)
        assert names(transport.stream) == ["authorize_message m"]


async def test_a_call_that_went_without_the_gateway_is_made_known_before_it_is_billed() -> None:
    async with open_client(is_down=True, failure_handling=CONTINUE) as (client, transport, clock):
        calls = [authorize(client, "long"), authorize(client, "unanswered")]
        await clock.advance(1.1)
        assert {call.decision for call in await asyncio.gather(*calls)} == {pb.GRANTED}
        answer = asyncio.create_task(client.answer_call(office_id="a", call_id="long"))
        await clock.advance(5.0)
        assert isinstance(answer.exception(), GatewayUnavailable)
        ends = [
            asyncio.create_task(client.end_call(office_id="a", call_id="long", duration_seconds=5)),
            asyncio.create_task(client.end_call(office_id="a", call_id="unanswered", duration_seconds=0)),
        ]
        await settle()
        ends[0].cancel()
        transport.is_down = False
        await clock.advance(3.0)
        await ends[1]
        assert sorted(names(transport.stream)) == [
            "authorize_call long",
            "end_call long",
            "end_call unanswered",
        ]
        assert names(transport.stream)[-1] == "end_call long"


async def test_a_late_end_comes_to_its_end_even_if_the_call_is_refused() -> None:
    async with open_client(is_down=True, failure_handling=CONTINUE) as (client, transport, clock):
        call = authorize(client, "1")
        await clock.advance(1.1)
        await call

        def answer(operation: pb.Operation) -> pb.Result:
            kind = operation.WhichOneof("operation")
            return failed(operation, "INVALID_ARGUMENT" if kind == "authorize_call" else "NOT_FOUND")

        transport.answer = answer
        transport.is_down = False
        end = asyncio.create_task(client.end_call(office_id="a", call_id="1", duration_seconds=5))
        await clock.advance(3.0)
        with pytest.raises(NotFound):
            await end


# --- emergencies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [("911", True), ("112", True), ("999", True), ("000", True), ("+911", True), ("9-1-1", True), (" 112 ", True),
     ("", False), ("9111", False), ("+1911", False), ("110", False), ("++911", False), (LONDON, False)],
)  # fmt: skip
def test_emergency_numbers(number: str, expected: bool) -> None:
    assert is_emergency(number) is expected
    assert is_emergency("110", {"110"})


async def emergency(client: Client, **options: Any) -> pb.AuthorizeCallResponse:
    return await client.authorize_call(
        **{"office_id": "a", "call_id": "sos", "direction": pb.OUTBOUND, "called_number": "911", **options}
    )


async def test_an_emergency_call_does_not_wait_for_a_gateway_that_is_away() -> None:
    async with open_client(is_down=True, failure_handling=FailureHandling.TERMINATE) as (client, transport, clock):
        response = await emergency(client)
        assert (response.decision, response.reason, response.granted_seconds) == (pb.GRANTED, pb.EMERGENCY, 86_400)
        assert transport.attempts
        assert clock.monotonic() == 1_000.0
        await close(client, clock)
        assert (await emergency(client)).decision == pb.GRANTED


async def test_an_emergency_call_waits_a_moment_for_a_silent_gateway() -> None:
    async with open_client(None) as (client, _, clock):
        task = asyncio.create_task(emergency(client))
        await clock.advance(0.19)
        assert not task.done()
        await clock.advance(0.03)
        assert (await task).reason == pb.EMERGENCY
        assert client.live_calls == 1


@pytest.mark.parametrize("answer", [denied, lambda operation: failed(operation, "INVALID_ARGUMENT"),
                                    lambda operation: failed(operation, "UNAVAILABLE")])  # fmt: skip
async def test_an_emergency_call_is_granted_whatever_is_said(answer: Answer) -> None:
    async with open_client(answer) as (client, _, _clock):
        assert (await emergency(client)).reason == pb.EMERGENCY


async def test_an_emergency_call_with_malformed_fields_is_granted() -> None:
    async with open_client() as (client, _, _clock):
        assert (await emergency(client, calling_number="\udc80")).decision == pb.GRANTED
        assert (await emergency(client, user_id="x" * 100_000)).decision == pb.GRANTED
        with pytest.raises(ValueError, match="surrogates"):
            await authorize(client, "\udc80")


# --- commands ---------------------------------------------------------------------------------------------------------


def command(command_id: str, call_id: str = "1", **fields: Any) -> pb.Command:
    return pb.Command(command_id=command_id, office_id="a", call_id=call_id, **fields)


CUT: dict[str, Any] = {"cut_call": pb.CutCall(reason=pb.FINAL_REASON_INSUFFICIENT_FUNDS)}
LOW: dict[str, Any] = {"funds_low": pb.FundsLow(granted_seconds=60)}
RESTORED: dict[str, Any] = {"funds_restored": pb.FundsRestored(granted_seconds=120)}
UNKNOWN: dict[str, Any] = {"unknown_call": pb.UnknownCall()}


async def test_commands_are_typed() -> None:
    async with open_client() as (client, transport, _):
        transport.stream.respond(
            commands=(command("1", **CUT), command("2", **LOW), command("3", **RESTORED), command("4", **UNKNOWN),
                      command("5"))
        )  # fmt: skip
        assert await taken(client) == [
            CutCall("1", "a", "1", pb.FINAL_REASON_INSUFFICIENT_FUNDS),
            FundsLow("2", "a", "1", 60),
            FundsRestored("3", "a", "1", 120),
            UnknownCall("4", "a", "1", pb.REASON_UNSPECIFIED),
        ]


@pytest.mark.parametrize("repeats", [False, True])
async def test_repetitions_are_handed_on_if_wanted(repeats: bool) -> None:
    async with open_client(repeat_commands=repeats) as (client, transport, _):
        for _n in range(3):
            transport.stream.respond(commands=(command("1", **CUT), command("1", "other", **CUT)))
        assert len(await taken(client)) == (6 if repeats else 2)


async def test_low_again_after_it_was_restored_is_news() -> None:
    async with open_client() as (client, transport, _):
        for each in (command("low", **LOW), command("low", **LOW), command("up", **RESTORED), command("low", **LOW)):
            transport.stream.respond(commands=(each,))
        assert [each.command_id for each in await taken(client)] == ["low", "up", "low"]


async def test_nothing_is_said_about_a_call_that_has_ended_until_it_begins_anew() -> None:
    async with open_client() as (client, transport, _):
        await authorize(client, "1")
        transport.stream.respond(commands=(command("1", **LOW),))
        await settle()
        await client.end_call(office_id="a", call_id="1", duration_seconds=1)
        transport.stream.respond(commands=(command("2", **CUT), command("3", **UNKNOWN)))
        assert await taken(client) == []
        await authorize(client, "1")
        transport.stream.respond(commands=(command("2", **CUT),))
        assert [each.command_id for each in await taken(client)] == ["2"]


async def test_iterations_share_the_commands_and_end_with_the_client() -> None:
    async with open_client() as (client, transport, _):
        got: list[str] = []

        async def take() -> None:
            async for each in client.commands():
                got.append(each.command_id)  # noqa: PERF401  # as they come

        tasks = [asyncio.create_task(take()) for _ in range(2)]
        transport.stream.respond(commands=tuple(command(str(n), str(n), **CUT) for n in range(10)))
        await settle()
        assert sorted(got, key=int) == [str(n) for n in range(10)]
        await client.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 1)


async def test_commands_that_nobody_takes_give_way_and_come_again_when_repeated() -> None:
    inbox = Inbox()
    for n in range(MAX_WAITING + 1):
        inbox.put(CutCall(str(n), "a", str(n), pb.FINAL_REASON_OPERATOR))
    inbox.put(CutCall("0", "a", "0", pb.FINAL_REASON_OPERATOR))
    inbox.put(CutCall("5", "a", "5", pb.FINAL_REASON_OPERATOR))
    inbox.close()
    got = [each.command_id async for each in inbox.iterate()]
    assert len(got) == MAX_WAITING
    assert (got[0], got[-1]) == ("2", "0")


# --- calls that the gateway lost --------------------------------------------------------------------------------------


async def test_an_unknown_call_is_authorized_again_and_answered_with_the_time_of_its_answer() -> None:
    async with open_client() as (client, transport, clock):
        await authorize(client, "rings")
        await authorize(client, "talks", requested_seconds=30, user_id="u")
        await clock.advance(4.0)
        await client.answer_call(office_id="a", call_id="talks")
        answered_at = UNIX_START + clock.monotonic()
        await clock.advance(20.0)
        before = len(transport.stream.operations)
        transport.stream.respond(commands=(command("1", "talks", **UNKNOWN), command("2", "rings", **UNKNOWN)))
        transport.stream.respond(commands=(command("1", "talks", **UNKNOWN),))
        assert await taken(client) == []
        again = transport.stream.operations[before:]
        first = next(each for each in transport.stream.operations if each.authorize_call.call_id == "talks")
        by_name = dict(zip(names(transport.stream)[before:], again, strict=True))
        assert set(by_name) == {"authorize_call talks", "answer_call talks", "authorize_call rings"}
        assert by_name["authorize_call talks"].authorize_call == first.authorize_call
        assert by_name["answer_call talks"].answer_call.answered_at.seconds == int(answered_at)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(denied, pb.INSUFFICIENT_FUNDS), (lambda each: failed(each, "ALREADY_EXISTS"), pb.REASON_UNSPECIFIED)],
)
async def test_an_unknown_call_that_stays_so_is_handed_on(answer: Answer, reason: pb.Reason.ValueType) -> None:
    async with open_client() as (client, transport, _):
        await authorize(client, "1")
        transport.stream._answer = answer
        transport.stream.respond(commands=(command("c", **UNKNOWN),))
        assert await taken(client) == [UnknownCall("c", "a", "1", reason)]


async def test_an_unknown_call_is_seen_to_again_if_the_gateway_is_away() -> None:
    async with open_client() as (client, transport, clock):
        await authorize(client, "1")
        transport.stream._answer = lambda each: failed(each, "UNAVAILABLE")
        transport.stream.respond(commands=(command("c", **UNKNOWN),))
        await clock.advance(2.0)
        assert await taken(client) == []
        transport.stream._answer = granted
        before = len(transport.stream.operations)
        transport.stream.respond(commands=(command("c", **UNKNOWN),))
        await settle()
        assert names(transport.stream)[before:] == ["authorize_call 1"]


async def test_a_call_that_ends_while_it_is_made_known_is_not_answered() -> None:
    async with open_client() as (client, transport, _):
        await authorize(client, "1")
        await client.answer_call(office_id="a", call_id="1")
        transport.stream._answer = None
        before = len(transport.stream.operations)
        transport.stream.respond(commands=(command("c", **UNKNOWN),))
        await settle()
        end = asyncio.create_task(client.end_call(office_id="a", call_id="1", duration_seconds=9))
        await settle()
        (again,) = transport.stream.operations[before:]
        transport.stream._answer = granted
        transport.stream.respond(granted(again))
        await end
        await settle()
        assert names(transport.stream)[before:] == ["authorize_call 1", "end_call 1"]


async def test_thousands_of_unknown_calls_are_worked_through_with_a_bound() -> None:
    async with open_client() as (client, transport, _):
        await asyncio.gather(*[authorize(client, str(n)) for n in range(2_000)])
        transport.stream._answer = None
        before = len(transport.stream.operations)
        for start in (0, 1_000):
            transport.stream.respond(
                commands=tuple(command(str(n), str(n), **UNKNOWN) for n in range(start, start + 1_000))
            )
        await settle()
        first = transport.stream.operations[before:]
        assert 1 <= len(first) <= 100
        transport.stream._answer = granted
        transport.stream.respond(*[granted(each) for each in first])
        for _n in range(100):
            await settle()
        assert sorted(names(transport.stream)[before:]) == sorted(f"authorize_call {n}" for n in range(2_000))


@pytest.mark.parametrize("kind", ["answer_call", "tick_call"])
async def test_what_is_not_found_is_made_known_and_asked_again(kind: str) -> None:
    asked: list[str] = []

    def answer(operation: pb.Operation) -> pb.Result:
        asked.append(operation.WhichOneof("operation") or "")
        lost = asked[-1] == kind and asked.count(kind) == 1
        return failed(operation, "NOT_FOUND", "CALL_NOT_FOUND") if lost else granted(operation)

    async with open_client(answer) as (client, _, _clock):
        await authorize(client, "1")
        if kind == "answer_call":
            await client.answer_call(office_id="a", call_id="1")
            assert asked == ["authorize_call", "answer_call", "authorize_call", "answer_call", "answer_call"]
        else:
            await client.tick_call(office_id="a", call_id="1", used_seconds=9)
            assert asked == ["authorize_call", "tick_call", "authorize_call", "tick_call"]


async def test_what_is_not_found_and_cannot_be_made_known_is_an_error() -> None:
    async with open_client(lambda each: failed(each, "NOT_FOUND")) as (client, _, _clock):
        with pytest.raises(NotFound):
            await client.answer_call(office_id="a", call_id="never")
    async with open_client() as (client, transport, _):
        await authorize(client, "1")
        transport.stream._answer = lambda each: (
            denied(each) if each.HasField("authorize_call") else failed(each, "NOT_FOUND")
        )
        with pytest.raises(NotFound):
            await client.answer_call(office_id="a", call_id="1")


async def test_calls_that_never_end_have_a_bound() -> None:
    async with open_client() as (client, _, _clock):
        client._keeper._calls = CallTable(FakeClock(), max_calls=2)
        await asyncio.gather(authorize(client, "1"), authorize(client, "2"))
        with pytest.raises(ClientBusy, match="end of each call"):
            await authorize(client, "3")
        assert (await emergency(client)).decision == pb.GRANTED


# --- what it needs ----------------------------------------------------------------------------------------------------

PACKAGE = Path(gateway.client.__file__).parent


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_it_imports_nothing_of_the_server(path: Path) -> None:
    """So that it could be a package of its own, with gateway.v1."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules = [node.module or ""]
        for module in modules:
            top, _, rest = module.partition(".")
            assert top in sys.stdlib_module_names | {"google", "grpc"} or rest.split(".")[0] in ("client", "v1"), module


def test_importing_it_loads_nothing_of_the_server() -> None:
    look = (
        "import sys, gateway.client; print(*sorted({name.split('.')[1] for name in sys.modules if name[:8] == "
        "'gateway.'} | {name for name in sys.modules if name in ('redis', 'sqlalchemy', 'structlog', 'typer')}))"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", look], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["client", "v1"]


def test_permission_denied_has_a_cure() -> None:
    assert "token of the switch" in PermissionDenied("PERMISSION_DENIED", "no").cure
