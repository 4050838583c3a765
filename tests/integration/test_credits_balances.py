"""AdjustBalance over gRPC: numbered, once per key, exact under races, crashes and a store that forgets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from gateway.domain.credit import CreditKind, CreditRequest, CreditStatus
from gateway.domain.vocabulary import RefillState
from gateway.ledger.errors import DatabaseError
from gateway.store.codes import Code
from gateway.store.keys import office_keys
from gateway.store.records import OfficeRecord
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, Fault, bearer, invalid, refused, running_back
from tests.support.servers import StoreServer

ME = bearer()
UNAVAILABLE = (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
NOT_COVERED = (StatusCode.FAILED_PRECONDITION, "NOT_COVERED")
MOST = 10**15


async def test_credits_are_numbered_and_add_up(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(credit_limit_micros=100)
        first = await back.adjust(1_000, "k1")
        assert first == pb.AdjustBalanceResponse(number=1, balance_micros=1_000, available_micros=1_100)
        second = await back.adjust(-300, "k2", reason="a mistake")
        assert second == pb.AdjustBalanceResponse(number=2, balance_micros=700, available_micros=800)
        into_the_limit = await back.adjust(-800, "k3")
        assert (into_the_limit.balance_micros, into_the_limit.available_micros) == (-100, 0)
        credit = await back.ledger.credits.get(OFFICE, 2)
        assert (credit.kind, credit.reason, credit.actor) == (CreditKind.ADJUSTMENT, "a mistake", "token:settings")
        assert (credit.status, credit.is_confirmed) == (CreditStatus.APPLIED, True)
        await back.store_is_as_credits_say()


async def test_a_repeat_with_the_same_key_moves_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other")
        await back.adjust(1_000, "k1")
        await back.spend(100)
        again = await back.adjust(1_000, "k1")
        assert again == pb.AdjustBalanceResponse(number=1, balance_micros=900, available_micros=900, replayed=True)
        for amount, reason in ((1_001, "a gift"), (-1_000, "a gift"), (1_000, "another")):
            await refused(StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", back.adjust(amount, "k1", reason=reason))
        # Keys are an office's own.
        assert (await back.adjust(5, "k1", office_id="other")).number == 1
        assert (await back.adjust(1, "k2")).number == 2


BAD: list[tuple[str, dict[str, Any]]] = [
    ("office_id", {"office_id": ""}),
    ("office_id", {"office_id": "a b"}),
    ("office_id", {"office_id": "x" * 65}),
    ("amount_micros", {"amount_micros": 0}),
    ("amount_micros", {"amount_micros": MOST + 1}),
    ("amount_micros", {"amount_micros": -MOST - 1}),
    ("amount_micros", {"amount_micros": 2**63 - 1}),
    ("amount_micros", {"amount_micros": -(2**63)}),
    ("reason", {"reason": ""}),
    ("reason", {"reason": "x" * 501}),
    ("reason", {"reason": "two\nlines"}),
    ("idempotency_key", {"idempotency_key": ""}),
    ("idempotency_key", {"idempotency_key": "x" * 129}),
    ("idempotency_key", {"idempotency_key": "ö"}),
    ("idempotency_key", {"idempotency_key": "tg:refill"}),
    ("idempotency_key", {"idempotency_key": "tg:refill", "refill_id": f"{OFFICE}/1"}),
    ("refill_id", {"refill_id": "1"}),
    ("refill_id", {"refill_id": "other/1"}),
    ("refill_id", {"refill_id": f"{OFFICE}/0"}),
    ("refill_id", {"refill_id": f"{OFFICE}/01"}),
    ("refill_id", {"refill_id": f"{OFFICE}/-1"}),
    ("refill_id", {"refill_id": f"{OFFICE}/1x"}),
    ("refill_id", {"refill_id": f"{OFFICE}/" + "9" * 40}),
    ("refill_id", {"refill_id": "x" * 200}),
    ("amount_micros", {"refill_id": f"{OFFICE}/1", "amount_micros": -1}),
]


async def test_what_is_no_adjustment_changes_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for field, values in BAD:
            fields: dict[str, Any] = {
                "office_id": OFFICE, "amount_micros": 1, "reason": "r", "idempotency_key": "k"
            } | values  # fmt: skip
            await invalid(field, back.stub.AdjustBalance(pb.AdjustBalanceRequest(**fields), metadata=ME))
        await refused(StatusCode.NOT_FOUND, "OFFICE_NOT_FOUND", back.adjust(1, "k", office_id="nobody"))
        assert (await back.ledger.credits.total(OFFICE)).last_number == 0
        assert await back.till.outbox() == []


async def test_more_than_is_available_is_refused_with_what_would_do(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000)
        await back.till.authorize("c1")
        await back.open_office("empty")
        found = await refused(*NOT_COVERED, back.adjust(-880_001, "k"))
        assert found.metadata == {"field": "amount_micros", "largest_amount_micros": "-880000"}
        assert "880000" in found.message
        refusal = await back.ledger.credits.get(OFFICE, 2)
        assert (refusal.status, refusal.amount_micros, refusal.requested_micros) == (
            CreditStatus.REFUSED, 0, -880_001
        )  # fmt: skip
        await back.store_is_as_credits_say()
        # The first answer stands for ever, also when there would be funds by now.
        await back.adjust(50, "more")
        again = await refused(*NOT_COVERED, back.adjust(-880_001, "k"))
        assert again.metadata["largest_amount_micros"] == "-880050"
        assert (await back.adjust(-880_050, "k3")).available_micros == 0
        assert (await refused(*NOT_COVERED, back.adjust(-1, "k", office_id="empty"))).metadata[
            "largest_amount_micros"
        ] == "0"
        await back.store_is_as_credits_say()


async def test_the_largest_balance(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=MOST - 5)
        out_of_range = (StatusCode.FAILED_PRECONDITION, "BALANCE_OUT_OF_RANGE")
        found = await refused(*out_of_range, back.adjust(6, "k"))
        assert found.metadata["largest_amount_micros"] == "5"
        # It was seen before a number was taken, so the key is still free.
        assert (await back.ledger.credits.total(OFFICE)).last_number == 1
        assert (await back.adjust(5, "k")).balance_micros == MOST
        await back.spend(10, "m1")

        # The room is gone between the look and the credit.
        original = back.store.read_office

        async def read_and_refund(office_id: str) -> object:
            record = await original(office_id)
            back.store.read_office = original  # type: ignore[method-assign]
            await back.till.refund("m1")
            return record

        back.store.read_office = read_and_refund  # type: ignore[method-assign,assignment]
        found = await refused(*out_of_range, back.adjust(10, "late"))
        assert found.metadata["largest_amount_micros"] == "0"
        await refused(*out_of_range, back.adjust(10, "late"))
        assert (await back.ledger.credits.get(OFFICE, 3)).status is CreditStatus.REFUSED
        await back.store_is_as_credits_say()
        assert (await back.adjust(-1, "next")).number == 4


async def test_an_external_refill_is_closed_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000)
        refill_id = f"{OFFICE}/1"
        not_pending = (StatusCode.FAILED_PRECONDITION, "REFILL_NOT_PENDING")
        await refused(*not_pending, back.adjust(50, "k", refill_id=refill_id))
        await back.refill()
        assert await back.till.refill_state() is RefillState.PENDING
        await refused(*not_pending, back.adjust(50, "k", refill_id=f"{OFFICE}/2"))
        assert (await back.ledger.credits.total(OFFICE)).last_number == 1
        done = await back.adjust(50_000_000, "charge-1", refill_id=refill_id)
        assert (done.number, done.balance_micros) == (2, 50_001_000)
        assert await back.till.refill_state() is RefillState.ARMED
        credit = await back.ledger.credits.get(OFFICE, 2)
        assert (credit.kind, credit.refill_id) == (CreditKind.REFILL, refill_id)
        assert (await back.adjust(50_000_000, "charge-1", refill_id=refill_id)).replayed
        await refused(
            StatusCode.ALREADY_EXISTS,
            "REFILL_ALREADY_CREDITED",
            back.adjust(50_000_000, "charge-2", refill_id=refill_id),
        )
        # What never had a trigger cannot be closed ahead.
        await refused(*not_pending, back.adjust(50, "ahead", refill_id=f"{OFFICE}/2"))
        await back.store_is_as_credits_say()


async def test_a_refill_that_was_charged_is_credited_though_it_is_not_needed_any_more(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000)
        await back.refill()
        await back.journaler.turn()
        await back.adjust(90_000_000, "by hand")
        assert (await back.store.claim_refill(OFFICE, 1)).code is Code.NOT_NEEDED
        assert await back.till.refill_state() is RefillState.ARMED
        assert (await back.adjust(50_000_000, "charged", refill_id=f"{OFFICE}/1")).balance_micros == 140_001_000
        await back.refill(threshold_micros=10**9, amount_micros=10**9)
        off = pb.SetAutoRefillRequest(office_id=OFFICE)
        await back.journaler.turn()
        await back.stub.SetAutoRefill(off, metadata=ME)
        assert (await back.adjust(10**9, "charged too", refill_id=f"{OFFICE}/2")).number == 4
        assert await back.till.refill_state() is RefillState.OFF


@pytest.mark.parametrize("done", [False, True], ids=["before the store", "answer lost"])
@pytest.mark.parametrize("by_retry", [False, True], ids=["applier", "retry"])
@pytest.mark.parametrize("amount", [500, -500, -5_000], ids=["in", "out", "not covered"])
async def test_a_credit_that_the_store_did_not_answer_is_finished_once(
    valkey: StoreServer, tmp_path: Path, done: bool, by_retry: bool, amount: int
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000)
        Fault(back.store, "apply_credit", done=done)
        await refused(*UNAVAILABLE, back.adjust(amount, "k"))
        assert (await back.ledger.credits.total(OFFICE)).unconfirmed == 1
        if not by_retry:
            assert not await back.back.background.applier.turn()
            await back.store_is_as_credits_say()
        if amount < -1_000:
            await refused(*NOT_COVERED, back.adjust(amount, "k"))
        else:
            assert (await back.adjust(amount, "k")).balance_micros == 1_000 + amount
            assert (await back.adjust(amount, "k")).replayed
        await back.store_is_as_credits_say()
        assert (await back.adjust(1, "next")).number == 3
        await back.store_is_as_credits_say()


async def test_a_credit_that_another_gateway_applied_meanwhile_is_not_taken_for_lost(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has looked at the store when the other applies and confirms; then it looks at SQL."""
    async with running_back(valkey, tmp_path) as slow, running_back(valkey, tmp_path, flush=False) as quick:
        await slow.open_office(balance=1_000)
        Fault(slow.store, "apply_credit", done=False)
        await refused(*UNAVAILABLE, slow.adjust(500, "k"))
        read = slow.store.read_office

        async def read_early(office_id: str) -> OfficeRecord | None:
            record = await read(office_id)
            monkeypatch.setattr(slow.store, "read_office", read)
            await quick.back.background.applier.turn()
            return record

        monkeypatch.setattr(slow.store, "read_office", read_early)
        assert (await slow.adjust(500, "k")).replayed
        assert [change.action for change in await slow.audit(f"credit:{OFFICE}/2")] == ["credit.create"]
        await slow.store_is_as_credits_say()
        assert (await slow.get_office()).balance_micros == 1_500


async def test_a_process_that_dies_on_the_way(valkey: StoreServer, tmp_path: Path) -> None:
    """At each step that the ledger takes after a number is given, for a credit that goes through and one refused."""
    steps = [("mark_applied", 500), ("mark_refused", -5_000), ("mark_applied", -5_000)]
    for number, (step, amount) in enumerate(steps):
        for done in (False, True):
            folder = tmp_path / f"{number}-{done}"
            folder.mkdir()
            async with running_back(valkey, folder) as back:
                await back.open_office(balance=1_000)
                Fault(back.back.credits, step, done=done, error=DatabaseError("the process died"))
                await refused(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", back.adjust(amount, "k"))
            # Another process, the same SQL and store.
            async with running_back(valkey, folder, flush=False) as back:
                await back.back.background.applier.turn()
                await back.store_is_as_credits_say()
                expected = 1_500 if amount > 0 else 1_000
                assert (await back.get_office()).balance_micros == expected
                credit = await back.ledger.credits.get(OFFICE, 2)
                assert credit.status is (CreditStatus.APPLIED if amount > 0 else CreditStatus.REFUSED)


async def test_a_start_finishes_what_is_on_its_way(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000)
        for number in range(3):
            Fault(back.store, "apply_credit", done=False)
            await refused(*UNAVAILABLE, back.adjust(10, f"k{number}"))
    async with running_back(valkey, tmp_path, flush=False) as back:
        # The reconciler looks at every office before the first request is taken.
        await back.store_is_as_credits_say()
        assert (await back.get_office()).balance_micros == 1_030


async def test_earlier_numbers_go_first(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for number, amount in enumerate((10, -4, -100), start=1):
            Fault(back.store, "apply_credit", done=False)
            await refused(*UNAVAILABLE, back.adjust(amount, f"k{number}"))
        done = await back.adjust(1, "last")
        assert done == pb.AdjustBalanceResponse(number=4, balance_micros=7, available_micros=7)
        await back.store_is_as_credits_say()
        entries = [entry for entry in await back.till.outbox() if entry.kind == "credit"]
        assert [(entry.id, entry.amount) for entry in entries] == [("1", 10), ("2", -4), ("3", 0), ("4", 1)]


async def test_a_hundred_at_once_sum_up_exactly(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=100)

        async def one(amount: int, key: str) -> int:
            try:
                return (await back.adjust(amount, key)).number
            except Exception:  # refused: counted below
                return 0

        numbers = await asyncio.gather(
            *(one(7, f"in {number % 20}") for number in range(40)),
            *(one(-30, f"out {number}") for number in range(20)),
            back.back.background.applier.turn(),
            back.back.background.applier.turn(),
        )
        assert len(set(numbers[:40])) == 20
        await back.store_is_as_credits_say()
        rows = (await back.ledger.credits.credits_after(OFFICE, 0, 1_000))[1:]
        taken = [credit for credit in rows if credit.requested_micros < 0]
        granted = [credit for credit in taken if credit.status is CreditStatus.APPLIED]
        balance = (await back.get_office()).balance_micros
        assert balance == 100 + 20 * 7 - 30 * len(granted) >= 0
        assert len(taken) == 20
        assert len(back.back.locks) == 0


async def _forget(back: BackUnderTest, before: bytes) -> None:
    """A failover to a replica that had only got so far."""
    await back.till.connection.ask("SET", office_keys(OFFICE).office, before)
    back.back.background.reconciler.ask()


async def test_a_store_that_forgot_credits_gets_them_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000)
        await back.refill(threshold_micros=2_000, amount_micros=50_000)
        before = await back.till.connection.ask("GET", office_keys(OFFICE).office)
        await back.adjust(-600, "out")
        await back.adjust(50_000, "charge", refill_id=f"{OFFICE}/1")
        after = await back.till.office()

        await _forget(back, before)
        await back.back.background.reconciler.turn()
        again = await back.till.office()
        assert (again.balance_micros, again.credit_number) == (after.balance_micros, after.credit_number)
        assert (again.refill_state, again.refill_number) == (RefillState.ARMED, 1)
        await back.store_is_as_credits_say()
        actions = [line.action for line in await back.audit(f"credit:{OFFICE}/2")]
        assert actions == ["credit.create", "credit.lose"]

        # The office spent, in the forgotten world, what the credit took: then it never happened.
        await _forget(back, before)
        await back.spend(700)
        await back.back.background.reconciler.turn()
        assert (await back.ledger.credits.get(OFFICE, 2)).status is CreditStatus.REFUSED
        total = await back.ledger.credits.total(OFFICE)
        assert (total.applied_micros, total.unconfirmed) == (51_000, 0)
        assert (await back.get_office()).balance_micros == 51_000 - 700


async def test_a_credit_also_brings_those_that_the_store_forgot(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000)
        before = await back.till.connection.ask("GET", office_keys(OFFICE).office)
        await back.adjust(20, "k2")
        await _forget(back, before)
        assert (await back.adjust(20, "k2")).balance_micros == 1_020
        await _forget(back, before)
        assert (await back.adjust(5, "k3")).balance_micros == 1_025
        await back.store_is_as_credits_say()


async def test_two_gateways_send_the_same_credit(valkey: StoreServer, tmp_path: Path) -> None:
    """One sends a withdrawal, the other finds funds for it meanwhile: what the store moved is what counts."""
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        Fault(back.store, "apply_credit", done=False)
        await refused(*UNAVAILABLE, back.adjust(-5, "k1"))
        original = back.back.credits.mark_refused

        async def overtaken(*arguments: Any, **named: Any) -> Any:
            # Between refusal and zero credit the other gateway applies the money that came and the withdrawal itself.
            refused_row = await original(*arguments, **named)
            await back.till.connection.ask("SET", office_keys(OFFICE).office, funded)
            assert (await back.store.apply_credit(OFFICE, 1, -5)).code is Code.OK
            return refused_row

        held = await back.till.connection.ask("GET", office_keys(OFFICE).office)
        funded = (100).to_bytes(8, "little") + held[8:]
        back.back.credits.mark_refused = overtaken  # type: ignore[method-assign]
        await back.back.background.applier.turn()
        credit = await back.ledger.credits.get(OFFICE, 1)
        assert (credit.status, credit.amount_micros) == (CreditStatus.APPLIED, -5)

        # And when a later credit was applied since, the outbox knows what it moved.
        await back.adjust(50, "k2")
        Fault(back.store, "apply_credit", done=True)
        await refused(*UNAVAILABLE, back.adjust(-7, "k3"))
        row = await back.ledger.credits.new_credit(_request(3, "k4"), actor="t", now_ms=0)
        assert (await back.store.apply_credit(OFFICE, row.credit.number, 3)).code is Code.OK
        await back.back.background.applier.turn()
        assert (await back.ledger.credits.get(OFFICE, 3)).amount_micros == -7
        assert (await back.ledger.credits.total(OFFICE)).unconfirmed == 0


def _request(amount: int, key: str, *, kind: CreditKind = CreditKind.ADJUSTMENT, refill_id: str | None = None) -> Any:
    return CreditRequest(OFFICE, amount, kind, "r", key, refill_id)


async def test_money_that_is_here_is_never_refused_and_hides_no_other_office(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=MOST)
        await back.open_office("other")
        # A card was charged for a refill: the gateway's own credit, which the store cannot take now.
        await back.ledger.credits.new_credit(
            _request(5, "tg:refill/1", kind=CreditKind.REFILL, refill_id=f"{OFFICE}/1"), actor="t", now_ms=0
        )
        Fault(back.store, "apply_credit", done=False)
        await refused(*UNAVAILABLE, back.adjust(3, "k", office_id="other"))
        await back.back.background.applier.turn()
        await back.store_is_as_credits_say("other")
        assert (await back.ledger.credits.get(OFFICE, 2)).status is CreditStatus.PENDING
        await back.spend(10)
        await back.refill(threshold_micros=MOST, amount_micros=MOST)
        await back.back.background.applier.turn()
        assert (await back.ledger.credits.total(OFFICE)).unconfirmed == 0
        assert (await back.get_office()).balance_micros == MOST - 5
