"""Which provider the settings open, and what they are told when it will not do."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.payments.errors import ProviderUnavailable, ProviderUnusable
from gateway.payments.open import open_provider
from gateway.payments.sandbox import FILE_NAME, SandboxProvider
from gateway.settings import Settings, load_settings
from gateway.startup import StartupError
from tests.support.balances import ManualClock


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from the machine the tests run on."""
    for name in list(os.environ):
        if name.upper().startswith("TOLLGATE_"):
            monkeypatch.delenv(name)


async def opened(settings: Settings) -> None:
    provider = await open_provider(settings, clock_ms=ManualClock().now_ms)
    try:
        assert isinstance(provider, SandboxProvider)
    finally:
        await provider.close()


async def test_the_sandbox_is_opened_with_a_warning(tmp_path: Path) -> None:
    with capture_logs() as logged:
        await opened(load_settings(data_dir=tmp_path))
    [warning] = [entry for entry in logged if entry["event"] == "payment_sandbox_in_use"]
    assert warning["log_level"] == "warning"
    assert "TOLLGATE_PAYMENT_PROVIDER" in warning["cure"]
    assert (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"currency": "XXX"}, "TOLLGATE_CURRENCY: must be an ISO 4217 code"),
        ({"currency": "DEM"}, "TOLLGATE_CURRENCY: "),
        ({"refill_amount_micros": 50_000_001}, "TOLLGATE_REFILL_AMOUNT_MICROS: must be a multiple of 10000 micros"),
        ({"refill_amount_micros": 50_010_000, "currency": "JPY"}, "TOLLGATE_REFILL_AMOUNT_MICROS: .*steps of 1"),
    ],
)
async def test_amounts_that_no_card_can_be_charged_with(tmp_path: Path, flags: dict[str, object], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        await opened(load_settings(data_dir=tmp_path, **flags))


async def no_answer(_provider: SandboxProvider) -> None:
    raise ProviderUnavailable


async def never_an_answer(_provider: SandboxProvider) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("check", [no_answer, never_an_answer])
async def test_a_provider_that_does_not_answer_keeps_nothing_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: object
) -> None:
    monkeypatch.setattr(SandboxProvider, "check", check)
    monkeypatch.setattr("gateway.payments.open.CHECK_SECONDS", 0.02)
    with capture_logs() as logged:
        await opened(load_settings(data_dir=tmp_path))
    assert [entry["event"] for entry in logged][-1] == "payment_provider_unavailable"


async def test_a_provider_that_refuses_us_keeps_the_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_provider: SandboxProvider) -> None:
        raise ProviderUnusable("The key was revoked: set another one.")

    monkeypatch.setattr(SandboxProvider, "check", refuse)
    with pytest.raises(StartupError, match="TOLLGATE_PAYMENT_PROVIDER: The key was revoked"):
        await opened(load_settings(data_dir=tmp_path))


async def test_a_sandbox_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StartupError, match=f"TOLLGATE_PAYMENT_PROVIDER: .*{FILE_NAME}"):
        await opened(load_settings(data_dir=tmp_path))
