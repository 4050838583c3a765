"""`tollgate token`: who may ask."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.cli.client import Client, asks_gateway
from gateway.cli.output import NOTHING, columns, instant, short_name
from gateway.cli.pages import pages_of
from gateway.v1 import credits_pb2 as pb


class TokenRole(StrEnum):
    """What the bearer may do (docs/reference/rights.md)."""

    OPERATOR = "operator"
    COMPANY_ADMIN = "company-admin"
    OFFICE_ADMIN = "office-admin"
    VIEWER = "viewer"
    SWITCH = "switch"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Tokens: who may ask, and for what.", no_args_is_help=True, rich_markup_mode=None)
    group.command("create")(create)
    group.command("list")(show_all)
    group.command("revoke")(revoke)
    group.command("link")(link)
    app.add_typer(group, name="token")


@asks_gateway
async def create(
    client: Client,
    *,
    role: Annotated[TokenRole, typer.Option(help="What the bearer may do.")],
    company: Annotated[str, typer.Option(help="For admins and viewers: whose.")] = "",
    office: Annotated[
        list[str] | None, typer.Option(help="An office that it is for; may be repeated. Not given: all it could have.")
    ] = None,
    switch: Annotated[str, typer.Option(help="For switches: the id that its calls belong to.")] = "",
    certificate: Annotated[
        str,
        typer.Option(
            help="For switches: the DNS name or URI in the client certificate that stands for the token; it has no "
            "secret then."
        ),
    ] = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    days: Annotated[int, typer.Option(min=0, help="How long it is valid; 0: until revoked.")] = 0,
) -> None:
    """Make a token and print its secret, which is shown this once and kept nowhere.

    With --certificate there is no secret: who shows that certificate is the switch, within a second.
    """
    request = pb.CreateTokenRequest(
        role=pb.Role.Value(f"ROLE_{role.name}"),
        company_id=company,
        office_ids=office or (),
        switch_id=switch,
        description=description,
        certificate=certificate,
    )
    if days:
        # What was typed is a span, so it begins now, on this machine's clock.
        request.expires_at.CopyFrom(_timestamp(datetime.now(UTC) + timedelta(days=days)))
    answer = await client.credits.CreateToken(request)
    # The secret stands alone on standard output, so that TOKEN=$(tollgate token create ...) works.
    if not client.as_json:
        stands = f"{certificate} stands for it" if certificate else "its secret is shown this once:"
        typer.echo(f"token {answer.token.token_id}; {stands}", err=True)
    client.show(answer, [answer.secret] if answer.secret else [])


@asks_gateway
async def show_all(client: Client) -> None:
    """List the tokens, without their secrets."""
    whole = pb.ListTokensResponse()
    async for page in pages_of(client.credits.ListTokens, pb.ListTokensRequest()):
        whole.tokens.extend(page.tokens)
    rows = [
        (
            each.token_id,
            short_name(pb.Role.Name(each.role), "ROLE_").replace("_", "-"),
            each.company_id or NOTHING,
            ",".join(each.office_ids) or "all",
            each.switch_id or NOTHING,
            each.certificate or NOTHING,
            _state(each),
            each.description,
        )
        for each in whole.tokens
    ]
    client.show(
        whole, columns(("TOKEN", "ROLE", "COMPANY", "OFFICES", "SWITCH", "CERTIFICATE", "STATE", "DESCRIPTION"), rows)
    )


@asks_gateway
async def revoke(client: Client, token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id.")]) -> None:
    """Take a token out of force, for ever; every gateway follows within a second."""
    answer = await client.credits.RevokeToken(pb.RevokeTokenRequest(token_id=token_id))
    client.show(answer, [f"{answer.token_id} is revoked since {instant(answer.revoked_at)}"])


@asks_gateway
async def link(
    client: Client,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id; not given: your own.")] = "",
    *,
    valid_seconds: Annotated[int, typer.Option(min=0, max=86_400, help="How long the link is good; 0: 900.")] = 0,
) -> None:
    """Make a link that signs a browser in to the page, once, with the rights of a token."""
    answer = await client.credits.CreateSignInLink(
        pb.CreateSignInLinkRequest(token_id=token_id, valid_seconds=valid_seconds)
    )
    # The link stands alone on standard output, so that xdg-open "$(tollgate token link)" works.
    if not client.as_json:
        typer.echo(f"good once, until {instant(answer.expires_at)}:", err=True)
    client.show(answer, [answer.url])


def _state(token: pb.Token) -> str:
    if token.HasField("revoked_at"):
        return f"revoked {instant(token.revoked_at)}"
    return f"until {instant(token.expires_at)}" if token.HasField("expires_at") else "in force"


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
