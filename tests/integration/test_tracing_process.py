"""One request followed end to end through a gateway's processes, by nothing but the id that its switch gave it."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.address import Address
from gateway.client_channel import open_channel
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.collector import running_collector, values
from tests.support.commands import run_command
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.servers import wait_until

OPERATOR = "operator-of-the-tests"
MY_ID, MY_CALL = "switch-7/4711", "c1"
TRACE = "0af7651916cd43dd8448eb211c80319c"
MY_METADATA = (("x-request-id", MY_ID), ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"))


async def play(gateway: GatewayProcess) -> None:
    """An office, and a call whose authorization has an id and a trace."""
    async with (
        open_channel(Address.parse(gateway.admin_server), OPERATOR) as admin,
        open_channel(Address.parse(gateway.server), OPERATOR) as switch,
    ):
        offices, calls = CreditsStub(admin), CallAuthorizationStub(switch)
        await offices.CreateCompany(credits_pb2.CreateCompanyRequest(company_id="acme", name="Acme"))
        await offices.CreateOffice(
            credits_pb2.CreateOfficeRequest(
                office_id="a", company_id="acme", name="A", country="US", credit_limit_micros=10_000_000
            )
        )
        rpc = calls.AuthorizeCall(
            pb.AuthorizeCallRequest(
                office_id="a", call_id=MY_CALL, direction=pb.OUTBOUND, called_number="+442079460958"
            ),
            metadata=MY_METADATA,
        )
        assert (await rpc).decision == pb.GRANTED
        assert dict(await rpc.trailing_metadata())["x-request-id"] == MY_ID
        await calls.EndCall(pb.EndCallRequest(office_id="a", call_id=MY_CALL, duration_seconds=61))


@pytest.mark.slow
def test_from_the_switch_to_explain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_collector() as collector:
        flags = ("--trace-endpoint", collector.endpoint, "--trace-ratio", "0", "--log-level", "debug")
        with running_gateway(
            tmp_path, *flags, TOLLGATE_OPERATOR_TOKEN=OPERATOR, OTEL_BSP_SCHEDULE_DELAY="50"
        ) as gateway:
            asyncio.run(play(gateway))
            # The journal's batch comes once the store is sure of the call; after it the back's part, a notice of the
            # first call to a country.
            collector.wait_for("AuthorizeCall", "rating", "FCALL authorize_call", "journal batch", "SQL transaction")
            collector.wait_for("notice")
            monkeypatch.setenv("TOLLGATE_DATA_DIR", str(gateway.data_dir))
            monkeypatch.setenv("TOLLGATE_TOKEN", OPERATOR)
            explained = run_command(capsys, "explain", MY_CALL)
            with closing(sqlite3.connect(gateway.data_dir / "tollgate.db")) as ledger:
                rows = ledger.execute("SELECT thing_id, request_id, trace_id FROM usage_record").fetchall()
            assert wait_until(lambda: MY_ID in gateway.log.read_text())
        log = [json.loads(line) for line in gateway.log.read_text().splitlines() if MY_ID in line]
    # The log of the front.
    (line,) = log
    assert (line["process"], line["rpc"], line["call_id"], line["trace_id"]) == (
        "front", "AuthorizeCall", MY_CALL, TRACE
    )  # fmt: skip
    # The span, and from it to the batch that took its entry out of the outbox, which is of another process.
    span, batch = collector.named("AuthorizeCall"), collector.named("journal batch")
    assert (span.trace_id.hex(), values(span.attributes)["tollgate.request_id"]) == (TRACE, MY_ID)
    assert [(link.trace_id, link.span_id) for link in batch.links] == [(span.trace_id, span.span_id)]
    assert {each["tollgate.process"] for each in collector.resources} == {"front", "back", "journaler"}
    # The row of the ledger, and what an operator is told.
    assert rows == [(MY_CALL, MY_ID, TRACE)]
    assert (explained.code, explained.value("request"), explained.value("trace")) == (0, MY_ID, TRACE)
