"""The one session that all replicas and bridges share: pure rules, and a driver over the ledger and the client."""

from worker.session.identity import Credentials, NoSession, Token
from worker.session.keeper import SessionKeeper

__all__ = ["Credentials", "NoSession", "SessionKeeper", "Token"]
