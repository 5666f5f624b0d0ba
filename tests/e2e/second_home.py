"""The home of docs/protocol.md, of second_peer.py: who has which chunk, who brings it, who waits."""
import itertools

import second_words as words

NO_LEASE, CROSSING = 8, 16  # flags of ASK
HOLDERS, WAITS, LEASE, NOBODY = 1, 2, 3, 4  # kinds of items in an ANSWER
MISSED, SLOW = 1, 2  # why a node is avoided; 0: it failed
TERM_MS = 2000


class Ask:
    def __init__(self, conn, fields):
        (self.req, self.flags, self.segment, self.list, self.n, wanted, self.have, units, runs, _, _, avoid, whys, missed, _) = fields
        self.conn = conn
        self.crossing = bool(self.flags & CROSSING)
        self.left, units, runs = (set(words.positions_of(bits)) for bits in (wanted, units, runs))
        assert self.left and runs <= units, fields
        self.unit, self.run = begins(units, self.n), begins(runs, self.n)
        assert len(avoid) == 16 * len(whys) and max(whys, default=0) <= SLOW, fields
        self.avoid = {avoid[16 * i:16 * i + 16]: why for i, why in enumerate(whys)}
        self.missed = set(words.positions_of(missed))
        self.told = {}  # position: what it was told last

    def avoids(self, its, pos):
        return its in self.avoid and (self.avoid[its] != MISSED or pos in self.missed)

    def run_of(self, pos, free):
        """Of the run that pos is in, the whole units that hold something wanted, as far as they are free."""
        wanted = {self.unit[i] for i in self.left if self.run[i] == self.run[pos]} - {None}
        return {i for i in free if self.unit[i] in wanted}


def begins(marks, n):
    """Of each position, where what holds it begins."""
    found, last = [], None
    for i in range(n):
        last = i if i in marks else last
        found.append(last)
    return found


class Home:
    """What its node is told and asked, as a home. Its node's lock is held."""

    def __init__(self, node):
        self.node = node
        self.names = {}    # list: names
        self.holders = {}  # name: {ids}
        self.leases = {}   # token: [conn, list, crossing, positions that are to come]
        self.asks = []
        self.tokens = itertools.count(1)
        self.given, self.ended, self.progress = {}, {}, {}  # by token, all that ever were

    def take(self, conn, name, fields):
        if name == "ASK":
            self._ask(Ask(conn, fields))
        elif name == "NAMES":
            names = [fields[2][i:i + 16] for i in range(0, len(fields[2]), 16)]
            assert words.list_id(names) == fields[1] and fields[0] in names
            self.names[fields[1]] = names
        elif name in ("HAVE", "GONE"):
            for part in fields[0]:
                assert words.positions_of(part[3]), (name, part)
                if part[1] not in self.names:
                    conn.send("WANT_NAMES", part[0], part[1])
                elif name == "HAVE":
                    self.have(conn.id, part)
                else:
                    self._gone(conn.id, part)
        elif name == "LEASE_PROGRESS":
            self.progress.setdefault(fields[0], []).append(fields[1])
        elif name == "LEASE_END":
            self._lease_end(conn, *fields[:3], fields[3:])
        elif name == "CANCEL":
            for ask in [a for a in self.asks if a.conn is conn and a.req == fields[0]]:
                self.asks.remove(ask)
                conn.send("END", ask.req, 5, 0)

    def closed(self, conn):
        self.asks = [ask for ask in self.asks if ask.conn is not conn]
        for token in [token for token, lease in self.leases.items() if lease[0] is conn]:
            self._settle(self.leases.pop(token)[1])

    def knows(self, segment):
        """Its node has the names of it."""
        self.names[segment.list] = segment.names

    def have(self, its, part):
        if part[1] not in self.names:
            self.knows(self.node.segments[part[1]])
        names = self.names[part[1]]
        assert len(names) == part[2]
        for i in words.positions_of(part[3]):
            self.holders.setdefault(names[i], set()).add(its)
            for ask in self.asks:
                if ask.conn.id == its and ask.list == part[1]:
                    ask.left.discard(i)
            for token, (conn, its_list, _, left) in list(self.leases.items()):
                if conn.id == its and its_list == part[1]:
                    left.discard(i)
                    if not left:
                        del self.leases[token]
        self._settle(part[1])

    def _gone(self, its, part):
        for i in words.positions_of(part[3]):
            self.holders.get(self.names[part[1]][i], set()).discard(its)

    def _lease_end(self, conn, token, progress, failed, part):
        assert progress >= max(self.progress.get(token, [0]))
        self.ended.setdefault(token, []).append((failed, words.positions_of(part[3])))
        assert token in self.given and self.given[token][0] == conn.id, "a LEASE_END of no lease of it"
        if part[3]:
            self.have(conn.id, part)
        self.leases.pop(token, None)
        self._settle(part[1])

    # ---- asks ----

    def _ask(self, ask):
        if ask.list not in self.names:
            ask.conn.send("END", ask.req, 2, 0)
            return
        if ask.n != len(self.names[ask.list]):
            ask.conn.send("END", ask.req, 7, 0)
            return
        self.asks.append(ask)
        self.have(ask.conn.id, [ask.segment, ask.list, ask.n, ask.have])

    def _holders(self, ask, name):
        """Who of its zone has it (of all, for the cluster's home), but the asker."""
        zones = {self.node.id: self.node.zone, **{conn.id: conn.zone for conn in self.node.open}}
        return [its for its in sorted(self.holders.get(name, ()))
                if its in zones and its != ask.conn.id and (ask.crossing or zones[its] == self.node.zone)]

    def _say(self, ask):
        """[items] of what is new to it, by what is said."""
        have = [self._holders(ask, name) for name in self.names[ask.list]]
        who = [[its for its in ids if not ask.avoids(its, pos)] for pos, ids in enumerate(have)]
        late = [any(ask.avoid.get(its) == SLOW for its in ids) for ids in have]
        leases = [lease for lease in self.leases.values() if lease[1] == ask.list and lease[2] == ask.crossing]
        leased = {i: lease[0].id for lease in leases for i in lease[3]}
        may_lease = not ask.flags & NO_LEASE and all(lease[0] is not ask.conn for lease in leases)
        items = {}
        for pos in sorted(ask.left):
            run = set()
            if may_lease and not who[pos]:
                run = ask.run_of(pos, {i for i in range(ask.n) if not who[i] and not late[i] and i not in leased})
            if who[pos]:
                items.setdefault((HOLDERS, b"".join(who[pos][:3]), 0), set()).add(pos)
            elif pos in leased:
                self._tell_wait(ask, items, pos, leased[pos])
            elif pos in run:
                items[LEASE, b"", self._lease(ask, run)] = run
                leased.update(dict.fromkeys(run, ask.conn.id))
                may_lease = False
            elif ask.flags & NO_LEASE:
                items.setdefault((NOBODY, b"", 0), set()).add(pos)
            else:
                self._tell_wait(ask, items, pos, b"")
        for (kind, _, _), its in items.items():
            ask.left -= its if kind != WAITS else set()
        return [[kind, ask.n, words.bits_of(its), nodes, token, TERM_MS if token else 0, 0]
                for (kind, nodes, token), its in items.items()]

    def _lease(self, ask, run):
        token = next(self.tokens)
        self.leases[token] = [ask.conn, ask.list, ask.crossing, set(run)]
        self.given[token] = (ask.conn.id, ask.list, ask.crossing, frozenset(run))
        return token

    @staticmethod
    def _tell_wait(ask, items, pos, who):
        """Of what it brings itself it hears nothing."""
        if who != ask.conn.id and ask.told.get(pos) != who:
            ask.told[pos] = who
            items.setdefault((WAITS, who, 0), set()).add(pos)

    def _settle(self, its_list):
        for ask in [ask for ask in self.asks if ask.list == its_list]:
            items = self._say(ask)
            for i in range(0, len(items), 64):
                ask.conn.send("ANSWER", ask.req, items[i:i + 64])
            if not ask.left and ask in self.asks:
                self.asks.remove(ask)
                ask.conn.send("END", ask.req, 0, 0)
