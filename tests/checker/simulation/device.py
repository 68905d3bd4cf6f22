"""A simulated device: what it sends, what reaches it, what its reference client shows."""


class Draft:
    """Something to be stored once."""

    __slots__ = ("id", "hash", "kind", "target", "conversation", "tries", "done")

    def __init__(self, conversation, identity, body_hash, kind="text", target=None):
        self.conversation, self.id, self.hash, self.kind, self.target = conversation, identity, body_hash, kind, target
        self.tries, self.done = 0, False


class View:
    """The reference client: shows each seq once and in order."""

    def __init__(self, shown):
        self.shown, self.waiting = shown, {}

    def note(self, seq, identity):
        if seq > self.shown:
            self.waiting[seq] = identity
        while (following := self.waiting.pop(self.shown + 1, None)) is not None:
            self.shown += 1
            yield self.shown, following


class Device:
    def __init__(self, simulation, user, name, protocol):
        self.simulation, self.random = simulation, simulation.random
        self.user, self.name, self.protocol = user, name, protocol
        self.tells_seq = protocol == "ws" or simulation.random.random() < 0.5  # else MQTT 3.1.1
        self.session = 0  # number of the connection; what belongs to an earlier one is lost
        self.online = self.out = False
        self.calls = 0
        self.pending = {}  # call -> Draft of this connection
        self.input_t = self.output_t = 0.0  # the connection keeps the order of both directions
        self.views = {}

    def emit(self, op, phase="ok", protocol=None, **members):
        self.simulation.emit(process=self.name, user=self.user, device=self.name,
                             protocol=protocol or self.protocol, op=op, phase=phase, **members)

    def next_call(self):
        self.calls += 1
        return self.calls

    def view(self, conversation):
        if conversation.id not in self.views:
            self.views[conversation.id] = View(conversation.joined.get(self.user, 0))
        return self.views[conversation.id]

    # --- connection

    def connect(self):
        if self.out or self.online or self.user in self.simulation.server.disabled:
            return
        self.session += 1
        self.online = True
        now = self.simulation.now
        self.input_t = self.output_t = now
        for conversation in self.simulation.conversations:
            view = self.view(conversation)
            if self.protocol == "mqtt" and self.random.random() < 0.5 and view.shown:
                for stored in conversation.log[max(0, view.shown - 2):view.shown]:  # its PUBACK was lost
                    if stored.sender != self.user and conversation.serves(self.user) \
                            and stored.seq > conversation.joined[self.user]:
                        self.push(conversation, stored)
            self.fetch(conversation)

    def disconnect(self, again=True):
        if not self.online:
            return
        self.online = False
        self.emit("gap")
        for call, draft in self.pending.items():
            self.emit("send", "info", call=call)
            self.retry(draft)
        self.pending.clear()
        if again:
            self.simulation.later(self.random.uniform(0.05, 0.8), self.connect)

    # --- what arrives

    def push(self, conversation, stored):
        """The server writes a live message to the connection."""
        if self.online:
            self.output_t = max(self.output_t, self.simulation.now + self.simulation.delay())
            self.simulation.at(self.output_t, self.receive, self.session, conversation, stored)

    def receive(self, session, conversation, stored):
        if session != self.session or not self.online:
            return
        self.deliver(conversation, stored, "live")
        if self.random.random() < 0.02:
            self.deliver(conversation, stored, "live")  # at least once
        view = self.view(conversation)
        if view.waiting and self.random.random() < 0.5:
            self.simulation.later(0.15, self.mend, session, conversation)

    def mend(self, session, conversation):
        if session == self.session and self.online and self.view(conversation).waiting:
            if self.random.random() < 0.5:
                self.emit("gap", conversation=conversation.id)
            self.fetch(conversation)

    def deliver(self, conversation, stored, source):
        self.emit("deliver", conversation=conversation.id, seq=stored.seq, id=stored.id, hash=stored.hash,
                  sender=stored.sender, source=source, **self.simulation.special(stored))
        self.note(conversation, stored.seq, stored.id)

    def note(self, conversation, seq, identity):
        for shown, name in self.view(conversation).note(seq, identity):
            self.emit("show", conversation=conversation.id, seq=shown, id=name)

    def fetch(self, conversation):
        """Asks for what is behind the view; the server answers with what is visible when it reads."""
        self.simulation.later(self.simulation.delay(), self.answer_fetch, self.session, conversation)

    def answer_fetch(self, session, conversation):
        view = self.view(conversation)
        if conversation.serves(self.user):
            joined = conversation.joined[self.user]
            page = list(conversation.visible(self.user, view.shown))
            self.simulation.later(self.simulation.delay(), self.take_page, session, conversation, joined, page)

    def take_page(self, session, conversation, joined, page):
        if session != self.session or not self.online:
            return
        view = self.view(conversation)
        if joined > view.shown:  # a member again: what is before is not for this user
            view.shown = joined
            view.waiting = {seq: name for seq, name in view.waiting.items() if seq > joined}
        for stored in page:
            self.deliver(conversation, stored, "sync")
        self.simulation.later(0.2, self.mend, session, conversation)

    # --- what is sent

    def send(self, draft, protocol=None):
        """One attempt on this device's connection, or over REST."""
        rest = protocol == "rest"
        if draft.done or self.out or not (rest or self.online):
            return False
        draft.tries += 1
        call = self.next_call()
        self.emit("send", "invoke", protocol, call=call, conversation=draft.conversation.id, id=draft.id,
                  hash=draft.hash, **self.simulation.special(draft))
        sim, fate = self.simulation, self.random.random()
        arrival = sim.now + sim.delay()
        if not rest:
            self.pending[call] = draft
            self.input_t = arrival = max(self.input_t, arrival)
        trouble = sim.trouble
        if fate < trouble / 3:
            arrival += self.random.uniform(1.0, 4.0)  # somewhere it waited for a stopped process
            sim.at(sim.now + 0.8, self.give_up, call, draft)
        elif fate < trouble * 2 / 3:
            sim.at(sim.now + 0.8, self.give_up, call, draft)  # never arrives
            return True
        sim.at(arrival, self.arrive, call, draft, rest, self.session, trouble * 2 / 3 < fate < trouble)
        return True

    def give_up(self, call, draft):
        if self.pending.pop(call, None) is not None or draft.tries:
            if call not in self.simulation.answered.get(self.name, ()):
                self.simulation.answered.setdefault(self.name, set()).add(call)
                self.emit("send", "info", call=call)
                self.retry(draft)

    def arrive(self, call, draft, rest, session, ack_lost):
        sim = self.simulation
        if self.random.random() < sim.trouble / 4 and draft.id not in sim.server.stored:
            seq, phase = None, "fail"  # too fast: nothing is stored, try again
        else:
            seq = sim.server.store(draft.conversation, draft, self.user, None if rest else (self, session))
            phase = "ok" if seq is not None else "fail"
        if ack_lost:
            sim.later(0.8, self.give_up, call, draft)
        else:
            sim.later(sim.delay(), self.answer, call, draft, rest, session, phase, seq)

    def answer(self, call, draft, rest, session, phase, seq):
        answered = self.simulation.answered.setdefault(self.name, set())
        if call in answered or (not rest and (session != self.session or not self.online)):
            return
        answered.add(call)
        self.pending.pop(call, None)
        tells = rest or self.tells_seq
        self.emit("send", phase, "rest" if rest else None, call=call,
                  **({"seq": seq} if phase == "ok" and tells else {}))
        if phase == "ok":
            draft.done = True
            if tells and draft.conversation.serves(self.user):
                self.note(draft.conversation, seq, draft.id)
        else:
            self.retry(draft)

    def retry(self, draft):
        if draft.done or draft.tries > 6:
            return
        self.simulation.later(self.random.uniform(0.05, 0.5), self.repeat, draft)

    def repeat(self, draft):
        device = self.random.choice(self.simulation.devices_by_user[self.user])
        if not device.send(draft, self.random.choice((None, "rest"))):
            self.retry(draft) if not self.out else None
