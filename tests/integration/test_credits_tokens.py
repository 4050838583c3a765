"""Tokens over gRPC: made within one's own rights, good at once, gone at once, and healed after a crash."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from gateway.api.sign_ins import TooManyFailures
from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.errors import Unauthenticated, Unavailable
from gateway.store.directory import Directory, PublishedToken, put_tokens, read_tokens
from gateway.v1 import credits_pb2 as pb
from tests.support.back import COMPANY, OFFICE, BackUnderTest, Fault, bearer, invalid, refused, running_back
from tests.support.balances import NOON
from tests.support.servers import StoreServer

ME = bearer()
DENIED = (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def make(back: BackUnderTest, secret: str = ME[0][1].removeprefix("Bearer "), **fields: Any) -> Any:
    return await back.stub.CreateToken(pb.CreateTokenRequest(**fields), metadata=bearer(secret))


async def held_secrets(back: BackUnderTest) -> set[str]:
    """The hashes that the store has."""
    return set(await read_tokens(back.till.connection))


async def front_of(back: BackUnderTest) -> Directory:
    """What another gateway knows."""
    directory = Directory(back.till.connection, back.clock)
    await directory.refresh()
    return directory


async def test_a_token_is_good_at_once_and_its_secret_is_kept_nowhere(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        made = await make(back, role=pb.ROLE_SWITCH, switch_id="sw1", office_ids=[OFFICE], description="rack 7")
        token = made.token
        assert made.secret.startswith("tg_")
        assert (token.role, token.switch_id, list(token.office_ids)) == (pb.ROLE_SWITCH, "sw1", [OFFICE])
        assert (token.description, token.created_at.ToMilliseconds()) == ("rack 7", NOON)
        assert not token.HasField("expires_at")
        assert not token.HasField("revoked_at")
        assert token.token_id not in made.secret
        identity = await (await front_of(back)).identify(made.secret)
        assert identity == Identity(Role.SWITCH, token.token_id, "", frozenset({OFFICE}), "sw1")
        everything = (await back.till.connection.ask("HGETALL", "tg:tokens")) + [
            str(line.after).encode() for line in await back.audit(f"token:{token.token_id}")
        ]
        assert everything
        assert not any(made.secret.encode() in part for part in everything)
        assert await back.ledger.tokens.unprojected(10) == ()


async def test_a_token_that_was_just_made_is_not_taken_for_a_guess(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        sign_ins = back.back.sign_ins
        for number in range(20):
            with suppress(Unauthenticated):
                await sign_ins.identify(f"tg_wrong-{number}", lambda: "192.0.2.7", "rpc")
        with pytest.raises(TooManyFailures):
            await sign_ins.identify("tg_wrong", lambda: "192.0.2.7", "rpc")
        made = await make(back, role=pb.ROLE_VIEWER, company_id=COMPANY)
        identity = await sign_ins.identify(made.secret, lambda: "192.0.2.7", "rpc")
        assert identity.token_id == made.token.token_id


async def test_roles_and_what_they_are_good_for(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        every = await make(back, role=pb.ROLE_SWITCH, switch_id="sw1")
        back.clock.move(1)
        assert list(every.token.office_ids) == []
        identity = await (await front_of(back)).identify(every.secret)
        identity.may_use_office_as_switch("any")
        operator = await make(back, role=pb.ROLE_OPERATOR, description="Olga")
        back.clock.move(1)
        await make(back, operator.secret, role=pb.ROLE_VIEWER, company_id=COMPANY)
        page = await back.stub.ListTokens(pb.ListTokensRequest(), metadata=bearer(operator.secret))
        assert [token.role for token in page.tokens] == [pb.ROLE_SWITCH, pb.ROLE_OPERATOR, pb.ROLE_VIEWER]
        assert (await back.audit(f"token:{page.tokens[2].token_id}"))[0].actor == f"token:{operator.token.token_id}"


async def test_a_token_that_a_certificate_stands_for(valkey: StoreServer, tmp_path: Path) -> None:
    """No secret, listed and revoked as all are; several give the offices of all, and one name is one switch's."""
    async with running_back(valkey, tmp_path) as back:
        await back.open_office("o1")
        await back.open_office("o2")
        fields: dict[str, Any] = {"role": pb.ROLE_SWITCH, "switch_id": "sw1", "certificate": "sw1.example.com"}
        first = await make(back, **fields, office_ids=["o1"])
        assert (first.secret, first.token.certificate) == ("", "sw1.example.com")
        back.clock.move(1)
        second = await make(back, **fields, office_ids=["o2"])
        front = await front_of(back)
        assert front.certified(["SW1.example.com", "other.example.com"]) is None
        both = front.certified(["other.example.com", "sw1.example.com"])
        assert both is not None
        assert (both.switch_id, sorted(both.office_ids)) == ("sw1", ["o1", "o2"])
        # What stands in the place of a hash opens nothing when it is sent as a secret.
        for key in await held_secrets(back):
            if key.startswith("x509:"):
                with pytest.raises(Unauthenticated):
                    await front.identify(key)
        taken = make(back, role=pb.ROLE_SWITCH, switch_id="sw2", certificate="sw1.example.com")
        refusal = await refused(StatusCode.ALREADY_EXISTS, "CERTIFICATE_TAKEN", taken)
        assert refusal.metadata["switch_id"] == "sw1"
        page = await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)
        assert [each.certificate for each in page.tokens] == ["sw1.example.com"] * 2

        for made in (first, second):
            await back.stub.RevokeToken(pb.RevokeTokenRequest(token_id=made.token.token_id), metadata=ME)
        await front.refresh()
        assert front.certified(["sw1.example.com"]) is None
        other = await make(back, **fields | {"switch_id": "sw2", "certificate": "sw1.example.com"})
        await front.refresh()
        found = front.certified(["sw1.example.com"])
        assert found is not None
        assert (found.switch_id, found.token_id) == ("sw2", other.token.token_id)


async def test_one_that_has_expired_stands_for_nobody(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        request = pb.CreateTokenRequest(role=pb.ROLE_SWITCH, switch_id="sw1", certificate="tollgate:switch:sw1")
        request.expires_at.FromMilliseconds(NOON + 60_000)
        await back.stub.CreateToken(request, metadata=ME)
        front = await front_of(back)
        assert front.certified(["tollgate:switch:sw1"]) is not None
        back.clock.move(60)
        assert front.certified(["tollgate:switch:sw1"]) is None
        with pytest.raises(Unavailable):
            Directory(back.till.connection, back.clock).certified(["tollgate:switch:sw1"])


async def test_expiry(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        request = pb.CreateTokenRequest(role=pb.ROLE_VIEWER, company_id=COMPANY)
        request.expires_at.FromMilliseconds(NOON + 60_000)
        made = await back.stub.CreateToken(request, metadata=ME)
        assert made.token.expires_at.ToMilliseconds() == NOON + 60_000
        viewer = bearer(made.secret)
        await back.stub.GetOffice(pb.GetOfficeRequest(office_id=OFFICE), metadata=viewer)
        back.clock.move(60)
        await refused(
            StatusCode.UNAUTHENTICATED,
            "UNAUTHENTICATED",
            back.stub.GetOffice(pb.GetOfficeRequest(office_id=OFFICE), metadata=viewer),
        )
        # What has expired is cleared away when all are gone through.
        back.back.background.reconciler.ask()
        await back.back.background.reconciler.turn()
        assert hash_secret(made.secret) not in await held_secrets(back)


async def rotate(back: BackUnderTest, token_id: str, **fields: Any) -> Any:
    return await back.stub.RotateToken(pb.RotateTokenRequest(token_id=token_id, **fields), metadata=ME)


async def test_a_rotated_token_and_its_successor_are_good_together_for_a_while(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        old = await make(
            back, role=pb.ROLE_SWITCH, switch_id="sw1", office_ids=[OFFICE], description="rack 7",
            operations_per_second=70,
        )  # fmt: skip
        front = await front_of(back)
        back.clock.move(10)
        made = await rotate(back, old.token.token_id, overlap_seconds=3_600)
        assert made.secret != old.secret
        same = ("role", "switch_id", "office_ids", "description", "operations_per_second")
        assert [getattr(made.token, name) for name in same] == [getattr(old.token, name) for name in same]
        assert not made.token.HasField("expires_at")
        assert made.replaced.token_id == old.token.token_id
        assert made.replaced.replaced_by == made.token.token_id
        assert made.replaced.expires_at.ToMilliseconds() == NOON + 3_610_000
        await front.refresh()
        both = [await front.identify(secret) for secret in (old.secret, made.secret)]
        assert [each.switch_id for each in both] == ["sw1", "sw1"]
        assert [each.operations_per_second for each in both] == [70, 70]
        assert both[0].office_ids == both[1].office_ids
        # A Session that was opened with the old one is told: sessions.py looks whether something expired since.
        then = back.clock.now_ms()
        assert not front.expired_since(then, NOON + 3_609_999)
        back.clock.move(3_600)
        assert front.expired_since(then, back.clock.now_ms())
        with pytest.raises(Unauthenticated):
            await front.identify(old.secret)
        assert await front.identify(made.secret)
        assert await back.ledger.tokens.unprojected(10) == ()
        assert [line.action for line in await back.audit(f"token:{old.token.token_id}")] == [
            "token.create",
            "token.rotate",
        ]
        assert made.secret not in str(await back.audit(f"token:{old.token.token_id}"))


async def test_a_successor_lasts_as_long_as_what_it_replaces_did(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        request = pb.CreateTokenRequest(role=pb.ROLE_VIEWER, company_id=COMPANY)
        request.expires_at.FromMilliseconds(NOON + 100_000)
        old = await back.stub.CreateToken(request, metadata=ME)
        back.clock.move(90)
        made = await rotate(back, old.token.token_id)
        assert made.token.expires_at.ToMilliseconds() == NOON + 190_000
        assert made.replaced.expires_at.ToMilliseconds() == NOON + 100_000, "no longer than it would be anyway"
        # Only the newest can be rotated, and only while it is in force.
        replaced = await refused(StatusCode.FAILED_PRECONDITION, "TOKEN_REPLACED", rotate(back, old.token.token_id))
        assert made.token.token_id in replaced.message
        given = pb.RotateTokenRequest(token_id=made.token.token_id)
        given.expires_at.FromMilliseconds(NOON + 500_000)
        newest = await back.stub.RotateToken(given, metadata=ME)
        assert newest.token.expires_at.ToMilliseconds() == NOON + 500_000
        assert newest.replaced.expires_at.ToMilliseconds() == NOON + 190_000
        back.clock.move(1_000)
        await refused(StatusCode.FAILED_PRECONDITION, "TOKEN_NOT_IN_FORCE", rotate(back, newest.token.token_id))


async def test_who_may_rotate_what(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        switch = await make(back, role=pb.ROLE_SWITCH, switch_id="sw1")
        viewer = await make(back, role=pb.ROLE_VIEWER, company_id=COMPANY)
        admin = await make(back, role=pb.ROLE_COMPANY_ADMIN, company_id=COMPANY)

        def ask(secret: str, token_id: str) -> Any:
            return back.stub.RotateToken(pb.RotateTokenRequest(token_id=token_id), metadata=bearer(secret))

        for secret in (switch.secret, viewer.secret):
            for target in (switch, viewer, admin):
                await refused(*DENIED, ask(secret, target.token.token_id))
        await refused(*DENIED, ask(admin.secret, switch.token.token_id))
        await refused(*DENIED, ask(admin.secret, "no such"))
        assert (await ask(admin.secret, viewer.token.token_id)).token.role == pb.ROLE_VIEWER
        assert (await ask(admin.secret, admin.token.token_id)).token.role == pb.ROLE_COMPANY_ADMIN
        await refused(StatusCode.NOT_FOUND, "TOKEN_NOT_FOUND", rotate(back, "no such"))
        for seconds in (-1, 2_592_001):
            await invalid("overlap_seconds", rotate(back, switch.token.token_id, overlap_seconds=seconds))
        await invalid("token_id", rotate(back, ""))
        certified = await make(
            back, role=pb.ROLE_SWITCH, switch_id="sw1", office_ids=[OFFICE], certificate="sw1.example.com"
        )
        fault = await refused(
            StatusCode.FAILED_PRECONDITION, "TOKEN_WITHOUT_SECRET", rotate(back, certified.token.token_id)
        )
        assert "renew the certificate" in fault.message
        past = pb.RotateTokenRequest(token_id=switch.token.token_id)
        past.expires_at.FromSeconds(1)
        await invalid("expires_at", back.stub.RotateToken(past, metadata=ME))


async def test_what_the_store_did_not_hear_of_a_rotation_is_told_by_the_projector(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        old = await make(back, role=pb.ROLE_SWITCH, switch_id="sw1")
        front = await front_of(back)
        Fault(back.back.connection, "ask", done=False)
        await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", rotate(back, old.token.token_id))
        await back.back.background.projector.turn()
        await front.refresh()
        assert await front.identify(old.secret)
        back.clock.move(86_400)
        with pytest.raises(Unauthenticated):
            await front.identify(old.secret)
        # The secret went with the answer. Whoever rotates again is told which token has it, and rotates that one.
        page = await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)
        [successor] = [token for token in page.tokens if not token.replaced_by]
        made = await rotate(back, successor.token_id)
        await front.refresh()
        assert await front.identify(made.secret)


async def test_when_a_token_was_last_used_is_told_beside_it(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        used = await make(back, role=pb.ROLE_SWITCH, switch_id="sw1")
        unused = await make(back, role=pb.ROLE_SWITCH, switch_id="sw2")

        async def last_uses() -> dict[str, int | None]:
            page = await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)
            return {
                each.token_id: each.last_used_at.ToMilliseconds() if each.HasField("last_used_at") else None
                for each in page.tokens
            }

        front = await front_of(back)
        await front.identify(used.secret)
        assert await last_uses() == {used.token.token_id: None, unused.token.token_id: None}
        back.clock.move(5)
        await front.note_uses()
        seen = {used.token.token_id: NOON + 5_000, unused.token.token_id: None}
        assert await last_uses() == seen
        back.clock.move(60)
        await front.note_uses()
        assert await last_uses() == seen, "it was not used since"
        # What was used is not forgotten when other tokens are made meanwhile.
        assert front.identified(used.secret)
        await make(back, role=pb.ROLE_SWITCH, switch_id="sw3")
        await front.refresh()
        await front.note_uses()
        assert (await last_uses())[used.token.token_id] == NOON + 65_000
        Fault(back.back.connection, "ask", done=False)
        assert set((await last_uses()).values()) == {None}, "they are listed while the store does not answer"
        # A token that is not in force any more leaves nothing behind.
        await back.stub.RevokeToken(pb.RevokeTokenRequest(token_id=used.token.token_id), metadata=ME)
        back.back.background.reconciler.ask()
        await back.back.background.reconciler.turn()
        assert await back.till.connection.ask("HKEYS", "tg:token_uses") == []


async def test_the_operators_token_of_before_is_good_beside_the_new_one(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, old_operator_token="what-it-was-before") as back:
        for secret in (ME[0][1].removeprefix("Bearer "), "what-it-was-before"):
            await back.stub.ListTokens(pb.ListTokensRequest(), metadata=bearer(secret))
        request = pb.CreateSignInLinkRequest()
        assert (await back.stub.CreateSignInLink(request, metadata=bearer("what-it-was-before"))).url
    async with running_back(valkey, tmp_path, flush=False) as back:
        gone = back.stub.ListTokens(pb.ListTokensRequest(), metadata=bearer("what-it-was-before"))
        await refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", gone)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("operations_per_second", {"role": pb.ROLE_SWITCH, "switch_id": "s", "operations_per_second": -1}),
    ("operations_per_second", {"role": pb.ROLE_SWITCH, "switch_id": "s", "operations_per_second": 1_000_001}),
    ("operations_per_second", {"role": pb.ROLE_OPERATOR, "operations_per_second": 1}),
    ("role", {}),
    ("role", {"role": 6}),
    ("role", {"role": -1}),
    ("company_id", {"role": pb.ROLE_COMPANY_ADMIN}),
    ("company_id", {"role": pb.ROLE_VIEWER}),
    ("company_id", {"role": pb.ROLE_OPERATOR, "company_id": COMPANY}),
    ("company_id", {"role": pb.ROLE_SWITCH, "switch_id": "s", "company_id": COMPANY}),
    ("company_id", {"role": pb.ROLE_VIEWER, "company_id": "x" * 129}),
    ("office_ids", {"role": pb.ROLE_OFFICE_ADMIN, "company_id": COMPANY}),
    ("office_ids", {"role": pb.ROLE_COMPANY_ADMIN, "company_id": COMPANY, "office_ids": [OFFICE]}),
    ("office_ids", {"role": pb.ROLE_OPERATOR, "office_ids": [OFFICE]}),
    ("office_ids", {"role": pb.ROLE_VIEWER, "company_id": COMPANY, "office_ids": ["a b"]}),
    ("office_ids", {"role": pb.ROLE_VIEWER, "company_id": COMPANY, "office_ids": [""]}),
    ("office_ids", {"role": pb.ROLE_VIEWER, "company_id": COMPANY, "office_ids": ["*"]}),
    ("office_ids", {"role": pb.ROLE_SWITCH, "switch_id": "s", "office_ids": ["*"]}),
    ("office_ids", {"role": pb.ROLE_SWITCH, "switch_id": "s", "office_ids": [f"o{n}" for n in range(1_001)]}),
    ("switch_id", {"role": pb.ROLE_SWITCH}),
    ("switch_id", {"role": pb.ROLE_SWITCH, "switch_id": "x" * 129}),
    ("switch_id", {"role": pb.ROLE_SWITCH, "switch_id": "\n"}),
    ("switch_id", {"role": pb.ROLE_OPERATOR, "switch_id": "s"}),
    *(
        ("certificate", {"role": pb.ROLE_SWITCH, "switch_id": "s", "certificate": name})
        for name in (
            "*.example.com",
            "SW1.example.com",
            "a b",
            "-a.example.com",
            "10.0.0.1",
            "a..b",
            ":x",
            "urn:",
            "x" * 256,
            "é.com",
        )
    ),
    ("certificate", {"role": pb.ROLE_OPERATOR, "certificate": "sw1.example.com"}),
    ("description", {"role": pb.ROLE_OPERATOR, "description": "x" * 201}),
    ("description", {"role": pb.ROLE_OPERATOR, "description": "a\nb"}),
    ("expires_at", {"role": pb.ROLE_OPERATOR, "expires_at": {"seconds": 1}}),
    ("expires_at", {"role": pb.ROLE_OPERATOR, "expires_at": {"seconds": NOON // 1000}}),
    ("expires_at", {"role": pb.ROLE_OPERATOR, "expires_at": {"seconds": -5}}),
    ("expires_at", {"role": pb.ROLE_OPERATOR, "expires_at": {"seconds": 2**62}}),
    ("expires_at", {"role": pb.ROLE_OPERATOR, "expires_at": {"seconds": 2**33, "nanos": -1}}),
]


async def test_a_token_that_cannot_be(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for field, fields in BAD:
            await invalid(field, make(back, **fields))
        not_there: list[tuple[str, dict[str, Any]]] = [
            ("COMPANY_NOT_FOUND", {"role": pb.ROLE_VIEWER, "company_id": "nobody"}),
            ("OFFICE_NOT_FOUND", {"role": pb.ROLE_VIEWER, "company_id": COMPANY, "office_ids": ["nowhere"]}),
            ("OFFICE_NOT_FOUND", {"role": pb.ROLE_SWITCH, "switch_id": "s", "office_ids": ["nowhere"]}),
        ]
        for reason, fields in not_there:
            await refused(StatusCode.NOT_FOUND, reason, make(back, **fields))
        assert not (await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)).tokens


async def test_nobody_gives_rights_that_they_have_not(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office("a1", company_id="a")
        await back.open_office("a2", company_id="a")
        await back.open_office("b1", company_id="b")
        company = await back.token(Role.COMPANY_ADMIN, "a")
        office = await back.token(Role.OFFICE_ADMIN, "a", "a1")
        viewer = await back.token(Role.VIEWER, "a")
        switch = await back.token(Role.SWITCH, "", "a1", switch_id="sw1")

        granted: list[tuple[str, dict[str, Any]]] = [
            (company, {"role": pb.ROLE_COMPANY_ADMIN, "company_id": "a"}),
            (company, {"role": pb.ROLE_OFFICE_ADMIN, "company_id": "a", "office_ids": ["a1", "a2"]}),
            (company, {"role": pb.ROLE_VIEWER, "company_id": "a"}),
            (office, {"role": pb.ROLE_OFFICE_ADMIN, "company_id": "a", "office_ids": ["a1"]}),
            (office, {"role": pb.ROLE_VIEWER, "company_id": "a", "office_ids": ["a1"]}),
        ]
        for secret, fields in granted:
            made = await make(back, secret, **fields)
            assert made.token.role == fields["role"]
        denied: list[tuple[str, dict[str, Any]]] = [
            (company, {"role": pb.ROLE_OPERATOR}),
            (company, {"role": pb.ROLE_SWITCH, "switch_id": "s"}),
            (company, {"role": pb.ROLE_SWITCH, "switch_id": "s", "office_ids": ["a1"]}),
            (company, {"role": pb.ROLE_COMPANY_ADMIN, "company_id": "b"}),
            (company, {"role": pb.ROLE_COMPANY_ADMIN, "company_id": "nobody"}),
            (company, {"role": pb.ROLE_OFFICE_ADMIN, "company_id": "a", "office_ids": ["a1", "b1"]}),
            (company, {"role": pb.ROLE_OFFICE_ADMIN, "company_id": "a", "office_ids": ["nowhere"]}),
            (office, {"role": pb.ROLE_OPERATOR}),
            (office, {"role": pb.ROLE_COMPANY_ADMIN, "company_id": "a"}),
            (office, {"role": pb.ROLE_VIEWER, "company_id": "a"}),
            (office, {"role": pb.ROLE_VIEWER, "company_id": "a", "office_ids": ["a1", "a2"]}),
            (office, {"role": pb.ROLE_OFFICE_ADMIN, "company_id": "b", "office_ids": ["a1"]}),
            (viewer, {"role": pb.ROLE_VIEWER, "company_id": "a"}),
            (switch, {"role": pb.ROLE_SWITCH, "switch_id": "sw1", "office_ids": ["a1"]}),
        ]
        before = await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)
        for secret, fields in denied:
            await refused(*DENIED, make(back, secret, **fields))
        assert await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME) == before

        async def listed(secret: str) -> set[str]:
            page = await back.stub.ListTokens(pb.ListTokensRequest(), metadata=bearer(secret))
            return {token.token_id for token in page.tokens}

        of_b = (await make(back, role=pb.ROLE_COMPANY_ADMIN, company_id="b")).token.token_id
        everything = {token.token_id: token for token in before.tokens}
        assert await listed(company) == {key for key, token in everything.items() if token.company_id == "a"}
        assert await listed(office) == {
            key for key, token in everything.items() if token.company_id == "a" and list(token.office_ids) == ["a1"]
        }
        for secret in (viewer, switch):
            await refused(*DENIED, back.stub.ListTokens(pb.ListTokensRequest(), metadata=bearer(secret)))

        async def revoke(secret: str, token_id: str) -> Any:
            return await back.stub.RevokeToken(pb.RevokeTokenRequest(token_id=token_id), metadata=bearer(secret))

        of_company = hash_secret(company)[:12]
        for secret, token_id in [
            (company, of_b),
            (company, "no such"),
            (company, hash_secret(switch)[:12]),
            (office, of_company),
            (office, of_b),
            (office, hash_secret(viewer)[:12]),
            (viewer, hash_secret(viewer)[:12]),
            (switch, hash_secret(switch)[:12]),
        ]:
            await refused(*DENIED, revoke(secret, token_id))
        assert (await revoke(company, hash_secret(viewer)[:12])).revoked_at.ToMilliseconds() == NOON
        assert (await revoke(company, of_company)).token_id == of_company
        await back.back.directory.refresh()
        await refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", revoke(company, of_company))


async def test_a_revoked_token_is_gone_everywhere(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        made = await make(back, role=pb.ROLE_VIEWER, company_id=COMPANY)
        front = await front_of(back)
        assert await front.identify(made.secret)
        request = pb.RevokeTokenRequest(token_id=made.token.token_id)
        revoked = await back.stub.RevokeToken(request, metadata=ME)
        assert revoked.revoked_at.ToMilliseconds() == NOON
        back.clock.move(1)
        assert await back.stub.RevokeToken(request, metadata=ME) == revoked
        await front.refresh()
        with pytest.raises(Unauthenticated):
            await front.identify(made.secret)
        assert hash_secret(made.secret) not in await held_secrets(back)
        await refused(
            StatusCode.NOT_FOUND,
            "TOKEN_NOT_FOUND",
            back.stub.RevokeToken(pb.RevokeTokenRequest(token_id="no such"), metadata=ME),
        )
        for bad in ("", "x" * 129, "\n"):
            await invalid("token_id", back.stub.RevokeToken(pb.RevokeTokenRequest(token_id=bad), metadata=ME))
        page = await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)
        assert [token.HasField("revoked_at") for token in page.tokens] == [True]


@pytest.mark.parametrize("done", [False, True], ids=["before the store", "answer lost"])
async def test_what_the_store_did_not_hear_of_is_told_by_the_projector(
    valkey: StoreServer, tmp_path: Path, done: bool
) -> None:
    async with running_back(valkey, tmp_path) as back:
        made = await make(back, role=pb.ROLE_SWITCH, switch_id="sw1")
        front = await front_of(back)
        Fault(back.back.connection, "ask", done=done)
        # Revoked in SQL, and the store does not know.
        unavailable = (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        request = pb.RevokeTokenRequest(token_id=made.token.token_id)
        await refused(*unavailable, back.stub.RevokeToken(request, metadata=ME))
        assert len(await back.ledger.tokens.unprojected(10)) == 1
        await back.back.background.projector.turn()
        await front.refresh()
        with pytest.raises(Unauthenticated):
            await front.identify(made.secret)
        assert await back.ledger.tokens.unprojected(10) == ()

        Fault(back.back.connection, "ask", done=done)
        await refused(*unavailable, make(back, role=pb.ROLE_SWITCH, switch_id="sw2"))
        await back.back.background.projector.turn()
        assert len(await held_secrets(back)) == 1
        assert await back.ledger.tokens.unprojected(10) == ()


async def test_a_store_that_lost_or_kept_too_many_tokens_gets_just_those_in_force(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        secrets = [(await make(back, role=pb.ROLE_SWITCH, switch_id=f"sw{n}")).secret for n in range(3)]
        front = await front_of(back)
        await back.till.connection.ask("HDEL", "tg:tokens", hash_secret(secrets[0]))
        await put_tokens(back.till.connection, {"f" * 64: PublishedToken(Identity(Role.OPERATOR, "evil"), None)})
        back.back.background.reconciler.ask()
        await back.back.background.reconciler.turn()
        assert await held_secrets(back) == set(map(hash_secret, secrets))
        await front.refresh()
        for secret in secrets:
            assert await front.identify(secret)
        # Nothing to do: nothing is announced, so nobody reads all tokens again.
        announced = await back.till.connection.ask("HGET", "tg:directory", "tokens")
        back.back.background.reconciler.ask()
        await back.back.background.reconciler.turn()
        assert await back.till.connection.ask("HGET", "tg:directory", "tokens") == announced
        # The store loses everything: the tokens come back, and are announced by another name.
        await back.till.connection.ask("FLUSHALL")
        back.back.background.reconciler.ask()
        await back.back.background.reconciler.turn()
        assert await held_secrets(back) == set(map(hash_secret, secrets))
        assert await back.till.connection.ask("HGET", "tg:directory", "tokens") != announced


async def test_a_token_revoked_elsewhere_while_it_is_written_does_not_come_back(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        made = await make(back, role=pb.ROLE_SWITCH, switch_id="sw1")
        await back.till.connection.ask("HDEL", "tg:tokens", hash_secret(made.secret))
        tokens = back.back.tokens
        original = tokens.in_force
        calls = 0

        async def revoked_meanwhile(*arguments: Any) -> Any:
            nonlocal calls
            found = await original(*arguments)
            calls += 1
            if calls == 1:
                await back.ledger.tokens.revoke(made.token.token_id, actor="elsewhere", now_ms=NOON)
            return found

        tokens.in_force = revoked_meanwhile  # type: ignore[method-assign,assignment]
        back.back.background.reconciler.ask()
        await back.back.background.reconciler.turn()
        assert await held_secrets(back) == set()


async def test_tokens_come_in_pages(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office("a1", company_id="a")
        await back.open_office("a2", company_id="a")
        for number in range(6):
            back.clock.move(1)
            await make(back, role=pb.ROLE_VIEWER, company_id="a", office_ids=[f"a{1 + number % 2}"])
        admin = bearer(await back.token(Role.OFFICE_ADMIN, "a", "a1"))
        for who, expected in ((ME, 7), (admin, 4)):
            found, token = [], ""
            while True:
                page = await back.stub.ListTokens(pb.ListTokensRequest(page_size=2, page_token=token), metadata=who)
                assert len(page.tokens) <= 2
                found += [each.token_id for each in page.tokens]
                token = page.next_page_token
                if not token:
                    break
            assert len(set(found)) == len(found) == expected
        for size in (-1, 1_001):
            await invalid("page_size", back.stub.ListTokens(pb.ListTokensRequest(page_size=size), metadata=ME))


async def test_without_a_good_token_nothing_is_told(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        request = pb.GetOfficeRequest(office_id=OFFICE)
        for metadata in [
            (),
            (("authorization", "Bearer "),),
            (("authorization", "operator-token-of-the-tests"),),
            (("authorization", "Basic operator-token-of-the-tests"),),
            bearer("tg_nonsense"),
            bearer(hash_secret("operator-token-of-the-tests")),
        ]:
            await refused(
                StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", back.stub.GetOffice(request, metadata=metadata)
            )
