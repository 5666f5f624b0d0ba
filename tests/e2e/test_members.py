"""How agents find each other: names that are asked again, addresses that others tell, odd lists."""
import os

import cluster
import lab

NAME = "shoal.lab"
IMAGE = "layers:v6"


class MembersTest(lab.LabTest):
    def states(self, agent):
        return sorted(peer["state"] for peer in agent.json("peers")["peers"])

    def wait_for_states(self, agents, *states):
        for agent in agents:
            lab.wait_for(lambda a=agent: self.states(a) == sorted(states),
                         lambda a=agent: f"members to be {states}: {a.shoal('peers').stdout}")

    def start(self, **peers):
        return self.agent(config={"peers": {"insecure": True, **peers}})

    def listen(self):
        address = f"127.0.0.1:{lab.free_port()}"
        return {"listen": address, "advertise": address}


class Known(MembersTest):
    alone = True  # all of it comes from the neighbour: slow nodes are taken for dead ones

    def test_who_knows_one_is_known_to_all(self):
        first = self.listen()
        agents = [self.start(**first)]
        for _ in range(2):
            own = self.listen()
            port = first["listen"].rsplit(":", 1)[1]
            # Itself, and two names of one node.
            agents.append(self.start(**own, members=[own["listen"], first["listen"], f"localhost:{port}"]))
        self.wait_for_states(agents, "self", "up", "up")
        image = lab.registry().push(IMAGE)
        agents[1].shoal("prefetch", agents[1].mount(image))
        self.assert_tree(agents[2].mount(image), IMAGE, "from a neighbour that nobody named")
        self.assertEqual(agents[2].origin_bytes(), 0)


class Members(MembersTest):
    def test_a_name_is_asked_again_until_it_has_all(self):
        names = os.path.join(lab.TMP, "host-names")

        def write(*addresses):
            with open(names + ".new", "w", encoding="ascii") as f:
                f.writelines(f"{NAME} {address}\n" for address in addresses)
            os.rename(names + ".new", names)

        def start(address):
            env = {"LD_PRELOAD": os.path.join(lab.BUILD, "tests", "fakes", "libhost_names.so"), "SHOAL_HOST_NAMES": names}
            return self.agent(env=env, config={"peers": {"listen": f"{address}:{port}", "dns": f"{NAME}:{port}",
                                                         "insecure": True}})

        port = lab.free_port()
        write()
        agents = [start("127.0.0.1"), start("127.0.0.2")]
        self.wait_for_states(agents, "self")
        write("127.0.0.1", "127.0.0.2")
        self.wait_for_states(agents, "self", "up")
        write("127.0.0.2", "127.0.0.3", "127.0.0.1")
        agents.append(start("127.0.0.3"))  # those that are there are told by who comes
        self.wait_for_states(agents, "self", "up", "up")
        agents.pop().stop()
        self.wait_for_states(agents, "self", "up", "down")

    def test_who_is_put_into_the_list_or_taken_out_of_it_counts_at_once(self):
        owns = [self.listen() for _ in range(3)]
        agents = [self.start(**own) for own in owns]  # nobody knows anybody
        addresses = [own["listen"] for own in owns]

        def reload(i, members):
            agents[i].reload(peers={"insecure": True, **owns[i], "members": members})
            self.assertIn('counts from now on" setting=peers.members', agents[i].log())

        reload(0, addresses)
        self.wait_for_states(agents, "self", "up", "up")
        agents.pop().stop()
        self.wait_for_states(agents, "self", "up", "down")
        reload(0, addresses[:2])
        self.wait_for_states(agents[:1], "self", "up")
        self.assertEqual(agents[0].metric("shoal_peers", state="down"), 0)
        self.wait_for_states(agents[1:], "self", "up", "down")  # its list never had it
        self.assertEqual(agents[0].shoal("top").returncode, 0)

    def test_a_name_that_is_configured_later_is_asked_at_once(self):
        first, second = self.listen(), self.listen()
        agents = [self.start(**first), self.start(**second)]
        port = first["listen"].rsplit(":", 1)[1]
        agents[1].reload(peers={"insecure": True, **second, "dns": f"localhost:{port}"})
        self.assertIn('counts from now on" setting=peers.dns', agents[1].log())
        self.wait_for_states(agents, "self", "up")
        agents[1].reload(peers={"insecure": True, **second})
        agents[0].stop()
        self.wait_for_states(agents[1:], "self")

    def test_who_restarts_is_found_again(self):
        agents = [self.agent(config={"peers": peers}) for peers in cluster.loopback_peers(2)]
        cluster.wait_for_members(agents)
        agents[1].kill()
        self.wait_for_states(agents[:1], "self", "down")
        agents[1].start()
        cluster.wait_for_members(agents)
        self.wait_for_states(agents, "self", "up")
