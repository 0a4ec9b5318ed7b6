"""Callers that leave at each step of a call, and clients that announce their end."""

from ngh2 import events

from support.differential.cases import CANCEL, Cases, Outcome
from support.differential.raw_requests import answered, is_over, settled
from support.frames import GOAWAY, HEADERS, RST_STREAM, frame, header_block, word
from support.http2 import SERVICE, framed, request_headers, until
from support.transports import COUNTED, Served


def leaving_callers() -> Cases:
    cases = Cases()
    for how in ("cancel", "cut"):
        for service, method in ((SERVICE, "never"), (SERVICE, "wait"), (COUNTED, "wait")):
            for step in ("headers", "upload", "queued", "running"):
                name = f"{how} during {step} of {service}/{method}"
                cases.add(name, leave, how, step, service, method)
        for service, method in ((SERVICE, "flood"), (SERVICE, "each"), (COUNTED, "each")):
            name = f"{how} during replies of {service}/{method}"
            cases.add(name, leave, how, "replies", service, method)
    for method in ("echo", "later", "unary", "each"):
        cases.add(f"GOAWAY before the end of {method}", goaway, method)
    return cases


def block(service: str, method: str) -> list[tuple[bytes, bytes]]:
    path = f"/{service}/{method}".encode()
    return [(name, path if name == b":path" else value) for name, value in request_headers(method)]


async def leave(how: str, step: str, service: str, method: str, served: Served) -> Outcome:
    """Leave at a step of a call, by a reset or by closing the connection."""
    noted = served.service
    async with served.raw() as client, served.raw() as witness:
        await settled(client)
        if step == "headers":
            half = header_block(block(service, method))
            client.send(frame(HEADERS, 0, 3, half[:20]))
            # A reset can't come within a header block; it ends the connection.
            if how == "cancel":
                client.send(frame(RST_STREAM, 0, 3, word(CANCEL)))
        else:
            stream = client.engine.send_request(block(service, method))
            body = framed(b"50")
            is_open = step == "upload" or method == "each"
            client.engine.send_data(stream, body[:-1] if step == "upload" else body)
            if not is_open:
                client.engine.end_stream(stream)
            client.send()
            if step == "running":
                await until(lambda: noted.waiting or noted.contexts)
            elif step == "replies":
                await until(lambda: client.of(events.DataReceived)[1:])
            if how == "cancel":
                client.engine.reset_stream(stream, CANCEL)
                client.send()
        if how == "cut":
            await client.close()
        if step in ("running", "replies") and method != "each":
            await until(lambda: noted.cancelled)
        # Another connection's call is not disturbed.
        status = await witness.status(witness.call("echo", framed(b"x")))
        found: Outcome = {"witness": status[b"grpc-status"]}
        if step == "queued":  # whether the handler began depends on the moment
            await served.counters()
            return {**found, "counters": None}
        return {**found, "noticed": sorted(set(noted.cancelled))}


async def goaway(method: str, served: Served) -> Outcome:
    """Announce the end, then finish the call that was begun."""
    async with served.raw() as client:
        stream = client.call(method, None)
        client.engine.send_data(stream, framed(b"x")[:3])
        client.send()
        client.send(frame(GOAWAY, 0, 0, word(0) + word(0)))
        client.engine.send_data(stream, framed(b"x")[3:], end_stream=True)
        client.send()
        await until(lambda: is_over(client, stream))
        return answered(client, stream)
