/* Clients' frames: {"t","id","d"} to struct client_frame, by table.
 *
 * Each type is a row: its members, where each goes and whether it must be there. The text is
 * checked once as a whole (json_parse), then walked; names and ids are copied into small fixed
 * fields because everybody behind needs them as C strings, the body stays where it lies. Nothing is
 * allocated, so a frame cannot be lost to a full heap. Two kinds of failure: `fatal` when the text
 * is no frame at all and there is nobody to answer; otherwise the connection goes on after an `err`
 * frame that names the member. Members we do not know are refused: a client that misspells "reply"
 * would otherwise lose replies in silence. */
#include "proto/frame.h"

#include "common/token.h"
#include "proto/names.h"
#include <stdarg.h>
#include <stdio.h>

#define PROBLEM_KEY_BYTES 48 /* of a member's name in a problem text */

enum field_kind {
    FIELD_CONVERSATION,
    FIELD_USER,
    FIELD_MESSAGE_ID,
    FIELD_BODY,
    FIELD_SEQ,    /* 1.. */
    FIELD_CURSOR, /* 0.. */
    FIELD_EMOJI,
    FIELD_FLAG,
    FIELD_TOKEN,
    FIELD_DEVICE,
    FIELD_LABEL,
    FIELD_STATUS,
    FIELD_EPOCH,
    FIELD_META
};
/* Said behind `member "x" `. */
static const char *const field_problems[] = {
    [FIELD_CONVERSATION] = "is not a conversation id",
    [FIELD_USER] = "is not a user name or id",
    [FIELD_MESSAGE_ID] = "is not a UUID version 7",
    [FIELD_BODY] = "is not a message body (an object whose text is a string)",
    [FIELD_SEQ] = "is not a seq (1 or more)",
    [FIELD_CURSOR] = "is not a seq (0 or more)",
    [FIELD_EMOJI] = "is not a reaction (1 to 64 bytes)",
    [FIELD_FLAG] = "is not true or false",
    [FIELD_TOKEN] = "is not an access token",
    [FIELD_DEVICE] = "is not a device id",
    [FIELD_LABEL] = "is not a name (1 to 64 bytes)",
    [FIELD_STATUS] = "is not online or away",
    [FIELD_EPOCH] = "is not an epoch",
    [FIELD_META] = "is not an object with a traceparent",
};

struct field {
    const char *name;
    size_t offset; /* in struct client_frame */
    enum field_kind kind;
    bool required;
};
#define FIELD(name_, member, kind_, required_)                                                     \
    {.name = (name_),                                                                              \
     .offset = offsetof(struct client_frame, member),                                              \
     .kind = (kind_),                                                                              \
     .required = (required_)}
#define META FIELD("meta", traceparent, FIELD_META, false)

static const struct field auth_fields[] = {FIELD("token", auth.token, FIELD_TOKEN, true),
                                           FIELD("device", auth.device, FIELD_DEVICE, false),
                                           FIELD("name", auth.name, FIELD_LABEL, false), META};
static const struct field send_fields[] = {
    FIELD("conversation", message.conversation, FIELD_CONVERSATION, false),
    FIELD("message", message.message, FIELD_MESSAGE_ID, true),
    FIELD("body", message.body, FIELD_BODY, true),
    FIELD("reply", message.reply, FIELD_SEQ, false),
    FIELD("to", message.to, FIELD_USER, false),
    META};
static const struct field edit_fields[] = {
    FIELD("conversation", message.conversation, FIELD_CONVERSATION, true),
    FIELD("seq", message.seq, FIELD_SEQ, true),
    FIELD("message", message.message, FIELD_MESSAGE_ID, true),
    FIELD("body", message.body, FIELD_BODY, true), META};
static const struct field recall_fields[] = {
    FIELD("conversation", message.conversation, FIELD_CONVERSATION, true),
    FIELD("seq", message.seq, FIELD_SEQ, true),
    FIELD("message", message.message, FIELD_MESSAGE_ID, true), META};
static const struct field react_fields[] = {
    FIELD("conversation", message.conversation, FIELD_CONVERSATION, true),
    FIELD("seq", message.seq, FIELD_SEQ, true),
    FIELD("message", message.message, FIELD_MESSAGE_ID, true),
    FIELD("emoji", message.emoji, FIELD_EMOJI, true),
    FIELD("remove", message.remove, FIELD_FLAG, false),
    META};
static const struct field sync_fields[] = {FIELD("epoch", sync.epoch, FIELD_EPOCH, false), META};
static const struct field mark_fields[] = {
    FIELD("conversation", mark.conversation, FIELD_CONVERSATION, true),
    FIELD("delivered", mark.delivered, FIELD_CURSOR, false),
    FIELD("read", mark.read, FIELD_CURSOR, false), META};
static const struct field typing_fields[] = {
    FIELD("conversation", typing.conversation, FIELD_CONVERSATION, true),
    FIELD("active", typing.active, FIELD_FLAG, false), META};
static const struct field presence_fields[] = {
    FIELD("status", presence.status, FIELD_STATUS, false),
    FIELD("conversation", presence.conversation, FIELD_CONVERSATION, false), META};
static const struct field empty_fields[] = {META};

struct frame_row {
    const char *name;
    const struct field *fields;
    size_t field_count;
    bool needs_id;
};
#define ROW(name_, fields_, needs_id_)                                                             \
    {.name = (name_),                                                                              \
     .fields = (fields_),                                                                          \
     .field_count = sizeof(fields_) / sizeof((fields_)[0]),                                        \
     .needs_id = (needs_id_)}
static const struct frame_row frame_rows[] = {
    [FRAME_AUTH] = ROW("auth", auth_fields, true),
    [FRAME_SEND] = ROW("send", send_fields, true),
    [FRAME_EDIT] = ROW("edit", edit_fields, true),
    [FRAME_RECALL] = ROW("recall", recall_fields, true),
    [FRAME_REACT] = ROW("react", react_fields, true),
    [FRAME_SYNC] = ROW("sync", sync_fields, true),
    [FRAME_MARK] = ROW("mark", mark_fields, false),
    [FRAME_TYPING] = ROW("typing", typing_fields, false),
    [FRAME_PRESENCE] = ROW("presence", presence_fields, false),
    [FRAME_PING] = ROW("ping", empty_fields, false),
    [FRAME_PONG] = ROW("pong", empty_fields, false),
};
#define FRAME_ROW_COUNT (sizeof frame_rows / sizeof frame_rows[0])

const char *frame_type_name(enum frame_type type) {
    return (size_t)type < FRAME_ROW_COUNT ? frame_rows[type].name : "unknown";
}

__attribute__((format(printf, 3, 4))) static enum reason
refuse(struct frame_problem *problem, enum reason reason, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem->text, sizeof problem->text, format, arguments); /* fits, see callers */
    va_end(arguments);
    return reason;
}

/* A key for a problem text, cut at a character. */
static const char *show_key(const struct json_value *key, char text[PROBLEM_KEY_BYTES]) {
    char whole[LIMIT_JSON_KEY_BYTES + 1];
    if (json_string_copy(key, whole, sizeof whole) != ERR_OK) {
        return "?";
    }
    size_t bytes = strlen(whole);
    if (bytes >= PROBLEM_KEY_BYTES) {
        bytes = PROBLEM_KEY_BYTES - 1;
        while (bytes > 0 && ((uint8_t)whole[bytes] & 0xC0) == 0x80) {
            bytes--;
        }
    }
    memcpy(text, whole, bytes);
    text[bytes] = '\0';
    return text;
}

/* --- fields ------------------------------------------------------------------------------------
 */

typedef bool (*name_check_fn)(const char *text, size_t count);

static bool epoch_valid(const char *text, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return true; /* empty: the client has none */
}

static bool label_valid(const char *text, size_t count) {
    return names_label_valid(text, count, LIMIT_DEVICE_NAME_BYTES);
}

static bool status_valid(const char *text, size_t count) {
    return (count == 6 && memcmp(text, "online", 6) == 0) ||
           (count == 4 && memcmp(text, "away", 4) == 0);
}

static bool traceparent_valid(const char *text, size_t count) {
    return count == LIMIT_TRACEPARENT_BYTES && epoch_valid(text, count);
}

static enum reason take_name(const struct json_value *value, char *text, size_t capacity,
                             name_check_fn is_valid) {
    if (json_string_copy(value, text, capacity) != ERR_OK || !is_valid(text, strlen(text))) {
        return REASON_MALFORMED;
    }
    return REASON_OK;
}

/* "bob" and "u_bob" mean the same, as in MQTT topics and REST paths. */
static enum reason take_user(const struct json_value *value, char id[LIMIT_USER_ID_BYTES + 1]) {
    char text[LIMIT_USER_ID_BYTES + 1];
    if (json_string_copy(value, text, sizeof text) != ERR_OK ||
        names_user_id_accept(text, strlen(text), id) != ERR_OK) {
        return REASON_MALFORMED;
    }
    return REASON_OK;
}

static enum reason take_message_id(const struct json_value *value, uint8_t id[ID_UUID_BYTES]) {
    struct slice text;
    if (json_string_slice(value, &text) != ERR_OK) {
        return REASON_MALFORMED;
    }
    return id_uuid7_parse((const char *)text.bytes, text.count, id) == ERR_OK ? REASON_OK
                                                                              : REASON_INVALID_ID;
}

static enum reason take_token(const struct json_value *value, struct slice *token) {
    if (json_string_slice(value, token) != ERR_OK || token->count == 0) {
        return REASON_MALFORMED;
    }
    if (token->count > TOKEN_BYTES_MAX) {
        return REASON_TOO_LARGE;
    }
    return epoch_valid((const char *)token->bytes, token->count) ? REASON_OK : REASON_MALFORMED;
}

static enum reason take_seq(const struct json_value *value, uint64_t min, uint64_t *seq) {
    return json_u64(value, LIMIT_SEQ_MAX, seq) == ERR_OK && *seq >= min ? REASON_OK
                                                                        : REASON_MALFORMED;
}

static enum reason take_meta(const struct json_value *value, char *traceparent) {
    struct json_iter iter;
    struct json_member member;
    if (value->kind != JSON_OBJECT) {
        return REASON_MALFORMED;
    }
    json_iter_begin(&iter, value);
    while (json_next_member(&iter, &member)) {
        if (!json_string_is(&member.key, "traceparent")) {
            return REASON_MALFORMED;
        }
        enum reason reason =
            take_name(&member.value, traceparent, LIMIT_TRACEPARENT_BYTES + 1, traceparent_valid);
        if (reason != REASON_OK) {
            return reason;
        }
    }
    return REASON_OK;
}

enum reason frame_check_body(const struct json_value *body) {
    struct json_value text;
    if (body->kind != JSON_OBJECT) {
        return REASON_MALFORMED;
    }
    if (body->raw.count > LIMIT_BODY_BYTES) {
        return REASON_TOO_LARGE;
    }
    if (!json_find(body, "text", &text)) {
        return REASON_OK;
    }
    if (text.kind != JSON_STRING) {
        return REASON_MALFORMED;
    }
    return json_string_bytes(&text) <= LIMIT_TEXT_BYTES ? REASON_OK : REASON_TOO_LARGE;
}

static enum reason take_body(const struct json_value *value, struct slice *body) {
    enum reason reason = frame_check_body(value);
    if (reason == REASON_OK) {
        *body = value->raw;
    }
    return reason;
}

static enum reason take_flag(const struct json_value *value, bool *flag) {
    return json_bool(value, flag) == ERR_OK ? REASON_OK : REASON_MALFORMED;
}

static enum reason take_field(const struct field *field, const struct json_value *value,
                              struct client_frame *frame) {
    void *into = (char *)frame + field->offset;
    switch (field->kind) {
    case FIELD_CONVERSATION:
        return take_name(value, into, LIMIT_CONVERSATION_ID_BYTES + 1, names_conversation_id_valid);
    case FIELD_USER:
        return take_user(value, into);
    case FIELD_MESSAGE_ID:
        return take_message_id(value, into);
    case FIELD_BODY:
        return take_body(value, into);
    case FIELD_SEQ:
        return take_seq(value, 1, into);
    case FIELD_CURSOR:
        return take_seq(value, 0, into);
    case FIELD_EMOJI:
        return take_name(value, into, LIMIT_EMOJI_BYTES + 1, names_emoji_valid);
    case FIELD_FLAG:
        return take_flag(value, into);
    case FIELD_TOKEN:
        return take_token(value, into);
    case FIELD_DEVICE:
        return take_name(value, into, LIMIT_DEVICE_ID_BYTES + 1, names_device_id_valid);
    case FIELD_LABEL:
        return take_name(value, into, LIMIT_DEVICE_NAME_BYTES + 1, label_valid);
    case FIELD_STATUS:
        return take_name(value, into, sizeof frame->presence.status, status_valid);
    case FIELD_EPOCH:
        return take_name(value, into, LIMIT_EPOCH_BYTES + 1, epoch_valid);
    case FIELD_META:
        return take_meta(value, into);
    }
    return REASON_MALFORMED;
}

/* Index of the field, or field_count. */
static size_t find_field(const struct frame_row *row, const struct json_value *key) {
    size_t i = 0;
    while (i < row->field_count && !json_string_is(key, row->fields[i].name)) {
        i++;
    }
    return i;
}

/* --- d -----------------------------------------------------------------------------------------
 */

/* One conversation of a sync frame. */
static bool sync_member(const struct json_member *member, struct slice *conversation,
                        uint64_t *last_seq) {
    return json_string_slice(&member->key, conversation) == ERR_OK &&
           names_conversation_id_valid((const char *)conversation->bytes, conversation->count) &&
           json_u64(&member->value, LIMIT_SEQ_MAX, last_seq) == ERR_OK;
}

static enum reason check_sync_member(const struct json_member *member, struct client_frame *frame,
                                     struct frame_problem *problem) {
    struct slice conversation;
    uint64_t last_seq;
    char key[PROBLEM_KEY_BYTES];
    if (!sync_member(member, &conversation, &last_seq)) {
        return refuse(problem, REASON_MALFORMED, "member \"%s\" is not conversation: last seq",
                      show_key(&member->key, key));
    }
    if (frame->sync.conversation_count == LIMIT_SYNC_CONVERSATIONS) {
        return refuse(problem, REASON_TOO_LARGE, "more than %d conversations in one sync",
                      LIMIT_SYNC_CONVERSATIONS);
    }
    frame->sync.conversation_count++;
    return REASON_OK;
}

bool frame_sync_next(const struct frame_sync *sync, struct frame_sync_iter *iter,
                     char conversation[LIMIT_CONVERSATION_ID_BYTES + 1], uint64_t *last_seq) {
    struct json_member member;
    struct slice name;
    if (!iter->begun) {
        json_iter_begin(&iter->members, &sync->d);
        iter->begun = true;
    }
    while (json_next_member(&iter->members, &member)) {
        if (sync_member(&member, &name, last_seq)) {
            memcpy(conversation, name.bytes, name.count);
            conversation[name.count] = '\0';
            return true;
        }
    }
    return false;
}

/* What no single field can tell. seen: bit i = field i of the row was given. */
static enum reason check_whole(const struct client_frame *frame, uint32_t seen,
                               struct frame_problem *problem) {
    const struct frame_row *row = &frame_rows[frame->type];
    for (size_t i = 0; i < row->field_count; i++) {
        if (row->fields[i].required && (seen & 1u << i) == 0) {
            return refuse(problem, REASON_MALFORMED, "member \"%s\" is missing",
                          row->fields[i].name);
        }
    }
    if (frame->type == FRAME_SEND &&
        (frame->message.conversation[0] == '\0') == (frame->message.to[0] == '\0')) {
        return refuse(problem, REASON_MALFORMED, "either \"conversation\" or \"to\" is needed");
    }
    if (frame->type == FRAME_MARK && (seen & 6) == 0) {
        return refuse(problem, REASON_MALFORMED, "\"delivered\" or \"read\" is needed");
    }
    if (frame->type == FRAME_PRESENCE && (seen & 3) == 0) {
        return refuse(problem, REASON_MALFORMED, "\"status\" or \"conversation\" is needed");
    }
    bool is_query = frame->type == FRAME_PRESENCE && frame->presence.conversation[0] != '\0';
    if (!frame->has_id && (row->needs_id || is_query)) {
        return refuse(problem, REASON_MALFORMED, "member \"id\" is missing");
    }
    return REASON_OK;
}

static enum reason decode_d(const struct json_value *d, struct client_frame *frame,
                            struct frame_problem *problem) {
    const struct frame_row *row = &frame_rows[frame->type];
    struct json_iter iter;
    struct json_member member;
    uint32_t seen = 0;
    json_iter_begin(&iter, d);
    while (json_next_member(&iter, &member)) {
        char key[PROBLEM_KEY_BYTES];
        size_t index = find_field(row, &member.key);
        if (index == row->field_count) {
            if (frame->type != FRAME_SYNC) {
                return refuse(problem, REASON_MALFORMED, "unknown member \"%s\" in %s",
                              show_key(&member.key, key), row->name);
            }
            enum reason reason = check_sync_member(&member, frame, problem);
            if (reason != REASON_OK) {
                return reason;
            }
            continue;
        }
        enum reason reason = take_field(&row->fields[index], &member.value, frame);
        if (reason != REASON_OK) {
            const char *what = reason == REASON_TOO_LARGE ? "is too large"
                                                          : field_problems[row->fields[index].kind];
            return refuse(problem, reason, "member \"%s\" %s", row->fields[index].name, what);
        }
        seen |= 1u << index;
    }
    return check_whole(frame, seen, problem);
}

/* --- the frame ---------------------------------------------------------------------------------
 */

struct envelope {
    struct json_value t, id, d;
    bool has_t, has_id, has_d;
    struct json_value unknown; /* first member that is none of them */
    bool has_unknown;
};

static struct envelope read_envelope(const struct json_value *root) {
    struct envelope envelope = {0};
    struct json_iter iter;
    struct json_member member;
    json_iter_begin(&iter, root);
    while (json_next_member(&iter, &member)) {
        if (json_string_is(&member.key, "t")) {
            envelope.t = member.value;
            envelope.has_t = true;
        } else if (json_string_is(&member.key, "id")) {
            envelope.id = member.value;
            envelope.has_id = true;
        } else if (json_string_is(&member.key, "d")) {
            envelope.d = member.value;
            envelope.has_d = true;
        } else if (!envelope.has_unknown) {
            envelope.unknown = member.key;
            envelope.has_unknown = true;
        }
    }
    return envelope;
}

static bool find_type(const struct json_value *t, enum frame_type *type) {
    for (size_t i = 0; i < FRAME_ROW_COUNT; i++) {
        if (json_string_is(t, frame_rows[i].name)) {
            *type = (enum frame_type)i;
            return true;
        }
    }
    return false;
}

/* t, id and the kind of d. */
static enum reason check_envelope(const struct envelope *envelope, struct client_frame *frame,
                                  struct frame_problem *problem) {
    char key[PROBLEM_KEY_BYTES];
    if (!envelope->has_t || envelope->t.kind != JSON_STRING) {
        problem->fatal = true;
        return refuse(problem, REASON_MALFORMED, "member \"t\" is missing or not a string");
    }
    if (envelope->has_id) {
        if (json_u64(&envelope->id, LIMIT_REQUEST_ID_MAX, &frame->id) != ERR_OK || frame->id == 0) {
            return refuse(problem, REASON_MALFORMED, "member \"id\" is not an integer 1..2^53");
        }
        frame->has_id = true;
        problem->id = frame->id;
    }
    if (!find_type(&envelope->t, &frame->type)) {
        return refuse(problem, REASON_UNSUPPORTED, "unknown type \"%s\"",
                      show_key(&envelope->t, key));
    }
    if (envelope->has_unknown) {
        return refuse(problem, REASON_MALFORMED, "unknown member \"%s\" in the frame",
                      show_key(&envelope->unknown, key));
    }
    if (envelope->has_d && envelope->d.kind != JSON_OBJECT) {
        return refuse(problem, REASON_MALFORMED, "member \"d\" is not an object");
    }
    return REASON_OK;
}

enum reason frame_decode(const uint8_t *bytes, size_t count, struct client_frame *frame,
                         struct frame_problem *problem) {
    static const struct json_value empty = {.raw = {.bytes = (const uint8_t *)"{}", .count = 2},
                                            .kind = JSON_OBJECT};
    struct json_value root;
    struct json_problem json;
    *problem = (struct frame_problem){0};
    *frame = (struct client_frame){0};
    if (count > LIMIT_FRAME_BYTES) {
        problem->fatal = true;
        return refuse(problem, REASON_TOO_LARGE, "a frame has at most %d bytes", LIMIT_FRAME_BYTES);
    }
    enum err error = json_parse(bytes, count, &root, &json);
    if (error != ERR_OK || root.kind != JSON_OBJECT) {
        problem->fatal = true;
        if (error == ERR_OK) {
            return refuse(problem, REASON_MALFORMED, "a frame is a JSON object");
        }
        return refuse(problem, error == ERR_TOO_LARGE ? REASON_TOO_LARGE : REASON_MALFORMED,
                      "%s at byte %zu", json.text, json.offset);
    }
    struct envelope envelope = read_envelope(&root);
    enum reason reason = check_envelope(&envelope, frame, problem);
    if (reason != REASON_OK) {
        return reason;
    }
    const struct json_value *d = envelope.has_d ? &envelope.d : &empty;
    if (frame->type == FRAME_TYPING) {
        frame->typing.active = true;
    } else if (frame->type == FRAME_SYNC) {
        frame->sync.d = *d;
    }
    return decode_d(d, frame, problem);
}

bool frame_id_in_window(const uint8_t id[ID_UUID_BYTES], uint64_t now_wall_ms) {
    uint64_t id_ms = id_uuid7_wall_ms(id);
    uint64_t off_ms = id_ms > now_wall_ms ? id_ms - now_wall_ms : now_wall_ms - id_ms;
    return off_ms <= LIMIT_ID_WINDOW_MS;
}
