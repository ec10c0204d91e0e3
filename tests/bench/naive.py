"""A naive worker for comparison: a FastStream handler, one httpx call a step, no ledger, outcomes published at the end.

Honest but naive: it pools connections, logs in once, and does what the documentation of each library shows. What it
does not do: share calls, remember what it did, look up what is unclear, keep to a budget.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx
from faststream import FastStream
from faststream.kafka import KafkaBroker

PREFIX = os.environ.get("KAFKA_TOPIC_PREFIX", "")

broker = KafkaBroker(os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"), logger=None)
app = FastStream(broker, logger=None)
partner = httpx.AsyncClient(timeout=60, trust_env=False)


@app.on_startup
async def log_in() -> None:
    """One login for the process."""
    answer = await partner.post(
        os.environ["TRADOVATE_LIVE_URL"] + "/auth/accesstokenrequest",
        json={
            "name": os.environ["TRADOVATE_NAME"],
            "password": os.environ["TRADOVATE_PASSWORD"],
            "appId": os.environ["TRADOVATE_APP_ID"],
            "appVersion": os.environ["TRADOVATE_APP_VERSION"],
            "cid": os.environ["TRADOVATE_CID"],
            "sec": os.environ["TRADOVATE_SEC"],
            "deviceId": os.environ["TRADOVATE_DEVICE_ID"],
        },
    )
    partner.headers["Authorization"] = "Bearer " + answer.raise_for_status().json()["accessToken"]


async def call(domain: str, path: str, key: str, item: dict[str, Any]) -> dict[str, Any]:
    """One call with one item."""
    answer = await partner.post(os.environ[f"TRADOVATE_{domain}_URL"] + path, json={key: [item]})
    result: dict[str, Any] = answer.raise_for_status().json()["results"][0]
    return result


@broker.subscriber(PREFIX + "trader.purchased", group_id="naive", auto_offset_reset="earliest")
@broker.publisher(PREFIX + "trader.purchased.outcome")
async def purchased(event: dict[str, Any]) -> dict[str, Any]:
    """User, account, outcome."""
    plan = int(os.environ["TRADOVATE_SUBSCRIPTION_PLAN_ID"])
    user = await call(
        "LIVE",
        "/user/createevaluationusers",
        "users",
        {**event["user"], "password": "Naive-password-1", "tradovateSubscriptionPlanId": plan},
    )
    account = await call(
        "DEMO",
        "/user/createevaluationaccounts",
        "accounts",
        {**event["account"], "userId": user["userId"], "name": "EVAL" + event["orderId"]},
    )
    ids = {"userId": user["userId"], "accountId": account["accountId"]}
    return {"eventId": event["eventId"], "status": "succeeded", **ids}


if __name__ == "__main__":
    asyncio.run(app.run())
