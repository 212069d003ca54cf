"""A listing in several places at once on each cloud's dialect: the same objects, and hardly more requests."""

import pytest
import trio
from faultserver import DialectName, Fault, FaultServer, Status

from modelfs import location
from modelfs.engines import open_store
from modelfs.splitting import AT_ONCE, PREFIXES_MOST, Splitting
from modelfs.store import RetryPolicy, Store

KEYS = [
    *(f"model é{model:02d}+/1/part {number:04d}" for model in range(23) for number in range(500)),
    *("a", "model", "model ", "z/1/\U0010ffff", "z/1/\uffff", "😀/x"),
]
PAGES = 12
POLICY = RetryPolicy(deadline_s=60, first_pause_s=0.001)


def store_on(server: FaultServer, dialect: DialectName) -> Store:
    url = f"s3://127.0.0.1:{server.port}/models/repository"
    if dialect == "gcs":
        url = "gs://models/repository"
    elif dialect == "azure":
        url = f"as://127.0.0.1:{server.port}/account/models/repository"
    return open_store(
        location.parse(url),
        environment={"STORAGE_EMULATOR_HOST": f"127.0.0.1:{server.port}"},
        region=None,
        sign_requests=False,
        connect_timeout_s=10,
        stall_timeout_s=60,
        max_connections=32,
    )


@pytest.mark.parametrize("dialect", ["s3", "gcs", "azure"])
async def test_parts_are_the_whole_and_cost_hardly_more(dialect: DialectName) -> None:
    with FaultServer(dialect) as server:
        for key in KEYS:
            server.put("models", f"repository/{key}", b"")
        for key in ("repository", "repository-2/x", "repositor/x"):
            server.put("models", key, b"")
        splitting = Splitting(store_on(server, dialect), policy=POLICY, limiter=trio.CapacityLimiter(2))
        for most in (PAGES + 10 + 1 + PREFIXES_MOST, PAGES + AT_ONCE + 1, PAGES + AT_ONCE + 1):
            server.clear_log()
            server.fail(Fault(Status(503), kind="list", page=2, times=1))
            objects = await splitting.everything()
            assert sorted(info.key for info in objects) == sorted(KEYS)
            requests = server.requests(kind="list")
            assert len([each for each in requests if each.status == 200]) <= most
            assert len([each for each in requests if each.status == 503]) == 1
