"""Where a store is, from its URL."""

from binascii import crc_hqx
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from gateway.settings import load_settings
from gateway.settings_problems import SettingsError
from gateway.store.address import StoreAddress
from gateway.store.faults import StoreAddressError
from gateway.store.location import Kind, StoreLocation
from gateway.store.members import slot_of
from gateway.store.tls import StoreTls


def test_one_server() -> None:
    location = StoreLocation.parse("redis://me:secret@h:6380/2")
    assert (location.kind, location.servers) == (Kind.SERVER, (StoreAddress("h", 6380, None, "me", "secret", 2),))
    assert str(location) == "h:6380"
    assert StoreLocation.parse("unix:///run/a%20b.sock").servers == (StoreAddress(path="/run/a b.sock"),)


def test_a_cluster() -> None:
    location = StoreLocation.parse("rediss+cluster://me:p%40ss@a,b:7000,[::1]:7001")
    assert location.kind is Kind.CLUSTER
    assert [(each.host, each.port) for each in location.servers] == [("a", 6379), ("b", 7000), ("::1", 7001)]
    assert {(each.username, each.password, each.tls) for each in location.servers} == {("me", "p@ss", StoreTls())}
    assert location.primary_at("c", 1) == StoreAddress("c", 1, None, "me", "p@ss", 0, StoreTls())
    assert str(location) == "a:6379,b:7000,::1:7001"
    load_settings(redis_url="rediss+cluster://me:p%40ss@a,b:7000,[::1]:7001")


def test_sentinels() -> None:
    location = StoreLocation.parse("redis+sentinel://:secret@a,b:7000/mymaster/3?sentinel_password=other")
    assert (location.kind, location.primary_name) == (Kind.SENTINEL, "mymaster")
    assert location.servers == (StoreAddress("a", 26379, password="other"), StoreAddress("b", 7000, password="other"))
    assert location.primary_at("c", 1) == StoreAddress("c", 1, password="secret", database=3)
    assert str(location) == "mymaster of a:26379,b:7000"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+cluster://", "host and port at ''"),
        ("redis+cluster://a,,b", "host and port at ''"),
        ("redis+cluster://a:0", "host and port at 'a:0'"),
        ("redis+cluster://a:99999", "host and port at 'a:99999'"),
        ("redis+cluster://a:x", "host and port at 'a:x'"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis+cluster://a?b=c", "only database 0"),
        ("redis+sentinel://a:1", "name the primary"),
        ("redis+sentinel://a:1/", "name the primary"),
        ("redis+sentinel://a:1/m/x", "name the primary"),
        ("redis+sentinel://a:1/m?password=x", "name the primary"),
        ("redis+ring://a", "redis\\+ring"),
        ("http+cluster://a", "http\\+cluster"),
    ],
)
def test_what_names_no_store_says_how_to_write_it(url: str, says: str) -> None:
    with pytest.raises(StoreAddressError, match=says):
        StoreLocation.parse(url)
    with pytest.raises(SettingsError, match="TOLLGATE_REDIS_URL"):
        load_settings(redis_url=url)


def test_whom_to_trust_and_what_to_show(tmp_path: Path) -> None:
    ca, certificate, key = (tmp_path / name for name in ("ca.pem", "certificate.pem", "key & more.pem"))
    for path in (ca, certificate, key):
        path.touch()
    tls = StoreTls(str(ca), str(certificate), str(key))
    query = f"tls_ca={ca}&tls_certificate={certificate}&tls_key={quote(str(key))}"
    for url in (
        f"rediss://me:secret@a/0?{query}",
        f"rediss+cluster://me:secret@a?{query}",
        f"rediss+sentinel://me:secret@a/m?{query}&sentinel_password=other",
    ):
        location = StoreLocation.parse(url)
        assert {location.login.tls, *(each.tls for each in location.servers)} == {tls}
        load_settings(redis_url=url)
    theirs = dict(parse_qsl(urlsplit(StoreLocation.parse(f"rediss://a/0?{query}").login.url()).query))
    assert theirs == {"ssl_ca_certs": str(ca), "ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    for url, says in (
        (f"redis://a/0?tls_ca={ca}", "write rediss"),
        (f"redis+cluster://a?tls_ca={ca}", "write rediss"),
        ("rediss://a/0?tls_ca=/nowhere", "names in tls_ca no file"),
        ("rediss://a/0?tls_ca=", "names in tls_ca no file"),
        (f"rediss://a/0?tls_key={ca}", "without tls_certificate"),
        ("rediss://a/0?ca=x", "it may have tls_ca, tls_certificate, tls_key"),
    ):
        with pytest.raises(StoreAddressError, match=says):
            StoreLocation.parse(url)
        with pytest.raises(SettingsError, match=says):
            load_settings(redis_url=url)


def test_no_error_shows_a_password() -> None:
    for url in (
        "redis+cluster://me:hunter2@a:0",
        "redis+sentinel://me:hunter2@a?sentinel_password=hunter2",
        "redis+sentinel://me:hunter2@a,[::1]?sentinel_password=hunter2",
    ):
        with pytest.raises(SettingsError) as caught:
            load_settings(redis_url=url)
        assert "hunter2" not in str(caught.value)


def test_slots_are_those_of_the_cluster_specification() -> None:
    # From the specification's own example, and two keys that are in one slot by their tag.
    assert slot_of(b"123456789") == 0x31C3 % 16_384
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") == crc_hqx(b"foo{}{bar}", 0) % 16_384
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")
    assert slot_of(b"foo{bar}{zap}") == slot_of(b"bar")
