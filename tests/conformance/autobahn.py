"""Runs Autobahn's cases against an echo server and prints one line of JSON for each.

    cargo run --example echo -- 127.0.0.1:9001
    python tests/conformance/autobahn.py ws://127.0.0.1:9001 [CASE ...]

A CASE is an id or a pattern (9.*); without one, all run but those of compression, which
the gateway does not offer.
"""

import asyncio
import json
import os
import sys

import kosoku

COMPRESSION = ["12.*", "13.*"]
AT_ONCE = 4


async def run(url: str, cases: list[str]) -> list[kosoku._kosoku.CaseResult]:
    try:
        return await kosoku.run_fuzzingclient(
            url, cases or None, COMPRESSION, concurrency=AT_ONCE
        )
    except kosoku.FailureError as failure:
        return failure.results


for result in asyncio.run(run(sys.argv[1], sys.argv[2:])):
    verdict = {
        "case": result.case_id,
        "behavior": result.behavior.value,
        "close": result.behavior_close.value,
    }
    if not result.passed:
        verdict |= {
            "description": result.description,
            "expectation": result.expectation,
            "result": f"{result.result} {result.result_close}",
            "expected": repr(result.expected)[:500],
            "received": repr(result.received)[:500],
        }
    print(json.dumps(verdict))

# Threads of kosoku's own may abort the interpreter's orderly end, when all is said.
sys.stdout.flush()
os._exit(0)
