"""Reads `member` lines: who is added, removed, blocked, logged out and so on, from invocation to outcome.

What follows from them is members.py's (memberships, blocks, ended logins) and cursors.py's (a new membership may
start its cursors anew).
"""


class Changes:
    def __init__(self, state, members, cursors):
        self.state, self.members, self.cursors = state, members, cursors

    def invoked(self, event, t):
        """Returns what the outcome will need."""
        state, action = self.state, event["action"]
        subject = event.get("subject") or event["user"]
        if action in ("add", "remove"):
            pair = state.pair(subject, state.conversation(event["conversation"]))
            self.cursors.membership_changed(pair)
            if action == "add":
                self.members.add_invoked(pair, t)
            else:
                self.members.of(pair).remove_invoked(t)
            return pair
        if action in ("block", "unblock"):
            conversation = state.conversation(event["conversation"])
            self.members.block_invoked(conversation, event["user"], action == "block", t)
            return conversation
        return self._login(event, action, subject)

    def _login(self, event, action, subject):
        user, name = self.state.user(subject), event.get("subject_device")
        devices = [self.state.device(subject, name)] if name is not None else list(user.devices.values())
        if action in ("logout", "disable"):
            user.was_ended = user.was_ended or name is None
            for device in devices:
                device.was_ended = True
        elif action in ("login", "enable"):
            for device in devices:
                device.ban = None
            if action == "enable":
                user.disabled = None
        else:
            raise ValueError(f"action {action!r}")
        return user, devices

    def done(self, event, call, t):
        """The outcome of the call that `invoked` gave its subject."""
        phase, action = event["phase"], call.action
        if action in ("add", "remove"):
            self.members.done(call.subject, action, phase, call.t, t)
            self.cursors.membership_changed(call.subject)
        elif action in ("block", "unblock"):
            self.members.block_done(call.subject, event["user"], action == "block", phase, t)
        elif phase == "ok" and action in ("logout", "disable"):
            user, devices = call.subject
            if action == "disable":
                self.members.ban_user(user, t)
            for device in devices if action == "logout" else ():
                self.members.ban(device, t)
