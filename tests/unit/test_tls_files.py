"""The gateway's certificate: what is refused and with which cure, and what is taken over when it changes."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.client import Tls, TlsFilesError
from gateway.settings import load_settings
from gateway.settings_problems import SettingsError
from gateway.tls_files import TlsCertificate, TlsError, TlsFiles, open_certificate, read_material
from tests.support.tls import Authority, CertificateFiles, replace

SOON = timedelta(minutes=5)
"""Certificates of openssl are valid from the second on in which they are made."""


def now() -> datetime:
    return datetime.now(UTC) + SOON


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> CertificateFiles:
    return authority.write(tmp_path / "own", "gateway.example.com", "127.0.0.1")


def of(files: CertificateFiles) -> TlsFiles:
    return TlsFiles(files.certificate, files.key, files.ca)


def refused(files: TlsFiles, at: datetime | None = None) -> str:
    with pytest.raises(TlsError) as caught:
        read_material(files, at or now())
    return str(caught.value)


def test_what_fits_is_read(files: CertificateFiles) -> None:
    material = read_material(of(files), now())
    assert material.certificate == files.certificate.read_bytes()
    assert material.server_name == "gateway.example.com"
    assert material.expires_at > now().timestamp()
    assert read_material(TlsFiles(files.certificate, files.key), now()).client_ca == b""


def test_a_name_for_many_is_asked_for_by_one_of_them(authority: Authority, tmp_path: Path) -> None:
    assert read_material(of(authority.write(tmp_path, "*.example.com")), now()).server_name == "any.example.com"
    assert read_material(of(authority.write(tmp_path, "192.0.2.7")), now()).server_name == "192.0.2.7"


def test_what_is_missing_or_something_else(files: CertificateFiles, tmp_path: Path) -> None:
    nowhere, nothing = tmp_path / "nowhere", tmp_path / "nothing.pem"
    nothing.write_text("nothing\n")
    nothing.chmod(0o600)
    assert refused(TlsFiles(nowhere, files.key)).startswith(f"TOLLGATE_TLS_CERTIFICATE: {nowhere} cannot be read")
    assert "holds no certificate in PEM" in refused(TlsFiles(nothing, files.key))
    assert refused(TlsFiles(files.certificate, nowhere)).startswith(f"TOLLGATE_TLS_KEY: {nowhere} cannot be read")
    assert "holds no private key in PEM" in refused(TlsFiles(files.certificate, nothing))
    assert refused(TlsFiles(files.certificate, files.key, nothing)).startswith("TOLLGATE_TLS_CLIENT_CA: ")


def test_a_key_of_another_certificate(authority: Authority, files: CertificateFiles, tmp_path: Path) -> None:
    other = authority.write(tmp_path / "other", "other.example.com")
    assert "is not the key of the first certificate" in refused(TlsFiles(files.certificate, other.key))


def test_a_key_that_everybody_may_read(files: CertificateFiles) -> None:
    for mode in (0o604, 0o644, 0o602):
        files.key.chmod(mode)
        assert f"chmod 640 {files.key}" in refused(of(files))
    files.key.chmod(0o640)
    read_material(of(files), now())


def test_a_key_with_a_passphrase(files: CertificateFiles, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", files.key, "-aes256", "-passout", "pass:secret", "-out", locked], check=True
    )
    assert "openssl pkey -in" in refused(TlsFiles(files.certificate, locked))


def test_a_certificate_out_of_its_time(files: CertificateFiles) -> None:
    century = timedelta(days=365 * 2_000)
    assert "expired on" in refused(of(files), now() + century)
    assert "is not valid before" in refused(of(files), datetime(1999, 1, 1, tzinfo=UTC))


def test_who_signs_clients_is_an_authority(files: CertificateFiles) -> None:
    assert "is no authority" in refused(TlsFiles(files.certificate, files.key, files.certificate))


def test_a_certificate_without_a_name(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=gateway.example.com", "-keyout", key, "-out", certificate], check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    assert "has no subjectAltName" in refused(TlsFiles(certificate, key))


def test_what_was_renewed_is_taken_over_when_it_fits(
    authority: Authority, files: CertificateFiles, tmp_path: Path
) -> None:
    certificate = TlsCertificate(of(files))
    context = certificate.ssl_context()
    first = certificate.material
    assert not certificate.look()
    renewed = authority.write(tmp_path / "renewed", "gateway.example.com")
    # The key comes first, and does not fit yet.
    replace(files.key, renewed.key.read_bytes())
    assert not certificate.look()
    assert not certificate.look()
    assert certificate.material is first
    replace(files.certificate, renewed.certificate.read_bytes())
    assert certificate.look()
    assert certificate.material.certificate == renewed.certificate.read_bytes() != first.certificate
    assert context.cert_store_stats()  # still the same context: nobody has to be told of another
    assert not certificate.look()


def test_what_was_renewed_badly_is_not(files: CertificateFiles) -> None:
    certificate = TlsCertificate(of(files))
    first = certificate.material
    for content in (b"", b"nothing\n"):
        replace(files.certificate, content)
        assert not certificate.look()
    files.certificate.unlink()
    assert not certificate.look()
    assert certificate.material is first


def test_settings_go_together(files: CertificateFiles) -> None:
    certificate, key = str(files.certificate), str(files.key)
    bad: list[tuple[dict[str, str], str]] = [
        ({"tls_certificate": certificate}, "TOLLGATE_TLS_KEY: is missing"),
        ({"tls_key": key}, "TOLLGATE_TLS_CERTIFICATE: is missing"),
        ({"tls_client_ca": str(files.ca)}, "TOLLGATE_TLS_CERTIFICATE: is missing"),
        ({"mtls_listen": "127.0.0.1:1"}, "TOLLGATE_TLS_CLIENT_CA: is missing"),
        ({"tls_certificate": certificate, "tls_key": f"{key}.not"}, "TOLLGATE_TLS_KEY"),
    ]
    for flags, says in bad:
        with pytest.raises(SettingsError, match=says):
            load_settings(**flags)
    taken = {**files.server_flags(), "tls_client_ca": str(files.ca), "mtls_listen": "127.0.0.1:50051"}
    with pytest.raises(SettingsError, match=r"TOLLGATE_MTLS_LISTEN: .* is TOLLGATE_LISTEN already"):
        load_settings(**taken)
    settings = load_settings(**files.server_flags())
    assert settings.base_url == "https://127.0.0.1:8080"
    assert open_certificate(settings) is not None
    assert open_certificate(load_settings()) is None


def test_what_a_client_is_told(files: CertificateFiles, tmp_path: Path) -> None:
    names = ("TOLLGATE_TLS_CA", "TOLLGATE_TLS_CLIENT_CERTIFICATE", "TOLLGATE_TLS_CLIENT_KEY")
    assert Tls.of_environment({}) is None
    assert Tls.of_environment({names[0]: "public"}) == Tls()
    given = dict(zip(names, map(str, (files.ca, files.certificate, files.key)), strict=True))
    assert Tls.of_environment(given) == files.shown_by_client()
    files.shown_by_client().credentials()
    with pytest.raises(TlsFilesError, match="TOLLGATE_TLS_CA"):
        Tls.of_environment({names[1]: "x"})
    with pytest.raises(TlsFilesError, match="go together"):
        Tls(files.ca, files.certificate).credentials()
    with pytest.raises(TlsFilesError, match="nowhere cannot be read"):
        Tls(tmp_path / "nowhere").credentials()
