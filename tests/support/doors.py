"""What stands at an address instead of Tradovate: servers that refuse a handshake, an egress proxy, a private CA."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Door:
    """A server that gives the same response to all requests. `seen`: the requests, as far as their headers go."""

    port: int = 0
    seen: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def _serving(
    made: Door,
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Door]:
    """Leaves no connection open behind it."""
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await answer(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=trust)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await asyncio.gather(*under_way)


@asynccontextmanager
async def door(response: bytes | None, trust: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    """Serves `response` to each request and closes; None: never answers."""
    made = Door()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.seen.append(await reader.readuntil(b"\r\n\r\n"))
        if response is None:
            await reader.read()
            return
        writer.write(response)
        await writer.drain()

    async with _serving(made, answer, trust):
        yield made


@asynccontextmanager
async def egress_proxy(password: bytes | None = None, trust: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    """A proxy: CONNECT, and plain HTTP as it is. `password`: of `Proxy-Authorization`, in base64; others get 407.
    `trust`: it is itself behind TLS.
    """
    made = Door()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.seen.append(head := await reader.readuntil(b"\r\n\r\n"))
        if password is not None and b"Proxy-Authorization: Basic " + password not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, rest = head.split(b" ", 2)
        scheme, _, plain = target.partition(b"://")
        at, slash, path = plain.partition(b"/") if scheme == b"http" else (target, b"", b"")
        host, _, port = at.rpartition(b":")
        there, back = await asyncio.open_connection(host.decode(), int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            back.write(method + b" " + slash + path + b" " + rest)
        await asyncio.gather(_pour(reader, back), _pour(there, writer))
        await back.wait_closed()

    async with _serving(made, answer, trust):
        yield made


@asynccontextmanager
async def tls_front(port: int, trust: ssl.SSLContext) -> AsyncIterator[Door]:
    """TLS in front of what listens on `port` of this machine."""
    made = Door()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pour(reader, back), _pour(there, writer))
        await back.wait_closed()

    async with _serving(made, answer, trust):
        yield made


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


@dataclass(frozen=True)
class PrivateCa:
    """A CA that only those trust who have its file, and a server's side for 127.0.0.1 and localhost."""

    file: Path
    server: ssl.SSLContext


def private_ca(folder: Path) -> PrivateCa:
    """Makes one in `folder`."""
    now = dt.datetime.now(dt.UTC)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a firm")])
    span = (now - dt.timedelta(days=1), now + dt.timedelta(days=2))
    usage = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True}
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    ca = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), *span)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others, False), decipher_only=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder(name, subject, own.public_key(), x509.random_serial_number(), *span)
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        certificate.public_bytes(pem)
        + own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "server.pem")
    return PrivateCa(folder / "ca.pem", server)
