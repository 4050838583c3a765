"""Who charges cards: whether the provider takes the settings, and answers."""

import asyncio
import time

from gateway.cli.doctor.findings import Findings
from gateway.payments.errors import ProviderUnavailable, ProviderUnusable
from gateway.payments.open import CHECK_SECONDS, check_amounts, make_stripe
from gateway.settings import Settings
from gateway.startup import StartupError


async def examine_payments(settings: Settings) -> Findings:
    """Ask the provider whether it will do; charges nothing."""
    findings = Findings("payments")
    try:
        check_amounts(settings)
    except StartupError as error:
        findings.fail_as_told(error)
    if settings.payment_provider == "sandbox":
        findings.warn(
            "cards are not charged: with the sandbox credit is granted for nothing",
            "for real money set TOLLGATE_PAYMENT_PROVIDER=stripe",
        )
        return findings
    try:
        provider = make_stripe(settings, clock_ms=lambda: int(time.time() * 1000))
    except ProviderUnusable as error:
        findings.fail(error.message, "docs/how-to/charge-by-stripe.md")
        return findings
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await provider.check()
        findings.ok(f"{provider.name} answers, and takes the key")
    except (ProviderUnavailable, TimeoutError) as error:
        why = error.__cause__ or error
        findings.warn(
            f"{provider.name} does not answer ({str(why) or type(why).__name__}); calls do not depend on it",
            "let this machine reach it, by its proxy if need be",
        )
    except ProviderUnusable as error:
        findings.fail(error.message, "docs/how-to/charge-by-stripe.md")
    finally:
        await provider.close()
    return findings
