"""A switch that speaks HTTP, as tests have it: posts to the hooks of a back, and a callback that tells what it got."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.domain.vocabulary import Role
from tests.support.back import BackUnderTest, running_back
from tests.support.http import Answer, ask
from tests.support.servers import StoreServer

SWITCH_ID = "sw1"
OUTBOUND = {"direction": "OUTBOUND", "callingNumber": "+12175550100", "calledNumber": "+442071838750"}


@dataclass
class HookedBack:
    """A back whose HTTP side answers, and the token of a switch."""

    back: BackUnderTest
    port: int
    token: str

    async def post(
        self,
        path: str,
        body: dict[str, Any] | bytes,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Post JSON, or these bytes; with more headers beside the token's."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return await ask(self.port, path, method="POST", body=content, headers=bearer | dict(headers or {}))

    async def ok(self, path: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request that must be answered."""
        answer = await self.post(path, {"officeId": "springfield"} | fields)
        assert answer.status == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def fault(self, path: str, body: dict[str, Any] | bytes, *, token: str | None = None) -> tuple[int, str, str]:
        """Status, reason and field of a request that must not be answered; it has a cure."""
        answer = await self.post(path, body, token=token)
        error = answer.json()["error"]
        assert answer.status >= 400
        assert error["message"]
        return answer.status, error["reason"], error.get("field", "")


@contextmanager
def silent(server: StoreServer) -> Iterator[None]:
    """The store takes commands and answers none."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@asynccontextmanager
async def hooked_back(
    server: StoreServer, folder: Path, *, balance: int = 10_000_000, **flags: Any
) -> AsyncIterator[HookedBack]:
    """A back with an office, a switch of that office, and its HTTP side up."""
    async with running_back(server, folder, http_listen="127.0.0.1:0", **flags) as back:
        await back.open_office(balance=balance)
        token = await back.token(Role.SWITCH, "", "springfield", switch_id=SWITCH_ID)
        http = await back.back.open_http()
        try:
            await http.start()
            yield HookedBack(back, http.port, token)
        finally:
            await http.close()
