"""A reverse proxy with TLS in front of a replica, as a firm would run one: nginx, or haproxy."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.doors import private_ca
from tests.support.processes import Process, free_port
from tests.support.waiting import eventually

_NGINX = """
daemon off; master_process off; pid {home}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {home}/server.pem; ssl_certificate_key {home}/server.pem;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""

_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend tls
    bind 127.0.0.1:{port} ssl crt {home}/server.pem
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    default_backend console
backend console
    server replica 127.0.0.1:{upstream}
"""

PROXIES: Mapping[str, str] = {"nginx": _NGINX, "haproxy": _HAPROXY}


def program(name: str) -> str | None:
    """Where it is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@asynccontextmanager
async def reverse_proxy(name: str, upstream: int, home: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """Its address, and who trusts its certificate. `home`: an empty folder."""
    found, port = program(name), free_port()
    assert found is not None
    trust = ssl.create_default_context(cafile=str(private_ca(home).file))
    file = home / f"{name}.conf"
    file.write_text(PROXIES[name].format(home=home, port=port, upstream=upstream))
    command = [found, "-c", str(file), "-e", "stderr"] if name == "nginx" else [found, "-db", "-f", str(file)]
    with Process(command) as process:
        try:
            await eventually(lambda: _listens(port))
        except AssertionError:
            raise AssertionError(f"{name} does not listen:\n{process.stderr[-3000:]}") from None
        yield f"https://localhost:{port}", trust


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
