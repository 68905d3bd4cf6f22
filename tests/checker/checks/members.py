"""H6: only members, open logins and unblocked users get or send anything.

A delivery to a user is a violation when the user certainly was no member, and either the message was first sent
after the removal was ok (nothing may be late about that: the members are decided where the order is decided),
or the deadline of 2 s has passed. It is one, too, when its seq is not behind the point from which the member
may see. For logouts, disabling and blocks the deadline alone counts. Deadlines run in calm time (faults.py).
"""

from checks.membership import IN, NEVER, OUT, UNKNOWN, Membership


class Block:
    """One user's block in a direct conversation."""

    __slots__ = ("open_ons", "open_offs", "since", "calm", "line")

    def __init__(self):
        self.open_ons = self.open_offs = 0
        self.since = None  # t from which it certainly holds
        self.calm = self.line = 0


class Members:
    def __init__(self, state, report, faults, options):
        self.state, self.report, self.faults = state, report, faults
        self.grace = options.grace_s + options.lag_s
        self.bans = 0  # devices or users that are out: the hot path looks no further without any

    def of(self, pair):
        """The pair's membership, to be looked at or changed: nothing is taken for granted any more."""
        pair.trusted_from = NEVER
        if pair.member is None:
            pair.member = Membership()
        return pair.member

    # --- what is said of memberships

    def told(self, event, phase):
        """member_at: what the server said. It is old by the time of its request (`asked`) at most."""
        state = self.state
        if phase != "ok":
            return
        t, asked = event["t"], event.get("asked")
        pair = state.pair(event["subject"], state.conversation(event["conversation"]))
        member, said, joined = self.of(pair), event["state"], event.get("joined")
        self.report.examined["H6"] += 1
        if said == "active":
            self._told_active(pair, member, t, asked, joined)
        elif said == "left":
            since = member.certain[-1][0] if member.certainly_in and member.certain else None
            if member.base is None:
                member.base, member.out_t, member.out_calm, member.out_line = OUT, t, self.faults.calm(t), state.line
            elif since is not None and since < (asked if asked is not None else since) and member.changed:
                self.report.violation("H6", (pair.user.name, pair.conversation.id, "left", state.line),
                                      f"{pair.user.name} is a member of {pair.conversation.id} since t={since:.3f}, "
                                      f"but the server said left (line {state.line}, t={t:.3f})")

    def _told_active(self, pair, member, t, asked, joined):
        if member.base is None and member.adds_open == 0:
            self._begin(pair, member, t, joined)
            return
        if member.certainly_out:
            if member.out_t is not None and asked is not None and asked > member.out_t:
                self.report.violation("H6", (pair.user.name, pair.conversation.id, "active", self.state.line),
                                      f"{pair.user.name} was removed from {pair.conversation.id} at "
                                      f"t={member.out_t:.3f} (line {member.out_line}), but the server said active "
                                      f"(line {self.state.line}, t={t:.3f})")
            return
        fresh = asked is not None and member.add_ok is not None and asked >= member.add_ok
        if joined is not None and member.certainly_in and (fresh or member.add_sent is None):
            self._joined_said(pair, member, joined, f"(line {self.state.line}, t={t:.3f})")

    def listed(self, pair, member, lines):
        """A final list told `joined`."""
        begun = member.add_sent is None or (member.add_ok is not None and lines.asked >= member.add_ok)
        if member.certainly_in and begun:
            self._joined_said(pair, member, lines.joined, f"(line {lines.line})")

    def _begin(self, pair, member, t, joined):
        early, member.early = member.early, None
        member.begins(t if early is None else early[3], joined)
        if early is not None and joined is not None and early[1] <= joined:
            self.report.violation("H6", (pair.user.name, pair.conversation.id, early[1]),
                                  f"{pair.user.name} joined {pair.conversation.id} at seq {joined} and had got seq "
                                  f"{early[1]} (line {early[2]}, t={early[3]:.3f})")

    def _joined_said(self, pair, member, joined, where):
        """The server tells the seq behind which the current membership sees."""
        user, conversation = pair.user.name, pair.conversation.id
        if member.floor_known:
            if joined != member.floor:
                self.report.violation("H6" if joined < member.floor else "H1", (user, conversation, "joined", joined),
                                      f"{user} joined {conversation} at seq {member.floor}, now it is said to be "
                                      f"{joined} {where}")
            return
        if joined < member.top_at_add:
            self.report.violation("H6", (user, conversation, "joined", joined),
                                  f"{user} may see {conversation} from seq {joined + 1} on, but was added at "
                                  f"t={member.add_sent:.3f}, when seq {member.top_at_add} was stored {where}")
        last = pair.conversation.at.get(joined)
        if member.add_ok is not None and last is not None and last.first_sent is not None \
                and last.first_sent > member.add_ok:
            self.report.violation("H1", (user, conversation, "joined", joined),
                                  f"{user} was added to {conversation} by t={member.add_ok:.3f}, but may only see "
                                  f"what is behind seq {joined}, which was sent at t={last.first_sent:.3f} {where}")
        if member.lowest is not None and member.lowest[0] <= joined:
            seq, line, then, source = member.lowest
            self.report.violation("H6", (user, conversation, seq),
                                  f"{user} joined {conversation} at seq {joined}, but got seq {seq} {source} "
                                  f"(line {line}, t={then:.3f})")
        member.floor, member.floor_known = joined, True

    # --- changes

    def add_invoked(self, pair, t):
        self.of(pair).add_invoked(t, pair.conversation.top)
        early = pair.member.early
        if early is not None:
            self._accuse_early(pair, early)
            pair.member.early = None

    def done(self, pair, action, phase, invoked, t):
        """The outcome of an add or a remove."""
        member = self.of(pair)
        if phase == "info":
            pair.unstable = True
        elif action == "add":
            member.add_ok_at(t, invoked) if phase == "ok" else member.add_failed(t)
        elif phase == "ok":
            member.remove_ok_at(t, invoked, self.faults.calm(t), self.state.line)
        else:
            member.remove_failed(t)

    def block_invoked(self, conversation, actor, on, t):
        block = conversation.blockers.setdefault(actor, Block())
        if conversation.block_seen is None:
            conversation.block_seen = t
        if on:
            block.open_ons += 1
        else:
            block.open_offs += 1
            block.since = None

    def block_done(self, conversation, actor, on, phase, t):
        block = conversation.blockers[actor]
        if phase == "info":
            return  # it may still happen
        if on:
            block.open_ons -= 1
            if phase == "ok" and block.open_offs == 0:
                block.since, block.calm, block.line = t, self.faults.calm(t), self.state.line
        else:
            block.open_offs -= 1

    def ban(self, device, t):
        device.ban = (t, self.faults.calm(t), self.state.line)
        self.bans += 1

    def ban_user(self, user, t):
        user.disabled = (t, self.faults.calm(t), self.state.line)
        self.bans += 1

    # --- deliveries

    def delivered(self, stream, message, seq, t, source):
        """For each delivery, show and line of a final list, unless its seq is `trusted_from` on and nobody is
        logged out or blocked."""
        pair = stream.pair
        member = self.of(pair)
        if member.base == IN or (member.adds_open and member.base != UNKNOWN):
            if seq <= member.floor:
                self._before_joined(stream, member, seq, t, source)
            elif member.lowest is None or seq < member.lowest[0]:
                if member.out_calm is None or self.faults.calm(t) - member.out_calm > self.grace:
                    member.lowest = (seq, self.state.line, t, source)
            if member.base == IN and member.lowest is not None:
                pair.trusted_from = max(member.floor + 1, member.lowest[0])
        elif member.certainly_out:
            self._after_removal(stream, member, message, seq, t, source)
        elif member.base is None and member.adds_open == 0:
            if member.early is None:
                member.early = [0, seq, self.state.line, t, f"{stream.client.device.name} got seq {seq} {source}"]
            member.early[0] += 1
            member.early[1] = min(member.early[1], seq)
        if self.bans:
            self._banned(stream, seq, t, source)
        if pair.conversation.blockers:
            self._blocked(stream, seq, t, source)

    def _late(self, since, calm, t):
        """The deadline of what was ok at `since` has passed."""
        return t - since > self.grace and self.faults.calm(t) - calm > self.grace

    def _before_joined(self, stream, member, seq, t, source):
        before = member.out_calm is not None and seq > member.before_floor
        if before and self.faults.calm(t) - member.out_calm <= self.grace:
            return  # still from the membership before
        self.report.violation("H6", (stream.pair.user.name, stream.conversation.id, seq),
                              f"{self._who(stream)} got {stream.conversation.id} seq {seq} {source} (line "
                              f"{self.state.line}, t={t:.3f}), but sees only what is behind seq {member.floor}")

    def _after_removal(self, stream, member, message, seq, t, source):
        where = f"{stream.conversation.id} seq {seq} {source} (line {self.state.line}, t={t:.3f})"
        removed = f"no member since t={member.out_t:.3f} (line {member.out_line})"
        if message.first_sent is not None and message.first_sent > member.out_t:
            self.report.violation("H6", (stream.client.device.name, message.id),
                                  f"{self._who(stream)} got {where}, sent at t={message.first_sent:.3f}: {removed}")
        elif self._late(member.out_t, member.out_calm, t):
            self.report.violation("H6", (stream.client.device.name, message.id, "late"),
                                  f"{self._who(stream)} got {where}, {t - member.out_t:.1f} s too late: {removed}")

    def _banned(self, stream, seq, t, source):
        device = stream.client.device
        for ban, what in ((device.ban, "logged out"), (device.user.disabled, "disabled")):
            if ban is not None and self._late(ban[0], ban[1], t):
                self.report.violation("H6", (device.name, device.user.name, stream.conversation.id, seq, what),
                                      f"{self._who(stream)} got {stream.conversation.id} seq {seq} {source} (line "
                                      f"{self.state.line}, t={t:.3f}), but is {what} since t={ban[0]:.3f} "
                                      f"(line {ban[2]})")

    def _blocked(self, stream, seq, t, source):
        for actor, block in stream.conversation.blockers.items():
            if block.since is not None and self._late(block.since, block.calm, t):
                self.report.violation("H6", (stream.client.device.name, stream.conversation.id, seq, "block"),
                                      f"{self._who(stream)} got {stream.conversation.id} seq {seq} {source} (line "
                                      f"{self.state.line}, t={t:.3f}), blocked by {actor} since "
                                      f"t={block.since:.3f} (line {block.line})")

    def _who(self, stream):
        return f"{stream.client.device.name} of {stream.pair.user.name}"

    # --- sends

    def bar(self, client, conversation, t):
        """Why a send that is invoked now must not be accepted; None when it may be."""
        device = client.device
        pair = self.state.pair(device.user.name, conversation)
        if pair.trusted_from != NEVER and not self.bans and not conversation.blockers:
            return None  # nothing has changed since a delivery was right
        member = pair.member or self.of(pair)
        if member.base is None and member.adds_open == 0:
            return ("none", None)
        if member.certainly_out and self._late(member.out_t, member.out_calm, t):
            return ("no member", member.out_t)
        if device.ban is not None and self._late(device.ban[0], device.ban[1], t):
            return ("logged out", device.ban[0])
        if device.user.disabled is not None and self._late(*device.user.disabled[:2], t):
            return ("disabled", device.user.disabled[0])
        for block in conversation.blockers.values():
            if block.since is not None and self._late(block.since, block.calm, t):
                return ("blocked", block.since)
        return None

    def accepted(self, client, message, bar, invoked, t):
        """A send that was barred when it was invoked got an ok. A copy of one that had been sent before is
        rightly answered with its seq."""
        conversation, why = message.conversation, bar[0]
        if message.first_sent < invoked:
            return
        pair = self.state.pair(client.device.user.name, conversation)
        if why == "none":
            member = self.of(pair)
            if member.base is None and member.adds_open == 0 and member.early is None:
                member.early = [1, NEVER, self.state.line, t, f"{client.device.name}'s message {message.id} was ok"]
            return
        if self.bar(client, conversation, t) != bar:
            return
        self.report.violation("H6", (message.id, "accepted"),
                              f"{client.device.name} of {pair.user.name} sent {message.id} to {conversation.id} at "
                              f"t={invoked:.3f} and it was ok (line {self.state.line}), but the sender is {why} "
                              f"since t={bar[1]:.3f}")

    # --- the end

    def _accuse_early(self, pair, early):
        count, _, line, t, what = early
        self.report.violation("H6", (pair.user.name, pair.conversation.id, "stranger"),
                              f"{pair.user.name} was no member of {pair.conversation.id}, but {what} (line {line}, "
                              f"t={t:.3f}), {count} in all")

    def finish(self):
        for conversation in self.state.conversations.values():
            known = [p for p in conversation.pairs.values() if p.member is not None and p.member.base is not None]
            for pair in conversation.pairs.values():
                if pair.member is None or pair.member.base is not None or pair.member.early is None:
                    continue
                if known:
                    self._accuse_early(pair, pair.member.early)
            if not known and conversation.at:
                self.report.problems.append(f"nothing was said of the members of {conversation.id}: record member_at "
                                            f"or member")
