"""What the reader may type in another terminal, and open in a browser, while the demo's gateway stays up."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.address import Address
from gateway.cli.demo.cast import CORNER, HARBOR, present_month
from gateway.cli.demo.last_call import LastCall
from gateway.client_channel import open_channel
from gateway.v1 import credits_pb2
from gateway.v1.credits_pb2_grpc import CreditsStub

if TYPE_CHECKING:
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

LINK_SECONDS: Final = 86_400


def things_to_try(last_call: LastCall, directory: Path, *, is_found: bool) -> Iterator[str]:
    """Commands that work as they stand.

    Args:
        last_call: The call that talks meanwhile.
        directory: The data directory.
        is_found: Whether commands find the demo by themselves.
    """
    data_dir = f" --data-dir {shlex.quote(str(directory))}"
    for arguments in (
        f"call {last_call.office_id} {last_call.another_number} --duration 75",
        f"credits balance {last_call.office_id}",
        f"credits transactions {HARBOR}",
        f"usage summary {CORNER} {present_month(CORNER)}",
        f"explain {last_call.call_id}",
    ):
        yield f"{_own_name()} {arguments}{'' if is_found else data_dir}"
    # It asks no gateway, and so finds none: it reads ledger and store themselves.
    yield f"{_own_name()} audit{data_dir}"


async def sign_in_link(admin_listen: Address, secret: str) -> str:
    """A link that signs the bearer of a token in to the page, once.

    Raises:
        grpc.RpcError: The gateway did not answer.
    """
    async with open_channel(admin_listen, secret) as channel:
        credits: CreditsAsyncStub = CreditsStub(channel)  # noqa: A001 - the contract's word
        answer = await credits.CreateSignInLink(credits_pb2.CreateSignInLinkRequest(valid_seconds=LINK_SECONDS))
    return answer.url


def _own_name() -> str:
    """How to call this command from where the reader is."""
    started = Path(sys.argv[0])
    if started.name != "tollgate":
        return f"{shlex.quote(sys.executable)} -m gateway.cli"
    found = shutil.which("tollgate")
    if found is not None and Path(found).resolve() == started.resolve():
        return "tollgate"
    with suppress(ValueError):
        return shlex.quote(str(started.absolute().relative_to(Path.cwd())))
    return shlex.quote(str(started.absolute()))
