/* stored_message: the checks on the way in and on the way out. A damaged message stays in its
 * place: seqs are dense, so a hole would stop every reader behind it. */
#include "services/storage/stored_message.h"

#include "common/log.h"
#include "services/storage/body.h"
#include "services/storage/metrics.h"
#include "services/storage/store.h"
#include <string.h>

#define ID_BYTES 16u

static bool id_fits(const char *id) {
    return strnlen(id, STORE_ID_BYTES_MAX + 1) <= STORE_ID_BYTES_MAX;
}

bool stored_message_hashable(const Pipit__StoredMessage *message) {
    const Pipit__Origin *origin = message->origin;
    return message->id.len == ID_BYTES && id_fits(message->sender) && id_fits(message->device) &&
           (origin == NULL || (id_fits(origin->device) && origin->hash.len <= STORE_ID_BYTES_MAX));
}

bool stored_message_valid(const Pipit__StoredMessage *message) {
    return stored_message_hashable(message) && message->sender[0] != '\0' &&
           message->body.len <= BODY_BYTES_MAX;
}

void stored_message_damaged(Pipit__StoredMessage *message) {
    static uint8_t no_id[ID_BYTES];
    static uint8_t no_body[] = "{}";
    uint64_t seq = message->seq;
    char *conversation = message->conversation;
    uint64_t ts_ms = message->ts_ms;
    pipit__stored_message__init(message);
    message->conversation = conversation;
    message->seq = seq;
    message->ts_ms = ts_ms;
    message->kind = PIPIT__MESSAGE_KIND__MESSAGE_RECALL;
    message->target_seq = seq;
    message->id = (ProtobufCBinaryData){sizeof(no_id), no_id};
    message->body = (ProtobufCBinaryData){sizeof(no_body) - 1, no_body};
    storage_metrics_damaged();
    static struct log_limit limit;
    if (log_allowed(&limit, 5)) {
        log_event(LOG_ERROR, "stored message is damaged; serving a recall in its place",
                  F_TEXT("conversation", conversation), F_UINT("seq", seq));
    }
}
