"""Which broken programs there are, what shows each, and which promise it breaks: its own rule must find every one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture import broken, broken_io
from tests.torture.moments import Moment
from tests.torture.promises import Promise
from tests.torture.script import KINDS

FOUND_WITHIN = 120.0
"""Seconds from the moment when all members are ready to the breach that a broken program is meant to show."""


@dataclass(frozen=True)
class Break:
    """`apply` changes the code of this process. `finds`: the promises that it breaks; one of them has to be found, or,
    with `each`, every one.

    What shows it, in place of what is usual: `switches` of the partner, `faults` that it has all the time, `settings`
    of the members, the shop's `mix` where it is another; the `weights` of all misfortunes, the `moments` of kills,
    seconds between misfortunes (`every`, 0: none), kills and freezes a second (`blows`), `seconds` of trouble.
    """

    apply: Callable[[], None]
    finds: tuple[Promise, ...]
    each: bool = False
    switches: Mapping[str, Any] = field(default_factory=dict)
    faults: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    mix: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    moments: Mapping[Moment, int] = field(default_factory=dict)
    every: float = 0.0
    blows: float = 0.0
    seconds: float = 15.0

    def is_found(self, found: set[Promise]) -> bool:
        """Whether these breaches are what it is meant to show."""
        wanted = set(self.finds)
        return wanted <= found if self.each else bool(wanted & found)


_TWICE = {"account_names_unique": False, "emails_unique": False, "same_permission_again": "second"}
_TWICE |= {"entitlement_again": "second", "permission_with_account": False}
"""A partner that takes a second one without a word."""

_MADE = (Promise.ONE_ACCOUNT, Promise.ONE_PERMISSION, Promise.ONE_ENTITLEMENT)
"""What Tradovate may make twice. A user's name is its own: a second one has another."""

_CREATES = (
    "/user/createEvaluationUsers",
    "/user/createEvaluationAccounts",
    "/user/createTradingPermission",
    "/userPlugin/addEntitlementSubscription",
)
_REQUEST = "/customerApplication/createPartnerSubaccountRequest"
_IN_TURN = ("/accountRiskStatus/setAdminAutoLiqAction", "/userAccountAutoLiq/updateUserAutoLiqs")
_OTHERS = (
    "/user/revokeTradingPermissions",
    "/user/cancelEverything",
    "/account/resetDemoAccountState",
)


def _often(action: str, among: Sequence[str], chance: float = 0.5, **rule: Any) -> Sequence[Mapping[str, Any]]:
    """A fault of these operations that lasts."""
    return [
        {"id": f"broken {number}", "operation": each, "action": action, "probability": chance, "seed": number, **rule}
        for number, each in enumerate(among)
    ]


_UNKNOWN = _often("status_after", _CREATES, status=502)
"""Each second call takes effect, and its answer does not say so."""

_SIGNING = {"sign": 40}

_MOSTLY = 200
"""A weight above all others together."""

_KILLS = 4.0
"""A second."""


def _kills(moment: Moment) -> Mapping[Moment, int]:
    return {moment: _MOSTLY}


def nothing() -> None:
    """The program as it is."""


NOT_BROKEN = "nothing"
"""The name of the program as it is, in a run for a broken one: it must not be found."""

CONTROL = Break(nothing, (), every=1.5, blows=_KILLS, seconds=25.0)

BREAKS: Mapping[str, Break] = {
    # Once in effect.
    "skip-look-up": Break(broken.skip_look_up, _MADE, switches=_TWICE, faults=_UNKNOWN),
    "retry-blindly": Break(
        broken.retry_blindly, _MADE, each=True, switches=_TWICE, faults=_UNKNOWN, mix=_SIGNING, seconds=60
    ),
    "repeat-requests": Break(
        broken.retry_blindly,
        (Promise.ONE_REQUEST,),
        faults=_often("status_after", (_REQUEST,), status=502),
        mix={"pass": 40},
        seconds=60,
    ),
    "drop-lease-check": Break(
        broken.drop_lease_check,
        _MADE,
        switches=_TWICE,
        faults=_often("delay", _CREATES, 1.0, seconds=1.5, when="before"),
        seconds=40,
    ),
    "new-logins": Break(broken.new_logins, (Promise.ONE_USER,), switches=_TWICE, faults=_UNKNOWN),
    "new-names": Break(broken.new_names, (Promise.ASKED_FOR,)),
    # What outcomes say.
    "fail-unknown": Break(broken.fail_unknown, (Promise.REASON,), faults=_UNKNOWN),
    "believe-unknown": Break(
        broken.believe_unknown,
        (Promise.PROVEN,),
        faults=_often("status_before", _OTHERS, 0.8, status=502),
        mix={"fail": 30, "leave": 20, "reset": 20},
        seconds=40,
    ),
    "fail-nobody": Break(broken.fail_nobody, (Promise.OUT,), mix={"fail": 30}, seconds=30),
    "forget-turns": Break(
        broken.forget_turns,
        (Promise.TURNS,),
        faults=_often("status_before", _IN_TURN, status=503),
        mix={"risk": 30, "lock": 30},
        seconds=20,
    ),
    # Nothing lost, nothing said twice.
    "commit-before-ledger": Break(
        broken_io.commit_before_ledger,
        (Promise.ENDS, Promise.DEAD_LETTER),
        weights={"database crash": 1},
        moments=_kills(Moment.OFFSETS),
        every=1.5,
        blows=_KILLS,
    ),
    "never-reap": Break(broken.never_reap, (Promise.ENDS,), moments=_kills(Moment.CALL_SENT), blows=_KILLS),
    "lose-outcomes": Break(
        broken_io.lose_outcomes,
        (Promise.ENDS,),
        weights={"broker killed": 1},
        moments=_kills(Moment.PUBLISHING),
        every=3.0,
        blows=_KILLS,
    ),
    "end-twice": Break(broken_io.end_twice, (Promise.ONE_END,)),
    "late-pending": Break(
        broken_io.late_pending, (Promise.PENDING,), switches={"review_step_seconds": 1.0}, mix={"pass": 6}, seconds=60
    ),
    "forget-published": Break(broken_io.forget_published, (Promise.PUBLISHED_ONCE,), seconds=45),
    "drop-bad-input": Break(broken_io.drop_bad_input, (Promise.DEAD_LETTER,), mix={"bad": 20}, seconds=10),
    "reject-good-input": Break(broken_io.reject_good_input, (Promise.DEAD_LETTER, Promise.INVALID)),
    # Signatures.
    "never-catch-up": Break(
        broken_io.never_catch_up,
        (Promise.SIGNED,),
        weights={"sockets dropped": 1},
        mix=_SIGNING,
        every=1.5,
        seconds=20,
    ),
    "forget-signals": Break(
        broken_io.forget_signals,
        (Promise.SIGNED,),
        weights={"stop": 1},  # another bridge takes over, and remembers nothing
        mix=_SIGNING,
        every=1.0,
        seconds=40,
    ),
    "mix-up-signals": Break(broken_io.mix_up_signals, (Promise.SIGNED,), mix=_SIGNING, seconds=30),
    # Calls.
    "no-budget": Break(broken.no_budget, (Promise.BUDGET,), settings={"TRADOVATE_MINUTE_BUDGET": "40"}, seconds=40),
    "forget-lock-out": Break(
        broken.forget_lock_out, (Promise.LOCK_OUT,), weights={"lock-out": 1}, every=4.0, seconds=40
    ),
    "log-in-often": Break(broken.log_in_often, (Promise.LOGINS,), weights=KINDS, every=1.5, blows=6.0, seconds=100),
    "put-off-revocations": Break(broken.put_off_revocations, (Promise.REVOKED,), mix={"fail": 20}, seconds=10),
    # Personal data.
    "log-events": Break(broken_io.log_events, (Promise.PERSONAL,)),
    "store-in-clear": Break(broken_io.store_in_clear, (Promise.PERSONAL,)),
    "keep-events": Break(broken_io.keep_events, (Promise.DELETED,), seconds=10),
    # The members themselves.
    "give-up": Break(broken_io.give_up, (Promise.MEMBERS,), weights={"database crash": 1}, every=2.0, seconds=40),
}

ONLY_BY_UNIT_TESTS: Mapping[Promise, str] = {
    Promise.ONE_DOCUMENT: "the partner's slot takes one, whatever is sent",
    Promise.OF_AN_EVENT: "a program that invents events has nothing to invent them from",
    Promise.READY: "a broken program that is not ready again is looked at all the same, for its own promise",
}
"""Promises that no broken program breaks, and why: `test_oracle.py` shows that their rules find a breach."""
