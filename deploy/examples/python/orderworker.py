"""What an upstream system needs of orderworker, with nats-py (pip install nats-py).

Publish an order, wait for its result, consume all results durably. Publishing again is
harmless: a second request with the same content is a duplicate.
"""

import asyncio
import json
import os
import re
import sys
import time

REQUESTS = "orders.package.request"
RESULTS = "orders.package.result"


async def connect():
    """Connects. A publisher's permissions limit where replies may go: the inbox prefix."""
    import nats

    user = os.environ.get("NATS_USER")
    return await nats.connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        user=user,
        password=os.environ.get("NATS_PASSWORD"),
        inbox_prefix=f"_INBOX_{user}" if user else "_INBOX",
    )


async def publish(nc, order):
    """Returns when the stream has stored the order. After an error publish it again."""
    return await nc.jetstream().publish(REQUESTS, json.dumps(order).encode(), stream="ORDERS")


def token(out_trade_no):
    """An outTradeNo as a part of a subject."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda m: "%%%02X" % ord(m.group()), out_trade_no)


async def last(nc, subject):
    """The last event of a subject, or None. It is read from the stream, not waited for."""
    m = await nc.request(f"$JS.API.DIRECT.GET.ORDER_RESULTS.{subject}", b"", timeout=5)
    status = (m.headers or {}).get("Status")
    if status == "404":
        return None
    if status:
        raise RuntimeError(f"{subject}: {status} {m.headers.get('Description')}")
    return json.loads(m.data)


async def wait(nc, out_trade_no, timeout=60):
    """Asks until the order has a final event: succeeded or failed.

    A rejected event may be about another request with the same number, so it counts only
    where nothing else comes: its message says which field broke which rule.
    """
    end, pause = time.monotonic() + timeout, 0.1
    while time.monotonic() < end:
        for status in ("succeeded", "failed"):
            event = await last(nc, f"{RESULTS}.{status}.{token(out_trade_no)}")
            if event:
                return event
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 2)
    rejected = await last(nc, f"{RESULTS}.rejected.{token(out_trade_no)}")
    if rejected:
        return rejected
    raise TimeoutError(f"{out_trade_no} is open after {timeout} s")


async def consume(nc, handle):
    """Calls handle with every result, also those that came while this program was away.

    handle must bear to get an event twice: one whose acknowledgement is lost comes again.
    """
    import nats.errors

    reader = await nc.jetstream().pull_subscribe_bind("results-reader", "ORDER_RESULTS")
    while True:
        try:
            messages = await reader.fetch(100, timeout=30)
        except nats.errors.TimeoutError:
            continue
        for m in messages:
            handle(json.loads(m.data))
            await m.ack()


async def main(out_trade_no, iccid, package_code):
    nc = await connect()
    await publish(nc, {"outTradeNo": out_trade_no, "iccid": iccid, "packageCode": package_code})
    print(json.dumps(await wait(nc, out_trade_no)))
    await nc.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
