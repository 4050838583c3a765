"""Where one is led after signing in: never to another site, whatever the link says."""

import pytest
from starlette.requests import Request

from gateway.page.sign_in import _is_foreign, _local


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/offices/o1",
        "/offices/o1/usage?month=2026-11&order=newest",
        "/offices/o1/usage/record?id=http%3A%2F%2Fevil.example",
        "/offices/o1//usage",
        "/?q=[",
        "/%2F%2Fevil.example",
    ],
)
def test_a_path_of_ours_is_gone_on_to(target: str) -> None:
    assert _local(target) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "offices",
        "evil.example",
        "//evil.example",
        "///evil.example",
        "////evil.example/..",
        "/\\evil.example",
        "\\\\evil.example",
        "\\/evil.example",
        "https://evil.example",
        "HTTPS://evil.example",
        "http:evil.example",
        "https:/evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        " //evil.example",
        "\t//evil.example",
        # Browsers leave these out of an address, wherever they stand.
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r/evil.example",
        "/\x00/evil.example",
        "/\u2028/evil.example",
        "/\u200b/evil.example",
        # What urlsplit refuses to read.
        "//[",
        "//[evil.example",
        "http://[",
        "https://evil\u2100.example",
        "//evil\u2100.example",
        "?next=//evil.example",
        "#",
        "@evil.example",
    ],
)
def test_what_might_lead_elsewhere_is_the_first_page(target: str) -> None:
    assert _local(target) == "/"


@pytest.mark.parametrize(
    ("origin", "host", "is_foreign"),
    [
        (None, "gateway.example", False),  # No browser, or an old one: SameSite of the cookie holds.
        ("http://gateway.example", "gateway.example", False),
        ("https://gateway.example", "gateway.example", False),
        ("http://gateway.example:8080", "gateway.example:8080", False),
        ("http://gateway.example:8080", "gateway.example", True),
        ("http://gateway.example", "gateway.example:8080", True),
        ("https://evil.example", "gateway.example", True),
        ("https://gateway.example.evil.example", "gateway.example", True),
        ("https://evil.example/gateway.example", "gateway.example", True),
        ("https://gateway.example@evil.example", "gateway.example", True),
        ("gateway.example", "gateway.example", True),
        ("null", "gateway.example", True),
        ("", "gateway.example", True),
        ("http://", "gateway.example", True),
        ("http://[", "gateway.example", True),
        ("http://evil\u2100.example", "gateway.example", True),
        ("http://gateway.example", None, True),
        ("", None, True),
        ("null", "", True),
        ("", "", True),
    ],
)
def test_a_form_of_another_site_is_foreign(origin: str | None, host: str | None, is_foreign: bool) -> None:
    headers = [
        (name, value.encode("latin-1", "replace"))
        for name, value in ((b"origin", origin), (b"host", host))
        if value is not None
    ]
    assert _is_foreign(Request({"type": "http", "headers": headers})) is is_foreign
