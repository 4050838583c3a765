"""What deploy/ has for Prometheus and Grafana, on Debian's Prometheus that scrapes a gateway at work."""

import asyncio
import json
import math
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from gateway.client import Client
from gateway.v1 import authorization_pb2 as calls
from gateway.v1 import credits_pb2 as pb
from tests.support.billing import DOLLARS
from tests.support.gateway_process import running_gateway
from tests.support.http import ask
from tests.support.operator import OPERATOR_TOKEN, Operator
from tests.support.programs import find_program, running_program
from tests.support.servers import free_port, wait_until
from tests.support.webhook import answer, webhook_server
from tools import make_dashboard

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"
DECK = """\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,,,0,0.06,60,1,0,2,by the second in ticks of 2 s
"""
MICROS_A_SECOND = 1_000
NUMBERS: dict[str, Any] = {"calling_number": "+12125550100", "called_number": "+442079460958"}
LIMIT_SECONDS = 60.0

pytestmark = pytest.mark.servers


def promtool(*arguments: str) -> str:
    found = subprocess.run(
        [find_program("promtool", "prometheus"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_configuration_and_its_rules_are_good() -> None:
    assert "SUCCESS" in promtool("check", "config", str(DEPLOY / "prometheus.yml"))


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", str(DEPLOY / "tests/alerts.test.yml"))


@contextmanager
def running_prometheus(directory: Path, target: str) -> Iterator[int]:
    """Prometheus as deploy/ configures it, but looking at one gateway once a second; its port."""
    settings = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(DEPLOY / name) for name in settings["rule_files"]]
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    del settings["alerting"]
    configuration = directory / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(settings))
    port = free_port()
    command = [find_program("prometheus", "prometheus"), f"--config.file={configuration}"]
    command += [f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    with running_program(command, directory / "prometheus.log"):

        def is_up() -> bool:
            try:
                return asyncio.run(ask(port, "/-/ready")).status == 200
            except OSError:
                return False

        assert wait_until(is_up, 30), (directory / "prometheus.log").read_text()
        yield port


async def samples(port: int, expression: str) -> list[float]:
    """The numbers that an expression has now; what is no number is no data."""
    found = (await ask(port, f"/api/v1/query?query={quote(expression)}")).json()
    assert found["status"] == "success", (expression, found)
    values = [float(each["value"][1]) for each in found["data"]["result"]]
    return [value for value in values if not math.isnan(value)]


async def work(operator: Operator, client: Client, http: str, token: str) -> None:
    """Everything that a gateway counts, again and again: until cancelled."""
    rich = await operator.create_office(100 * DOLLARS)
    number = 0
    while True:
        number += 1
        poor = await operator.create_office(2 * MICROS_A_SECOND)
        for office_id in (rich, poor):  # The poor one's call is cut when its two seconds are over.
            call_id = f"call-{number}"
            await client.authorize_call(office_id=office_id, call_id=call_id, direction=calls.OUTBOUND, **NUMBERS)
            await client.answer_call(office_id=office_id, call_id=call_id)
        await client.authorize_message(
            office_id=rich, message_id=f"message-{number}", called_number=NUMBERS["called_number"], segments=1
        )
        posted = {"officeId": rich, "callId": f"hook-{number}", "direction": "OUTBOUND"}
        posted |= {"callingNumber": NUMBERS["calling_number"], "calledNumber": NUMBERS["called_number"]}
        posted_answer = await ask(
            int(http.rpartition(":")[2]),
            "/v1/calls/authorize",
            method="POST",
            body=json.dumps(posted).encode(),
            headers={"Authorization": f"Bearer {token}"},
        )
        assert posted_answer.status == 200, posted_answer.text
        await asyncio.sleep(0.5)


def test_every_query_of_the_dashboard_finds_something(tmp_path: Path) -> None:
    deck = tmp_path / "deck.csv"
    deck.write_text(DECK)
    arguments = ("--rates", str(deck), "--live-calls-seconds", "2")
    with (
        running_gateway(tmp_path, *arguments, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway,
        running_prometheus(tmp_path, gateway.metrics) as port,
    ):

        async def play() -> None:
            async with Operator.of(gateway.admin_server) as operator, webhook_server() as pbx:
                # A switch without calls, however often it is asked for them.
                pbx.answers += [answer("200 OK", body='{"calls": []}')] * 1_000
                await operator.stub.RegisterSwitch(pb.RegisterSwitchRequest(switch_id="pbx", callback_url=pbx.url))
                token = await operator.create_switch_token("sw1")
                async with Client(gateway.server, token) as client:
                    await client.wait_connected()
                    working = asyncio.create_task(work(operator, client, gateway.http, token))
                    await asyncio.wait([working, asyncio.create_task(look())], return_when=asyncio.FIRST_COMPLETED)
                    assert not working.done(), working.exception()
                    working.cancel()

        async def look() -> None:
            missing = set(make_dashboard.expressions())
            deadline = asyncio.get_running_loop().time() + LIMIT_SECONDS
            while missing and asyncio.get_running_loop().time() < deadline:
                for expression in sorted(missing):
                    asked = expression.replace("$job", "tollgate").replace(make_dashboard.WINDOW, "15s")
                    if await samples(port, asked):
                        missing.remove(expression)
                await asyncio.sleep(0.5)
            nothing.update(missing)

        nothing: set[str] = set()
        asyncio.run(play())
        assert not nothing, "\n".join(sorted(nothing))
        # Nothing is the matter, and no alert says so.
        assert asyncio.run(samples(port, 'ALERTS{alertstate="firing"}')) == []
