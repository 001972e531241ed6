"""A TCP relay that holds every byte back for half a round trip, since this kernel may have no netem.

It shows what a distance costs, not what a lossy link or delayed acknowledgements do.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

_open: list[asyncio.StreamWriter] = []


@contextlib.contextmanager
def relay(port: int, *, rtt: float) -> Iterator[int]:
    """Relay to a port of this machine; gives the port to connect to. ``rtt`` is in seconds."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(_listen(port, rtt / 2), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(_hang_up(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(port: int, delay: float) -> int:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("127.0.0.1", port)
        _open.extend((writer, back))
        await asyncio.gather(_pump(reader, back, delay), _pump(onward, writer, delay))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    chosen: int = server.sockets[0].getsockname()[1]
    return chosen


async def _hang_up() -> None:
    """Both ends see their connections closed: the pumps come to their end by themselves."""
    for writer in _open:
        writer.close()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass bytes on in order, each piece ``delay`` after it came."""
    loop = asyncio.get_running_loop()
    while piece := await reader.read(1 << 16):
        loop.call_later(delay, writer.write, piece)
    loop.call_later(delay, writer.close)
