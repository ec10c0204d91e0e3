"""How calls leave this machine, by HTTP and WebSocket alike: through which proxy, trusting whose certificates.

Nothing of the environment is read (HTTPS_PROXY and the like): a proxy that was set for other programs must not see
the credentials.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Egress", "tls_fault"]


@dataclass(frozen=True, slots=True)
class Egress:
    """`proxy`: an http:// or https:// address, perhaps with user and password; None: no proxy. `trust` is used for
    every TLS connection to Tradovate and to the proxy.
    """

    trust: ssl.SSLContext = field(repr=False)
    proxy: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, proxy: str | None = None, ca_file: Path | None = None) -> Egress:
        """The authorities of `ca_file` (PEM) are trusted besides the machine's own, not in their place: a firm whose
        proxy opens TLS still reaches hosts that it lets through unopened.
        """
        paths = ssl.get_default_verify_paths()
        own = bool(paths.cafile or paths.capath)
        # A machine without certificate authorities of its own gets those that come with the HTTP library.
        trust = ssl.create_default_context() if own else httpx.create_ssl_context(trust_env=False)
        if ca_file is not None:
            trust.load_verify_locations(ca_file)
        return cls(trust, proxy)

    def client_options(self) -> dict[str, Any]:
        """Trust and proxy in the HTTP library's words."""
        if self.proxy is None:
            return {"verify": self.trust}
        secure = self.proxy.startswith("https:")
        return {
            "verify": self.trust,
            "proxy": httpx.Proxy(self.proxy, ssl_context=self.trust if secure else None),
        }


def tls_fault(error: BaseException) -> str | None:
    """In one line what is wrong with a certificate, if that is why there was no connection; else None."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted ({seen.verify_message.strip('. ')}): see TRADOVATE_CA_FILE"
        if isinstance(seen, ssl.SSLError):
            return f"TLS failed ({(seen.reason or 'no reason given').replace('_', ' ').lower()})"
        seen = seen.__cause__ or seen.__context__
    return None
