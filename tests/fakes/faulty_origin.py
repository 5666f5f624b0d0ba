#!/usr/bin/env python3
"""A registry and HTTP server that misbehaves as it is told.

    faulty_origin.py [--port N] (--upstream http://HOST:PORT | --dir DIR) [--faults JSON]

It listens on 127.0.0.1 (port 0: a free one) and prints the port on stdout as its first line.
--upstream  hand every /v2/ request on to a real registry.
--dir       serve DIR itself: /v2/REPO/blobs/sha256:HEX is DIR/HEX, /v2/REPO/manifests/REF is
            DIR/manifests/REF (':' and all), /files/NAME is DIR/NAME; whatever the repository.

PUT /_faults (JSON) replaces all faults; GET shows them. None are on at first:
  match            regular expression on the path: where data faults apply
                   (default: blobs and files, not manifests, tokens or /v2/)
  skip, count      leave the first skip requests that match alone; then spoil count (default: all)
  flip             probability that a body has one bit wrong (seeded by "seed", default 1)
  short            probability that a body stops half way, the connection closed
  short_clean      probability that a range comes shorter than asked, with lengths that say so
  wrong_range      probability that Content-Range is off by one
  ignore_range     answer 200 with everything
  no_length        chunked instead of Content-Length
  status           this status instead (403, 404, 410, 429, 500, 503 ...); retry_after_s goes with it,
                   and with redirect_stale
  stall            no body ever comes; stall_head: nor a head; stall_after_bytes: part of the body comes
  bytes_per_s      body bytes of all connections together
  reset_every      every N-th request: the connection is reset (also those that do not match)
  reset_after_bytes  the connection is reset in the body
  delay_ms         before the head
  redirect         307 to /_data/SIGNATURE/... here. redirect_ttl_s, redirect_uses: how long, how
                   often a signature works, then redirect_stale (default 403). redirect_host: the
                   HOST:PORT in Location ("localhost:PORT" for a host of another name)
  auth             "basic" or "bearer" (also for HEAD and manifests); "username", "password";
                   "anonymous": tokens without credentials; "token_ttl_s", "token_uses",
                   "realm_host": where that is; "token_post_only", "token_status" (the service fails so), "token_delay_ms"; "identity_token";
                   "refuse_tokens": good tokens are refused all the same with this status;
                   "refuse_older": those with this status that were given before these faults were on;
                   "forbidden": "NAME:PASSWORD" of somebody who gets tokens, which open nothing (403)
  proxied          this status for what comes as to a proxy
  proxy_auth       "NAME:PASSWORD" that opens it as a proxy: 407 for others

GET /_stats: {"requests": n, "connections": open now, this one among them, "by_path": {"GET /path": n}, "body_bytes": n, "tokens": n,
  "blobs": {"HEX": {"bytes": n, "gets": n, "ranges": [[first, last], ...]}},
  "injected": {"fault": n}, "log": [{"method", "path", "range", "status", "bytes", "auth", "proxy_auth", "at_s"}, ...]}
  ("auth": the scheme of Authorization, or ""; "proxy_auth": that of Proxy-Authorization; ranges are those asked for; at_s: when it came, on the
  monotonic clock; "_" paths are not counted.)
GET /_stats?log_from=N: the log from its entry N on.
DELETE /_stats: the same, and start to count anew.
"""
import argparse
import base64
import http.client
import http.server
import json
import os
import random
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse

DATA = r"/blobs/|^/files/|^/_data/"


class Limiter:
    """One line for all: bytes wait for their turn."""

    def __init__(self):
        self.lock = threading.Lock()
        self.free_at = 0.0

    def wait(self, n_bytes, bytes_per_s):
        with self.lock:
            now = time.monotonic()
            self.free_at = max(self.free_at, now) + n_bytes / bytes_per_s
            until = self.free_at
        time.sleep(max(0.0, until - now))


class World:
    """What all connections share."""

    def __init__(self, upstream, directory, faults):
        self.upstream, self.directory = upstream, directory
        self.lock = threading.Lock()
        self.limiter = Limiter()
        self.tokens = {}      # token -> [ends at, uses left]
        self.signatures = {}  # signature -> [path, ends at, uses left]
        self.serial = 0
        self.n_connections = 0
        self.changed = threading.Event()
        self.set_faults(faults)
        self.reset_stats()

    def set_faults(self, faults):
        self.faults = faults
        self.older_tokens = set(self.tokens)
        self.random = random.Random(faults.get("seed", 1))
        self.matched = 0
        self.changed.set()  # those that stall look again
        self.changed = threading.Event()

    def reset_stats(self):
        self.stats = {"requests": 0, "by_path": {}, "body_bytes": 0, "tokens": 0, "blobs": {}, "injected": {},
                      "log": []}

    def injected(self, name):
        with self.lock:
            self.stats["injected"][name] = self.stats["injected"].get(name, 0) + 1

    def chance(self, name):
        with self.lock:
            return self.random.random() < float(self.faults.get(name, 0))

    def next_serial(self):
        with self.lock:
            self.serial += 1
            return self.serial

    def data_faults(self, path):
        """The faults for this request; {} when it is to be left alone."""
        with self.lock:
            f = self.faults
            if not re.search(f.get("match", DATA), path):
                return {}
            self.matched += 1
            skip = f.get("skip", 0)
            if self.matched <= skip or ("count" in f and self.matched > skip + f["count"]):
                return {}
            return f


class Answer:
    def __init__(self, status=200, body=b"", headers=None, total=None):
        self.status, self.body, self.headers = status, body, headers or {}
        self.total = total if total is not None else len(body)


def parse_range(text, size):
    m = re.fullmatch(r"bytes=(\d+)-(\d*)", text or "")
    if not m:
        return None
    first = int(m[1])
    last = min(int(m[2]) if m[2] else size - 1, size - 1)
    return (first, last)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    world = None

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    # ---- the door ----

    def do_GET(self):
        self.handle_one()

    def do_HEAD(self):
        self.handle_one()

    def do_POST(self):
        self.handle_one()

    def do_PUT(self):
        self.handle_one()

    def do_DELETE(self):
        self.handle_one()

    def handle_one(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.request_body = self.rfile.read(length) if length else b""
        path = urllib.parse.urlsplit(self.path).path
        try:
            if path == "/_faults" or path == "/_stats":
                self.send_plain(self.admin(path))
            else:
                self.serve(path)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def admin(self, path):
        w = self.world
        if path == "/_faults" and self.command == "PUT":
            with w.lock:
                w.set_faults(json.loads(self.request_body))
        log_from = re.search(r"[?&]log_from=(\d+)", self.path)
        with w.lock:
            shown = w.faults if path == "/_faults" else {**w.stats, "connections": w.n_connections}
            if log_from:
                shown["log"] = w.stats["log"][int(log_from[1]):]
            if path == "/_stats" and self.command == "DELETE":
                w.reset_stats()
            return Answer(body=json.dumps(shown).encode(), headers={"Content-Type": "application/json"})

    def note(self, path, status, n_bytes):
        w = self.world
        scheme = (self.headers.get("Authorization") or "").split(" ")[0]
        with w.lock:
            s = w.stats
            s["requests"] += 1
            key = f"{self.command} {path}"
            s["by_path"][key] = s["by_path"].get(key, 0) + 1
            entry = {"method": self.command, "path": path, "range": self.headers.get("Range"), "status": status,
                     "bytes": n_bytes, "auth": scheme, "at_s": time.monotonic(),
                     "proxy_auth": (self.headers.get("Proxy-Authorization") or "").split(" ")[0]}
            s["log"].append(entry)
        return entry

    def note_blob(self, path):
        m = re.search(r"(?:sha256:|/files/)([^/]+)$", path)
        if self.command != "GET" or not m or not re.search(DATA, path):
            return None
        with self.world.lock:
            blob = self.world.stats["blobs"].setdefault(m[1], {"bytes": 0, "gets": 0, "ranges": []})
            blob["gets"] += 1
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            if asked:
                blob["ranges"].append([int(asked[1]), int(asked[2])])
            return blob

    # ---- one request ----

    def serve(self, path):
        w = self.world
        self.faults = {}
        every = w.faults.get("reset_every")
        entry = self.note(path, 0, 0)
        if every and w.next_serial() % every == 0:
            w.injected("reset_every")
            self.reset()
            return
        if self.path.startswith("http://") and not self.may_pass():
            answer = Answer(407, b"", {"Proxy-Authenticate": 'Basic realm="faulty"'})
        elif path == "/_token":
            answer = self.token()
        elif path.startswith("/_data/"):
            answer = self.signed(path)
        elif w.faults.get("proxied") and self.path.startswith("http://"):
            answer = Answer(w.faults["proxied"], b"")
        elif not path.startswith("/files/") and (refusal := self.check_auth(path)):
            answer = refusal
        else:
            answer = self.object(path, path)
        if answer is None:
            entry["status"] = -1
            return
        entry["status"] = answer.status
        self.send(answer, path, entry)

    def object(self, path, what):
        """path: as asked for; what: behind a signature, the path it stands for."""
        f = self.faults = self.world.data_faults(path)
        if f.get("delay_ms"):
            time.sleep(f["delay_ms"] / 1000)
        if f.get("stall_head"):
            self.world.injected("stall_head")
            self.stall()
            return None
        if f.get("status"):
            self.world.injected("status")
            return Answer(f["status"], b'{"errors":[]}', self.retry_after(f))
        if f.get("redirect") and self.command == "GET" and not path.startswith("/_data/"):
            return self.redirect(path)
        return self.fetch(what, None if f.get("ignore_range") else self.headers.get("Range"))

    @staticmethod
    def retry_after(faults):
        return {"Retry-After": str(faults["retry_after_s"])} if "retry_after_s" in faults else {}

    # ---- where the bytes come from ----

    def fetch(self, path, wanted):
        if self.world.upstream:
            return self.fetch_upstream(wanted)
        return self.fetch_file(path, wanted)

    def fetch_file(self, path, wanted):
        base = self.world.directory
        m = re.fullmatch(r"/v2/(.+)/(blobs|manifests)/([^/]+)", path)
        if path == "/v2/":
            return Answer(body=b"{}")
        if m:
            name = os.path.join("manifests", m[3]) if m[2] == "manifests" else m[3].replace("sha256:", "")
        elif re.fullmatch(r"/files/[^/]+", path):
            name = urllib.parse.unquote(path[len("/files/"):])
        else:
            return Answer(404, b'{"errors":[]}')
        try:
            with open(os.path.join(base, name), "rb") as f:
                size = os.fstat(f.fileno()).st_size
                part = parse_range(wanted, size)
                if part is None:
                    return Answer(200, f.read())
                if part[0] >= size or part[0] > part[1]:
                    return Answer(416, b"", {"Content-Range": f"bytes */{size}"})
                f.seek(part[0])
                body = f.read(part[1] - part[0] + 1)
                return Answer(206, body, {"Content-Range": f"bytes {part[0]}-{part[1]}/{size}"}, size)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return Answer(404, b'{"errors":[]}')

    def fetch_upstream(self, wanted):
        path = self.path
        if path.startswith("/_data/"):
            path = "/" + path.split("/", 3)[3]
        headers = {"Accept": self.headers["Accept"]} if self.headers.get("Accept") else {}
        if wanted:
            headers["Range"] = wanted
        try:
            conn = http.client.HTTPConnection(self.world.upstream, timeout=60)
            conn.request(self.command, path, headers=headers)
            reply = conn.getresponse()
            body = reply.read()
            kept = {k: v for k, v in reply.getheaders()
                    if k.lower() in ("content-type", "content-range", "docker-content-digest", "etag", "location")}
            length = reply.getheader("Content-Length")
            conn.close()
            return Answer(reply.status, body, kept, int(length) if self.command == "HEAD" and length else None)
        except OSError as e:
            return Answer(502, str(e).encode())

    # ---- redirects ----

    def redirect(self, path):
        w, f = self.world, self.faults
        w.injected("redirect")
        signature = f"sig{w.next_serial()}"
        ends_at = time.monotonic() + f["redirect_ttl_s"] if "redirect_ttl_s" in f else None
        with w.lock:
            w.signatures[signature] = [path, ends_at, f.get("redirect_uses")]
        host = f.get("redirect_host") or self.headers["Host"]
        return Answer(307, b"", {"Location": f"http://{host}/_data/{signature}{path}?secret={signature}"})

    def signed(self, path):
        w = self.world
        _, _, signature, rest = path.split("/", 3)
        with w.lock:
            known = w.signatures.get(signature)
            good = known is not None and known[0] == "/" + rest and (known[1] is None or time.monotonic() < known[1]) \
                and known[2] != 0
            if good and known[2] is not None:
                known[2] -= 1
            stale = w.faults.get("redirect_stale", 403)
        if not good:
            w.injected("redirect_stale")
            return Answer(stale, b"stale", self.retry_after(w.faults))
        return self.object(path, "/" + rest)

    # ---- who may ask ----

    def has_basic(self):
        f = self.world.faults
        want = base64.b64encode(f"{f.get('username', 'user')}:{f.get('password', 'secret')}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {want}"

    def may_pass(self):
        user = self.world.faults.get("proxy_auth")
        return not user or self.headers.get("Proxy-Authorization") == f"Basic {base64.b64encode(user.encode()).decode()}"

    def is_forbidden_user(self):
        user = self.world.faults.get("forbidden")
        return user and self.headers.get("Authorization") == f"Basic {base64.b64encode(user.encode()).decode()}"

    def has_token(self):
        w = self.world
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        with w.lock:
            known = w.tokens.get(token)
            if scheme != "Bearer" or known is None or known[1] == 0:
                return False
            if known[0] is not None and time.monotonic() >= known[0]:
                return False
            if known[1] is not None:
                known[1] -= 1
        return True

    def check_auth(self, path):
        f = self.world.faults
        auth = f.get("auth")
        if auth == "basic" and not self.has_basic():
            return Answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="faulty"'})
        if auth == "bearer":
            if self.has_token():
                if self.headers["Authorization"].startswith("Bearer forbidden"):
                    return Answer(403, b"{}")
                if f.get("refuse_older") and self.headers["Authorization"].partition(" ")[2] in self.world.older_tokens:
                    return Answer(f["refuse_older"], b"{}")
                return Answer(f["refuse_tokens"], b"{}") if f.get("refuse_tokens") else None
            m = re.fullmatch(r"/v2/(.+)/(?:blobs|manifests)/[^/]+", path)
            realm = f"http://{f.get('realm_host', self.headers['Host'])}/_token"
            scope = f',scope="repository:{m[1]}:pull"' if m else ""
            return Answer(401, b"{}", {"WWW-Authenticate": f'Bearer realm="{realm}",service="faulty"{scope}'})
        return None

    def may_have_token(self):
        f = self.world.faults
        if self.command == "GET":
            return self.has_basic() or (f.get("anonymous") and not self.headers.get("Authorization"))
        form = dict(urllib.parse.parse_qsl(self.request_body.decode()))
        if form.get("grant_type") == "refresh_token":
            return form.get("refresh_token") == f.get("identity_token", "identity")
        return form.get("username") == f.get("username", "user") and form.get("password") == f.get("password", "secret")

    def token(self):
        w, f = self.world, self.world.faults
        time.sleep(f.get("token_delay_ms", 0) / 1000)
        if f.get("token_status"):
            return Answer(f["token_status"], b"{}")
        if f.get("token_post_only") and self.command == "GET":
            return Answer(405, b"{}")
        if not self.may_have_token() and not self.is_forbidden_user():
            return Answer(401, b"{}")
        token = f"{'forbidden' if self.is_forbidden_user() else 'token'}{w.next_serial()}"
        ttl_s = f.get("token_ttl_s")
        with w.lock:
            w.tokens[token] = [time.monotonic() + ttl_s if ttl_s else None, f.get("token_uses")]
            w.stats["tokens"] += 1
        name = "token" if self.command == "GET" else "access_token"
        return Answer(200, json.dumps({name: token, "expires_in": int(ttl_s or 300)}).encode(),
                      {"Content-Type": "application/json"})

    # ---- how the answer goes out ----

    def send_plain(self, answer):
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def spoil(self, answer):
        """Faults in head and body. @return (body to send, announced length, close behind it)"""
        w, f, body = self.world, self.faults, answer.body
        length, close = len(body), False
        if body and w.chance("flip"):
            w.injected("flip")
            with w.lock:
                at = w.random.randrange(len(body) * 8)
            body = bytearray(body)
            body[at // 8] ^= 1 << at % 8
        if len(body) > 1 and w.chance("short"):
            w.injected("short")
            body, close = body[:len(body) // 2], True
        m = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
        if m and len(body) > 1 and w.chance("short_clean"):
            w.injected("short_clean")
            body = body[:len(body) // 2]
            length = len(body)
            answer.headers["Content-Range"] = f"bytes {m[1]}-{int(m[1]) + length - 1}/{m[3]}"
        if m and w.chance("wrong_range"):
            w.injected("wrong_range")
            answer.headers["Content-Range"] = f"bytes {int(m[1]) + 1}-{int(m[2]) + 1}/{int(m[3]) + 1}"
        if f.get("ignore_range") and self.headers.get("Range"):
            w.injected("ignore_range")
        return body, length, close

    def send(self, answer, path, entry):
        f = self.faults = self.faults if answer.status in (200, 206) else {}
        body, length, close = self.spoil(answer) if f else (answer.body, len(answer.body), False)
        chunked = bool(f.get("no_length")) and self.command != "HEAD"
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(answer.total if self.command == "HEAD" else length))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.send_body(bytes(body), chunked, entry, self.note_blob(path) if answer.status in (200, 206) else None)
        if close:
            self.wfile.flush()
            self.close_connection = True

    def send_body(self, body, chunked, entry, blob):
        w, f = self.world, self.faults
        stop_at = 0 if f.get("stall") else f.get("stall_after_bytes")
        reset_at = f.get("reset_after_bytes")
        sent = 0
        while sent < len(body):
            if (rate := f.get("bytes_per_s")) and w.faults.get("bytes_per_s"):
                piece = body[sent:sent + max(1, min(16384, int(rate / 20)))]
                w.limiter.wait(len(piece), rate)
            else:
                piece = body[sent:sent + 262144]
            for limit, what in ((stop_at, "stall"), (reset_at, "reset_after_bytes")):
                if limit is not None and sent + len(piece) > limit:
                    piece = body[sent:limit]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked and piece else piece)
            if rate or stop_at is not None or reset_at is not None:
                self.wfile.flush()
            sent += len(piece)
            with w.lock:
                entry["bytes"] = sent
                w.stats["body_bytes"] += len(piece)
                if blob is not None:
                    blob["bytes"] += len(piece)
            if sent == stop_at and sent < len(body):
                w.injected("stall")
                self.stall()
                return
            if sent == reset_at and sent < len(body):
                w.injected("reset_after_bytes")
                self.reset()
                return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def stall(self):
        """Nothing more, until the client goes away or the faults change."""
        self.wfile.flush()
        changed = self.world.changed
        self.connection.setblocking(False)
        try:
            while not changed.wait(0.05):
                try:
                    if self.connection.recv(1, socket.MSG_PEEK) == b"":
                        break
                except BlockingIOError:
                    pass
        except OSError:
            pass
        self.reset()

    def reset(self):
        self.close_connection = True
        try:
            self.connection.setblocking(True)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def process_request_thread(self, request, client_address):
        world = self.RequestHandlerClass.world
        with world.lock:
            world.n_connections += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with world.lock:
                world.n_connections -= 1

    def shutdown_request(self, request):
        # SO_LINGER 0 makes close() a reset; shutdown() first would make it a plain end.
        try:
            onoff, _ = struct.unpack("ii", request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
            if onoff:
                request.close()
                return
        except OSError:
            pass
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--upstream")
    parser.add_argument("--dir")
    parser.add_argument("--faults", default="{}")
    args = parser.parse_args()
    if bool(args.upstream) == bool(args.dir):
        parser.error("one of --upstream and --dir")
    upstream = re.sub(r"^http://|/$", "", args.upstream) if args.upstream else None
    Handler.world = World(upstream, args.dir, json.loads(args.faults))
    server = Server(("127.0.0.1", args.port), Handler)
    try:
        print(server.server_address[1], flush=True)
    except BrokenPipeError:
        pass
    server.serve_forever()


if __name__ == "__main__":
    main()
