"""How clients reach the cluster: addresses, TLS and SASL, in the words of aiokafka and in those of FastStream."""

from __future__ import annotations

import ssl
from typing import Any

from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from worker.kafka.metadata import create_no_topics
from worker.settings import KafkaSettings, Problem, SettingsError

__all__ = ["client_options", "faststream_security", "ssl_context"]


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes. Raises `SettingsError` when TLS files hold no such thing.

    From now on no client of this process creates topics by asking for them.
    """
    create_no_topics()
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "security_protocol": settings.kafka_security_protocol.value,
        "ssl_context": ssl_context(settings),
    }
    if settings.kafka_security_protocol.sasl:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = _password(settings)
    return options


def faststream_security(settings: KafkaSettings) -> BaseSecurity:
    """The `security` of a FastStream broker. Raises `SettingsError` when TLS files hold no such thing.

    FastStream takes SASL without an SSL context for SASL_PLAINTEXT, silently: with TLS it always gets one here.
    From now on no client of this process creates topics by asking for them.
    """
    create_no_topics()
    context = ssl_context(settings)
    mechanism = settings.kafka_sasl_mechanism if settings.kafka_security_protocol.sasl else None
    if mechanism is None:
        return BaseSecurity(ssl_context=context)
    kinds = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return kinds[mechanism](settings.kafka_sasl_username or "", _password(settings), ssl_context=context)


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """The TLS side of a connection: the broker's name and certificate are always checked. None without TLS."""
    if not settings.kafka_security_protocol.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file)
    except ssl.SSLError:
        raise _wrong("KAFKA_SSL_CA_FILE", "certificates in PEM form") from None
    if settings.kafka_ssl_cert_file is not None:
        try:
            # An encrypted key would have OpenSSL ask for its password on the terminal; an empty one is refused at once.
            context.load_cert_chain(settings.kafka_ssl_cert_file, settings.kafka_ssl_key_file, password="")
        except ssl.SSLError:
            form = "a PEM certificate, with its unencrypted key in KAFKA_SSL_KEY_FILE"
            raise _wrong("KAFKA_SSL_CERT_FILE", form) from None
    return context


def _password(settings: KafkaSettings) -> str:
    return settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else ""


def _wrong(name: str, form: str) -> SettingsError:
    return SettingsError([Problem(name, missing=False, form=f"the path of {form}", example="/etc/ssl/kafka.pem")])
