"""Callers who send more before they have their answer: it waits, and harms nobody."""
import json
import os
import socket
import unittest

import front
import lab

IMAGE = "edge:v6"
UNITS = "layers:zran"  # nydusd asks the registry before it is mounted
METRICS = b"GET /metrics HTTP/1.1\r\nHost: shoal\r\n\r\n"
STATUS = b"GET /v1/status HTTP/1.1\r\nHost: shoal\r\n\r\n"
OK = b"HTTP/1.1 200 OK"
FLOOD_BYTES = 64 << 20
KEPT_BYTES = 16 << 20  # 64 KiB, and what two sockets' buffers hold


class Impatient(lab.LabTest):
    def connect(self, family, address):
        s = socket.socket(family)
        self.addCleanup(s.close)
        s.settimeout(lab.DEADLINE_S)
        s.connect(address)
        return s

    def answers(self, s, n):
        said = b""
        while said.count(OK) < n:
            said += s.recv(1 << 16) or self.fail(f"the connection ended after {said[-200:]}")

    def test_scrapes_come_in_a_row(self):
        agent = self.agent()
        for _ in range(100):
            s = self.connect(socket.AF_INET, ("127.0.0.1", agent.http_port))
            s.sendall(METRICS)
            s.sendall(METRICS)
            self.answers(s, 2)
            s.close()

    def test_of_the_agent_while_a_mount_waits(self):
        lab.registry().push(IMAGE)
        silent = self.faulty_origin(stall_head=True)
        agent = self.agent(host=silent.host)
        where = agent.new_dir()
        s = self.connect(socket.AF_UNIX, agent.socket)
        wish = json.dumps({"dir": where, "image": f"{silent.host}/{IMAGE}"}).encode()
        s.sendall(b"POST /v1/mounts HTTP/1.1\r\nHost: shoal\r\nContent-Length: %d\r\n\r\n%s" % (len(wish), wish))
        lab.wait_for(lambda: agent.json("ls")["mounts"], "the mount to begin")
        s.sendall(STATUS[:1])
        self.assertEqual(agent.json("ls")["mounts"][0]["dir"], where)
        silent.set()
        s.sendall(STATUS[1:])
        self.answers(s, 2)
        self.assert_tree(where, IMAGE)

    def test_of_nydusd_while_a_mount_waits(self):
        lab.registry().push(UNITS)
        silent = self.faulty_origin(stall_head=True)
        f = front.Front(self.agent(config={"registries": []}))
        self.addCleanup(f.take_down)
        connection = f.wish_for("1", UNITS, front.registry_config("layers", f.cache, host=silent.host))
        lab.wait_for(lambda: silent.stats()["requests"] > 0, "the mount to begin")
        connection.sock.sendall(b"G")
        self.assertEqual(f.state(), "RUNNING")
        silent.set()
        self.assertEqual(connection.getresponse().status, 204)
        self.assert_tree(os.path.join(f.mountpoint, "1"), UNITS)

    def test_what_a_viewer_sends_is_not_kept(self):
        agent = self.agent()
        s = self.connect(socket.AF_INET, ("127.0.0.1", agent.http_port))
        s.sendall(b"GET /events HTTP/1.1\r\nHost: shoal\r\n\r\n")
        self.answers(s, 1)
        s.settimeout(1)  # nobody reads it
        n_sent = 0
        with self.assertRaises(TimeoutError):
            while n_sent < FLOOD_BYTES:
                n_sent += s.send(bytes(1 << 20))
        self.assertLess(n_sent, KEPT_BYTES)
        self.assertEqual(agent.json("ls")["mounts"], [])


if __name__ == "__main__":
    unittest.main()
