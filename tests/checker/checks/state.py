"""What is known of messages, conversations, memberships and clients while a history is read.

Plain records, shared by the checks; each check keeps what only it needs to itself. `line` numbers are kept
where an explanation will name them.
"""

NEVER = float("inf")


class Message:
    """One id: what was sent, and where it is stored."""

    __slots__ = ("id", "conversation", "seq", "hash", "kind", "target", "sender", "other_contents", "first_sent",
                 "first_seen", "acked", "acked_line", "calls", "calls_maybe", "first_call", "origin", "first_ok",
                 "sole_ok", "in_final", "last_live", "seen_line")

    def __init__(self, identity):
        self.id = identity
        self.conversation = self.seq = self.hash = self.target = self.sender = None
        self.kind = "text"
        self.other_contents = None  # {(conversation, hash)} of later invocations with this id
        self.first_sent = None  # t of the first invocation; None: never invoked
        self.first_seen = None  # t of the first proof that it is stored
        self.acked = None  # t of the first ok
        self.acked_line = self.seen_line = 0
        self.calls = self.calls_maybe = 0  # invocations; those that did not end in fail
        self.first_call = self.origin = None  # call number, and (client, protocol), of the first invocation
        self.first_ok = self.sole_ok = False  # the first invocation was ok; ... and there was no other by then
        self.in_final = False
        self.last_live = None  # t of the last live delivery to a device that was online since the ack


class Conversation:
    __slots__ = ("id", "at", "top", "pairs", "blockers", "block_seen", "lists")

    def __init__(self, identity):
        self.id = identity
        self.at = {}  # seq -> Message
        self.top = 0  # highest seq that anybody has seen so far
        self.pairs = {}  # user name -> Pair
        self.blockers = {}  # user name -> Block
        self.block_seen = None  # t of the first block's invocation
        self.lists = []  # FinalList


class User:
    __slots__ = ("name", "devices", "disabled", "was_ended")

    def __init__(self, name):
        self.name = name
        self.devices = {}
        self.disabled = None  # (t, calm, line) of the disabling that was ok
        self.was_ended = False  # all logins may have been ended at some time


class Device:
    __slots__ = ("name", "user", "ban", "was_ended", "receives", "clients")

    def __init__(self, name, user):
        self.name, self.user = name, user
        self.ban = None  # (t, calm, line) of the logout that was ok
        self.was_ended = False  # its login may have been ended at some time
        self.receives = False  # it got, showed or listed something: it must give final lists
        self.clients = []

    @property
    def may_be_out(self):
        return self.was_ended or self.user.was_ended


class Client:
    """A process on behalf of a device."""

    __slots__ = ("process", "device", "streams", "last_gap", "reads")

    def __init__(self, process, device):
        self.process, self.device = process, device
        self.streams = {}  # conversation id -> Stream
        self.last_gap = -NEVER  # t
        self.reads = {}  # (subject, conversation id) -> cursors as last shown to it


class Pair:
    """A user in a conversation. Membership is members.py's, cursors are cursors.py's."""

    __slots__ = ("user", "conversation", "member", "had", "owed", "floors", "epoch", "unstable",
                 "trusted_from")

    def __init__(self, user, conversation):
        self.user, self.conversation = user, conversation
        self.member = None  # members.Membership
        self.had = 0  # highest seq that a device of the user was sent, or that the user sent
        self.owed = None  # receipts beyond `had`
        self.floors = None  # [(t, read, delivered)] of marks that were ok
        self.epoch = 0  # raised by every change of membership: cursors may start anew
        self.trusted_from = NEVER  # deliveries from this seq on need no look by members.py
        self.unstable = False  # a change of unknown outcome: cursors prove nothing any more


class Stream:
    """What one client got of one conversation. The fields are streams.py's but for the links."""

    __slots__ = ("client", "conversation", "pair", "live", "ahead", "missing", "shown_next",
                 "shown_first", "jumps", "list", "lists_ended", "protocol", "gap_t",
                 "had_before", "next_came", "synced_top")

    def __init__(self, client, conversation, pair):
        self.client, self.conversation, self.pair = client, conversation, pair
        self.live = None  # last seq in order since the last gap; None: any may follow
        self.ahead = set()  # own and synced seqs behind `live` + 1
        self.missing = {}  # seq -> (t, line): the holes in what came live
        self.shown_next = self.shown_first = None
        self.jumps = []  # (first, last, t, line) that were not shown
        self.list = self.lists_ended = None  # finals.FinalList being read; the last that ended
        self.protocol = None
        self.gap_t = -NEVER  # t of the last gap
        self.had_before = 0  # the highest that had come before it
        self.synced_top = 0  # highest that a request answered
        self.next_came = None  # == shown_next when that one was delivered


class State:
    """All of it, and the place in the history."""

    def __init__(self):
        self.line = 0
        self.t = -NEVER
        self.messages = {}
        self.conversations = {}
        self.users = {}
        self.clients = {}
        self.streams = {}  # (process, user, device, conversation id) -> Stream: one look-up for each delivery
        self.heal = None  # t of the last heal

    def conversation(self, identity):
        found = self.conversations.get(identity)
        if found is None:
            if type(identity) is not str or not identity:
                raise ValueError(f"conversation {identity!r}")
            found = self.conversations[identity] = Conversation(identity)
        return found

    def user(self, name):
        found = self.users.get(name)
        if found is None:
            if type(name) is not str or not name:
                raise ValueError(f"user {name!r}")
            found = self.users[name] = User(name)
        return found

    def device(self, user_name, name):
        user = self.user(user_name)
        found = user.devices.get(name)
        if found is None:
            found = user.devices[name] = Device(name, user)
        return found

    def client(self, event):
        key = (event["process"], event["user"], event["device"])
        found = self.clients.get(key)
        if found is None:
            found = self.clients[key] = Client(key[0], self.device(key[1], key[2]))
            found.device.clients.append(found)
        return found

    def pair(self, user_name, conversation):
        found = conversation.pairs.get(user_name)
        if found is None:
            found = conversation.pairs[user_name] = Pair(self.user(user_name), conversation)
        return found

    def stream(self, client, conversation_id):
        found = client.streams.get(conversation_id)
        if found is None:
            conversation = self.conversation(conversation_id)
            pair = self.pair(client.device.user.name, conversation)
            found = client.streams[conversation_id] = Stream(client, conversation, pair)
            self.streams[client.process, client.device.user.name, client.device.name, conversation_id] = found
        return found

    def stream_of(self, event):
        return self.stream(self.client(event), event["conversation"])
