"""A nydusd of ours with its API, its configuration and its supervisor, as nydus-snapshotter has them."""
import contextlib
import http.client
import json
import os
import socket
import tempfile
import threading

import lab
import rafs_facts

NYDUSD = os.path.join(lab.BUILD, "agent", "nydusd")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("nydusd", timeout=lab.DEADLINE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(lab.DEADLINE_S)
        self.sock.connect(self.path)


def ask(sock, method, path, body=None):
    """(status, body, headers) of one request on a connection of its own. body: text, or what becomes JSON."""
    with contextlib.closing(UnixConnection(sock)) as connection:
        connection.request(method, path, json.dumps(body) if isinstance(body, (dict, list)) else body)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())


def bootstrap_file(directory, image):
    """An image's bootstrap as a file of the snapshotter's."""
    path = os.path.join(directory, image.replace(":", "-") + ".boot")
    if not os.path.exists(path):
        with open(path, "wb") as f:
            f.write(rafs_facts.bootstrap(image))
    return path


def registry_config(repo, cache_dir, host=None, snapshot=None, **backend):
    """The document that nydus-snapshotter 0.16.1 writes, with its template's other keys."""
    return {
        "device": {
            **({"id": "/" + snapshot} if snapshot else {}),
            "backend": {"type": "registry", "config": {
                "readahead": False, "host": host or lab.registry().host, "repo": repo, "scheme": "http",
                "proxy": {"fallback": False}, "timeout": 5, "connect_timeout": 5, "retry_limit": 2, **backend}},
            "cache": {"type": "blobcache", "config": {"work_dir": cache_dir, "disable_indexed_map": False}},
        },
        "mode": "direct", "digest_validate": False, "enable_xattr": True, "amplify_io": 1048576,
        "fs_prefetch": {"enable": False, "prefetch_all": False, "threads_count": 8},
    }


class Front:
    """One nydusd process. With a bootstrap: of one image; without: images come through the API."""

    def __init__(self, agent, image=None, config=None, supervisor=None, options=(), env=None, directory=None,
                 sock="api.sock", wait=True, start=True):
        self.dir = directory or tempfile.mkdtemp(prefix="nydusd-", dir=lab.TMP)
        self.mountpoint = os.path.join(self.dir, "mnt")
        self.cache = os.path.join(self.dir, "cache")
        for path in (self.mountpoint, self.cache):
            os.makedirs(path, exist_ok=True)
        self.sock = os.path.join(self.dir, sock)
        self.log_path = os.path.join(self.dir, "nydusd.log")
        self.argv = [NYDUSD, "fuse", "--thread-num", "4"]
        if supervisor:
            self.argv += ["--id", "daemon-1"]
        if image:
            config = config or registry_config(image.split(":")[0], self.cache)
            self.argv += ["--config", self.write_config(config), "--bootstrap", bootstrap_file(self.dir, image)]
        self.argv += ["--mountpoint", self.mountpoint, "--apisock", self.sock, "--log-level", "info",
                      "--log-rotation-size", "100"]
        if supervisor:
            self.argv += ["--supervisor", supervisor]
        self.argv += ["--log-file", self.log_path, "--failover-policy", "resend", *options]
        self.env = {**os.environ, **({"SHOAL_SOCKET": agent.socket} if agent else {}), **(env or {})}
        self.process = None
        if start:
            self.start(wait)

    def write_config(self, config, name="config.json"):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        return path

    def start(self, wait=True, options=()):
        self.process = lab.start_process(self.argv + list(options), env=self.env)
        if wait:
            self.wait_for_state("RUNNING")
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def request(self, method, path, body=None):
        """(status, parsed body or None, headers)"""
        status, data, headers = ask(self.sock, method, path, body)
        return status, json.loads(data) if data else None, headers

    def state(self):
        try:
            return self.request("GET", "/api/v1/daemon")[1]["state"]
        except (OSError, http.client.HTTPException):
            if self.process.poll() is not None:
                raise AssertionError(f"nydusd ended with {self.process.returncode}:\n{self.log()}") from None
            return None

    def wait_for_state(self, state):
        lab.wait_for(lambda: self.state() == state, f"nydusd to be {state}")

    def _wish(self, name, image, config=None, source=None):
        """(path, body) of the request for a mount."""
        config = config or registry_config(image.split(":")[0], self.cache, snapshot=name)
        return f"/api/v1/mount?mountpoint=/{name}", {
            "fs_type": "rafs", "source": source or bootstrap_file(self.dir, image), "config": json.dumps(config)}

    def mount(self, name, image, config=None, method="POST", source=None):
        """As the snapshotter does it: (status, body). PUT: in place of what is there. source: not the image's
        bootstrap."""
        return self.request(method, *self._wish(name, image, config, source))[:2]

    def wish_for(self, name, image, config):
        """mount(), and nobody reads the answer. @return the connection"""
        connection = UnixConnection(self.sock)
        path, wish = self._wish(name, image, config)
        connection.request("POST", path, json.dumps(wish))
        return connection

    def umount(self, name):
        return self.request("DELETE", f"/api/v1/mount?mountpoint=/{name}")[:2]

    def stop(self):
        """SIGTERM; it must end with status 0."""
        status = lab.stop_process(self.process)
        if status != 0:
            raise AssertionError(f"nydusd ended with {status}:\n{self.log()}")

    def kill(self):
        lab.stop_process(self.process, 9)

    def take_down(self):
        if self.process and self.process.poll() is None:
            self.kill()
        lab.unmount_below(self.dir)


class Supervisor:
    """What the snapshotter keeps of a nydusd: a state and a descriptor."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "supervisor.sock")
        self.state, self.fds = b"", []

    def _listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(lab.DEADLINE_S)
        listener.bind(self.path)
        listener.listen(1)
        return listener

    def fetch(self, front):
        """Ask for the state, and keep it."""
        with self._listen() as listener:
            failed = []

            def ask():
                status, body, _ = front.request("PUT", "/api/v1/daemon/fuse/sendfd")
                if status != 204:
                    failed.append((status, body))
            thread = threading.Thread(target=ask)
            thread.start()
            connection, _ = listener.accept()
            with connection:
                data, fds = b"", []
                while True:
                    piece, new_fds, _, _ = socket.recv_fds(connection, 1 << 18, 64)
                    fds += new_fds
                    if not piece:
                        break
                    data += piece
            thread.join()
        if failed:
            raise AssertionError(f"sendfd: {failed}")
        self.close()
        self.state, self.fds = data, fds

    def serve(self, front):
        """Give the state to a nydusd that takes over."""
        with self._listen() as listener:
            answers = []
            thread = threading.Thread(target=lambda: answers.append(
                front.request("PUT", "/api/v1/daemon/fuse/takeover")[:2]))
            thread.start()
            connection, _ = listener.accept()
            with connection:
                socket.send_fds(connection, [self.state[:1]], self.fds)
                connection.sendall(self.state[1:])
            thread.join()
        return answers[0]

    def close(self):
        while self.fds:
            os.close(self.fds.pop())
