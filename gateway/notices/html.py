"""The words of a notice as a small HTML page: for mail programs, so without script, style sheet or image."""

from html import escape
from urllib.parse import urlsplit

from gateway.notices.texts import Text


def as_html(text: Text) -> str:
    """The page. Whatever comes from facts or names is escaped, and only http and https are links."""
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{escape(text.subject)}</title></head>\n<body>\n"
        + "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in text.says if paragraph)
        + _table(text.details)
        + (f"<p>{escape(text.action)}</p>\n" if text.action else "")
        + (f"<p>{_link(text.link)}</p>\n" if text.link else "")
        + "</body>\n</html>\n"
    )


def _table(details: tuple[tuple[str, str], ...]) -> str:
    if not details:
        return ""
    rows = "".join(
        f'<tr><th align="left" scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
        for name, value in details
    )
    return f'<table cellpadding="4">\n{rows}</table>\n'


def _link(url: str) -> str:
    shown = escape(url)
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    return f'<a href="{shown}">{shown}</a>' if scheme in ("http", "https") else shown
