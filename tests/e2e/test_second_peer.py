"""docs/protocol.md is enough to speak with an agent: what it computes, by a second implementation (second_words.py)."""
import hashlib
import os
import re
import struct

import lab
import second_words as words

ONE = (0, b"\x11" * 32, 100)


def protocol_text():
    with open(os.path.join(lab.REPO, "docs", "protocol.md"), encoding="utf-8") as f:
        return f.read().partition("## Test vectors")[2]


class Vectors(lab.LabTest):
    """Those of docs/protocol.md, as they stand there."""

    def setUp(self):
        self.blocks = re.findall(r"^```\n(.*?)^```", protocol_text(), re.M | re.S)
        self.said = {line[:13].strip(): re.sub(r" *\(.*?\)", "", line[13:]) for line in self.blocks[0].splitlines()}

    def test_names_and_proofs(self):
        name = words.public_name(ONE)
        key, its_list = words.get_key([ONE]), words.list_id([name])
        proof = words.get_proof(key, b"\x22" * 32, "c", [0], of_list=its_list)
        get = words.frame([12, 1, 0, 0, proof, b"", name, its_list, 1, b"\1"]).hex()
        parts = self.said.pop("GET, req 1").replace(" ", "").split("…")
        self.assertRegex(get, ".*".join(parts))
        self.assertEqual(self.said.pop("score").split(), [f"{words.score(name, bytes([b]) * 16):016x}" for b in (1, 2, 3)])
        self.assertEqual(words.home(name, [bytes([b]) * 16 for b in (1, 2, 3)]), b"\2" * 16)
        hashes = [words.members_hash({b"\1" * 16: 7}), words.members_hash({b"\1" * 16: 7, b"\2" * 16: (1 << 64) - 1})]
        self.assertEqual(self.said.pop("members hash").split(", "), [f"{value:016x}" for value in hashes])
        self.assertEqual(self.said, {
            "public name": name.hex(), "list id": its_list.hex(), "key": key.hex(), "proof": proof.hex(),
            "mac": words.grant_mac(key, b"\x22" * 32, "c", proof).hex(),
            "insecure": words.insecure_nonce(b"\1" * 32, b"\2" * 32).hex()})

    def test_segments(self):
        def plain_bytes(i):
            return {720: 9437184, 721: 1}.get(i, 1048576 if i >= 700 else 30000 if i >= 300 else 1000)
        chunks = [(i, (0, hashlib.sha256(struct.pack("<I", i)).digest(), plain_bytes(i))) for i in range(722) if i != 10]
        self.assertEqual([f"{s.first} {len(s.keys)} {s.name.hex()} {s.list.hex()}" for s in words.segments(chunks)],
                         [" ".join(line.split()) for line in self.blocks[1].splitlines()[1:]])
