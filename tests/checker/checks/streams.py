"""H10: what a client gets live has no silent hole, and what it shows is shown once and in order.

Per client and conversation `live` is the last seq that came in order since the last gap. A later one leaves a
hole, which the client's own message, a sync or a gap explains; what nothing explains until the end is a
violation, and so is a seq that comes live after later ones. Copies of what came before are allowed: delivery
is at least once. Whether a hole belongs to a message that the client never had to get (its own, one of a time
when the user was no member) is decided at the end, when all is known.
"""

HOLE_MAX = 100_000  # seqs; a longer one is told at once, not looked at seq by seq


class Streams:
    def __init__(self, state, report, faults, options, timelines):
        self.state, self.report, self.faults, self.timelines = state, report, faults, timelines
        self.tail, self.strict_live = options.tail_s, options.strict_live
        self.copies = self.echoes = 0
        self.jumped = []  # (stream, seq, t, line): seqs that live jumped over, whatever explained them later

    # --- live and sync

    def live_beyond(self, stream, message, seq, t):
        """A live delivery that is not simply the next one."""
        last = stream.live
        if last is None:
            if seq <= stream.had_before:
                self.copies += 1  # again what came before the gap
                return
            stream.live = seq
            self._advance(stream)
        elif seq <= last:
            if stream.missing.pop(seq, None) is None:
                self.copies += 1
            elif stream.protocol != "mqtt" or message.kind == "text":  # else it came on another topic
                self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "late"),
                                      f"{self._who(stream)} got {stream.conversation.id} seq {seq} live after seq "
                                      f"{last} (line {self.state.line}, t={t:.3f})")
        elif seq - last > HOLE_MAX:
            self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "far"),
                                  f"{self._who(stream)} got {stream.conversation.id} seq {seq} live after seq {last} "
                                  f"(line {self.state.line}, t={t:.3f})")
            stream.live = seq
        else:
            for hole in range(last + 1, seq):
                if hole not in stream.ahead:
                    stream.missing[hole] = (t, self.state.line)
                    self.jumped.append((stream, hole, t, self.state.line))
            stream.live = seq
            self._advance(stream)

    def _advance(self, stream):
        """Own and synced seqs that follow at once, and forgetting those that were passed."""
        ahead, live = stream.ahead, stream.live
        if not ahead:
            return
        while live + 1 in ahead:
            live += 1
        stream.live = live
        stream.ahead = {seq for seq in ahead if seq > live}

    def synced(self, stream, seq):
        """The answer of a request brought it."""
        stream.missing.pop(seq, None)
        if seq > stream.synced_top:
            stream.synced_top = seq
        self._have(stream, seq)

    def own(self, stream, seq):
        """The client learnt the seq of a message that it sent: that one does not come live."""
        stream.missing.pop(seq, None)
        if seq == stream.shown_next:
            stream.next_came = seq
        self._have(stream, seq)

    def own_came(self, message, stream, event):
        """An own message came live. Rightly so when it was sent on other ways, too, or on an earlier connection."""
        if message.calls == 1 and stream.client.last_gap < message.first_sent \
                and message.origin[1] == event.get("protocol"):
            self.echoes += 1

    def _have(self, stream, seq):
        live = stream.live
        if live is None:
            stream.ahead.add(seq)
        elif seq <= live:
            return
        elif seq == live + 1:
            stream.live = seq
            if stream.ahead:
                self._advance(stream)
        else:
            stream.ahead.add(seq)

    def gap(self, client, conversation_id, resumed, t):
        client.last_gap = t
        if conversation_id is None:
            streams = client.streams.values()
        else:
            streams = [client.streams[conversation_id]] if conversation_id in client.streams else []
        for stream in streams:
            if stream.list is not None:
                stream.list = None  # a list that was being read starts anew
            if not resumed:
                stream.had_before = self._highest(stream)
                stream.missing.clear()
                stream.ahead.clear()
                stream.live = None
            stream.gap_t = t

    @staticmethod
    def _highest(stream):
        """Of all that was delivered."""
        return max(stream.had_before, stream.live or 0, max(stream.ahead, default=0))

    # --- show

    def shown_beyond(self, stream, seq, t):
        """A show that is not simply of the next one."""
        following = stream.shown_next
        if following is None:
            stream.shown_first, stream.shown_next = seq, seq + 1
        elif seq > following:
            stream.jumps.append((following, seq - 1, t, self.state.line))
            stream.shown_next = seq + 1
        else:
            self._shown_again(stream, seq, t)

    def _shown_again(self, stream, seq, t):
        skipped = seq < stream.shown_first or any(first <= seq <= last for first, last, _, _ in stream.jumps)
        what = f"out of order, after seq {stream.shown_next - 1}" if skipped else "twice"
        self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "show"),
                              f"{self._who(stream)} showed {stream.conversation.id} seq {seq} {what} (line "
                              f"{self.state.line}, t={t:.3f})")

    def _who(self, stream):
        return f"{stream.client.process} of {stream.pair.user.name}"

    # --- the end

    def finish(self):
        report = self.report
        for client in self.state.clients.values():
            for stream in client.streams.values():
                self._finish_jumps(stream)
                self._finish_missing(stream)
                self._finish_tail(stream)
                self._finish_stuck(stream)
        self._finish_jumped()
        if self.echoes:
            report.notes.append(f"{self.echoes:,} own messages came live to the connection that sent them")
        report.numbers["repeated deliveries"] = self.copies

    def _finish_jumped(self):
        """Holes that the client noticed by their seq and mended. websocket.md allows them; that the server makes
        none is what `strict_live` asks."""
        silent = 0
        for stream, seq, t, line in self.jumped:
            if self._excused(stream, seq, t):
                continue
            silent += 1
            if self.strict_live:
                self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "jump"),
                                      f"{self._who(stream)}: live jumped over {stream.conversation.id} seq {seq} "
                                      f"without a gap told before (line {line}, t={t:.3f})")
        if silent:
            self.report.notes.append(f"live streams jumped over {silent:,} messages without a gap told before "
                                     f"(violations with --strict-live)")

    def _excused(self, stream, seq, until):
        """The client did not have to get this one by `until`."""
        message = stream.conversation.at.get(seq)
        if message is not None:
            if message.sender == stream.pair.user.name and (
                    message.origin is None or message.origin[0].device is stream.client.device or message.calls > 1):
                return True
            if stream.protocol == "mqtt" and message.kind != "text":
                return True  # on another topic, which the client need not have subscribed to
        return not self._served(stream, seq, until)

    def _served(self, stream, seq, until):
        """Certainly a member from when seq was stored until then, and not blocked or logged out."""
        member, conversation = stream.pair.member, stream.conversation
        if member is None or stream.client.device.may_be_out:
            return False
        earliest, latest = self.timelines.of(conversation).bounds(seq)
        until = max(until, latest)
        if conversation.block_seen is not None and until >= conversation.block_seen:
            return False
        return seq > member.floor and member.was_certain(earliest, until)

    def _finish_jumps(self, stream):
        for first, last, t, line in stream.jumps:
            last = min(last, stream.conversation.top)
            for seq in range(first, last + 1):
                message = stream.conversation.at.get(seq)
                if message is not None and message.kind != "text" or self._excused(stream, seq, t):
                    continue
                self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "not shown"),
                                      f"{self._who(stream)} showed {stream.conversation.id} seq {last + 1} before "
                                      f"seq {seq} (line {line}, t={t:.3f})")
                break

    def _finish_missing(self, stream):
        for seq, (t, line) in stream.missing.items():
            if not self._excused(stream, seq, self.state.t):
                self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "hole"),
                                      f"{self._who(stream)}: live jumped over {stream.conversation.id} seq {seq} "
                                      f"(line {line}, t={t:.3f}); no gap was told and no sync brought it")

    def _finish_tail(self, stream):
        """Online, told of no gap, and yet the last messages never came."""
        ended = stream.lists_ended
        if stream.live is None or ended is None:
            return
        deadline = self.faults.calm_then(ended.asked) - self.tail
        timeline = self.timelines.of(stream.conversation)
        for message in timeline.known_between(stream.live, timeline.stored_before(ended.asked)):
            seq = message.seq
            if seq in stream.ahead:
                continue
            earliest, latest = timeline.bounds(seq)
            if self.faults.calm_then(latest) > deadline or earliest < stream.gap_t or \
                    self._excused(stream, seq, ended.asked):
                continue
            self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "tail"),
                                  f"{self._who(stream)} was told of no gap, but {stream.conversation.id} seq {seq} "
                                  f"(stored by t={latest:.3f}) had not come by t={ended.asked:.3f}")

    def _finish_stuck(self, stream):
        """The reference client holds back what is behind a hole and asks for it. When the answers bring later ones
        alone, the history that this client is served has a hole."""
        ended, seq = stream.lists_ended, stream.shown_next
        if ended is None or seq is None or stream.next_came == seq or stream.synced_top <= seq:
            return
        message = stream.conversation.at.get(seq)
        if message is None or message.kind != "text":
            return
        _, latest = self.timelines.of(stream.conversation).bounds(seq)
        patience = self.faults.calm_then(ended.asked) - self.faults.calm_then(latest)
        if patience > 2 * self.tail and not self._excused(stream, seq, ended.asked):
            self.report.violation("H10", (stream.client.process, stream.conversation.id, seq, "stuck"),
                                  f"{self._who(stream)} showed nothing of {stream.conversation.id} behind seq "
                                  f"{seq - 1}: seq {seq} (line {message.seen_line}) never came, but requests brought "
                                  f"later ones")
