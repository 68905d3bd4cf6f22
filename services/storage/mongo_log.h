/* mongo_log: messages of a conversation as documents, and the few reads that its other files share.
 */
#ifndef PIPIT_STORAGE_MONGO_LOG_H
#define PIPIT_STORAGE_MONGO_LOG_H

#include "services/storage/body.h"
#include "services/storage/store_mongo.h"

/* Fields of `messages`, see mongo_log.c. */
#define MONGO_LOG_CONVERSATION "conv"
#define MONGO_LOG_SEQ "seq"
#define MONGO_LOG_TS "ts"

/* May be stored: stored_message_valid, and its texts are UTF-8. */
bool mongo_log_valid(const Pipit__StoredMessage *message);
/* A new document, bson_destroy by the caller; message->seq counts. ERR_NO_MEMORY. */
enum err mongo_log_encode(const char *conversation, const Pipit__StoredMessage *message,
                          struct body_packer *packer, bson_t **out) MUST_CHECK;
/* The message (arena); a damaged one becomes its own recall. conversation is borrowed. */
enum err mongo_log_decode(const bson_t *doc, const char *conversation, struct arena *arena,
                          Pipit__StoredMessage **out) MUST_CHECK;

/* {conv, seq: {$gt: above, $lte: to}}, both cut at INT64_MAX. */
void mongo_log_range(bson_t *filter, const char *conversation, uint64_t above, uint64_t to);
/* Seq and time of the last stored message; zeros when there is none. */
struct mongo_tail {
    uint64_t seq, ts_ms;
};
enum err mongo_log_tail(struct mongo_session *session, const char *conversation,
                        struct mongo_tail *tail) MUST_CHECK;
/* Where this id is stored. ERR_NOT_FOUND. */
struct mongo_stored_at {
    char conversation[STORE_ID_BYTES_MAX + 1], sender[STORE_ID_BYTES_MAX + 1];
    uint64_t seq, ts_ms;
};
enum err mongo_log_find_id(struct mongo_session *session, const ProtobufCBinaryData *id,
                           struct mongo_stored_at *out) MUST_CHECK;

#endif
