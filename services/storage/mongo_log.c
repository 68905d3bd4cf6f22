/* mongo_log: a message as one document of `messages`:
 *
 *   {_id: UUID (binary 4), conv, seq, kind, target, reply, ts, sender, device, raw, hash, body,
 *    origin: {device, packet, hash}}
 *
 * _id makes a message be stored once (I3), the unique index (conv, seq) gives it one place (I2).
 * Bodies are compressed and hashed as in SQLite (body.h). Documents are never changed. */
#include "services/storage/mongo_log.h"

#include "services/storage/stored_message.h"
#include <stdio.h>

#define SEQ MONGO_LOG_SEQ
#define DOCUMENT_BYTES_BESIDE 384u /* of a usual document beside its body; it grows when needed */

static bool is_utf8(const char *text) {
    return bson_utf8_validate(text, strlen(text), false);
}

bool mongo_log_valid(const Pipit__StoredMessage *message) {
    return stored_message_valid(message) && is_utf8(message->sender) && is_utf8(message->device) &&
           (message->origin == NULL || is_utf8(message->origin->device));
}

static void append_u64(bson_t *doc, const char *key, uint64_t value) {
    BSON_APPEND_INT64(doc, key, (int64_t)value);
}

static void append_bytes(bson_t *doc, const char *key, const uint8_t *bytes, size_t count) {
    static const uint8_t nothing;
    BSON_APPEND_BINARY(doc, key, BSON_SUBTYPE_BINARY, count > 0 ? bytes : &nothing,
                       (uint32_t)count);
}

static void append_id(bson_t *doc, const ProtobufCBinaryData *id) {
    BSON_APPEND_BINARY(doc, "_id", BSON_SUBTYPE_UUID, id->data, (uint32_t)id->len);
}

enum err mongo_log_encode(const char *conversation, const Pipit__StoredMessage *message,
                          struct body_packer *packer, bson_t **out) {
    struct stored_body body;
    enum err error = body_pack(packer, &message->body, &body);
    if (error != ERR_OK) {
        return error;
    }
    bson_t *doc = bson_sized_new(body.count + DOCUMENT_BYTES_BESIDE);
    append_id(doc, &message->id);
    BSON_APPEND_UTF8(doc, MONGO_LOG_CONVERSATION, conversation);
    append_u64(doc, SEQ, message->seq);
    append_u64(doc, "kind", (uint64_t)message->kind);
    append_u64(doc, "target", message->target_seq);
    append_u64(doc, "reply", message->reply_seq);
    append_u64(doc, MONGO_LOG_TS, message->ts_ms);
    BSON_APPEND_UTF8(doc, "sender", message->sender);
    BSON_APPEND_UTF8(doc, "device", message->device);
    append_u64(doc, "raw", body.raw_bytes);
    append_u64(doc, "hash", body_hash(body_conversation_key(conversation), message, &body));
    append_bytes(doc, "body", body.bytes, body.count);
    if (message->origin != NULL) {
        bson_t origin;
        BSON_APPEND_DOCUMENT_BEGIN(doc, "origin", &origin);
        BSON_APPEND_UTF8(&origin, "device", message->origin->device);
        append_u64(&origin, "packet", message->origin->packet_id);
        append_bytes(&origin, "hash", message->origin->hash.data, message->origin->hash.len);
        bson_append_document_end(doc, &origin);
    }
    *out = doc;
    return ERR_OK;
}

/* Into message->origin, which stays NULL when there is none. */
static enum err decode_origin(const bson_t *doc, struct arena *arena,
                              Pipit__StoredMessage *message) {
    bson_t item;
    if (!mongo_document(doc, "origin", &item)) {
        return ERR_OK;
    }
    Pipit__Origin *origin = arena_alloc(arena, sizeof(*origin));
    if (origin == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__origin__init(origin);
    origin->device = mongo_text(&item, "device", arena);
    origin->packet_id = (uint32_t)mongo_u64(&item, "packet");
    message->origin = origin;
    return origin->device == NULL ? ERR_NO_MEMORY
                                  : mongo_bytes(&item, "hash", arena, &origin->hash);
}

static enum err decode_fields(const bson_t *doc, struct arena *arena,
                              Pipit__StoredMessage *message) {
    message->seq = mongo_u64(doc, SEQ);
    message->kind = (Pipit__MessageKind)mongo_u64(doc, "kind");
    message->target_seq = mongo_u64(doc, "target");
    message->reply_seq = mongo_u64(doc, "reply");
    message->ts_ms = mongo_u64(doc, MONGO_LOG_TS);
    message->sender = mongo_text(doc, "sender", arena);
    message->device = mongo_text(doc, "device", arena);
    if (message->sender == NULL || message->device == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = mongo_bytes(doc, "_id", arena, &message->id);
    return error != ERR_OK ? error : decode_origin(doc, arena, message);
}

enum err mongo_log_decode(const bson_t *doc, const char *conversation, struct arena *arena,
                          Pipit__StoredMessage **out) {
    Pipit__StoredMessage *message = arena_alloc(arena, sizeof(*message));
    if (message == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__stored_message__init(message);
    message->conversation =
        (char *)conversation; /* outlives the reply: the request's or the list's */
    enum err error = decode_fields(doc, arena, message);
    if (error != ERR_OK) {
        return error;
    }
    *out = message;
    ProtobufCBinaryData bytes = mongo_peek_bytes(doc, "body");
    uint64_t raw_bytes = mongo_u64(doc, "raw");
    struct stored_body body = {bytes.data, bytes.len, (uint32_t)raw_bytes};
    if (!stored_message_hashable(message) || raw_bytes > BODY_BYTES_MAX ||
        body_hash(body_conversation_key(conversation), message, &body) != mongo_u64(doc, "hash")) {
        stored_message_damaged(message);
        return ERR_OK;
    }
    error = body_unpack(&body, arena, &message->body);
    if (error == ERR_CORRUPT) {
        stored_message_damaged(message);
        error = ERR_OK;
    }
    return error;
}

static int64_t cut(uint64_t seq) {
    return seq > INT64_MAX ? INT64_MAX : (int64_t)seq; /* BSON's integers are signed */
}

void mongo_log_range(bson_t *filter, const char *conversation, uint64_t above, uint64_t to) {
    bson_t range;
    bson_init(filter);
    BSON_APPEND_UTF8(filter, MONGO_LOG_CONVERSATION, conversation);
    BSON_APPEND_DOCUMENT_BEGIN(filter, SEQ, &range);
    BSON_APPEND_INT64(&range, "$gt", cut(above));
    BSON_APPEND_INT64(&range, "$lte", cut(to));
    bson_append_document_end(filter, &range);
}

enum err mongo_log_tail(struct mongo_session *session, const char *conversation,
                        struct mongo_tail *tail) {
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    bson_t sort = BSON_INITIALIZER;
    bson_t doc;
    BSON_APPEND_UTF8(&filter, MONGO_LOG_CONVERSATION, conversation);
    BSON_APPEND_INT32(&projection, SEQ, 1);
    BSON_APPEND_INT32(&projection, MONGO_LOG_TS, 1);
    BSON_APPEND_INT32(&sort, SEQ, -1);
    struct mongo_find find = {
        .collection = MONGO_MESSAGES, .filter = &filter, .projection = &projection, .sort = &sort};
    enum err error = mongo_find_one(session, &find, &doc);
    if (error == ERR_OK || error == ERR_NOT_FOUND) { /* the empty document has zeros */
        *tail = (struct mongo_tail){mongo_u64(&doc, SEQ), mongo_u64(&doc, MONGO_LOG_TS)};
        error = ERR_OK;
    }
    bson_destroy(&doc);
    bson_destroy(&sort);
    bson_destroy(&projection);
    bson_destroy(&filter);
    return error;
}

enum err mongo_log_find_id(struct mongo_session *session, const ProtobufCBinaryData *id,
                           struct mongo_stored_at *out) {
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    bson_t doc;
    static const char *const fields[] = {MONGO_LOG_CONVERSATION, "sender", SEQ, MONGO_LOG_TS};
    append_id(&filter, id);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        BSON_APPEND_INT32(&projection, fields[i], 1);
    }
    struct mongo_find find = {
        .collection = MONGO_MESSAGES, .filter = &filter, .projection = &projection};
    enum err error = mongo_find_one(session, &find, &doc);
    if (error == ERR_OK) {
        (void)snprintf(out->conversation, sizeof(out->conversation), "%s",
                       mongo_peek(&doc, MONGO_LOG_CONVERSATION));
        (void)snprintf(out->sender, sizeof(out->sender), "%s", mongo_peek(&doc, "sender"));
        out->seq = mongo_u64(&doc, SEQ);
        out->ts_ms = mongo_u64(&doc, MONGO_LOG_TS);
    }
    bson_destroy(&doc);
    bson_destroy(&projection);
    bson_destroy(&filter);
    return error;
}
