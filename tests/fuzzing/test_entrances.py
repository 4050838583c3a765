"""Any bytes at each way in that needs no store: taken, or refused in the words that it promises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing.entrances import ENTRANCES
from tests.fuzzing.mutations import mutated


@pytest.mark.parametrize("name", ENTRANCES)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_taken_or_refused(name: str, data: st.DataObject) -> None:
    entrance = ENTRANCES[name]
    entrance.survives(data.draw(mutated(entrance.samples)))
