"""Renders templates into HTTP responses, each with the security headers of the console. Jinja escapes every value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from worker.operate.console import display
from worker.operate.console.session import ConsoleSession
from worker.operate.flow_timeline import NOTHING_THERE, result_words
from worker.version import VERSION

HEADERS: Mapping[str, str] = {
    # Nothing inline, nothing from elsewhere: what markup in an event could ever say, no browser would run.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

PAGES = (
    ("/", "Overview"),
    ("/flows", "Flows"),
    ("/dead-letters", "Dead letters"),
    ("/calls", "Calls"),
    ("/reconcile", "Reconcile"),
)
"""What the navigation leads to."""

LINKED = frozenset({"order", "trader", "userId", "accountId"})
"""Ids of a flow that lead to all flows which have them."""


@dataclass(slots=True)
class Renderer:
    """`environment`: the partner's, shown on every page, so that staging is not mistaken for production."""

    environment: str = ""
    state: Callable[[], str] = field(default=lambda: "")  # of the whole, in a word or two, as far as it is known
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)
    _jinja: Environment = field(init=False)

    def __post_init__(self) -> None:
        self._jinja = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters.update(display.FILTERS)
        self._jinja.filters["call_result"] = result_words
        self._jinja.globals.update(pages=PAGES, environment=self.environment, version=VERSION, linked=LINKED)
        self._jinja.globals.update(nothing_there=NOTHING_THERE, overall=self._overall)

    def _overall(self) -> str:
        return self.state()

    def text(self, template: str, **values: Any) -> str:
        """A part of a page."""
        return self._jinja.get_template(template).render(**values)

    def page(
        self,
        request: Request,
        template: str,
        session: ConsoleSession | None,
        *,
        status: int = 200,
        headers: Mapping[str, str] = MappingProxyType({}),
        **values: Any,
    ) -> Response:
        """A whole page. A form on it carries the session's CSRF token."""
        text = self.text(template, session=session, here=request.url.path, **values)
        return HTMLResponse(text, status, {**self.headers, **headers})

    def message(
        self,
        request: Request,
        status: int,
        title: str,
        text: str,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Response:
        """A page that says one thing."""
        return self.page(
            request, "message.html", None, status=status, headers=headers, title=title, text=text, code=status
        )

    def redirect(self, address: str) -> RedirectResponse:
        """303: whatever was sent, what follows is a GET."""
        return RedirectResponse(address, 303, dict(self.headers))
