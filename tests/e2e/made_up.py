"""An agent that is made up: the live page, fed with whatever document a test wants to look at."""
import http.server
import json
import os
import threading

import lab

PAGE = os.path.join(lab.REPO, "agent", "page.html")
MIB = 1 << 20


def mount(i, share=1.0, state="mounted", note="."):
    n = 64
    full = int(n * share)
    strip = ("9" + note) * full + ("4f" if 0 < share < 1 else "") + "0." * (n - full - (0 < share < 1))
    return {"dir": f"/var/lib/containerd-nydus/mnt/{i:04d}", "state": state, "as": "erofs" if i % 2 else "tree",
            "name": f"registry.example/team/service-{i}:1.{i}", "digest": f"{i:064x}", "chunks": 3000 + i,
            "chunks_ready": int((3000 + i) * share), "strip": strip}


def peer(i, state="up", **faults):
    return {"id": f"{i * 0x9e3779b97f4a7c15 % (1 << 64):016x}", "state": state, "zone": "abc"[i % 3], "address": f"10.0.{i // 200}.{i % 200 + 1}:9465",
            "rtt_us": 90 + i * 7, "first_byte_us": 300, "rate_bytes_per_s": (i % 9) * 11 * MIB, "received_bytes": i * 3 * MIB,
            "sent_bytes": i * MIB, "failed": 0, "missed": 0, "lied": 0, "wrong_bytes": 0, "paused_ms": 0, **faults}


def sums(uptime_ms, read, came, waited_ms=0):
    """What is counted since the start. read: from cache, dedup, peers, origins; came: dedup, peers here and elsewhere, origins."""
    return {"uptime_ms": uptime_ms,
            "read_bytes": dict(zip(("cache", "dedup", "peer", "origin"), read)),
            "chunk_bytes": {"dedup": came[0], "peer": (came[1] + came[2]) * 2, "origin": came[3] * 2},
            "verify_failures": {"cache": 0, "dedup": 0, "peer": 0, "origin": 0},
            "peer_received_bytes": {"same": came[1], "other": came[2]}, "peer_sent_bytes": {"same": 0, "other": 0},
            "origin_received_bytes": came[3], "origin_data_bytes": came[3], "origin_unique_bytes": came[3] * 100 // 101,
            "origin_requests": came[3] // MIB, "leased_chunks": {"first": came[3] // 4096, "again": came[3] // 409600},
            "dedup_saved_bytes": came[0], "waited_ms": waited_ms}


def past(uptime_ms, read, came, waited_ms=0):
    """The sums of five minutes that led to these, in an uneven flow."""
    def part(values, i):
        flow = i * i * (3 - 2 * i / 60) / 3600  # slow at both ends
        return [int(value * (0.4 + 0.6 * flow)) for value in values]
    return [sums(uptime_ms - (60 - i) * 5000 - 2000, part(read, i), part(came, i), waited_ms * i // 60) for i in range(60)]


def document(mounts=(), peers=(), questions=(), read=(0, 0, 0, 0), came=(0, 0, 0, 0), **more):
    """What GET /v1/live would answer; read and came as for sums()."""
    return {"version": "0.1.0", "node": peers[0]["id"] if peers else "", "ready": True, **sums(3723000, read, came),
            "minutes_ago": sums(3423000, [n // 3 for n in read], [n // 3 for n in came]), "readers_waiting": 0, "waiting_ms": 0,
            "fetches_in_flight": 0, "cache_bytes": sum(came), "cache_quota_bytes": 0, "cache_pinned_bytes": 0, "cache_full": False,
            "mounts": list(mounts), "n_mounts": len(mounts), "questions": list(questions), "peers": list(peers), **more}


def busy(n_mounts, n_peers):
    """Many images, some on their way, one down; many peers, some of them lost or liars."""
    mounts = [mount(i, share=(1, 0.4, 1, 0.93)[i % 4], note=".s"[i % 5 == 0]) for i in range(n_mounts)]
    if n_mounts > 2:
        mounts[n_mounts // 2] |= {"state": "down", "error": "registry.example: 401 Unauthorized (credentials: see registries in the configuration)"}
    peers = [peer(i) for i in range(n_peers)]
    if n_peers > 3:
        peers[0]["state"] = "self"
        peers[-1]["state"] = "down"
        peers[-2] |= {"lied": 3, "wrong_bytes": 2}
    questions = [{"blob": f"{i:064x}", "first_unit": i, "n_units": 3 + i, "source": ("peer", "origin")[i % 2], "reader": i < 2,
                  "since_us": 4000 * (i + 1), "detail": ("peer 3ab4c5d6", "registry.example")[i % 2]} for i in range(5)]
    read, came = (900 * MIB, 60 * MIB, 210 * MIB, 30 * MIB), (60 * MIB, 190 * MIB, 20 * MIB, 30 * MIB)
    before = past(3723000, read, came, waited_ms=9300)
    return document(mounts, peers, questions, read, came, past=before, minutes_ago=before[0], waited_ms=9300,
                    readers_waiting=2, fetches_in_flight=19, cache_quota_bytes=50 << 30, cache_pinned_bytes=120 * MIB)


class Agent:
    """Serves the page and its events. `document` is what the next event says; None: the agent says nothing more. So many
    first questions for events are refused."""

    def __init__(self, document, n_refused=0):
        self.document = document
        self.n_refused = n_refused
        self.ticks = 0
        self.changed = threading.Condition()
        self.stopped = False
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/events" and agent.n_refused:
                    agent.n_refused -= 1
                    self.send_error(503)
                    return
                self.send_response(200 if self.path in ("/", "/events") else 404)
                self.send_header("Content-Type", {"/": "text/html; charset=utf-8", "/events": "text/event-stream"}.get(self.path, "text/plain"))
                self.end_headers()
                if self.path == "/":
                    with open(PAGE, "rb") as f:
                        self.wfile.write(f.read())
                elif self.path == "/events":
                    agent.feed(self.wfile)

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def feed(self, out):
        told = -1
        while not self.stopped:
            with self.changed:
                if not self.changed.wait_for(lambda: self.stopped or self.ticks != told, timeout=0.5) or self.document is None:
                    continue
                told, text = self.ticks, json.dumps(self.document)
            try:
                out.write(f"data: {text}\n\n".encode())
                out.flush()
            except OSError:
                return

    def say(self, document):
        """The next event."""
        with self.changed:
            self.document = document
            self.ticks += 1
            self.changed.notify_all()

    def close(self):
        self.stopped = True
        with self.changed:
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
