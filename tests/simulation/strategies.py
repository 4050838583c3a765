"""What both simulations draw from: offices with their limits, and amounts that lie at the edges of what is there."""

from hypothesis import strategies as st

from gateway.domain.vocabulary import OfficeState
from tests.simulation.model import Settings

seldom = st.sampled_from([False] * 9 + [True])

balances = st.sampled_from([60_000, 90_000, 180_000, 310_000, 1_000_000, 5_020_000, 50_000_000, 10**12, 10**15])
relative = ["-available", "-available-1", "to the top", "over the top"]
amounts = st.sampled_from([1, -1, 50_000, 60_000, 119_999, 180_000, 1_000_000, 50_000_000, 10**12, *relative])


@st.composite
def settings_of(draw: st.DrawFn) -> Settings:
    threshold = draw(st.sampled_from([1, 100_000, 5_000_000]))
    return Settings(
        state=draw(st.sampled_from([OfficeState.ACTIVE] * 14 + [OfficeState.SUSPENDED])),
        credit_limit=draw(st.sampled_from([0, 0, 0, 1, 120_000, 1_000_000, 10**15])),
        max_calls=draw(st.sampled_from([0, 0, 0, 0, 1, 2, 3])),
        max_price=draw(st.sampled_from([0] * 8 + [60_000, 120_000])),
        daily_limit=draw(st.sampled_from([0, 0, 0, 0, 100_000, 240_000, 400_000, 10**9])),
        threshold=threshold,
        refill_amount=max(threshold, draw(st.sampled_from([1, 5_000_000, 50_000_000]))),
    )
