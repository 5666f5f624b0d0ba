#!/usr/bin/env python3
"""A server at a distance: distant.py LISTEN UPSTREAM MS (HOST:PORT both). What comes in on either side goes out
on the other half of MS later, in order, so that a question has its answer MS later; many at once, at full speed.
For kernels without netem."""
import asyncio
import sys


async def carry(reader, writer, half_s):
    """One direction of one connection, until its end."""
    loop = asyncio.get_running_loop()
    pieces = asyncio.Queue()

    async def deliver():
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0, due - loop.time()))  # the distance
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    delivering = asyncio.create_task(deliver())
    try:
        while data := await reader.read(1 << 16):
            pieces.put_nowait((loop.time() + half_s, data))
    finally:
        pieces.put_nowait((loop.time() + half_s, b""))
        await delivering


async def main():
    listen, upstream, ms = sys.argv[1:]
    half_s = float(ms) / 2000

    async def on_connection(reader, writer):
        host, port = upstream.rsplit(":", 1)
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(carry(reader, up_writer, half_s), carry(up_reader, writer, half_s), return_exceptions=True)
        up_writer.close()
        writer.close()
    host, port = listen.rsplit(":", 1)
    async with await asyncio.start_server(on_connection, host, int(port)) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
