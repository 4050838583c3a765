"""What tollgate-kannel reads from a request to sendsms, and what it makes of it for Kannel."""

from urllib.parse import parse_qsl

import pytest

from gateway.sms.kannel import main
from gateway.sms.kannel_request import BadRequest, SendSms, add_plus, offices_of

REPORT = "http://127.0.0.1:13014/dlr/kannel-1/%d"


def test_a_request() -> None:
    asked = SendSms.parse(
        b"username=acme&password=s%26t&from=Acme%20%C3%A9&to=+442079460001+&text=a+b%2B&dlr-mask=1"
        b"&dlr-url=http://app:8080/cb%3Fid=7%26kind=%25d%23top&smsc=carrier"
    )
    assert (asked.username, asked.called_number, asked.calling_number) == ("acme", "442079460001", "Acme é")
    assert (asked.segments, asked.report_mask) == (1, 1)
    assert (asked.report_base, asked.report_path) == ("http://app:8080", "/cb?id=7&kind=%d")
    assert parse_qsl(asked.query(REPORT), strict_parsing=True) == [
        ("username", "acme"), ("password", "s&t"), ("from", "Acme é"), ("to", "442079460001"), ("text", "a b+"),
        ("smsc", "carrier"), ("dlr-mask", "19"), ("dlr-url", REPORT),
    ]  # fmt: skip


def test_failures_are_reported_whatever_the_sender_wants() -> None:
    asked = SendSms.parse(b"user=acme&pass=x&to=1&dlrmask=31&dlrurl=http://app")
    assert (asked.username, asked.report_mask, asked.report_path) == ("acme", 31, "/")
    assert "dlr-mask=31&" in asked.query(REPORT)
    # Without a URL Kannel reports to nobody.
    asked = SendSms.parse(b"username=acme&to=1&dlr-mask=31")
    assert (asked.report_mask, asked.report_base) == (0, "")
    assert "dlr-mask=18&" in asked.query(REPORT)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://app/x",
        "app/x",
        "http://",
        "http:///x",
        "http://app:99999999/",
        "http://a b/",
        "http://app/\n",
        "https://[/",
    ],
)
def test_a_report_url_that_is_none(url: str) -> None:
    with pytest.raises(BadRequest, match=r"DLR-URL|ASCII"):
        SendSms.parse(b"username=acme&to=1&dlr-url=" + url.encode())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (b"", "Empty receiver"),
        (b"username=a&to=%20", "Empty receiver"),
        (b"username=a&to=1+2", "One receiver"),
        (b"username=a&to=1&to=1", "to is there twice"),
        (b"username=a&user=a&to=1", "username is there twice"),
        (b"username=%FF&to=1", "username"),
        (b"username=a&to=%E2%82%AC", "to has other"),
        (b"username=a&to=1&from=a%00b", "from has control"),
        (b"username=a&to=1&coding=", "coding"),
        (b"username=a&to=1&coding=-1", "coding"),
        (b"username=a&to=1&coding=%D9%A1", "coding"),
        (b"username=a&to=1&dlr-mask=32", "dlr-mask"),
        (b"username=a&to=1&text=%C3", "misformed"),
        (b"username=a&to=1&text=%ED%A0%80", "misformed"),
        (b"username=a&to=1&charset=hex&text=00", "none of text"),
        (b"username=a&to=1&charset=%00", "charset"),
        (b"username=a&to=1&udh=%05", "UDH"),
        (b"&".join(b"p%d=1" % number for number in range(51)), "Too many"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(query: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        SendSms.parse(query)


@pytest.mark.parametrize(
    ("query", "segments"),
    [
        (b"charset=win-1252&text=" + b"%80" * 81, 2),
        (b"charset=windows-1252&text=" + b"%80" * 80, 1),
        (b"coding=2&charset=UTF-8&text=" + "😀".encode() * 35, 1),
        (b"coding=2&charset=UTF-8&text=" + "😀".encode() * 36, 2),
        (b"text=" + "😀".encode() * 40, 1),
        (b"text=" + "😀".encode() * 41, 2),
        (b"coding=1&text=" + b"%FF" * 141, 2),
        (b"udh=%06%05%04%15%81%00%00&text=" + b"%FF" * 133, 1),
    ],
    ids=range(8),
)
def test_segments(query: bytes, segments: int) -> None:
    assert SendSms.parse(b"username=a&to=1&" + query).segments == segments


def test_numbers_and_offices() -> None:
    assert [add_plus(number) for number in ("442", "00442", "+442")] == ["+442"] * 3
    assert offices_of(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    for wrong in ("a", "=b", "a="):
        with pytest.raises(ValueError, match="USER=OFFICE"):
            offices_of([wrong])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--office", "acme"], "write USER=OFFICE"),
        (["--max-segments", "256"], "from 1 to 255"),
        (["--max-segments", "0"], "from 1 to 255"),
        (["--listen", "127.0.0.1"], "write HOST:PORT"),
        ([], "set TOLLGATE_TOKEN"),
    ],
)
def test_settings_that_are_wrong_end_the_program_with_a_word(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOLLGATE_TOKEN", "x" if arguments else "")
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err
