"""What the nodes of a cluster hold of an image, chunk by chunk, and what the death of one of them may cost.

For images without batches and slices: there a unit is a chunk.
"""
import chunk_facts
import lab

UNIQUE = "shoal_origin_unique_bytes_total"


def held(agent, image):
    """{(blob id, chunk index)} that a node has, as soon as its database has what it says that it has."""
    blob_ids = {unit.blob_id for unit in chunk_facts.units(image)}

    def written():
        said = {blob["key"]: blob["n_ready"] for blob in agent.json("blob", "ls")["blobs"]}
        found = {entry.key: entry for entry in chunk_facts.check_state.entries(agent.state_dir)}
        here = {key: {*entry.ready, *entry.refers} for key, entry in found.items()}
        if {key: len(indices) for key, indices in here.items()} != said:
            return None
        return {(found[key].blob_id, index) for key, indices in here.items() for index in indices}

    return {chunk for chunk in lab.wait_for(written, "the ready maps to be written") if chunk[0] in blob_ids}


def packed_bytes(image, chunks):
    """Of these, as the origin packs them."""
    return sum(u.end - u.first for u in chunk_facts.units(image) if any((u.blob_id, i) in chunks for i in u.members))


class Death:
    """One node of a cluster that fetches an image is killed: what was lost with it.

    Meanwhile nothing comes from the registry, so that all of this is of one moment.
    """

    def __init__(self, cluster, image, victim):
        self.cluster = cluster
        self.rest = [agent for agent in cluster.agents if agent is not victim]
        with cluster.registry_node.cut_off():
            its, unique_bytes = lab.wait_for(lambda: self.of_one_moment(victim, image), "what came to be written")
            self.its_bytes = victim.origin_bytes()
            # What had come of its leases, and was nothing whole yet.
            self.in_flight_bytes = self.its_bytes - unique_bytes
            victim.kill()
            others = set().union(*(held(agent, image) for agent in self.rest))
        # What nobody else had of what it had.
        self.only_its_bytes = packed_bytes(image, its - others)

    @staticmethod
    def of_one_moment(victim, image):
        """What it holds, and the bytes of that that came from the registry; None: a chunk that had come was just being written."""
        before, its, after = victim.metric(UNIQUE), held(victim, image), victim.metric(UNIQUE)
        return (its, after) if before == after else None

    def fetched(self):
        """What all have had from the registry so far, the dead one included."""
        return self.its_bytes + self.cluster.origin_bytes(self.rest)
