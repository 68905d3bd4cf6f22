/* sqlite_export: one query per table, one row at a time.
 *
 * An arena serves a row and is reset for the next, so the largest row, not the table, decides what
 * memory is needed; a group with all its members is one row. Nothing here knows where rows go:
 * whatever takes them is a struct export_sink. Messages are exported by pages and have their place
 * (`row`), because they are many and an interrupted export must go on where it was; the other
 * tables are small and are exported whole. */
#include "services/storage/sqlite_export.h"

#include "services/storage/sqlite_members.h"

#define ROW_BLOCK_BYTES (64u * 1024u)
#define ROW_CAP_BYTES (256u * 1024u * 1024u) /* a group of 100,000 takes 20 MiB */

struct export {
    struct sqlite_db *db;
    const struct export_sink *sink;
    struct arena arena; /* of the current row */
    struct sql_rows rows;
};

static const struct {
    const char *name, *count;
} TABLES[EXPORT_TABLE_COUNT] = {
    [EXPORT_USERS] = {"users", "SELECT count(*) FROM users"},
    [EXPORT_DEVICES] = {"devices", "SELECT count(*) FROM devices"},
    [EXPORT_FAMILIES] = {"families", "SELECT count(*) FROM families"},
    [EXPORT_INVITES] = {"invites", "SELECT count(*) FROM invites"},
    [EXPORT_KEYS] = {"signing_keys", "SELECT count(*) FROM signing_keys"},
    [EXPORT_REVOCATIONS] = {"revocations", "SELECT count(*) FROM revocations"},
    [EXPORT_BLOCKS] = {"blocks", "SELECT count(*) FROM blocks"},
    [EXPORT_CONVERSATIONS] = {"conversations", "SELECT count(*) FROM conversations"},
    [EXPORT_DEVICE_CURSORS] = {"device_cursors", "SELECT count(*) FROM device_cursors"},
    [EXPORT_AUDIT] = {"audit", "SELECT count(*) FROM audit"},
};

const char *sqlite_export_name(enum export_table table) {
    return TABLES[table].name;
}

enum err sqlite_export_count(struct sqlite_db *db, enum export_table table, uint64_t *count) {
    return sql_number(db, TABLES[table].count, SQL_NONE, count);
}

enum err sqlite_export_count_cursors(struct sqlite_db *db, uint64_t *cursors, uint64_t *heads) {
    enum err error = sql_number(
        db, "SELECT count(*) FROM members WHERE read_seq>0 OR delivered_seq>0", SQL_NONE, cursors);
    return error != ERR_OK ? error
                           : sql_number(db,
                                        "SELECT count(*) FROM conversations c WHERE EXISTS"
                                        " (SELECT 1 FROM messages m WHERE m.conversation=c.key)",
                                        SQL_NONE, heads);
}

static char *text(struct export *export, int column) {
    return sql_text(&export->rows, column, &export->arena);
}

static uint64_t number(const struct export *export, int column) {
    return sql_uint(&export->rows, column);
}

static void bytes(struct export *export, int column, ProtobufCBinaryData *out) {
    out->data = sql_blob(&export->rows, column, &export->arena, &out->len);
}

/* --- accounts. Each function makes one row of the current one and hands it on. */

static enum err give_user(struct export *export) {
    Pipit__User user = PIPIT__USER__INIT;
    user.id = text(export, 0);
    user.name = text(export, 1);
    user.display_name = text(export, 2);
    user.password_hash = text(export, 3);
    user.admin = number(export, 4) != 0;
    user.disabled = number(export, 5) != 0;
    user.created_ms = number(export, 6);
    user.changed_ms = number(export, 7);
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->user(&user, export->sink->self);
}

static enum err give_device(struct export *export) {
    Pipit__Device device = PIPIT__DEVICE__INIT;
    device.user = text(export, 0);
    device.id = text(export, 1);
    device.name = text(export, 2);
    device.platform = text(export, 3);
    device.created_ms = number(export, 4);
    device.seen_ms = number(export, 5);
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->device(&device, export->sink->self);
}

static enum err read_tokens(struct export *export, uint64_t key, struct export_family *family) {
    uint64_t room = 0;
    enum err error = sql_number(export->db, "SELECT count(*) FROM refresh_tokens WHERE family=?",
                                SQL_VALUES(SQL_UINT(key)), &room);
    if (error != ERR_OK) {
        return error;
    }
    family->tokens = arena_alloc(&export->arena, (room + 1) * sizeof(*family->tokens));
    if (family->tokens == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sql_rows rows = sql_query(export->db,
                                     "SELECT hash, generation, expires_ms FROM refresh_tokens"
                                     " WHERE family=? ORDER BY generation, hash",
                                     SQL_VALUES(SQL_UINT(key)));
    while (family->count < room && sql_next(&rows)) {
        struct export_token *token = &family->tokens[family->count++];
        token->hash.data = sql_blob(&rows, 0, &export->arena, &token->hash.len);
        token->generation = sql_uint(&rows, 1);
        token->expires_ms = sql_uint(&rows, 2);
    }
    return sql_end(&rows);
}

static enum err give_family(struct export *export) {
    struct export_family family = {
        .user = text(export, 1), .device = text(export, 2), .current = number(export, 3)};
    enum err error = export->rows.error;
    if (error == ERR_OK) {
        error = read_tokens(export, number(export, 0), &family);
    }
    return error != ERR_OK ? error : export->sink->family(&family, export->sink->self);
}

static enum err give_invite(struct export *export) {
    Pipit__Invite invite = PIPIT__INVITE__INIT;
    bytes(export, 0, &invite.hash);
    invite.created_by = text(export, 1);
    invite.created_ms = number(export, 2);
    invite.expires_ms = number(export, 3);
    invite.uses_left = (uint32_t)number(export, 4);
    invite.admin = number(export, 5) != 0;
    invite.note = text(export, 6);
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->invite(&invite, export->sink->self);
}

static enum err give_key(struct export *export) {
    Pipit__SigningKey key = PIPIT__SIGNING_KEY__INIT;
    key.kid = text(export, 0);
    bytes(export, 1, &key.private_pem);
    bytes(export, 2, &key.x);
    bytes(export, 3, &key.y);
    key.created_ms = number(export, 4);
    key.signs_from_ms = number(export, 5);
    key.retires_ms = number(export, 6);
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->key(&key, export->sink->self);
}

static enum err give_revocation(struct export *export) {
    Pipit__Revocation revocation = PIPIT__REVOCATION__INIT;
    revocation.user = text(export, 0);
    revocation.device = text(export, 1);
    revocation.except_device = text(export, 2);
    revocation.before_ms = number(export, 3);
    revocation.until_ms = number(export, 4);
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->revocation(&revocation, export->sink->self);
}

static enum err give_block(struct export *export) {
    struct export_block block = {
        .user = text(export, 0), .blocked = text(export, 1), .since_ms = number(export, 2)};
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->block(&block, export->sink->self);
}

static enum err give_audit(struct export *export) {
    Pipit__AuditEntry entry = PIPIT__AUDIT_ENTRY__INIT;
    entry.id = number(export, 0);
    entry.actor = text(export, 1);
    entry.action = text(export, 2);
    entry.subject = text(export, 3);
    entry.detail = text(export, 4);
    entry.at_ms = number(export, 5);
    entry.address = text(export, 6);
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->audit(&entry, export->sink->self);
}

/* --- conversations */

static enum err read_member_times(struct export *export, uint64_t key,
                                  struct export_conversation *conversation) {
    size_t room = conversation->proto->n_members;
    size_t count = 0;
    conversation->member_changed_ms =
        arena_alloc(&export->arena, (room + 1) * sizeof(*conversation->member_changed_ms));
    if (conversation->member_changed_ms == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sql_rows rows = sql_query(export->db, /* the order of sqlite_members_read */
                                     "SELECT changed_ms FROM members WHERE conversation=?"
                                     " ORDER BY joined_version, user",
                                     SQL_VALUES(SQL_UINT(key)));
    while (count < room && sql_next(&rows)) {
        conversation->member_changed_ms[count++] = sql_uint(&rows, 0);
    }
    return sql_end(&rows);
}

static enum err read_head(struct export *export, uint64_t key,
                          struct export_conversation *conversation) {
    Pipit__Conversation *proto = conversation->proto;
    enum err error = sqlite_head(export->db, key, &proto->head);
    return error != ERR_OK || proto->head == 0
               ? error
               : sql_number(export->db, "SELECT ts_ms FROM messages WHERE conversation=? AND seq=?",
                            SQL_VALUES(SQL_UINT(key), SQL_UINT(proto->head)),
                            &conversation->head_ts_ms);
}

static enum err give_conversation(struct export *export) {
    Pipit__Conversation proto = PIPIT__CONVERSATION__INIT;
    struct export_conversation conversation = {.proto = &proto};
    uint64_t key = number(export, 0);
    proto.id = text(export, 1);
    proto.kind = (Pipit__ConversationKind)number(export, 2);
    proto.title = text(export, 3);
    conversation.creator = text(export, 4);
    proto.created_ms = number(export, 5);
    conversation.changed_ms = number(export, 6);
    proto.members_version = number(export, 7);
    enum err error = export->rows.error;
    if (error == ERR_OK) {
        error = sqlite_members_read(export->db, key, true, &export->arena, &proto.members,
                                    &proto.n_members);
    }
    if (error == ERR_OK) {
        error = read_member_times(export, key, &conversation);
    }
    if (error == ERR_OK) {
        error = read_head(export, key, &conversation);
    }
    return error != ERR_OK ? error : export->sink->conversation(&conversation, export->sink->self);
}

static enum err give_device_cursor(struct export *export) {
    struct export_device_cursor cursor = {.user = text(export, 0),
                                          .device = text(export, 1),
                                          .conversation = text(export, 2),
                                          .delivered_seq = number(export, 3)};
    return export->rows.error != ERR_OK ? export->rows.error
                                        : export->sink->device_cursor(&cursor, export->sink->self);
}

/* --- the tables */

static const struct {
    const char *rows;
    enum err (*give)(struct export *export);
} EXPORTS[EXPORT_TABLE_COUNT] = {
    [EXPORT_USERS] = {"SELECT id, name, display_name, password_hash, admin, disabled, created_ms,"
                      " changed_ms FROM users",
                      give_user},
    [EXPORT_DEVICES] = {"SELECT user, id, name, platform, created_ms, seen_ms FROM devices",
                        give_device},
    [EXPORT_FAMILIES] = {"SELECT key, user, device, current FROM families", give_family},
    [EXPORT_INVITES] = {"SELECT hash, created_by, created_ms, expires_ms, uses_left, admin, note"
                        " FROM invites",
                        give_invite},
    [EXPORT_KEYS] = {"SELECT kid, private_pem, x, y, created_ms, signs_from_ms, retires_ms"
                     " FROM signing_keys",
                     give_key},
    [EXPORT_REVOCATIONS] = {"SELECT user, device, except_device, before_ms, until_ms"
                            " FROM revocations",
                            give_revocation},
    [EXPORT_BLOCKS] = {"SELECT user, blocked, since_ms FROM blocks", give_block},
    [EXPORT_CONVERSATIONS] = {"SELECT key, id, kind, title, creator, created_ms, changed_ms,"
                              " members_version FROM conversations",
                              give_conversation},
    [EXPORT_DEVICE_CURSORS] = {"SELECT d.user, d.device, ifnull(c.id, ''), d.delivered_seq"
                               " FROM device_cursors d LEFT JOIN conversations c"
                               " ON c.key = d.conversation",
                               give_device_cursor},
    [EXPORT_AUDIT] = {"SELECT id, actor, action, subject, detail, at_ms, address FROM audit"
                      " ORDER BY id",
                      give_audit},
};

enum err sqlite_export_rows(struct sqlite_db *db, enum export_table table,
                            const struct export_sink *sink) {
    struct export export = {.db = db, .sink = sink};
    arena_init(&export.arena, ROW_BLOCK_BYTES, ROW_CAP_BYTES);
    export.rows = sql_query(db, EXPORTS[table].rows, SQL_NONE);
    while (sql_next(&export.rows)) {
        enum err error = EXPORTS[table].give(&export);
        if (error != ERR_OK) {
            export.rows.error = error;
        }
        arena_reset(&export.arena);
    }
    enum err error = sql_end(&export.rows);
    arena_finish(&export.arena);
    return error;
}
