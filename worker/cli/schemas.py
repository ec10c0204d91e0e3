"""`schemas`: the wire as documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schemas.export import export as write_all
from worker.cli._app import example, group
from worker.cli._errors import FAILED, FileUnusable, FileUse

app = group("JSON Schema of every record, and the AsyncAPI 3 document.", "tradovate-worker schemas export ./schemas")


@app.command(epilog=example("tradovate-worker schemas export ./schemas"))
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made if it is not there.")],
) -> int:
    """Write JSON Schema (2020-12) of every event, outcome and record of the bridge, and asyncapi.yaml, into DIR."""
    try:
        written = write_all(directory)
    except OSError as error:
        raise FileUnusable(directory, error, FileUse.SCHEMAS, code=FAILED) from None
    print(f"Wrote {len(written)} files to {directory}.")
    return 0
