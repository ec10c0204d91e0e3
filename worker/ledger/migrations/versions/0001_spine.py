"""The spine: traders, orders, flows and steps; outcomes; calls, holds and the shared session.

Revision ids are release numbers, so that a replica can tell a ledger that is one release ahead of it
(accepted, a roll-out is under way) from one that is two ahead (refused).
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

TABLES = """
-- What this ledger belongs to. Ids differ between the partner's environments, so a ledger that was written
-- against staging must never be used against production: the first start writes the name, later ones compare.
create table ledger (
    one         boolean primary key default true check (one),
    environment text,
    created_at  timestamptz not null default now(),
    counted_to  timestamptz not null default '1970-01-01'  -- flows that ended before are in `ended_count`
);
insert into ledger default values;

-- How many flows have succeeded or failed, for the metrics: see `worker/ledger/ended_counts.py`.
create table ended_count (
    topic text not null,
    state text not null,
    flows bigint not null,
    primary key (topic, state)
);

-- Which Tradovate user a trader of the shop is. Kept for ever: a known trader keeps their user.
-- `maker` is the flow that is making the user just now: two first orders of one trader race for it, one gets it,
-- the other waits until it is given back. `made_here` is false for users that existed before this ledger.
-- Room in each page is for the updates of a new trader's first flow, which then touch no index; flows likewise.
-- Not analysed while it has a few pages: a plan that is kept (`Database.transaction`) would read all of them, and of
-- what they become. The server takes a table that it knows nothing of for ten pages at least. So the other large ones.
create table trader (
    trader_id  text primary key,
    user_id    bigint,
    user_name  bytea,                       -- keyed hash of the login name
    made_here  boolean not null default false,
    maker      uuid,
    created_at timestamptz not null default now(),
    signed_at      timestamptz,             -- when the Market Data Agreement was signed, and what that brought: written
    entitlement_id bigint                   -- when the flow of `md.signed` is pruned, for `reconcile`
) with (fillfactor = 50, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_threshold = 2000);
create index trader_user on trader (user_id) where user_id is not null;

-- One row an order for ever: who owns it now, what it asked for (keyed hash), what it got.
-- The primary key closes the race of two events that name the same order. Room in each page: what an order got is
-- written beside it, and old pages have no holes into which new orders go, each a page to read and to log as a whole.
create table business_order (
    kind          text not null,
    order_id      text not null,
    flow_id       uuid not null,
    state         text not null check (state in ('open', 'succeeded', 'failed', 'in_doubt')),
    details       bytea,                  -- null: imported, and not known
    trader_id     text,
    user_id       bigint,
    account_id    bigint,
    permission_id bigint,
    facts         jsonb not null default '{}',
    error_code    text,
    error_text    text,
    asked_at      timestamptz not null,     -- when the owner was asked for it
    ended_at      timestamptz,              -- its trader had failed or left by then: written when that flow is pruned
    primary key (kind, order_id)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_threshold = 2000);
create index business_order_account on business_order (account_id) where account_id is not null;
create index business_order_permission on business_order (permission_id) where permission_id is not null;
create index business_order_user on business_order (user_id) where user_id is not null;
create index business_order_trader on business_order (trader_id) where trader_id is not null;

-- The work that one event asks for. `body` is the event, encrypted; it is null once the flow has ended. `content` is a
-- keyed hash of what the event says: it stays, so that another event under the same id is known for one.
-- (event_id, topic) closes the race of one event delivered to two replicas.
-- What changes stands behind what does not: of an update within a page the write-ahead log gets what lies between the
-- first byte and the last one that differ, and the event is most of the row.
create table flow (
    id          uuid primary key,           -- time-ordered
    topic       text not null,
    event_id    text not null,
    record_key  bytea,
    trace       jsonb,
    order_id    text,
    content     bytea,
    body        bytea,
    partition   integer not null,
    "offset"    bigint not null,
    created_at  timestamptz not null default now(),
    asked_at    timestamptz not null,           -- when the event was published, or an operator asked again
    trader_id   text,
    state       text not null check (state in ('open', 'in_doubt', 'succeeded', 'failed')),
    round       integer not null default 0,
    attempts    integer not null default 0,
    facts       jsonb not null default '{}',
    user_id     bigint,
    account_id  bigint,
    error_code  text,
    error_text  text,
    ended_at    timestamptz,
    unique (event_id, topic)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_threshold = 2000, vacuum_index_cleanup = on);
-- Whatever topics and states an operator asks for, a page of them is a probe for each. An index for each state: those
-- of the flows that are open stay small, whatever has ended.
create index flow_open on flow (topic, id) where state = 'open';
create index flow_in_doubt on flow (topic, id) where state = 'in_doubt';
create index flow_succeeded on flow (topic, id) where state = 'succeeded';
create index flow_failed on flow (topic, id) where state = 'failed';
create index flow_ended on flow (ended_at) where state in ('succeeded', 'failed');
create index flow_doubtful on flow (ended_at) where state = 'in_doubt';
create index flow_order on flow (order_id) where order_id is not null;
create index flow_trader on flow (trader_id) where trader_id is not null;
create index flow_user on flow (user_id) where user_id is not null;
create index flow_account on flow (account_id) where account_id is not null;

-- Traders who leave: from `begun_at` on nothing that was asked for before is given to them any more, and from `since`
-- on their purchases wait for the end. One row for each key that the trader's steps may have, so that a claim finds it
-- without knowing who the trader is. A departure that is withdrawn has no row.
create table departure (
    trader_key text not null,               -- 'u:<userId>' or 't:<traderId>'
    flow_id    uuid not null,
    since      timestamptz not null,
    begun_at   timestamptz,
    ended      boolean not null,
    primary key (trader_key, flow_id)
);
create index departure_flow on departure (flow_id);

-- Events about one account, in the order in which they were accepted: each is executed when those before it have
-- ended. One row for each key that the account is known by, with the same place: so an event that names the account and
-- one that names the order stand in one queue. Queues are locked by key, not by row (see `worker/ledger/turns.py`).
-- Ended ones stay as long as their flow: an older event whose account becomes known late sees that it is too late.
create sequence account_place;
create table account_turn (
    key      text not null,                 -- 'a:<accountId>' or 'o:<orderId>'
    place    bigint not null,
    flow_id  uuid not null,
    subject  text not null,                 -- 'action' (lock, unlock) or 'limits'
    begun_at timestamptz,                   -- since when it is its turn
    ended    boolean not null,
    ousted   boolean not null,              -- a later event takes its place: it has no result, and ends without one
    must_act boolean not null,              -- never so
    primary key (key, place)
);
create index account_turn_open on account_turn (key, subject, place) where not ended;
create index account_turn_begun on account_turn (key, subject, place) where begun_at is not null;
create index account_turn_flow on account_turn (flow_id);

-- Trading permissions that were made on LIVE (account.assigned after a graduation). Only those of DEMO are revoked,
-- where another one may have the same number; and a departure on LIVE is verified by these too. Kept for ever.
create table live_permission (
    permission_id bigint primary key,
    account_id    bigint not null,
    user_id       bigint not null
);
create index live_permission_user on live_permission (user_id);

-- One Tradovate operation of a flow, or a wait. States and moves: see README.md beside the ledger's code.
-- The replica that holds `lease` may write the row until `lease_until`; every later write names the lease it was given.
-- Queues are indexes here and in `flow` and `outcome`: what has left them is passed over until it is vacuumed.
-- PostgreSQL's own rule would wait for a fifth of the table, months of work, and then leave the indexes as they are.
create table step (
    id          bigint generated always as identity primary key,
    flow_id     uuid not null,              -- no foreign key: to check it is a look-up for each step
    operation   text not null,              -- an operation's name, or 'plan' for a wait
    rank        smallint not null,          -- 0 goes first
    state       text not null check (state in ('waiting', 'due', 'in_flight', 'unknown', 'done', 'refused', 'parked')),
    trader_key  text not null,              -- 'u:<userId>' once the user is known, else 't:<traderId>'
    due         timestamptz not null,
    arrived     timestamptz not null default clock_timestamp(),  -- since when it could go: the linger counts from then
    waits_for   text[],                     -- keys that wake it before `due`
    wait_hashes integer[],                  -- of each of them 12 bits, which are indexed in their place: GIN deletes no
                                            -- keys, and would have those of all waits for ever
    alike       text,                       -- shares a call only with steps that say the same
    weight      smallint not null default 1,  -- how many of a call's items it takes
    batch_id     bigint,                     -- steps with the same number must share a call: split, or held by a ticket
    lease       uuid,
    lease_until timestamptz,
    attempts    integer not null default 0,
    spent       double precision not null default 0,  -- seconds of back-off and calls that count towards giving up
    call_ids    bigint[] not null default '{}',
    memory      jsonb not null default '{}',  -- what it remembers between attempts: see engine/memory.py
    result      jsonb,
    history     jsonb not null default '[]',  -- what it waited for, look-ups found and back-offs began: see rows.py
    created_at  timestamptz not null default clock_timestamp(),
    ended_at    timestamptz
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_threshold = 2000, vacuum_index_cleanup = on);
create index step_flow on step (flow_id, id);
create index step_due on step (state, operation, due, id)
    where state in ('due', 'unknown', 'waiting') and lease is null;
-- Those of a trader that are not over, and of these the leased ones: a trader may have thousands that wait.
create index step_trader on step (trader_key) where ended_at is null;
create index step_leased on step (trader_key) where lease is not null;
create index step_lease on step (lease_until) where lease_until is not null;
create index step_batch on step (batch_id) where batch_id is not null;
create index step_waits on step using gin (wait_hashes) with (fastupdate = off) where wait_hashes is not null;

-- What is to be published, written in the transaction that ended the flow. `lease_until` keeps two replicas from
-- publishing the same row; the outcome id follows from event and result, so that a repeat is recognised as one. It is
-- unique within its flow, and so everywhere: an index of these ids alone would be written at random places, each a page
-- to read and, after a checkpoint, to log as a whole.
create table outcome (
    id           bigint generated always as identity primary key,
    outcome_id   text not null,
    flow_id      uuid,                      -- null: of a record that became no flow
    topic        text not null,
    event_id     text not null,
    status       text not null,
    record_key   bytea,
    trace        jsonb,                     -- of its event; all other headers follow from the row
    body         bytea not null,
    lease_until  timestamptz not null,
    created_at   timestamptz not null default now(),
    published_at timestamptz
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_threshold = 2000, vacuum_index_cleanup = on);
create index outcome_unpublished on outcome (id) where published_at is null;
create unique index outcome_flow on outcome (flow_id, outcome_id);
create unique index outcome_refused on outcome (outcome_id) where flow_id is null;
create index outcome_created on outcome (created_at);

-- One row a call: the rolling hour's budget, the audit trail and a metric in one. Written before the bytes leave.
create table call (
    id          bigint generated always as identity primary key,
    operation   text not null,              -- whose work it is: a look-up carries the name of its step's operation
    endpoint    text not null,              -- what the partner counts: its own limits and penalties are by endpoint
    domain      text not null,
    kind        text not null check (kind in ('send', 'look_up', 'session', 'socket')),
    items       integer not null,
    flow_ids    uuid[],                     -- which it was for. Here, and in no index of steps by calls: that would
                                            -- keep the ids of all calls for ever (GIN deletes no keys)
    generation  bigint,                     -- of the token that it went with
    replica     text not null,
    at          timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    result      text,                       -- null while in flight, or for ever if its replica died
    http_status integer,
    error       text                        -- the partner's errorCode or our words: its texts may name persons
) with (autovacuum_analyze_threshold = 2000);
create index call_at on call (at);
-- The same for pages of calls, by operation and result: one text, or a probe that finds too few of a result would go on
-- through all the calls of its operation.
create index call_kind on call ((operation || ' ' || result), id);
create index call_open on call (id) where result is null;

-- What keeps calls back: a lock-out (scope 'all'), a penalty ('endpoint:<operation>'), a rejected login ('login'),
-- an operator's pause ('pause:all' or 'pause:<operation>'). `ticket`
-- and `body` are the penalty ticket and the exact bytes that must be sent again with it (encrypted); `batch_id` names
-- the steps that those bytes stand for. But for tickets, a scope has one hold at a time: replicas that receive the same
-- thing at once extend it (the unique index closes that race).
create table hold (
    id             bigint generated always as identity primary key,
    scope          text not null,
    reason         text not null,
    until          timestamptz,             -- null: until an operator clears it
    ticket         text,
    body_digest    bytea,                   -- of the body that may be sent again with the ticket
    batch_id        bigint,
    fingerprint    text,
    created_at     timestamptz not null default clock_timestamp(),
    by             text,                    -- the operator who put it; null: the program
    cleared_at     timestamptz,
    cleared_by     text,
    cleared_reason text
);
create index hold_live on hold (scope) where cleared_at is null;
create index hold_scope on hold (scope, created_at);  -- what held a flow back, for who reads its life later
create unique index hold_one on hold (scope) where cleared_at is null and ticket is null;
create index hold_batch on hold (batch_id) where batch_id is not null and cleared_at is null;

-- The one session that all replicas share. `suspect`: it may have been closed from outside, so the next call is a
-- renewal. `streak`: answers in a row that a closed session would give. `rejected`: an ordinary call was answered
-- 401. `renewal_failed`: a suspect or rejected token could not be renewed, so that a login follows.
-- `lease`: the replica that logs in or renews now; every write of what came of it names the lease it was taken under.
create table session (
    one             boolean primary key default true check (one),
    token           bytea,                      -- encrypted; null: there is no session that we know of
    generation      bigint not null default 0,  -- one more for each new token
    owner           bytea,                      -- keyed hash of address, name and key id: whose session it is
    user_id         bigint,                     -- the API user's own id
    issued_at       timestamptz,
    expires_at      timestamptz,
    vouched_at      timestamptz,                -- when the partner last renewed a token that a call had found rejected
    suspect         boolean not null default false,
    streak          integer not null default 0,
    rejected        boolean not null default false,
    renewal_failed  boolean not null default false,
    login_failures  integer not null default 0, -- logins in a row with an unknown result; when the next is allowed
    login_after     timestamptz,
    renew_failures  integer not null default 0, -- renewals in a row with an unknown result; when the next is allowed
    renew_after     timestamptz,
    failure         text,                       -- what the last login or renewal failed for, for the operator
    password_expires_at timestamptz,            -- as the last login or renewal said
    lease           uuid,
    lease_until     timestamptz
);
insert into session default values;

-- Where each domain of the organization is, as login and renewal return it (`apiHosts`), for all replicas and bridges.
-- `belongs`: the settings that it belongs to; with other addresses or another user it counts for nothing.
-- `generation`: of the token with which the host came into use: a late reply to a call that went with an older one
-- says nothing about this host. What `doubt` and the columns after it mean: see `worker/ledger/host_table.py`.
create table host (
    domain      text primary key check (domain in ('live', 'demo')),
    host        text,                       -- null: the host of the settings
    source      text check (source in ('login', 'renewal', 'redirect')),
    belongs     bytea,                      -- keyed hash of the settings' addresses, user and key id
    generation  bigint not null default 0,
    since       timestamptz,
    moved_from  text,                       -- the host that a redirect led away from
    hops        integer not null default 0, -- redirects followed since a call succeeded
    ignored     text,                       -- a returned value that is not used, and why
    ignored_why text,
    doubt       text,                       -- why the host may be the wrong one
    strong      boolean not null default false,
    doubted_at  timestamptz,
    leads_to    text,                       -- the host of a redirect
    asked_at    timestamptz,                -- since when it is known that a renewal does not help
    ask_at      timestamptz,                -- no renewal for a doubt before
    ask_strong  boolean not null default false,
    try_at      timestamptz,                -- no call before
    tries       integer not null default 0
);
insert into host (domain) values ('live'), ('demo');

-- Alert signals of the partner that the bridge has put on Kafka: keys only, for ever, so that no reconnect publishes
-- a week again. Written after the record is on Kafka: a bridge that dies in between publishes it once more, under the
-- same event id. The primary key closes the race of two bridges that lead for a moment. By topic: while
-- TRADOVATE_MDA_ALERT_ID is wrong, agreements are published as other alerts; when it is right they are published again.
create table signal (
    topic text not null,
    id    bigint not null,
    primary key (topic, id)
);

-- The risk status of each account, as the bridge that leads has received it last (BRIDGE_RISK_STATUS): what the next
-- initial data are compared with. It is written when what counts as a change differs, and only under the lease of
-- `leader`. `version`: how many changes there were. Ids, times and words of the partner's, kept for ever.
create table risk_status (
    account_id bigint primary key,
    version    bigint not null,
    status     jsonb not null
);

-- Changes of risk statuses that are to be published, written with the status in one transaction and deleted when Kafka
-- has acknowledged the record. A bridge that dies in between publishes the same record again.
create table risk_change (
    id         bigint generated always as identity primary key,
    account_id bigint not null,
    version    bigint not null,
    before     jsonb not null,
    now        jsonb not null,
    created_at timestamptz not null default clock_timestamp()
);

-- Which bridge works. A lease and no advisory lock, which a holder that is frozen keeps for as long as its connection
-- stands. A replica that finds `lease_until` passed may take the row; every extension names the lease it was taken
-- under.
create table leader (
    one         boolean primary key default true check (one),
    holder      text,
    lease       uuid,
    lease_until timestamptz,
    since       timestamptz
);
insert into leader default values;

-- Who is running, for the operator's page.
create table replica (
    name       text primary key,
    role       text not null,
    address    text,
    seen_at    timestamptz not null default now()
);

-- What operators did, and why; and the holds that the program put and ended (actions `hold` and `release`). Rows are
-- never changed. `subject`: the scope of a hold, the position of a dead letter of `topic`, or what was imported.
create table note (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default now(),
    action  text not null,
    by      text not null,
    reason  text not null,
    flow_id uuid,
    topic   text,
    subject text
);
create index note_flow on note (flow_id) where flow_id is not null;
create index note_at on note (at, id);

-- Dead letters that their topic does not accept (too large, for example), whole and encrypted, at the position of
-- their input record. `written_ms`: that record's own time, which tells it from one of a topic that was created again.
create table dead_letter (
    id          bigint generated always as identity primary key,
    topic       text not null,              -- the input topic, without prefix
    partition   integer not null,
    "offset"    bigint not null,
    written_ms  bigint not null,
    reason      text not null,              -- as in the header dlq-reason
    error       text not null,              -- as in the header dlq-error: it names fields and holds no value
    refusal     text not null,              -- why the dead-letter topic did not accept it
    size        bigint not null,            -- bytes of the value
    body        bytea not null,             -- key, headers and value, encrypted
    created_at  timestamptz not null default clock_timestamp(),
    settled_at  timestamptz,                -- when it was replayed or dismissed
    dismissed   text,                       -- why an operator dismissed it
    dismissed_by text,
    unique (topic, partition, "offset", written_ms)
);
create index dead_letter_created on dead_letter (created_at);

-- Dead letters that were replayed, so that each is published once however often the command runs; or were
-- dismissed by an operator, with who and why.
create table replay (
    topic       text not null,              -- the dead-letter topic's input topic, without prefix
    partition   integer not null,
    "offset"    bigint not null,
    at          timestamptz not null default now(),
    dismissed   text,
    dismissed_by text,
    primary key (topic, partition, "offset")
);
create index replay_at on replay (at);

-- Comparisons of the ledger with Tradovate (`reconcile`). `cursor`: the last trader that was compared, from whom a run
-- goes on that was interrupted. One run at a time: who holds `lease` may write the row until `lease_until`, then
-- another command may take it over; every write names the lease. `reconciliation_open` closes the race of two that
-- begin at once.
create table reconciliation (
    id          bigint generated always as identity primary key,
    days        integer not null,           -- what it was asked for: a run goes on only for the same question
    listed      boolean not null,
    by          text not null,              -- host and process
    started_at  timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    cursor      text,
    traders     integer not null default 0, -- how many were compared
    unread      integer not null default 0, -- of these, how many Tradovate did not let us read
    calls       integer not null default 0,
    counts      jsonb,                      -- differences by kind, when it has finished
    lease       uuid,
    lease_until timestamptz
);
create unique index reconciliation_open on reconciliation ((true)) where finished_at is null;
create index reconciliation_finished on reconciliation (finished_at) where finished_at is not null;

-- What a run found: ids and our own sentences. `event_*`: the event that fixes it, if one can. `key` tells it from the
-- others of its run: a page that is compared again after a crash writes nothing twice.
create table difference (
    id             bigint generated always as identity primary key,
    run_id         bigint not null,
    key            text not null,
    kind           text not null,
    sentence       text not null,
    trader_id      text,
    user_id        bigint,
    order_id       text,
    account_id     bigint,
    account_name   text,
    permission_id  bigint,
    entitlement_id bigint,
    cancel_before  timestamptz,
    event_topic    text,
    event_id       text,
    event_body     jsonb,
    unique (run_id, key)
);
create index difference_kind on difference (run_id, kind, id);
create index difference_event on difference (run_id, event_topic, event_id) where event_topic is not null;
create index difference_trader on difference (run_id, trader_id) where trader_id is not null;
"""


def upgrade() -> None:
    """Creates the tables."""
    op.execute(TABLES)


def downgrade() -> None:
    """Drops them all: the ledger is gone."""
    op.execute(
        "drop table difference, reconciliation, replay, dead_letter, note, replica, leader, risk_change, risk_status,"
        " signal, host, session, hold, call, outcome, step, account_turn, live_permission, departure, flow,"
        " business_order, trader, ended_count, ledger"
    )
    op.execute("drop sequence account_place")
