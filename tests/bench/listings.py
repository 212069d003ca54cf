"""``python -m bench.listings URL EMULATOR``: a large listing, page after page and in parts, as a mount asks for it.

EMULATOR is the address of the store, where URL does not tell it. Prints JSON: the seconds of each, the first in parts,
which knows nothing yet, and then those that have learnt.
"""

import json
import sys
import time

import trio

from modelfs import location
from modelfs.engines import open_store
from modelfs.splitting import Splitting
from modelfs.store import RetryPolicy, Store, list_everything

ROUNDS = 3
_POLICY = RetryPolicy(deadline_s=60)


async def measure(store: Store) -> dict[str, object]:
    """Return how long the listings took."""
    limiter = trio.CapacityLimiter(2)
    took: dict[str, list[float]] = {"page after page": [], "first in parts": [], "then in parts": []}
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        whole = await list_everything(store, policy=_POLICY, limiter=limiter)
        took["page after page"].append(time.perf_counter() - began_s)
        splitting = Splitting(store, policy=_POLICY, limiter=limiter)
        for name in ("first in parts", "then in parts"):
            began_s = time.perf_counter()
            parts = await splitting.everything()
            took[name].append(time.perf_counter() - began_s)
            if sorted(parts) != sorted(whole):
                raise AssertionError("the parts are not the whole")
    return {"took_s": took, "objects": len(whole), "pages": splitting.pages}


def main() -> None:
    """Measure, and print."""
    store = open_store(
        location.parse(sys.argv[1]),
        environment={"STORAGE_EMULATOR_HOST": sys.argv[2]},
        region="us-east-1",
        sign_requests=False,
        connect_timeout_s=10,
        stall_timeout_s=60,
        max_connections=32,
    )
    print(json.dumps(trio.run(measure, store)))


if __name__ == "__main__":
    main()
