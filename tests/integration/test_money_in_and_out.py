"""The whole way of money, on both databases: a card, a purchase, calls and messages, a refill, the report."""

from pathlib import Path

from gateway.domain.vocabulary import Category
from gateway.store.codes import Code
from gateway.v1 import authorization_pb2 as call_pb
from gateway.v1 import credits_pb2 as pb
from gateway.v1.records_pb2 import Details
from tests.support.back import OFFICE, bearer, running_back
from tests.support.balances import BY_THE_SECOND
from tests.support.billing import DOLLARS, buy, confirmed_card, taken_from_cards
from tests.support.refills import pay
from tests.support.servers import StoreServer

ME = bearer()


async def test_money_in_and_out(valkey: StoreServer, tmp_path: Path, ledger_url: str) -> None:
    async with running_back(valkey, tmp_path, database_url=ledger_url) as back:
        await back.open_office()
        card = await confirmed_card(back)
        assert (await buy(back, card, 10 * DOLLARS)).balance_micros == 10 * DOLLARS
        await back.refill(payment_method_id=card)

        version = (await back.till.office()).settings.version
        abroad = Details(called_number="+442079460958", category=Category.INTERNATIONAL, user_id="u1")
        await back.till.authorize("c1", BY_THE_SECOND, details=abroad, version=version)
        await back.till.end(600, "c1")  # 1.20
        await back.till.message(4 * DOLLARS, "m1", version=version)  # Below the threshold.
        await pay(back)
        denied = await back.till.message(120 * DOLLARS, "m2", version=version)  # More than a refill would make up.
        assert denied.code is Code.INSUFFICIENT_FUNDS
        await pay(back)

        office = await back.get_office()
        assert (office.balance_micros, office.refill.state) == (54_800_000, pb.REFILL_STATE_ARMED)
        assert taken_from_cards(back) == 60 * DOLLARS
        listed = await back.stub.ListTransactions(pb.ListTransactionsRequest(office_id=OFFICE), metadata=ME)
        assert [(each.kind, each.amount_micros) for each in listed.transactions] == [
            ("refill", 50 * DOLLARS), ("purchase", 10 * DOLLARS),
        ]  # fmt: skip
        summary = await back.stub.UsageSummary(pb.UsageSummaryRequest(office_id=OFFICE, month="2025-06"), metadata=ME)
        totals = {each.category: (each.count, each.cost_micros, each.blocked) for each in summary.totals}
        assert totals[call_pb.CATEGORY_INTERNATIONAL] == (1, 1_200_000, 0)
        assert totals[call_pb.CATEGORY_MESSAGE] == (1, 4 * DOLLARS, 1)
        assert await back.till.outbox() == []
