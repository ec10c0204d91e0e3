"""Fixtures of the tests of the whole spine."""

from tests.support.spine import fragile_stage, ledger_template, ledgers, real_stage, restartable_stage, stage

__all__ = ["fragile_stage", "ledger_template", "ledgers", "real_stage", "restartable_stage", "stage"]
