/* The life of a step: see README.md beside this file. Checked by test_model.py.
 *
 * Two steps, each of an order of its own, which may share a call; two replicas; a partner; a reaper; a publisher; an
 * operator. Crashes, freezes, faults, cancellations and steps that ask for the same come at any point, TROUBLES of them.
 * With ONE the second step has ended before; BREAK_... breaks the program.
 */

#define STEPS 2
#define REPLICAS 2
#define BOTH 3              /* sets of steps are bits: 1, 2, or both */

mtype = { waiting, due, in_flight, unknown, done, refused, parked };            /* worker/engine/states.py */
mtype = { names, look_up, neither };    /* the partner rejects a name in use; or can only be looked up; or not even that */
mtype = { nothing, succeeded, failed, in_doubt };                               /* outcomes */
mtype = { free, together, alone };                                              /* whom a step may share its call with */
mtype = { plain, verifying, splitting };                                        /* why it is looked up */
mtype = { idle, claimed, asked, looking, looked };                              /* what a replica does */
mtype = { ok, rejected, in_use, not_executed, no_answer, whole, ticket, absent, others };    /* results */

mtype kind;
byte left = TROUBLES;       /* of these, those that may still come */

/* the ledger */
mtype state[STEPS];
byte lease[STEPS];          /* the replica that may write the step; 0: none */
bool sent[STEPS];           /* a call was written down for it */
mtype why[STEPS];
mtype share[STEPS];
mtype outcome[STEPS];
bool published[STEPS];      /* it is noted that the outcome is on its topic */

/* outside */
byte effects[STEPS];
bool bad[STEPS];            /* the partner rejects it: by itself, or the whole call */
mtype topic[STEPS];         /* the last outcome on the topic */
byte wire[REPLICAS + 1];    /* the steps of a request that is on its way to the partner; its sender may be gone */

/* a replica's memory, lost when it dies */
mtype phase[REPLICAS + 1];
byte mine[REPLICAS + 1];    /* the steps of its call or look-up */
mtype result[6];            /* by replica and step */

#define IN(set, s)      (((set) >> (s)) & 1)
#define RESULT(r, s)    result[(r) * STEPS + (s)]
#define ON_WIRE(s)      (IN(wire[1], s) || IN(wire[2], s))
#define ROUGH           (left > 0)

/* One move of a step, and the only way in which its state is written. */
inline MOVE(s, before, after) {
#ifndef BREAK_RECORD
    assert(state[s] == before);
#endif
    state[s] = after
}

/* The step's end and its outcome are one transaction. */
inline END(s, said) {
    assert(outcome[s] == nothing || outcome[s] == in_doubt);
    assert(said != succeeded || effects[s] == 1);       /* success needs proof */
    outcome[s] = said;
    published[s] = false;
    lease[s] = 0;
    sent[s] = false;
    why[s] = plain
#ifndef BREAK_TICKET
    ; share[s] = free
#endif
}

inline BACK(s, because, with) {
    why[s] = because;
    share[s] = with;
    lease[s] = 0
}

/* What a call has shown of one of its steps. */
inline after_call(s, said, set) {
    if
    :: said == ok -> MOVE(s, in_flight, done); END(s, succeeded)
#ifdef BREAK_OUTBOX         /* the outcome is a transaction of its own, before which the replica may die */
    :: said == ok && ROUGH -> left--; MOVE(s, in_flight, done); lease[s] = 0
#endif
#ifdef BREAK_PROOF          /* an answer that proves nothing counts as success */
    :: said == no_answer -> MOVE(s, in_flight, done); END(s, succeeded)
#endif
    :: said == rejected -> MOVE(s, in_flight, refused); END(s, failed)
    :: said == in_use -> MOVE(s, in_flight, unknown); BACK(s, verifying, free)
    :: said == whole ->
#ifdef BREAK_SPLIT          /* the halves of a rejected batch are sent without a look-up */
        MOVE(s, in_flight, due); BACK(s, plain, alone)
#else
        MOVE(s, in_flight, unknown); BACK(s, splitting, alone)
#endif
    :: said == ticket -> MOVE(s, in_flight, due); BACK(s, plain, (set == BOTH -> together : alone))
    :: said == not_executed -> MOVE(s, in_flight, due); BACK(s, plain, free)
    :: said == not_executed -> MOVE(s, in_flight, refused); END(s, failed)     /* it has been tried for too long */
    :: said == no_answer ->
        if
#ifdef BREAK_UNKNOWN        /* what has no answer is sent again */
        :: true -> MOVE(s, in_flight, due); BACK(s, plain, free)
#else
        :: kind != neither -> MOVE(s, in_flight, unknown); BACK(s, plain, free)
        :: kind == neither -> MOVE(s, in_flight, parked); END(s, in_doubt)
#endif
        fi
    fi
}

/* What a look-up has shown of a step. */
inline after_look_up(s, said) {
    if
    :: kind == neither ->
#ifdef BREAK_PARK           /* what nobody can look up is sent again */
        MOVE(s, unknown, due); BACK(s, plain, free)
#else
        MOVE(s, unknown, parked); END(s, in_doubt)
#endif
    :: else ->
        if
        :: said == ok -> MOVE(s, unknown, done); END(s, succeeded)
        :: said == others -> MOVE(s, unknown, refused); END(s, failed)
        :: said == absent && why[s] == verifying -> MOVE(s, unknown, refused); END(s, failed)
        :: said == absent && why[s] == splitting -> MOVE(s, unknown, due); BACK(s, plain, alone)
        :: said == absent && why[s] == plain -> MOVE(s, unknown, due); BACK(s, plain, free)
        :: said == absent && why[s] == plain -> MOVE(s, unknown, refused); END(s, failed)
        :: said == no_answer -> MOVE(s, unknown, unknown); lease[s] = 0
#ifndef BREAK_PATIENCE      /* a look-up is repeated for ever */
        :: said == no_answer && sent[s] -> MOVE(s, unknown, parked); END(s, in_doubt)
        :: said == no_answer && !sent[s] -> MOVE(s, unknown, refused); END(s, failed)
#endif
        fi
    fi
}

/* A step that waits is planned again. What may be there from before is looked up before it is sent. */
inline plan_again(s) {
    if
    :: ROUGH -> left--; MOVE(s, waiting, waiting)
    :: effects[s] == 0 || kind == names -> MOVE(s, waiting, due)
    :: kind != neither -> MOVE(s, waiting, unknown)
    :: effects[s] == 0 -> MOVE(s, waiting, done); END(s, failed)          /* what it waited for has not come */
    fi
}

/* The steps that may be claimed for one call together: due, leased to nobody, and as their last results ask for. */
#define DUE(s)          (state[s] == due && lease[s] == 0)
#define UNKNOWN(s)      (state[s] == unknown && lease[s] == 0)
#ifdef BREAK_TICKET         /* a ticket waits for all steps of its call, also for those that have ended */
#define TICKET_OF(s)    (share[s] == together)
#else
#define TICKET_OF(s)    (share[s] == together && state[s] == due)
#endif
/* The ticket stands for all steps of its call that are still due, or for none. */
#define ALL_THERE       ((!TICKET_OF(0) || DUE(0)) && (!TICKET_OF(1) || DUE(1)))
#define CAN_GO(s)       (DUE(s) && (share[s] != together || ALL_THERE))
#define PAIR            (DUE(0) && DUE(1) && share[0] == together && share[1] == together)
#define MAY_SHARE       (kind != neither && share[0] == share[1] && share[0] != alone)
/* After its settle time no request of an earlier call takes effect any more. A partner that knows names need not promise
 * that. */
#ifdef BREAK_SETTLE         /* it is looked up at once */
#define SETTLED(s)      true
#else
#define SETTLED(s)      (kind == names || !ON_WIRE(s))
#endif

/* The call is written down before its bytes leave. */
inline begin(r, s) {
#ifndef BREAK_DURABLE       /* it is written down only with its result */
    MOVE(s, due, in_flight);
    sent[s] = true;
#endif
    lease[s] = r
}

inline claim(r, set) {
    mine[r] = set;
    phase[r] = claimed;
    if
    :: IN(set, 0) -> begin(r, 0)
    :: else
    fi;
    if
    :: IN(set, 1) -> begin(r, 1)
    :: else
    fi
}

inline all_are(r, said) {
    RESULT(r, 0) = said;
    RESULT(r, 1) = said
}

inline forget(r) {
    phase[r] = idle;
    mine[r] = 0;
    all_are(r, no_answer)
}

/* What came of a call is written under the lease that it was begun with, or not at all. */
#ifdef BREAK_RECORD         /* it is written whatever has become of the lease, and of the step */
#define MAY_WRITE(r, s) IN(mine[r], s)
#else
#define MAY_WRITE(r, s) (IN(mine[r], s) && lease[s] == r)
#endif

inline record(s, r) {
    if
    :: MAY_WRITE(r, s) ->
#ifdef BREAK_DURABLE
        MOVE(s, due, in_flight); sent[s] = true;
#endif
        after_call(s, RESULT(r, s), mine[r])
    :: else
    fi
}

inline not_sent(r, s) {
    if
    :: MAY_WRITE(r, s) ->
#ifndef BREAK_DURABLE
        MOVE(s, in_flight, due);
#endif
        BACK(s, plain, free)
    :: else
    fi
}

#define HAS_LEASES(r)   ((!IN(mine[r], 0) || lease[0] == r) && (!IN(mine[r], 1) || lease[1] == r))

#ifdef BREAK_FRESH          /* the bytes leave whenever the replica comes to it */
#define FRESH(r)        true
#else
#define FRESH(r)        HAS_LEASES(r)
#endif

proctype Replica(byte r) {
    byte s;
end:
    do
    /* claims */
    :: atomic { phase[r] == idle && CAN_GO(0) && CAN_GO(1) && MAY_SHARE -> claim(r, BOTH) }
    :: atomic { phase[r] == idle && CAN_GO(0) && !PAIR -> claim(r, 1) }
    :: atomic { phase[r] == idle && CAN_GO(1) && !PAIR -> claim(r, 2) }
    :: atomic { phase[r] == idle && UNKNOWN(0) && SETTLED(0) -> mine[r] = 1; lease[0] = r; phase[r] = looking }
    :: atomic { phase[r] == idle && UNKNOWN(1) && SETTLED(1) -> mine[r] = 2; lease[1] = r; phase[r] = looking }
    :: atomic { phase[r] == idle && state[0] == waiting -> plan_again(0) }
    :: atomic { phase[r] == idle && state[1] == waiting -> plan_again(1) }

    /* the bytes leave within the lease or not at all */
    :: atomic { phase[r] == claimed && wire[r] == 0 && FRESH(r) -> wire[r] = mine[r]; phase[r] = asked }
    :: atomic { phase[r] == claimed && (ROUGH || !HAS_LEASES(r)) ->
        left = left - HAS_LEASES(r);
        not_sent(r, 0);
        not_sent(r, 1);
        forget(r) }

    /* the answer is there, or is waited for no longer */
    :: atomic { phase[r] == asked && (wire[r] == 0 || !HAS_LEASES(r) || ROUGH) ->
        left = left - (wire[r] != 0 && HAS_LEASES(r));
        record(0, r);
        record(1, r);
        forget(r) }

    /* the look-up reads, then writes */
    :: atomic { phase[r] == looking ->
        s = (mine[r] == 1 -> 0 : 1);
        if
        :: ROUGH -> left--; RESULT(r, s) = no_answer
#ifdef BREAK_PATIENCE
        :: true -> RESULT(r, s) = no_answer
#endif
        :: effects[s] > 0 -> RESULT(r, s) = ok
        :: effects[s] == 0 && bad[s] && kind == names -> RESULT(r, s) = others
        :: effects[s] == 0 && !(bad[s] && kind == names) -> RESULT(r, s) = absent
        fi;
        phase[r] = looked }
    :: atomic { phase[r] == looked ->
        s = (mine[r] == 1 -> 0 : 1);
        if
        :: lease[s] == r -> after_look_up(s, RESULT(r, s))
        :: else
        fi;
        forget(r) }

    /* it dies, and another one starts in its place */
    :: atomic { phase[r] != idle && ROUGH -> left--; forget(r) }
    od
}

/* What the partner makes of one item. */
inline execute(r, s) {
    if
    :: IN(wire[r], s) ->
        if
        :: bad[s] && kind != names -> RESULT(r, s) = rejected
        :: bad[s] && kind != neither -> RESULT(r, s) = in_use       /* or a rejection that has to be verified */
        :: !bad[s] && effects[s] > 0 && kind == names -> RESULT(r, s) = in_use
        :: !bad[s] && !(effects[s] > 0 && kind == names) ->
            effects[s]++;
            assert(effects[s] == 1);                                /* never two for one order */
            RESULT(r, s) = ok
        fi
    :: else
    fi
}

/* A request takes effect, or not, or in part; its answer arrives, or not. */
inline serve(r) {
    if
    :: ROUGH -> left--; all_are(r, no_answer)                           /* lost before it had an effect */
    :: ROUGH -> left--; all_are(r, not_executed)
    :: ROUGH -> left--; all_are(r, ticket)
    :: wire[r] == BOTH && (bad[0] || bad[1]) -> all_are(r, whole)
    :: ROUGH && wire[r] == BOTH && (bad[0] || bad[1]) -> left--; execute(r, 0); execute(r, 1); all_are(r, whole)
    :: execute(r, 0); execute(r, 1)
    :: ROUGH -> left--; execute(r, 0); execute(r, 1); all_are(r, no_answer)
    fi;
    wire[r] = 0;
    if
    :: phase[r] != asked -> all_are(r, no_answer)                   /* its sender is gone, or waits no longer */
    :: else
    fi
}

proctype Partner() {
end:
    do
    :: atomic { wire[1] != 0 -> serve(1) }
    :: atomic { wire[2] != 0 -> serve(2) }
    od
}

/* A lease runs out when its holder has died, or is frozen for too long. What was in flight may have taken effect. */
inline reap(s) {
    if
    :: state[s] == in_flight -> MOVE(s, in_flight, unknown); BACK(s, plain, free)
    :: else -> lease[s] = 0
    fi
}

proctype Reaper() {
end:
    do
#ifdef BREAK_REAPER         /* no lease ever runs out */
    :: false
#else
    :: atomic { lease[0] != 0 && !IN(mine[lease[0]], 0) -> reap(0) }
    :: atomic { lease[0] != 0 && IN(mine[lease[0]], 0) && ROUGH -> left--; reap(0) }
    :: atomic { lease[1] != 0 && !IN(mine[lease[1]], 1) -> reap(1) }
    :: atomic { lease[1] != 0 && IN(mine[lease[1]], 1) && ROUGH -> left--; reap(1) }
#endif
    od
}

/* A publisher that dies before it has noted this does it again: it is the same outcome, by its id. */
inline publish(s) {
    assert(topic[s] == nothing || topic[s] == in_doubt);
    topic[s] = outcome[s];
    published[s] = true
}

proctype Publisher() {
end:
    do
    :: atomic { outcome[0] != nothing && !published[0] -> publish(0) }
    :: atomic { outcome[1] != nothing && !published[1] -> publish(1) }
    od
}

/* Cancels what was not sent, and says how a step in doubt has ended, when nothing of it is on its way any more. */
#define CANCELLABLE(s)  (((state[s] == waiting || state[s] == due) && lease[s] == 0) || (state[s] == unknown && !sent[s]))
#define DOUBTFUL(s)     (state[s] == parked && published[s] && !ON_WIRE(s))

inline cancel(s) {
    if
    :: state[s] == waiting -> MOVE(s, waiting, refused)
    :: state[s] == due -> MOVE(s, due, refused)
    :: state[s] == unknown -> MOVE(s, unknown, refused)
    fi;
    END(s, failed)
}

inline resolve(s) {
    if
    :: effects[s] == 1 -> MOVE(s, parked, done); END(s, succeeded)
    :: effects[s] == 0 -> MOVE(s, parked, refused); END(s, failed)
    fi
}

proctype Operator() {
end:
    do
    :: atomic { CANCELLABLE(0) && ROUGH -> left--; cancel(0) }
    :: atomic { CANCELLABLE(1) && ROUGH -> left--; cancel(1) }
    :: atomic { DOUBTFUL(0) -> resolve(0) }
    :: atomic { DOUBTFUL(1) -> resolve(1) }
    od
}

/* Another step asks for the same: this one is looked up again before it is sent. */
proctype Another() {
end:
    do
    :: atomic { DUE(0) && kind != neither && ROUGH -> left--; MOVE(0, due, unknown); BACK(0, plain, free) }
    :: atomic { DUE(1) && kind != neither && ROUGH -> left--; MOVE(1, due, unknown); BACK(1, plain, free) }
    od
}

/* It blocks, and so shows a dead end, until all outcomes are published. */
proctype End() {
    published[0] && published[1]
}

/* Where a step begins; the ledger may have been lost after an earlier one. */
inline start(s) {
    topic[s] = nothing; outcome[s] = nothing; why[s] = plain; share[s] = free;
    if
    :: bad[s] = true
    :: s == 0 && kind != neither -> effects[s] = 1
    :: skip
    fi;
    if
    :: s == 0 -> state[s] = waiting
    :: effects[s] == 0 || kind == names -> state[s] = due
    :: s == 0 && kind != neither -> state[s] = unknown
    fi
}

init {
    atomic {
#ifdef KIND
        kind = KIND;
#else
        if
        :: kind = names
        :: kind = look_up
        :: kind = neither
        fi;
#endif
        start(0);
#ifdef ONE
        state[1] = refused; outcome[1] = failed; topic[1] = failed; published[1] = true; why[1] = plain; share[1] = free;
#else
        start(1);
#endif
        phase[1] = idle; phase[2] = idle;
        all_are(1, no_answer);
        all_are(2, no_answer);
        run Replica(1); run Replica(2); run Partner(); run Reaper(); run Publisher(); run Operator(); run Another(); run End()
    }
}

/* Every outcome is published in the end. */
ltl published_in_the_end { <>[] (published[0] && published[1]) }
