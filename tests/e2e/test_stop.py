"""The end of an agent in the middle of everything: whatever its workers, its loop, its evictor and its neighbours are at,
it ends with status 0. In the sanitizers' build (SHOAL_BUILD=build/fuzz) that means too that nothing was touched after its
owner was freed, and that nothing leaked.
"""
import http.client
import json
import os
import random
import signal
import socket
import threading

import front
import lab
from cluster import LoopbackTest, at_once, wait_for_members

IMAGES = ("edge:v6", "layers:v6", "layers:v6-batch", "layers:zran")
QUOTA_BYTES = 12 << 20  # less than the images have: evictors are at work
ROUNDS = 60 if lab.LONG else 4


def read_what_can_be_read(where):
    """An agent that ends leaves its readers with an error, or with nothing there."""
    try:
        lab.read_all(where)
    except OSError:
        pass


def read_what_is_told(nydusd, path):
    """One that ends may hang up."""
    try:
        nydusd.request("GET", path)
    except (OSError, http.client.HTTPException):
        pass


class StopUnderLoad(LoopbackTest):
    def begin(self, agent, references, where):
        """Much at once; what is to be joined in the end."""
        acts = [agent.start_shoal(*words) for words in (
            ("prefetch", where[0]), ("prefetch", where[1]), ("verify",), ("gc", "--to", "0"),
            ("mount", references[2], agent.new_dir()), ("mount", references[3], agent.new_dir()), ("image", "ls"))]
        readers = [threading.Thread(target=read_what_can_be_read, args=(w,)) for w in where]
        for reader in readers:
            reader.start()
        return acts, readers

    def test_an_agent_at_work_ends_with_status_0(self):
        seed = int(os.environ.get("SHOAL_SEED", random.randrange(1 << 32)))
        chance = random.Random(seed)
        print(f"      seed {seed}", flush=True)
        agents = self.cluster(2, cache={"reserve_bytes": 0, "quota_bytes": QUOTA_BYTES})
        references = [lab.registry().push(image) for image in IMAGES]
        for _ in range(ROUNDS):
            wheres = [[agent.mount(reference) for reference in references[:2]] for agent in agents]
            for agent in agents:
                agent.shoal("gc", "--to", "0")
            begun = [self.begin(agent, references, where) for agent, where in zip(agents, wheres)]
            bound = chance.choice((1, 1 << 16, 1 << 20, 4 << 20))
            lab.wait_for(lambda b=bound: sum(a.origin_bytes() + a.metric("shoal_peer_received_bytes_total") for a in agents) >= b
                         or not any(act.poll() is None for acts, _ in begun for act in acts), "work to be under way")
            at_once(lambda agent: agent.stop(), chance.sample(agents, len(agents)))
            for acts, readers in begun:
                for act in acts:
                    act.communicate(timeout=lab.DEADLINE_S)
                for reader in readers:
                    reader.join(lab.DEADLINE_S)
                    self.assertFalse(reader.is_alive())
            for agent in agents:
                agent.start()
            for agent in agents:
                for mount in agent.json("ls")["mounts"]:
                    agent.shoal("umount", mount["dir"])
            wait_for_members(agents)


class StopTwice(lab.LabTest):
    def test_a_second_signal_at_the_end_changes_nothing(self):
        """The disk is slow, so what the agent has open takes long to close; whoever stops it asks again."""
        for second in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            agent = self.agent()
            with lab.frozen_thread(agent.process.pid, "cas-writer-0"):
                agent.process.send_signal(signal.SIGTERM)
                lab.wait_for(lambda a=agent: 'msg="stopped"' in a.log(), "the loop to end")
                self.assertIsNone(agent.process.poll())
                agent.process.send_signal(second)
            self.assertEqual(0, agent.process.wait(lab.DEADLINE_S), agent.log()[-6000:])


class StopBesideSlowOnes(LoopbackTest):
    def slow_helper(self):
        """An agent, its registry, and two files of the helper that it asks for credentials: it adds a line to the first one, or
        is read from if that is a fifo, and answers when the second one, a fifo, was opened to be written."""
        directory = lab.tempfile.mkdtemp(prefix="helper-", dir=lab.TMP)
        asked, may_answer = (os.path.join(directory, name) for name in ("asked", "may-answer"))
        os.mkfifo(may_answer)
        helper = os.path.join(directory, "docker-credential-slow")
        with open(helper, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\necho >> {asked}\nread _ < {may_answer}\necho \'{{"Username":"u","Secret":"p"}}\'\n')
        os.chmod(helper, 0o755)
        private = lab.Registry(htpasswd=lab.htpasswd_file("stop-htpasswd", "u", "p"))
        self.addCleanup(private.stop)
        with open(os.path.join(directory, "config.json"), "w", encoding="ascii") as f:
            json.dump({"credHelpers": {private.host: "slow"}}, f)
        agent = self.agent(host=private.host, env={"DOCKER_CONFIG": directory, "PATH": f"{directory}:{os.environ['PATH']}"})
        return agent, private, asked, may_answer

    def test_helpers_that_were_not_asked_yet_are_not_asked_at_the_end(self):
        """Two are at a time, and one that hangs has ten seconds: six mounts took half a minute to end."""
        agent, private, asked, may_answer = self.slow_helper()
        mounts = [agent.start_shoal("mount", f"{private.host}/edge-{i}:v6", agent.new_dir()) for i in range(6)]
        lab.wait_for(lambda: lab.metric_sum(agent.metrics(), "shoal_origin_requests_total", code="401") == len(mounts) and
                     os.path.exists(asked) and os.path.getsize(asked) == 2, "all mounts to need credentials")
        agent.process.send_signal(signal.SIGTERM)
        for mount in mounts:
            mount.communicate(timeout=lab.DEADLINE_S)
        lab.wait_for(lambda: 'msg="stopping"' in agent.log(), "the agent to stop")
        with open(may_answer, "wb") as f:
            f.write(b"\n\n")
        self.assertEqual(0, agent.process.wait(lab.DEADLINE_S), agent.log()[-6000:])
        self.assertEqual(2, os.path.getsize(asked))

    def test_what_a_credential_helper_still_says_is_heard_out(self):
        """A mount that is cancelled lets go of the question; the answer comes all the same."""
        agent, private, asked, may_answer = self.slow_helper()
        os.mkfifo(asked)
        mount = agent.start_shoal("mount", f"{private.host}/edge:v6", agent.new_dir())
        with open(asked, "rb") as f:
            f.read()
        agent.process.send_signal(signal.SIGTERM)
        mount.communicate(timeout=lab.DEADLINE_S)  # it is told that the agent stops
        with open(may_answer, "wb") as f:
            f.write(b"\n")
        self.assertEqual(0, agent.process.wait(lab.DEADLINE_S), agent.log()[-6000:])

    def test_a_nydusd_at_work_ends_with_status_0(self):
        origin = self.faulty_origin()
        lab.registry().push("layers:v6-batch")
        agent = self.agent(config={"registries": []})
        for sig in (signal.SIGTERM, signal.SIGQUIT, None) * (20 if lab.LONG else 2):
            origin.set(stall_head=True, match=".")
            f = front.Front(agent)
            self.addCleanup(f.take_down)
            config = front.registry_config("layers", f.cache, host=origin.host)
            waiting = [f.wish_for(name, "layers:v6-batch", config) for name in ("1", "2", "3")]
            lab.wait_for(lambda n=len(waiting): sum(m["state"] == "loading" for m in agent.json("ls")["mounts"]) == n,
                         "the mounts to wait for their registry")
            looks = [threading.Thread(target=read_what_is_told, args=(f, path)) for path in (
                "/api/v1/metrics/inflight", "/api/v1/daemon", "/api/v1/metrics/blobcache?id=/1") * 4]
            for look in looks:
                look.start()
            if sig is None:
                f.request("PUT", "/api/v1/daemon/exit")
            else:
                f.process.send_signal(sig)
            self.assertEqual(0, f.process.wait(lab.DEADLINE_S), f.log()[-6000:])
            for look in looks:
                look.join(lab.DEADLINE_S)
                self.assertFalse(look.is_alive())
            for connection in waiting:
                connection.close()
            origin.set()
            lab.wait_for(lambda: not agent.json("ls")["mounts"], "the agent to take back what was not mounted")
        agent.stop()

    def test_a_nydusd_that_leaves_answers_first(self):
        """What waits for the agent as well: of that, a worker's answer is on its way."""
        lab.registry().push("edge:v6")
        agent = self.agent(config={"registries": []})
        f = front.Front(agent)
        self.addCleanup(f.take_down)
        self.assertEqual((204, None), f.mount("1", "edge:v6"))
        told = []
        with lab.stopped(agent.process):
            before = lab.open_files(f.process.pid)
            reader = threading.Thread(target=lambda: told.append(f.request("GET", "/api/v1/metrics/blobcache?id=/1")[0]))
            reader.start()
            lab.wait_for(lambda: len(lab.open_files(f.process.pid)) >= len(before) + 2, "nydusd to ask the agent")
            self.assertEqual(204, f.request("PUT", "/api/v1/daemon/exit")[0])
            lab.wait_for(lambda: "leaving" in f.log(), "nydusd to leave")
        self.assertEqual(0, f.process.wait(lab.DEADLINE_S), f.log()[-6000:])
        reader.join(lab.DEADLINE_S)
        self.assertEqual([200], told)
        agent.umount(os.path.join(f.mountpoint, "1"))

    def test_a_nydusd_that_has_taken_nothing_over_yet_answers_first(self):
        """What the supervisor says then is no use any more."""
        agent = self.agent(config={"registries": []})
        with socket.socket(socket.AF_UNIX) as listener:
            path = os.path.join(agent.new_dir(), "supervisor.sock")
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(lab.DEADLINE_S)
            f = front.Front(agent, supervisor=path, options=["--upgrade"], wait=False)
            self.addCleanup(f.take_down)
            f.wait_for_state("INIT")
            told = []
            caller = threading.Thread(target=lambda: told.append(f.request("PUT", "/api/v1/daemon/fuse/takeover")[0]))
            caller.start()
            connection, _ = listener.accept()
            with connection:
                f.process.send_signal(signal.SIGTERM)
                lab.wait_for(lambda: "stopping" in f.log(), "nydusd to stop")
                self.assertIsNone(f.process.poll())
                connection.sendall(json.dumps({"shoal_nydusd": 1, "root": f.mountpoint, "mounts": []}).encode())
        self.assertEqual(0, f.process.wait(lab.DEADLINE_S), f.log()[-6000:])
        caller.join(lab.DEADLINE_S)
        self.assertEqual([500], told)
