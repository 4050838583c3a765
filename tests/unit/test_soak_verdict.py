"""What counts as flat: each kind of growth is found, and what only warms up is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from loadtest.soak.samples import Footprint, Sample
from loadtest.soak.verdict import judge

MIB = 2**20
LOOKS = 40


def sample(number: int) -> Sample:
    """A gateway at work: it warms up in the first quarter, and goes up and down a little afterwards."""
    warm = min(number, LOOKS // 4)
    wave = number % 3
    processes = {
        "front": Footprint((60 + 2 * warm + wave) * MIB, 30 + wave, 9),
        "store": Footprint((8 + warm) * MIB, 18, 6),
    }
    return Sample(
        float(number),
        processes,
        (4 + warm) * MIB,
        {"tollgate_outbox_entries": 5.0 * wave, "tollgate_journal_lag_seconds": 0.5 * wave},
    )


def growing(sample: Sample, **more: float) -> Sample:
    """The same with a little more each look, of the front."""
    front = sample.processes["front"]
    grown = {name: getattr(front, name) + int(each * sample.at_seconds) for name, each in more.items()}
    return replace(sample, processes={**sample.processes, "front": replace(front, **grown)})


def lagging(sample: Sample) -> Sample:
    late = 11.0 if sample.at_seconds == LOOKS - 2 else 0.0
    return replace(sample, gauges={**sample.gauges, "tollgate_journal_lag_seconds": late})


def not_flat(change: Callable[[Sample], Sample]) -> list[str]:
    return [each.name for each in judge([change(sample(number)) for number in range(LOOKS)]) if not each.is_flat]


def test_what_warms_up_and_stays_is_flat() -> None:
    assert not_flat(lambda each: each) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda each: growing(each, resident_bytes=0.3 * MIB), "front: memory"),
        (lambda each: growing(each, handles=0.2), "front: handles"),
        (lambda each: growing(each, threads=0.2), "front: threads"),
        (lambda each: replace(each, store_bytes=each.store_bytes + int(each.at_seconds * 0.1 * MIB)), "store: data"),
        (lagging, "journal: lag"),
    ],
)
def test_what_grows_is_found(change: Callable[[Sample], Sample], name: str) -> None:
    assert not_flat(change) == [name]


def test_a_process_that_was_replaced_by_another_cannot_be_judged() -> None:
    samples = [sample(number) for number in range(LOOKS)]
    samples[9] = replace(samples[9], processes={"front": samples[9].processes["front"]})
    with pytest.raises(ValueError, match="not always the same processes"):
        judge(samples)


def test_a_moment_is_too_short_to_judge_by() -> None:
    with pytest.raises(ValueError, match="too few"):
        judge([sample(number) for number in range(7)])
