"""The planted bugs: small edits of the kind a tired programmer makes, and the check that must notice each.

A bug is (name, file, edits, check, arguments, what the check must print). An edit is (exact text, replacement); the
text must be in the file exactly once, so a bug that no longer fits the source is an error and not a pass.
"""

from typing import NamedTuple


class Bug(NamedTuple):
    name: str
    file: str
    edits: tuple
    check: str  # powercut, sweep (both in make test), chaos (by hand)
    arguments: tuple
    finds: str  # regular expression


POWERCUT = ("--cuts", "40")

STORAGE = [
    Bug(
        "synchronous-normal",
        "services/storage/sqlite_db.c",
        (('"PRAGMA synchronous=FULL;"', '"PRAGMA synchronous=NORMAL;"'),),
        "powercut", POWERCUT, "LOST .* acknowledged messages",
    ),
    Bug(
        "ack-before-commit",
        "services/storage/write_batch.c",
        (
            (
                """    enum err error = run_group(batch, calls, count);
    if (count == 1 || !blames_one(error)) {
        finish(batch, calls, count, error);
        return;
    }
""",
                """    struct store *store = batch->config.store;
    enum err error = store->ops->group_begin(store);
    if (error == ERR_OK) {
        for (size_t i = 0; i < count; i++) {
            err_ignore(call_reset_reply(calls[i]));
        }
        run_calls(store, calls, count);
        finish(batch, calls, count, ERR_OK);
        err_ignore(store->ops->group_end(store));
        return;
    }
""",
            ),
        ),
        "powercut", POWERCUT, "LOST .* acknowledged messages",
    ),
    Bug(
        "no-id-check",
        "services/storage/schema.c",
        (('" id BLOB NOT NULL UNIQUE,', '" id BLOB NOT NULL,'),),
        "powercut", POWERCUT, "DUPLICATE",
    ),
    Bug(
        "commit-error-ignored",
        "services/storage/write_batch.c",
        (
            (
                """        run_calls(store, calls, count);
        error = store->ops->group_end(store);
""",
                """        run_calls(store, calls, count);
        (void)store->ops->group_end(store);
""",
            ),
        ),
        "sweep", ("--points", "40", "--only", "pipit.db-wal"), "LOST|elsewhere|DUPLICATE_SEQ|head",
    ),
    Bug(
        "failed-fsync-is-one-more-error",
        "services/storage/sqlite_db.c",
        (("    if (code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC) {",
          "    if (code == SQLITE_IOERR_DIR_FSYNC) {"),),
        "sweep", ("--points", "12", "--only", "fdatasync pipit.db-wal"), "ACKNOWLEDGED|expected",
    ),
    Bug(
        "directory-error-ignored",
        "services/storage/data_dir.c",
        (("    if (fsync(fd) != 0) {", "    if (fsync(fd) > 0) {"),),
        "sweep", ("--points", "12", "--only", "fsync ."), "ACKNOWLEDGED|expected",
    ),
    Bug(
        "head-survives-rollback",
        "services/storage/store_sqlite.c",
        (
            (
                """            self->writer.stale = true; /* closing undoes it */
        }
    }
    sqlite_cache_clear(&self->cache);
""",
                """            self->writer.stale = true; /* closing undoes it */
        }
    }
""",
            ),
        ),
        "sweep", ("--points", "40", "--only", "chat pwrite pipit.db-wal"), "DUPLICATE_SEQ|seqs are not|head",
    ),
    Bug(
        "full-disk-hides-a-stored-message",
        "services/storage/store_sqlite.c",
        (("        return ERR_UNAVAILABLE;\n    default:\n        return error;", "    default:\n        return error;"),),
        "sweep", ("--points", "12", "--only", "checkpoint pwrite pipit.db-shm full"), "after a refusal",
    ),
    Bug(
        "read-only-for-ever",
        "services/storage/store_sqlite.c",
        (
            (
                """        error = prove_writable(self);
""",
                """        error = ERR_OK;
""",
            ),
        ),
        "sweep", ("--points", "4", "--only", "old store start open pipit.db-shm"), "still refused",
    ),
    Bug(
        "cursor-goes-back",
        "services/storage/sqlite_cursors.c",
        (
            ("    result->read_seq = largest(cursor.read_seq, asked_read);", "    result->read_seq = asked_read;"),
        ),
        "powercut", POWERCUT, "cursor",
    ),
]

# For the fault campaign and its history checker; some minutes each, so by hand: run.py --all, or --only NAME.


def violation(checks):
    """What the history checker's table says when one of these checks fails."""
    return rf"\bH(?:{'|'.join(checks.split())}) +[0-9,]+ violation"


FAULTS = ("--store", "sqlite", "--faults", "20", "--seed", "11")
OWNERS = ("--store", "sqlite", "--faults", "3", "--seed", "11", "--only", "two-owners,partition")

CAMPAIGN = [
    Bug(
        "repeated-id-gets-the-head",
        "services/routing/append.c",
        ((".seq = result->existing_seq,", ".seq = result->head,"),),
        "chaos", FAULTS, violation("1 3 4"),
    ),
    Bug(
        "unknown-outcome-is-success",
        "services/routing/append.c",
        (
            (
                "            refuse_in_order(&refused, pending, REASON_TIMEOUT);",
                "            submit_resolve(pending, &(struct submit_outcome){.reason = REASON_OK,"
                " .seq = conversation->head + 1});",
            ),
        ),
        "chaos", FAULTS, violation("1 3 4"),
    ),
    Bug(
        "taken-seq-is-success",
        "services/routing/append.c",
        (
            (
                "    metric_add(&routing_metrics.conflicts, 1);\n",
                "    for (struct pending *mine = pop_flight(conversation); mine != NULL; mine = pop_flight(conversation)) {\n"
                "        submit_resolve(mine, &(struct submit_outcome){.reason = REASON_OK, .seq = ++conversation->head});\n"
                "    }\n    return;\n",
            ),
        ),
        "chaos", FAULTS, violation("1 3 4"),
    ),
    Bug(
        "taken-seq-is-not-looked-up",
        "services/routing/append.c",
        (
            ("        conversation->stale = true;\n        refuse_flight(conversation, REASON_UNAVAILABLE);",
             "        refuse_flight(conversation, REASON_UNAVAILABLE);"),
            ("    } else if (conversation->conflicts <= CONFLICTS_POLITE) {\n        heard_of(conversation, result->head);\n"
             "    } else {\n        conversation->head = result->head;\n    }",
             "    }"),
        ),
        "chaos", OWNERS, f"no new acknowledgement|{violation('1 3 4')}",
    ),
    Bug(
        "removed-members-stay",
        "services/connection/members.c",
        (
            ("        if (conversation == NULL || user == NULL ||\n            member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {",
             "        if (conversation == NULL || user == NULL ||\n            member->state != PIPIT__MEMBER_STATE__MEMBER_BLOCKED) {"),
        ),
        "chaos", FAULTS, violation("6"),
    ),
    Bug(
        "holes-are-passed-on",
        "services/connection/egress.c",
        (
            ("    if (conversation->repair != REPAIR_NONE || members_old ||\n        message->seq != conversation->last + 1) {",
             "    if (conversation->repair != REPAIR_NONE || members_old) {"),
        ),
        "chaos", FAULTS, violation("10"),
    ),
    Bug(
        "repair-is-dropped",
        "services/connection/repair.c",
        (("            error = hand_out_page(hub, running);", "            conversation->last = conversation->target;"),),
        "chaos", FAULTS, violation("10"),
    ),
    Bug(
        "revoked-sockets-stay",
        "services/connection/revocations.c",
        (("        reason = REASON_TOKEN_REVOKED;\n", "        reason = REASON_OK;\n"),),
        "chaos", FAULTS, violation("6"),
    ),
    Bug(
        "no-id-check-under-faults",
        "services/storage/schema.c",
        (('" id BLOB NOT NULL UNIQUE,', '" id BLOB NOT NULL,'),),
        "chaos", FAULTS, violation("3"),
    ),
]
