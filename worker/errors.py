"""The errors of this program, in one tree. A part of the program defines its own ones as subclasses, in its package.

    WorkerError
    ├── OperatorError               an operator has to change something: commands print `sentence`, and exit with `code`
    │   ├── SettingsError           _loading.py                          settings that are missing or wrong
    │   ├── CatalogueError          products.py                          the product catalogue cannot be used
    │   ├── StartRefused            process/start_refused.py             `run` or `bridge` does not start like this
    │   │   ├── CannotListen        process/start_refused.py             HTTP_HOST or HTTP_PORT cannot be used
    │   │   ├── SchemaDoesNotFit    process/start_refused.py             the ledger's schema is another one
    │   │   └── TopicsNeeded        process/start_refused.py             topics are missing
    │   ├── CommandRefused          cli/_errors.py                       a command cannot be carried out
    │   │   ├── UnknownValue        cli/_errors.py                       a name that is not one of those known
    │   │   │   └── UnknownCommand  cli/application.py                   no command has this name
    │   │   ├── FileUnusable        cli/_errors.py                       a file cannot be read or written
    │   │   ├── OptionRefused       cli/_errors.py                       an option has a wrong value
    │   │   ├── ExportIncomplete    cli/_flows_export.py                 the database failed before the last line
    │   │   ├── SchemaUnusable      cli/db.py                            `run` would not start on this schema
    │   │   ├── ReplayIncomplete    cli/dlq.py                           Kafka has not accepted some dead letters
    │   │   ├── FileMissing         cli/_errors.py                       no file with events, and no pipe
    │   │   ├── NothingToSend       cli/send.py                          a file without an event
    │   │   ├── EventsRefused       cli/send.py                          some events are bad, and none was sent
    │   │   ├── SendInterrupted     cli/send.py                          Kafka failed after some events
    │   │   ├── FaultsRefused       cli/sandbox.py                       a fault file that cannot be used
    │   │   ├── AddressRefused      cli/sandbox.py                       the sandbox cannot listen there
    │   │   └── DemoFailed          cli/demo/part_failed.py              a part of the demo does not run
    │   ├── NotInstalled            embedded.py                          the wheels of the extra `demo` are missing
    │   ├── ServerFailed            embedded.py                          the embedded PostgreSQL does not start
    │   ├── NotPossible             engine/operator.py                   the state of a flow forbids the action
    │   ├── EventNotFound           operate/event_again.py               a flow's event cannot be read again
    │   ├── FlowNotFound            operate/flow_reading.py              no flow, event or order has this id
    │   ├── SeveralFlows            operate/flow_reading.py              an id means more than one flow
    │   ├── FactRefused             operate/flow_repair.py               a fact that an operator sets is wrong
    │   ├── NoteIncomplete          operate/operator_note.py             a reason or a name is empty
    │   ├── HoldNotFound            operate/holding.py                   there is no such hold
    │   ├── NotPaused               operate/holding.py                   there is no such pause
    │   ├── DeadLetterNotFound      operate/dead_letters.py              there is no such dead letter
    │   ├── LetterSealed            operate/dead_letters.py              no part of SECRET_KEY decrypts a dead letter
    │   ├── SecretKeyMissing        operate/dead_letters.py              a dead letter in the ledger needs SECRET_KEY
    │   ├── ReplayUnderWay          operate/dead_letter_settling.py      another operator replays the same topic
    │   ├── ResolutionMissing       operate/console/flow_pages.py        a form does not say how a flow ended
    │   ├── RunTaken                ledger/reconcile_runs.py             another `reconcile` is at work
    │   ├── ImportFileRefused       operate/import_file/file_lines.py    a file of `import` cannot be read
    │   ├── ReadsEnded              operate/reads_ended.py               a command's bulk reads cannot go on
    │   ├── FormTooLarge            operate/console/requests.py          more bytes than any form has
    │   ├── OtherEnvironment        ledger/environment.py                the ledger is another environment's
    │   ├── TopicsMissing           kafka/errors.py                      no topic that was asked for exists
    │   ├── TopicsForbidden         kafka/errors.py                      the Kafka user may not use some topics
    │   ├── TopicsNotCreated        kafka/admin.py                       the broker refused to create topics
    │   └── Sealed                  ledger/crypto.py                     no part of SECRET_KEY decrypts this
    ├── Unavailable                 something outside cannot serve now: wait, then retry
    │   ├── KafkaUnavailable        kafka/errors.py                      Kafka does not do what an operator asked for
    │   ├── NoController            kafka/admin.py                       no broker is the cluster's controller
    │   ├── TopicNotFound           outbox/record_batches.py             no broker returned a topic's partitions
    │   ├── TopicRefuses            bridge/topic_publisher.py            a topic did not accept a record
    │   ├── NoSession               session/identity.py                  no session at Tradovate, and none to be had
    │   ├── HeldBack                partner/socket_calls.py              no request now: budget, session or a hold
    │   └── CannotLook              partner/read_errors.py               a look-up cannot go on now
    ├── Unreadable                  partner/read_errors.py               a read was answered with something else
    │   ├── NotPermitted            partner/read_errors.py               401 with a good token
    │   └── HostDoubted             partner/read_errors.py               a host answers no read
    ├── FactsUnreadable             engine/facts.py                      what a flow has learned is not of its type
    ├── DatabaseError               ledger/errors.py                     anything that went wrong at the database
    │   ├── DatabaseUnavailable     ledger/errors.py                     it cannot serve now: wait, then retry
    │   │   └── Again               ledger/errors.py                     a lost race: run the transaction again
    │   └── DataRefused             ledger/errors.py                     a value that can never be stored
    ├── SandboxError                the simulated partner was called or configured wrongly
    │   ├── SwitchError             sandbox/switches.py                  an unknown switch, or a wrong value of one
    │   ├── FaultError              sandbox/fault_rules.py               a fault rule that cannot be read
    │   ├── Malformed               sandbox/fields.py                    a body that gets HTTP 400
    │   └── ConnectionCutError      sandbox/http_app.py                  the connection ends without an answer
    └── Interruption                ends a piece of work inside one module, which catches it (private classes)

What the partner says about an item is a result (`worker/results.py`), never an exception. A fault of the program itself
(`RuntimeError`, `ValueError`) is in no tree. The loops that must go on catch it, and log its traceback.

`tests/unit/test_errors.py` keeps this drawing true.
"""

from __future__ import annotations

__all__ = ["Interruption", "OperatorError", "SandboxError", "Unavailable", "WorkerError", "quoted"]

_MOST_QUOTED = 128
"""Characters: as many as an id may have, which is therefore quoted whole."""


class WorkerError(Exception):
    """Fields say what is wrong. The text for an operator is made of them where it is printed or logged."""

    @property
    def sentence(self) -> str:
        """What is wrong, for an operator. It holds no secret and no personal data."""
        return ", ".join(map(str, self.args))

    def __str__(self) -> str:
        return self.sentence


class OperatorError(WorkerError):
    """An operator has to change something. `code`: the exit code of a command, 1 failed, 2 wrong usage or settings."""

    code: int = 1


class Unavailable(WorkerError):
    """Something outside cannot serve now: the caller waits, reports the reason, and retries."""


class SandboxError(WorkerError):
    """The simulated partner was called or configured wrongly."""


class Interruption(WorkerError):
    """Ends a piece of work. It never leaves the module that defines it."""


def quoted(text: str) -> str:
    """What an operator typed, in a sentence: short, in quotation marks, and with nothing that a terminal would obey."""
    short = text if len(text) <= _MOST_QUOTED else text[:_MOST_QUOTED] + "…"
    return f'"{"".join(letter if letter.isprintable() else "?" for letter in short)}"'
