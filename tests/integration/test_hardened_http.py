"""What browsers are told to hold themselves to, by every kind of answer; and wrong tokens, by every way in."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import grpc
import grpc.aio
import pytest

from gateway.v1 import credits_pb2 as pb
from gateway.web.pages import static_url
from tests.support.back import OPERATOR, bearer, refused
from tests.support.hooks import OUTBOUND, HookedBack, hooked_back
from tests.support.http import Answer, ask
from tests.support.servers import StoreServer

PAGE = {"Accept": "text/html"}
FORM = PAGE | {"Content-Type": "application/x-www-form-urlencoded"}
WRONG_AT_ONCE = 20


async def sign_in(port: int, token: str, **headers: str) -> Answer:
    body = urlencode({"token": token, "next": "/"}).encode()
    return await ask(port, "/sign-in", method="POST", body=body, headers=FORM | headers)


async def every_kind(hooks: HookedBack) -> Mapping[str, Answer]:
    """An answer of each kind that the HTTP side has."""
    port, secret = hooks.port, hooks.token
    entered = await sign_in(port, OPERATOR)
    cookie = PAGE | {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
    quote = {"officeId": "springfield"} | OUTBOUND
    return {
        "sign-in page": await ask(port, "/sign-in", headers=PAGE),
        "signed in": entered,
        "sign-in refused": await sign_in(port, "wrong"),
        "sign-in from elsewhere": await sign_in(port, OPERATOR, Origin="https://evil.example"),
        "link unknown": await ask(port, "/sign-in/nothing", method="POST", body=b"", headers=FORM),
        "sent to sign in": await ask(port, "/", headers=PAGE),
        "private page": await ask(port, "/", headers=cookie),
        "page of an office": await ask(port, "/offices/springfield", headers=cookie),
        "page of no office": await ask(port, "/offices/nowhere", headers=cookie),
        "forged form": await ask(port, "/sign-out", method="POST", body=b"", headers=cookie | FORM),
        "no such page": await ask(port, "/nothing", headers=PAGE),
        "no such method": await ask(port, "/v1/quote", headers=PAGE),
        "static file": await ask(port, static_url("page.css")),
        "static file, not by its content": await ask(port, "/static/page.css"),
        "no such static file": await ask(port, "/static/nothing.css"),
        "hook": await hooks.post("/v1/quote", quote),
        "hook, bad request": await hooks.post("/v1/quote", b"{"),
        "hook, wrong token": await hooks.post("/v1/quote", quote, token="wrong"),
        "openapi": await ask(port, "/v1/openapi.json", headers={"Authorization": f"Bearer {secret}"}),
        "health": await ask(port, "/health/ready"),
        "webhook refused": await ask(port, "/payments/webhook", method="POST", body=b"{}"),
        "back from a payment": await ask(port, "/payments/return", headers=PAGE),
        "body too large": await ask(port, "/v1/quote", method="POST", body=b"x" * 70_000),
    }


async def test_every_kind_of_answer_says_what_browsers_may(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path, public_url="https://calls.example.com") as hooks:
        answers = await every_kind(hooks)
    assert {answer.status for answer in answers.values()} >= {200, 303, 400, 401, 403, 404, 405, 413}
    kept = {"static file"}
    for kind, answer in answers.items():
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert "unsafe" not in str(policy), kind
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'", kind
        assert set(policy.values()) <= {"'none'", "'self'"}, kind
        told = {name: answer.headers.get(name) for name in (
            "x-content-type-options", "x-frame-options", "referrer-policy", "strict-transport-security",
            "cross-origin-opener-policy", "cross-origin-resource-policy",
        )}  # fmt: skip
        assert told == {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "strict-transport-security": "max-age=63072000",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }, kind
        assert "geolocation=()" in answer.headers["permissions-policy"], kind
        assert (answer.headers["cache-control"] == "no-store") is (kind not in kept), kind
        assert "server" not in answer.headers, kind
        # Nothing inline, which the policy would refuse.
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", answer.body.decode()), kind
    cookie = answers["signed in"].headers["set-cookie"]
    assert cookie.startswith("__Host-tollgate=")
    assert {"httponly", "secure", "samesite=lax", "path=/"} <= set(cookie.lower().split("; "))


async def test_without_https_none_is_promised(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as hooks:
        answer = await ask(hooks.port, "/sign-in", headers=PAGE)
        assert "strict-transport-security" not in answer.headers
        assert "permissions-policy" in answer.headers


@pytest.mark.parametrize("way", ["rpc", "hook", "page"])
async def test_wrong_tokens_are_held_up_and_no_others(valkey: StoreServer, tmp_path: Path, way: str) -> None:
    async with hooked_back(valkey, tmp_path) as hooks:
        stub, quote = hooks.back.stub, {"officeId": "springfield"} | OUTBOUND

        async def show(token: str) -> int | grpc.StatusCode:
            if way == "hook":
                return (await hooks.post("/v1/quote", quote, token=token)).status
            if way == "page":
                return (await sign_in(hooks.port, token)).status
            try:
                await stub.ListTokens(pb.ListTokensRequest(), metadata=bearer(token))
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        unknown, held_up, welcome = {
            "rpc": (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK),
            "hook": (401, 429, 200),
            "page": (401, 429, 303),
        }[way]
        assert await show(OPERATOR) == welcome
        shown = [await show(f"wrong-{n}") for n in range(WRONG_AT_ONCE + 10)]
        assert shown[:WRONG_AT_ONCE] == [unknown] * WRONG_AT_ONCE
        assert held_up in shown[WRONG_AT_ONCE:]
        # The operator's own token might have been guessed; one that was made at random is let in as before.
        while await show("wrong") != held_up:
            pass
        assert await show(OPERATOR) == held_up
        if way == "hook":
            assert await show(hooks.token) == welcome
        else:
            hook = await hooks.post("/v1/quote", quote)
            assert hook.status == 200
        if way == "rpc":
            request = stub.ListTokens(pb.ListTokensRequest(), metadata=bearer("wrong"))
            await refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_FAILURES", request)
