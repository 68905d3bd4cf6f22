"""The simulated server: conversations, members, one order, cursors. Correct by being one object."""


class Stored:
    __slots__ = ("seq", "id", "hash", "kind", "target", "sender")

    def __init__(self, seq, draft, sender):
        self.seq, self.sender = seq, sender
        self.id, self.hash, self.kind, self.target = draft.id, draft.hash, draft.kind, draft.target


class Conversation:
    def __init__(self, identity, direct, members):
        self.id, self.direct = identity, direct
        self.log = []
        self.joined = dict.fromkeys(members, 0)  # active members and the seq behind which they see
        self.blockers = set()
        self.read, self.delivered = {}, {}

    @property
    def head(self):
        return len(self.log)

    def serves(self, user):
        return user in self.joined and not self.blockers

    def visible(self, user, after):
        if not self.serves(user):
            return []
        return self.log[max(after, self.joined[user]):]


class Server:
    def __init__(self, simulation):
        self.simulation = simulation
        self.stored = {}  # id -> (conversation, Stored)
        self.disabled = set()

    def store(self, conversation, draft, user, skip):
        """The seq, or None when the user may not write; `skip` is the session that gets no copy."""
        known = self.stored.get(draft.id)
        if known is not None:
            return known[1].seq
        if not conversation.serves(user) or user in self.disabled:
            return None
        stored = Stored(conversation.head + 1, draft, user)
        conversation.log.append(stored)
        self.stored[draft.id] = (conversation, stored)
        for device in self.simulation.devices_of(conversation):
            if (device, device.session) != skip:
                device.push(conversation, stored)
        return stored.seq

    def mark(self, conversation, user, read, delivered):
        """True when a cursor moved."""
        if not conversation.serves(user):
            return False
        read, delivered = min(read, conversation.head), min(max(read, delivered), conversation.head)
        before = conversation.read.get(user, 0), conversation.delivered.get(user, 0)
        conversation.read[user] = max(before[0], read)
        conversation.delivered[user] = max(before[1], delivered)
        return before != (conversation.read[user], conversation.delivered[user])

    @staticmethod
    def cursors(conversation, user):
        joined, read = conversation.joined.get(user, 0), conversation.read.get(user, 0)
        return {"read": read, "delivered": max(conversation.delivered.get(user, 0), read), "head": conversation.head,
                "joined": joined, "unread": max(0, conversation.head - max(read, joined))}
