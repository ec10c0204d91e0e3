"""The partner, simulated: a product part for first steps and demonstrations, and the tests' partner and oracle."""

from worker.sandbox.config import SandboxConfig
from worker.sandbox.fault_rules import FaultError, FaultFile, read_faults
from worker.sandbox.http_app import ConnectionCutError, Sandbox
from worker.sandbox.server import RunningSandbox, serve, settings_for
from worker.sandbox.standalone import run_standalone
from worker.sandbox.switches import SwitchError, with_switches

__all__ = [
    "ConnectionCutError",
    "FaultError",
    "FaultFile",
    "RunningSandbox",
    "Sandbox",
    "SandboxConfig",
    "SwitchError",
    "read_faults",
    "run_standalone",
    "serve",
    "settings_for",
    "with_switches",
]
