"""Kamailio's JSON-RPC over HTTP, in threads: what comes back is long at times."""

import asyncio
import http.client
import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from gateway.address import Address
from gateway.kamailio.dialogs import Dialog, read_dialogs
from gateway.kamailio.errors import ProtocolError, RpcFailed, RpcRefused
from gateway.kamailio.notes import DialogName

_LIMIT_SECONDS: Final = 10.0

PROFILE: Final = "tollgate"
PAGES: Final = 256
"""tollgate.cfg puts each dialog into the profile with one of the values 00 to ff."""

MISSED_TABLE: Final = "tollgate_missed"
"""Where tollgate.cfg keeps what nobody was there to hear."""


class Rpc:
    """Asks a Kamailio.

    Args:
        address: Where its JSON-RPC is.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._ids = itertools.count(1)

    async def list_dialogs(self) -> list[Dialog]:
        """Tollgate's calls that Kamailio has.

        Raises:
            RpcFailed: It did not say.
        """
        return await asyncio.to_thread(self._list_dialogs)

    async def end_dialog(self, name: DialogName) -> bool:
        """Hang up: both parties get a BYE. Returns whether there was such a dialog.

        Raises:
            RpcFailed: It is not known.
        """
        try:
            await asyncio.to_thread(self._ask_once, "dlg.end_dlg", [name.entry, name.id])
        except RpcRefused as error:
            if error.code == http.client.NOT_FOUND:
                return False
            raise
        return True

    async def read_missed(self) -> dict[str, str]:
        """What could not be told, by its key in the table.

        Raises:
            RpcFailed: It is not known.
        """
        result = await asyncio.to_thread(self._ask_once, "htable.dump", [MISSED_TABLE])
        return dict(_read_table(result))

    async def forget_missed(self, key: str) -> None:
        """Delete what was seen to.

        Raises:
            RpcFailed: It may be there still, and is seen to again.
        """
        await asyncio.to_thread(self._ask_once, "htable.delete", [MISSED_TABLE, key])

    def _list_dialogs(self) -> list[Dialog]:
        dialogs: list[Dialog] = []
        with closing(self._connect()) as connection:
            for page in range(PAGES):
                result = self._ask("dlg.profile_list", [PROFILE, f"{page:02x}"], connection)
                try:
                    dialogs += read_dialogs(result)
                except ProtocolError as error:
                    raise RpcFailed(str(error)) from None
        return dialogs

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address.host, self._address.port, timeout=_LIMIT_SECONDS)

    def _ask_once(self, method: str, parameters: list[Any]) -> Any:
        with closing(self._connect()) as connection:
            return self._ask(method, parameters, connection)

    def _ask(self, method: str, parameters: list[Any], connection: http.client.HTTPConnection) -> Any:
        request = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": next(self._ids)}
        try:
            connection.request("POST", "/RPC", json.dumps(request), {"Content-Type": "application/json"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise RpcFailed(f"{method}: {error!r}") from None
        try:
            answer = json.loads(body)
            if "error" in answer:
                raise RpcRefused(method, int(answer["error"]["code"]), str(answer["error"]["message"]))
            return answer["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise RpcFailed(f"{method}: HTTP {response.status}, {error!r}: {body[:200]!r}") from None


def _read_table(result: Any) -> Iterator[tuple[str, str]]:
    """Names and values of a dumped table, which lists its items by slot."""
    try:
        for slot in result:
            for item in slot["slot"]:
                yield str(item["name"]), str(item["value"])
    except (TypeError, KeyError) as error:
        raise RpcFailed(f"htable.dump: {error!r}: {str(result)[:200]}") from None
