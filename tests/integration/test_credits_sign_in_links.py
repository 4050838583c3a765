"""Sign-in links over gRPC: for whom they are made, how long they are good, and who is signed in by them."""

from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.errors import Unauthenticated
from gateway.store.directory import Directory
from gateway.v1 import credits_pb2 as pb
from tests.support.back import COMPANY, OFFICE, OPERATOR, BackUnderTest, bearer, invalid, refused, running_back
from tests.support.balances import NOON
from tests.support.servers import StoreServer

PUBLIC_URL = "https://calls.example.com"
DENIED = (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def link(back: BackUnderTest, secret: str = OPERATOR, **fields: Any) -> pb.CreateSignInLinkResponse:
    request = pb.CreateSignInLinkRequest(**fields)
    made: pb.CreateSignInLinkResponse = await back.stub.CreateSignInLink(request, metadata=bearer(secret))
    return made


async def opened(back: BackUnderTest, made: pb.CreateSignInLinkResponse) -> Identity | None:
    """Who is signed in by a link, as the page finds out."""
    before, _, secret = made.url.rpartition("/")
    assert before == f"{PUBLIC_URL}/sign-in"
    token_hash = await back.back.sign_in_links.redeem(hash_secret(secret), now_ms=back.clock.now_ms())
    return None if token_hash is None else await back.back.directory.bearer(token_hash)


def id_of(secret: str) -> str:
    return hash_secret(secret)[:12]


async def test_a_link_signs_in_whoever_asked_for_it(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, public_url=PUBLIC_URL) as back:
        await back.open_office()
        scope = (COMPANY, frozenset({OFFICE}))
        people = {
            OPERATOR: Identity(Role.OPERATOR, "settings"),
            (operator := await back.token(Role.OPERATOR, "")): Identity(Role.OPERATOR, id_of(operator)),
            (company := await back.token(Role.COMPANY_ADMIN)): Identity(Role.COMPANY_ADMIN, id_of(company), COMPANY),
            (admin := await back.token(Role.OFFICE_ADMIN, COMPANY, OFFICE)): Identity(
                Role.OFFICE_ADMIN, id_of(admin), *scope
            ),
            (viewer := await back.token(Role.VIEWER, COMPANY, OFFICE)): Identity(Role.VIEWER, id_of(viewer), *scope),
        }
        for secret, identity in people.items():
            for token_id in ("", identity.token_id):
                made = await link(back, secret, token_id=token_id)
                assert made.expires_at.ToMilliseconds() == NOON + 900_000
                assert await opened(back, made) == identity
                assert await opened(back, made) is None


async def test_a_link_for_somebody_else_names_who_made_it(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, public_url=PUBLIC_URL) as back:
        await back.open_office()
        viewer = id_of(await back.token(Role.VIEWER, COMPANY, OFFICE))
        admin = await back.token(Role.OFFICE_ADMIN, COMPANY, OFFICE)
        made = await link(back, admin, token_id=viewer, valid_seconds=60)
        assert await opened(back, made) == Identity(Role.VIEWER, viewer, COMPANY, frozenset({OFFICE}))
        link_id = hash_secret(made.url.rpartition("/")[2])[:12]
        log = await back.audit(f"sign_in_link:{link_id}")
        assert [line.actor for line in log] == [f"token:{id_of(admin)}", f"token:{viewer}"]
        assert not any(made.url[-43:] in str(line) for line in log)


@pytest.mark.parametrize(("valid_seconds", "good_ms"), [(0, 900_000), (1, 1_000), (86_400, 86_400_000)])
async def test_how_long_a_link_is_good(valkey: StoreServer, tmp_path: Path, valid_seconds: int, good_ms: int) -> None:
    async with running_back(valkey, tmp_path, public_url=PUBLIC_URL) as back:
        first, second = [await link(back, valid_seconds=valid_seconds) for _ in range(2)]
        assert first.expires_at.ToMilliseconds() == NOON + good_ms
        back.clock.set(NOON + good_ms - 1)
        assert await opened(back, first) is not None
        back.clock.set(NOON + good_ms)
        assert await opened(back, second) is None


async def test_a_link_expires_with_its_token(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, public_url=PUBLIC_URL) as back:
        request = pb.CreateTokenRequest(role=pb.ROLE_OPERATOR)
        request.expires_at.FromMilliseconds(NOON + 60_000)
        token = (await back.stub.CreateToken(request, metadata=bearer())).token
        made = await link(back, token_id=token.token_id)
        assert made.expires_at == token.expires_at
        assert (
            await link(back, token_id=token.token_id, valid_seconds=59)
        ).expires_at.ToMilliseconds() == NOON + 59_000
        back.clock.move(60)
        assert await opened(back, made) is None
        await refused(StatusCode.FAILED_PRECONDITION, "TOKEN_NOT_IN_FORCE", link(back, token_id=token.token_id))


async def test_a_link_to_a_revoked_token_opens_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, public_url=PUBLIC_URL) as back:
        secret = await back.token(Role.OPERATOR, "")
        made = await link(back, secret)
        await back.stub.RevokeToken(pb.RevokeTokenRequest(token_id=id_of(secret)), metadata=bearer())
        found = await refused(StatusCode.FAILED_PRECONDITION, "TOKEN_NOT_IN_FORCE", link(back, token_id=id_of(secret)))
        assert found.metadata["field"] == "token_id"
        assert "CreateToken" in found.message
        await back.back.directory.refresh()
        with pytest.raises(Unauthenticated):
            await opened(back, made)


async def test_a_link_of_an_operator_token_that_the_settings_no_longer_have(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path, public_url=PUBLIC_URL) as back:
        made = await link(back)
    another = "another-operator-token-of-the-tests"
    async with running_back(valkey, tmp_path, public_url=PUBLIC_URL, operator_token=another) as back:
        with pytest.raises(Unauthenticated):
            await opened(back, made)


async def test_what_no_link_is_made_for(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("a2")
        operator = await back.token(Role.OPERATOR, "")
        company = await back.token(Role.COMPANY_ADMIN)
        admin = await back.token(Role.OFFICE_ADMIN, COMPANY, OFFICE)
        viewer = await back.token(Role.VIEWER, COMPANY, OFFICE)
        elsewhere = await back.token(Role.VIEWER, COMPANY, "a2")
        switch = await back.token(Role.SWITCH, "", OFFICE, switch_id="sw1")
        not_found = (StatusCode.NOT_FOUND, "TOKEN_NOT_FOUND")
        of_switch = (StatusCode.FAILED_PRECONDITION, "TOKEN_OF_SWITCH")
        for secret, token_id, refusal in [
            (OPERATOR, id_of(switch), of_switch),
            (OPERATOR, "no such", not_found),
            (OPERATOR, id_of(viewer).upper(), not_found),
            # The token of the settings is its bearer's alone, as only the settings revoke it.
            (operator, "settings", not_found),
            (company, "settings", DENIED),
            (company, id_of(operator), DENIED),
            (company, id_of(switch), DENIED),
            (company, "no such", DENIED),
            (admin, id_of(company), DENIED),
            (admin, id_of(elsewhere), DENIED),
            (viewer, id_of(admin), DENIED),
            (viewer, id_of(elsewhere), DENIED),
            (viewer, "no such", DENIED),
            (switch, "", DENIED),
            (switch, id_of(switch), DENIED),
        ]:
            await refused(*refusal, link(back, secret, token_id=token_id))
        for token_id in ("x" * 129, "\n", "tökn"):
            await invalid("token_id", link(back, token_id=token_id))
        for valid_seconds in (-1, 86_401, 2**31 - 1, -(2**31)):
            await invalid("valid_seconds", link(back, valid_seconds=valid_seconds))
        for secret in (hash_secret(OPERATOR), "tg_nonsense"):
            await refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", link(back, secret))


async def test_a_bearer_by_hash(valkey: StoreServer, tmp_path: Path) -> None:
    """The page's sessions keep hashes, and are asked about at every request."""
    async with running_back(valkey, tmp_path) as back:
        request = pb.CreateTokenRequest(role=pb.ROLE_OPERATOR)
        request.expires_at.FromMilliseconds(NOON + 10)
        made = await back.stub.CreateToken(request, metadata=bearer())
        directory = Directory(back.till.connection, back.clock)
        # Not read yet: the store is asked.
        hashed = hash_secret(made.secret)
        assert await directory.bearer(hashed) == await directory.identify(made.secret)
        for unknown in (made.secret, hash_secret(hashed), hash_secret(OPERATOR), "", hashed.upper()):
            with pytest.raises(Unauthenticated):
                await directory.bearer(unknown)
        back.clock.set(NOON + 10)
        with pytest.raises(Unauthenticated):
            await directory.bearer(hashed)
        # What is known by hash is no secret.
        with pytest.raises(Unauthenticated):
            await back.back.directory.identify(hash_secret(OPERATOR))
        assert (await back.back.directory.bearer(hash_secret(OPERATOR))).token_id == "settings"
