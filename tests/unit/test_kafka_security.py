"""How clients are configured to reach the cluster."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from faststream.kafka.security import parse_security

from worker.kafka.security import client_options, faststream_security, ssl_context
from worker.settings import KafkaSettings, SettingsError, load

SASL = {
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "worker",
    "KAFKA_SASL_PASSWORD": "hunter2",
}


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A certificate of its own authority, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kafka")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for file, encryption in (
        ("key.pem", serialization.NoEncryption()),
        ("locked.pem", serialization.BestAvailableEncryption(b"x")),
    ):
        (tmp_path / file).write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
    return tmp_path


def settings(**env: str) -> KafkaSettings:
    return load(KafkaSettings, env)


def test_plaintext_says_nothing_of_users() -> None:
    """Without SASL no user and no password reach the client, though they be set."""
    options = client_options(settings(**SASL, KAFKA_BOOTSTRAP_SERVERS="a:1,b:2"))
    assert options == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT", "ssl_context": None}


def test_sasl_over_tls_carries_both() -> None:
    """SASL_SSL has the user, the mechanism, and a context that checks the broker's certificate and name."""
    options = client_options(settings(**SASL, KAFKA_SECURITY_PROTOCOL="SASL_SSL"))
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("worker", "hunter2")
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert options["ssl_context"].check_hostname is True


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_faststream_connects_as_aiokafka_does(protocol: str, mechanism: str) -> None:
    """FastStream's broker and a plain client come out with the same protocol, user and mechanism."""
    given = settings(**{**SASL, "KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SECURITY_PROTOCOL": protocol})
    ours, theirs = client_options(given), parse_security(faststream_security(given))
    for name in ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password"):
        assert theirs.get(name) == ours.get(name)
    assert (theirs["ssl_context"] is None) == (ours["ssl_context"] is None)


def test_own_authority_and_client_certificate_are_used(pem: Path) -> None:
    """The authority that is given is trusted, and no other; the client's certificate is loaded."""
    context = ssl_context(
        settings(
            KAFKA_SECURITY_PROTOCOL="SSL",
            KAFKA_SSL_CA_FILE=str(pem / "cert.pem"),
            KAFKA_SSL_CERT_FILE=str(pem / "cert.pem"),
            KAFKA_SSL_KEY_FILE=str(pem / "key.pem"),
        )
    )
    assert context is not None
    assert context.cert_store_stats()["x509"] == 1


@pytest.mark.parametrize(
    ("named", "files"),
    [
        ("KAFKA_SSL_CA_FILE", {"KAFKA_SSL_CA_FILE": "key.pem"}),
        ("KAFKA_SSL_CERT_FILE", {"KAFKA_SSL_CERT_FILE": "cert.pem"}),
        ("KAFKA_SSL_CERT_FILE", {"KAFKA_SSL_CERT_FILE": "cert.pem", "KAFKA_SSL_KEY_FILE": "locked.pem"}),
    ],
)
def test_files_that_hold_no_such_thing_are_named(pem: Path, named: str, files: dict[str, str]) -> None:
    """A TLS file of the wrong kind, or a locked key, is a wrong setting, and nobody is asked on the terminal."""
    env = {name: str(pem / file) for name, file in files.items()}
    with pytest.raises(SettingsError) as caught:
        ssl_context(settings(KAFKA_SECURITY_PROTOCOL="SSL", **env))
    assert [problem.name for problem in caught.value.problems] == [named]
