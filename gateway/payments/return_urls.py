"""Where browsers come back to from a provider's page, with what they bring along."""

from gateway.payments.provider import ENTRY_PARAMETER


def with_entry(url: str, entry: str) -> str:
    """A return URL that tells which entry of a card the browser comes from.

    Args:
        url: Without a fragment; with a query of its own or without.
        entry: Put in as it is: of characters that need no quoting, or a template of the provider's.
    """
    return f"{url}{'&' if '?' in url else '?'}{ENTRY_PARAMETER}={entry}"
