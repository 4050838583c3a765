"""No secret in a log, an error, a metric or the arguments of a process: a gateway at debug level, through faults."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import grpc.aio
import pytest
import redis

from gateway.address import Address
from gateway.client_channel import open_channel
from gateway.v1 import authorization_pb2 as calls
from gateway.v1 import credits_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.child_processes import children_of
from tests.support.gateway_process import GatewayProcess, clean_environment, running_gateway
from tests.support.http import ask
from tests.support.operator import OPERATOR_TOKEN as OPERATOR
from tests.support.operator import Operator
from tests.support.servers import StoreServer, free_port, running_store, wait_until

STORE_PASSWORD = "store-password-4f1c"
MAIL_PASSWORD = "mail-password-9b2d"
STRIPE_KEY, STRIPE_SIGNING = "sk_test_51stripekey7d3e", "whsec_stripesigning6a5f"
NOTICE_KEY, NOTICE_PATH = "notice-signing-key-8c4e", "T0NOTICEPATH/B1SECRET"
WRONG_TOKEN, WRONG_LINK, WRONG_COOKIE = "tg_wrong-token-2e7a", "wrong-link-5d8b", "wrong-cookie-1f9c"
WRONG_SIGNATURE = "t=1,v1=wrongsignature3b6d"
CARD_NUMBER, CARD_TOKEN = "4242424242424242", "pm_cardtoken0e4a"
DATABASE_PASSWORD = "database-password-7e1b"


class Heard:
    """Everything that the gateway says to anybody, but for the answers that are there to carry a secret."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.secrets = {
            OPERATOR, STORE_PASSWORD, MAIL_PASSWORD, STRIPE_KEY, STRIPE_SIGNING, NOTICE_KEY, NOTICE_PATH, WRONG_TOKEN,
            WRONG_LINK, WRONG_COOKIE, WRONG_SIGNATURE, CARD_NUMBER, CARD_TOKEN,
        }  # fmt: skip

    async def fault_of(self, answer: object) -> None:
        """What an rpc that fails says, with all that comes beside it."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer  # type: ignore[misc]
        self.texts.append(f"{caught.value!r} {caught.value.trailing_metadata()}")

    async def http(self, port: int, path: str, body: str = "", **headers: str) -> str:
        """What HTTP says, headers and all; a cookie that it gives is one more secret."""
        method = "POST" if body else "GET"
        answer = await ask(port, path, method=method, body=body.encode(), headers=headers)
        told = dict(answer.headers)
        cookie = told.pop("set-cookie", "").partition(";")[0]
        if cookie:
            self.secrets.add(cookie.partition("=")[2])
        self.texts.append(f"{answer.status} {told} {answer.body.decode(errors='replace')}")
        return cookie

    def leaks(self) -> list[tuple[str, str]]:
        """Each secret that is somewhere, with what stands around it."""
        return [
            (secret, text[max(0, at - 150) : at + 80])
            for text in self.texts
            for secret in self.secrets
            if (at := text.find(secret)) >= 0
        ]


def processes_of(pid: int) -> list[int]:
    """A process and those below it."""
    return [pid, *(each for child in children_of(pid) for each in processes_of(child))]


async def drive(gateway: GatewayProcess, heard: Heard, store: StoreServer) -> None:
    """Everything that goes wrong with a secret in it, and some that goes well."""
    http = Address.parse(gateway.http).port
    form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    async with Operator.of(gateway.admin_server) as operator:
        office = await operator.create_office(0)
        switch = await operator.create_switch_token("sw1")
        rotated = await operator.stub.RotateToken(
            pb.RotateTokenRequest(
                token_id=next(each.token_id for each in (await operator.stub.ListTokens(pb.ListTokensRequest())).tokens)
            )
        )
        registered = await operator.stub.RegisterSwitch(
            pb.RegisterSwitchRequest(switch_id="sw1", callback_url=f"http://127.0.0.1:{free_port()}/callback")
        )
        link = (await operator.stub.CreateSignInLink(pb.CreateSignInLinkRequest())).url.rpartition("/")[2]
        heard.secrets |= {switch, rotated.secret, registered.callback_secret, link}
        # The payment provider cannot be reached, and a card's number has no business here at all.
        for token in (CARD_TOKEN, CARD_NUMBER, f"tok_{CARD_NUMBER}"):
            request = pb.AddPaymentMethodRequest(office_id=office, provider_token=token)
            await heard.fault_of(operator.stub.AddPaymentMethod(request, timeout=20))
        await heard.fault_of(operator.stub.RevokeToken(pb.RevokeTokenRequest(token_id=WRONG_TOKEN)))
    async with open_channel(Address.parse(gateway.admin_server), WRONG_TOKEN) as channel:
        await heard.fault_of(CreditsStub(channel).ListTokens(pb.ListTokensRequest()))
    async with open_channel(Address.parse(gateway.server), switch) as channel:
        deciding = CallAuthorizationStub(channel)
        message = calls.AuthorizeMessageRequest(
            office_id=office, message_id="m1", calling_number="+12125550100", called_number="+12125550199",
            kind=calls.SMS, segments=1,
        )  # fmt: skip
        # Blocked for lack of funds: there is a notice of it, which neither mail nor webhook takes.
        assert (await deciding.AuthorizeMessage(message)).decision == calls.DENIED
        await heard.fault_of(deciding.AnswerCall(calls.AnswerCallRequest(office_id=office, call_id="unknown")))
    # Signing in, well and badly.
    cookie = await heard.http(http, "/sign-in", urlencode({"token": OPERATOR, "next": "/"}), **form)
    assert cookie
    await heard.http(http, "/", Cookie=cookie, Accept="text/html")
    await heard.http(http, f"/sign-in/{link}", "x=1", **form)
    await heard.http(http, f"/sign-in/{link}", "x=1", **form)
    await heard.http(http, "/sign-in", urlencode({"token": WRONG_TOKEN}), **form)
    await heard.http(http, f"/sign-in/{WRONG_LINK}", "x=1", **form)
    await heard.http(http, "/", Cookie=f"tollgate={WRONG_COOKIE}", Accept="text/html")
    for token in (WRONG_TOKEN, switch):
        await heard.http(http, "/v1/calls/authorize", "{", Authorization=f"Bearer {token}")
    signed = {"stripe-signature": WRONG_SIGNATURE}
    await heard.http(http, "/payments/webhook", f'{{"card": "{CARD_NUMBER}"}}', **signed)
    # The store is silent, then gone.
    os.kill(store.pid, signal.SIGSTOP)
    try:
        async with Operator.of(gateway.admin_server) as operator:
            await heard.fault_of(operator.stub.GetOffice(pb.GetOfficeRequest(office_id=office)))
        await heard.http(http, "/", Cookie=cookie, Accept="text/html")
    finally:
        os.kill(store.pid, signal.SIGCONT)
    # The failures were met and told of, so that they could have told too much.
    log = gateway.log.read_text
    assert await asyncio.to_thread(wait_until, lambda: log().count("notice_failed") >= 2, 20.0)
    os.kill(store.pid, signal.SIGKILL)
    await heard.http(http, "/health/ready")
    await heard.http(Address.parse(gateway.metrics).port, "/metrics")
    assert await asyncio.to_thread(wait_until, lambda: "store" in log().lower() and "warning" in log(), 20.0)


@pytest.mark.slow
def test_no_secret_is_in_what_a_gateway_says(tmp_path: Path) -> None:
    heard = Heard()
    store_directory = tmp_path / "store"
    store_directory.mkdir()
    with running_store("valkey", store_directory) as store:
        with redis.Redis("127.0.0.1", store.port) as client:
            client.config_set("requirepass", STORE_PASSWORD)
        dead = free_port()
        variables = {
            "TOLLGATE_REDIS_URL": f"redis://:{STORE_PASSWORD}@127.0.0.1:{store.port}/0",
            "TOLLGATE_OPERATOR_TOKEN": OPERATOR,
            "TOLLGATE_PAYMENT_PROVIDER": "stripe",
            "TOLLGATE_STRIPE_API_KEY": STRIPE_KEY,
            "TOLLGATE_STRIPE_WEBHOOK_SECRET": STRIPE_SIGNING,
            "TOLLGATE_NOTICE_SMTP_URL": f"smtps://tollgate:{MAIL_PASSWORD}@127.0.0.1:{dead}",
            "TOLLGATE_NOTICE_EMAIL_FROM": "tollgate@example.com",
            "TOLLGATE_NOTICE_EMAIL_TO": "ops@example.com",
            "TOLLGATE_NOTICE_WEBHOOK_URL": f"http://127.0.0.1:{dead}/{NOTICE_PATH}",
            "TOLLGATE_NOTICE_WEBHOOK_SECRET": NOTICE_KEY,
            "TOLLGATE_LOG_LEVEL": "debug",
            # Nothing goes out of this machine: what would ask Stripe meets a proxy that is not there.
            "HTTPS_PROXY": f"http://127.0.0.1:{dead}",
            "https_proxy": f"http://127.0.0.1:{dead}",
        }
        with running_gateway(tmp_path, **variables) as gateway:
            for pid in processes_of(gateway.process.pid):
                heard.texts += [Path(f"/proc/{pid}/{name}").read_text() for name in ("cmdline", "comm")]
            asyncio.run(drive(gateway, heard, store))
        heard.texts += [gateway.log.read_text(), *(path.read_text() for path in gateway.data_dir.glob("*.log"))]
    assert '"level": "debug"' in gateway.log.read_text() or "debug" in gateway.log.read_text()
    assert heard.leaks() == []


@pytest.mark.slow
def test_no_secret_is_in_why_a_gateway_does_not_start(tmp_path: Path) -> None:
    heard = Heard()
    heard.secrets.add(DATABASE_PASSWORD)
    dead = free_port()
    bad = [
        {"TOLLGATE_DATABASE_URL": f"postgresql://tollgate:{DATABASE_PASSWORD}@127.0.0.1:{dead}/tollgate"},
        {
            "TOLLGATE_DATABASE_URL": f"mysql://tollgate:{DATABASE_PASSWORD}@127.0.0.1/x",
            "TOLLGATE_REDIS_URL": f"http://:{STORE_PASSWORD}@127.0.0.1:{dead}/0",
            "TOLLGATE_NOTICE_SMTP_URL": f"ftp://tollgate:{MAIL_PASSWORD}@127.0.0.1:{dead}",
            "TOLLGATE_STRIPE_API_KEY": f"{STRIPE_KEY} ",
            "TOLLGATE_OPERATOR_TOKEN": f"{OPERATOR} two words",
        },
    ]
    for variables in bad:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "serve", "--data-dir", str(tmp_path / "data"), "--log-level", "debug"]
            + [f"--{name}=127.0.0.1:{free_port()}" for name in ("listen", "admin-listen", "http-listen")]
            + [f"--metrics-listen=127.0.0.1:{free_port()}"],
            env=clean_environment(**variables), capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert done.returncode != 0
        assert "TOLLGATE_DATABASE_URL" in done.stderr + done.stdout
        heard.texts += [done.stdout, done.stderr]
    assert heard.leaks() == []
