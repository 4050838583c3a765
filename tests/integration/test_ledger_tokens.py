from pathlib import Path

import pytest

from gateway.domain.identity import ALL_OFFICES, Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument, Unauthenticated
from gateway.ledger.errors import CompanyNotFound, OfficeNotFound, TokenNotFound
from gateway.ledger.paging import PageRequest
from gateway.ledger.tokens import TokenRequest, new_secret
from tests.support.ledger import NOW, WHO, Ledger, with_ledger, with_office

OFFICE_ADMIN = TokenRequest(Role.OFFICE_ADMIN, "c1", frozenset({"o1", "o2"}), description="front desk")


def test_a_secret_says_who_its_bearer_is(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger, "o1")
        await with_office(ledger, "o2")
        secret = new_secret()
        made = await ledger.tokens.create(OFFICE_ADMIN, secret, actor=WHO, now_ms=NOW)
        assert made.token_hash == hash_secret(secret)
        who = await ledger.tokens.authenticate(secret, now_ms=NOW)
        assert who == Identity(Role.OFFICE_ADMIN, made.token.token_id, "c1", frozenset({"o1", "o2"}))
        assert who == made.token.identity
        assert await ledger.tokens.get(made.token.token_id) == made

        switch = TokenRequest(Role.SWITCH, office_ids=frozenset({ALL_OFFICES}), switch_id="sw1")
        await ledger.tokens.create(switch, "tg_switch", actor=WHO, now_ms=NOW)
        assert (await ledger.tokens.authenticate("tg_switch", now_ms=NOW)).switch_id == "sw1"

    with_ledger(ledger_url, scenario)


def test_the_secret_is_nowhere_in_the_database(tmp_path: Path) -> None:
    secret = new_secret()

    async def scenario(ledger: Ledger) -> None:
        made = await ledger.tokens.create(TokenRequest(Role.OPERATOR), secret, actor=WHO, now_ms=NOW)
        line = (await ledger.audit.list(PageRequest())).items[0]
        assert made.token_hash not in str(line)

    with_ledger(tmp_path, scenario)
    for path in tmp_path.iterdir():
        assert secret.removeprefix("tg_").encode() not in path.read_bytes()


def test_secrets_are_long_and_never_the_same() -> None:
    made = {new_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert all(secret.startswith("tg_") and len(secret) == 46 for secret in made)


def test_who_has_no_token_in_force_is_told_nothing_more(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        short = TokenRequest(Role.OPERATOR, expires_at=NOW + 10)
        await ledger.tokens.create(short, "tg_short", actor=WHO, now_ms=NOW)
        revoked = await ledger.tokens.create(TokenRequest(Role.OPERATOR), "tg_revoked", actor=WHO, now_ms=NOW)
        await ledger.tokens.authenticate("tg_short", now_ms=NOW + 9)
        await ledger.tokens.authenticate("tg_revoked", now_ms=NOW)
        first = await ledger.tokens.revoke(revoked.token.token_id, actor="token:boss", now_ms=NOW + 1)
        assert (first.token.revoked_at, first.token.version) == (NOW + 1, 2)
        assert await ledger.tokens.revoke(revoked.token.token_id, actor=WHO, now_ms=NOW + 2) == first
        messages = set()
        for secret, at in [("tg_short", NOW + 10), ("tg_revoked", NOW + 1), ("tg_unknown", NOW), ("", NOW)]:
            with pytest.raises(Unauthenticated) as caught:
                await ledger.tokens.authenticate(secret, now_ms=at)
            messages.add(str(caught.value))
        assert len(messages) == 1
        for token_id in ("", "nonsense", "tg_revoked"):
            with pytest.raises(TokenNotFound):
                await ledger.tokens.revoke(token_id, actor=WHO, now_ms=NOW)
            with pytest.raises(TokenNotFound):
                await ledger.tokens.get(token_id)
        log = (await ledger.audit.list(PageRequest(), f"token:{revoked.token.token_id}")).items
        assert [(line.action, line.actor) for line in log] == [("token.revoke", "token:boss"), ("token.create", WHO)]

    with_ledger(ledger_url, scenario)


def test_a_scope_names_what_exists_and_is_the_companys(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger, "o1", "c1")
        await with_office(ledger, "o2", "c2")

        async def make(request: TokenRequest) -> None:
            await ledger.tokens.create(request, new_secret(), actor=WHO, now_ms=NOW)

        with pytest.raises(CompanyNotFound):
            await make(TokenRequest(Role.COMPANY_ADMIN, "c9"))
        for office_id in ("o2", "o9"):
            with pytest.raises(OfficeNotFound) as caught:
                await make(TokenRequest(Role.OFFICE_ADMIN, "c1", frozenset({"o1", office_id})))
            assert caught.value.field == "office_ids"
        with pytest.raises(OfficeNotFound):
            await make(TokenRequest(Role.SWITCH, "", frozenset({"o9"}), "sw1"))
        for wrong in (
            TokenRequest(Role.COMPANY_ADMIN),
            TokenRequest(Role.SWITCH, "", frozenset({"o 1"}), "sw1"),
            TokenRequest(Role.SWITCH, "", frozenset({"o1"}), "s" * 129),
            TokenRequest(Role.SWITCH, "", frozenset(f"o{n}" for n in range(1001)), "sw1"),
            TokenRequest(Role.OPERATOR, description="two\nlines"),
            TokenRequest(Role.OPERATOR, expires_at=NOW),
            TokenRequest(0),  # type: ignore[arg-type]
        ):
            with pytest.raises(InvalidArgument):
                await make(wrong)
        await make(TokenRequest(Role.SWITCH, "", frozenset({"o1", "o2"}), "sw1"))
        assert len((await ledger.tokens.list(PageRequest())).items) == 1

    with_ledger(ledger_url, scenario)


def test_the_list_is_in_the_order_they_were_made(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        made = []
        for n in range(7):
            request = TokenRequest(Role.COMPANY_ADMIN, "c1") if n % 2 else TokenRequest(Role.OPERATOR)
            new = await ledger.tokens.create(request, f"tg_{n}", actor=WHO, now_ms=NOW + n // 3)
            made.append(new.token)
        made.sort(key=lambda token: (token.created_at, token.token_id))
        page = await ledger.tokens.list(PageRequest(4))
        rest = await ledger.tokens.list(PageRequest(4, page.next_page_token))
        assert [*page.items, *rest.items] == made
        of_company = await ledger.tokens.list(PageRequest(), "c1")
        assert list(of_company.items) == [token for token in made if token.company_id == "c1"]

    with_ledger(ledger_url, scenario)


def test_what_the_store_has_to_be_told(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        made = await ledger.tokens.create(TokenRequest(Role.OPERATOR), "tg_1", actor=WHO, now_ms=NOW)
        assert await ledger.tokens.unprojected(10) == (made,)
        revoked = await ledger.tokens.revoke(made.token.token_id, actor=WHO, now_ms=NOW)
        await ledger.tokens.mark_projected(made.token)  # The news of its making comes after its end.
        assert await ledger.tokens.unprojected(10) == (revoked,)
        await ledger.tokens.mark_projected(revoked.token)
        assert await ledger.tokens.unprojected(10) == ()

    with_ledger(ledger_url, scenario)


def test_those_in_force_are_what_the_store_is_to_hold(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        made = [
            await ledger.tokens.create(
                TokenRequest(Role.OPERATOR, expires_at=NOW + 10 if n == 1 else None), f"tg_{n}", actor=WHO, now_ms=NOW
            )
            for n in range(4)
        ]
        await ledger.tokens.revoke(made[0].token.token_id, actor=WHO, now_ms=NOW)
        made.sort(key=lambda hashed: hashed.token.token_id)

        async def in_force(now_ms: int, after: str = "") -> list[str]:
            return [one.token_hash for one in await ledger.tokens.in_force(now_ms, 10, after)]

        hashes = [one.token_hash for one in made if one.token_hash != hash_secret("tg_0")]
        assert await in_force(NOW + 9) == hashes
        assert await in_force(NOW + 10) == [one for one in hashes if one != hash_secret("tg_1")]
        assert await in_force(NOW, hashes[0][:12]) == hashes[1:]
        assert len(await ledger.tokens.in_force(NOW, 2)) == 2

    with_ledger(ledger_url, scenario)
