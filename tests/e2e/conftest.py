"""Fixtures of the commands' tests that need a whole stage."""

from tests.support.spine import ledger_template, ledgers, real_stage, restartable_stage, stage

__all__ = ["ledger_template", "ledgers", "real_stage", "restartable_stage", "stage"]
