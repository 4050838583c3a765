"""Which payment provider the settings name, opened and asked whether it will do."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway.domain.minor_units import to_minor_units
from gateway.errors import InvalidArgument
from gateway.payments.errors import ProviderUnavailable, ProviderUnusable
from gateway.payments.provider import PaymentProvider
from gateway.payments.sandbox import FILE_NAME, SandboxProvider
from gateway.payments.stripe_amounts import to_stripe_amount
from gateway.payments.stripe_provider import StripeProvider
from gateway.settings import Settings
from gateway.startup import StartupError

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 5.0
"""How long the start of the gateway, and with it every call, waits for the provider to answer."""


async def open_provider(settings: Settings, *, clock_ms: Callable[[], int]) -> PaymentProvider:
    """Open the provider that the settings name.

    One that does not answer yet is opened all the same: calls do not depend on it, and each charge asks anew.

    Args:
        settings: With the data directory there.
        clock_ms: The present in Unix milliseconds.

    Raises:
        StartupError: The provider cannot be used, or not with this currency and these amounts, as the settings are.
    """
    check_amounts(settings)
    try:
        provider = await _open(settings, clock_ms)
    except ProviderUnusable as error:
        raise _unusable(error) from error
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await provider.check()
    except (ProviderUnavailable, TimeoutError) as error:
        log.warning("payment_provider_unavailable", provider=provider.name, error=repr(error.__cause__ or error))
    except ProviderUnusable as error:
        await provider.close()
        raise _unusable(error) from error
    except BaseException:
        await provider.close()
        raise
    return provider


async def _open(settings: Settings, clock_ms: Callable[[], int]) -> PaymentProvider:
    match settings.payment_provider:
        case "stripe":
            return make_stripe(settings, clock_ms=clock_ms)
        case "sandbox":
            log.warning(
                "payment_sandbox_in_use",
                meaning="cards are not charged: whoever may buy credits gets them for nothing",
                cure="for real money set TOLLGATE_PAYMENT_PROVIDER=stripe",
            )
            path = settings.data_dir / FILE_NAME
            return await SandboxProvider.open(path, public_url=settings.base_url, clock_ms=clock_ms)


def make_stripe(settings: Settings, *, clock_ms: Callable[[], int]) -> StripeProvider:
    """Stripe by these settings; nothing is asked of it yet.

    Raises:
        ProviderUnusable: There is no key.
    """
    if settings.stripe_api_key is None:
        raise ProviderUnusable("Stripe needs TOLLGATE_STRIPE_API_KEY.")
    return StripeProvider(
        settings.stripe_api_key.get_secret_value(),
        settings.stripe_webhook_secrets,
        public_url=settings.base_url,
        clock_ms=clock_ms,
    )


def check_amounts(settings: Settings) -> None:
    """See whether cards can be charged with every amount of the settings.

    Raises:
        StartupError: Not in this currency; names the setting.
    """
    to_chargeable = to_stripe_amount if settings.payment_provider == "stripe" else to_minor_units
    try:
        to_chargeable(settings.refill_amount_micros, settings.currency, "refill_amount_micros")
        for amount in settings.offered_amounts_micros:
            to_chargeable(amount, settings.currency, "offered_amounts")
    except InvalidArgument as error:
        field, _, problem = error.message.partition(": ")
        raise StartupError(f"TOLLGATE_{field.upper()}: {problem}") from error


def _unusable(error: ProviderUnusable) -> StartupError:
    return StartupError(f"TOLLGATE_PAYMENT_PROVIDER: {error.message}")
