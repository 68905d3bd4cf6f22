/* queries: packs the four questions and unpacks their answers.
 *
 * Routing passes history, heads and conversations on to storage unchanged and knows presence
 * itself; here they look alike: a status and a typed reply. An error inside a reply (not a member,
 * not found) becomes the status, so askers have one thing to check. */
#include "services/connection/queries.h"

#include <string.h>

/* The reply's own error, or the status. */
static enum err told(enum err status, uint32_t error) {
    if (status != ERR_OK || error == ERR_OK) {
        return status;
    }
    return error <= ERR_INTERNAL ? (enum err)error : ERR_INTERNAL;
}

static struct arena *arena_of(struct hub *hub, const struct hub_query *query) {
    if (query->arena == NULL) {
        return hub_arena(hub);
    }
    arena_reset(query->arena);
    return query->arena;
}

static void on_history(struct hub *hub, const struct hub_query *query, enum err status,
                       const uint8_t *body, size_t body_bytes) {
    Pipit__HistoryReply *reply = NULL;
    if (status == ERR_OK) {
        status =
            ENVELOPE_UNPACK_REPLY(HISTORY_REPLY, body, body_bytes, arena_of(hub, query), &reply);
    }
    status = told(status, reply != NULL ? reply->error : 0);
    query->answer.history(hub, query, status, status == ERR_OK ? reply : NULL);
}

static void on_heads(struct hub *hub, const struct hub_query *query, enum err status,
                     const uint8_t *body, size_t body_bytes) {
    Pipit__HeadsReply *reply = NULL;
    if (status == ERR_OK) {
        status = ENVELOPE_UNPACK_REPLY(HEADS_REPLY, body, body_bytes, arena_of(hub, query), &reply);
    }
    status = told(status, reply != NULL ? reply->error : 0);
    query->answer.heads(hub, query, status, status == ERR_OK ? reply : NULL);
}

static void on_conversations(struct hub *hub, const struct hub_query *query, enum err status,
                             const uint8_t *body, size_t body_bytes) {
    Pipit__ConversationsReply *reply = NULL;
    if (status == ERR_OK) {
        status = ENVELOPE_UNPACK_REPLY(CONVERSATIONS_REPLY, body, body_bytes, arena_of(hub, query),
                                       &reply);
    }
    status = told(status, reply != NULL ? reply->error : 0);
    query->answer.conversations(hub, query, status, status == ERR_OK ? reply : NULL);
}

static void on_remembered(struct hub *hub, const struct hub_query *query, enum err status,
                          const uint8_t *body, size_t body_bytes) {
    Pipit__CursorsReply *reply = NULL;
    if (status == ERR_OK) {
        status =
            ENVELOPE_UNPACK_REPLY(CURSORS_REPLY, body, body_bytes, arena_of(hub, query), &reply);
    }
    query->answer.remembered(hub, query, told(status, reply != NULL ? reply->error : 0));
}

static void on_presence(struct hub *hub, const struct hub_query *query, enum err status,
                        const uint8_t *body, size_t body_bytes) {
    Pipit__PresenceReply *reply = NULL;
    if (status == ERR_OK) {
        status =
            ENVELOPE_UNPACK_REPLY(PRESENCE_REPLY, body, body_bytes, arena_of(hub, query), &reply);
    }
    status = told(status, reply != NULL ? reply->error : 0);
    query->answer.presence(hub, query, status, status == ERR_OK ? reply : NULL);
}

enum err hub_query_history(struct hub *hub, const struct hub_history_ask *ask,
                           const struct hub_query *query) {
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)query->conversation;
    request.viewer = (char *)ask->viewer;
    request.after_seq = ask->after_seq;
    request.limit = ask->limit;
    request.bytes_max = ask->bytes_max;
    enum err error = hub_pack(hub, MESSAGE_HISTORY_REQUEST, &request.base);
    return error == ERR_OK ? hub_reads_ask(hub, query, ask->urgent, on_history) : error;
}

enum err hub_query_heads(struct hub *hub, const char *const *conversations, size_t count,
                         const struct hub_query *query) {
    CONTRACT(count > 0 && count <= HUB_HEADS_MAX);
    Pipit__HeadsRequest request = PIPIT__HEADS_REQUEST__INIT;
    request.n_conversations = count;
    request.conversations = (char **)conversations;
    enum err error = hub_pack(hub, MESSAGE_HEADS_REQUEST, &request.base);
    return error == ERR_OK ? hub_reads_ask(hub, query, true, on_heads) : error;
}

enum err hub_query_conversations(struct hub *hub, const struct hub_conversations_ask *ask,
                                 const struct hub_query *query) {
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    bool one = query->conversation[0] != '\0';
    request.user = (char *)ask->user;
    request.device = (char *)ask->device;
    request.after = (char *)ask->after;
    request.limit = HUB_CONVERSATIONS_LIMIT_MAX;
    request.conversation = (char *)query->conversation;
    request.with_members = one;
    enum err error = hub_pack(hub, MESSAGE_CONVERSATIONS_REQUEST, &request.base);
    return error == ERR_OK ? hub_reads_ask(hub, query, one, on_conversations) : error;
}

enum err hub_query_remember(struct hub *hub, const char *user, const char *device,
                            const struct hub_query *query) {
    Pipit__CursorUpdate update = PIPIT__CURSOR_UPDATE__INIT;
    Pipit__CursorUpdate *updates[1] = {&update};
    Pipit__CursorsRequest request = PIPIT__CURSORS_REQUEST__INIT;
    update.user = (char *)user;
    update.device = (char *)device;
    request.n_updates = 1;
    request.updates = updates;
    enum err error = hub_pack(hub, MESSAGE_CURSORS_REQUEST, &request.base);
    return error == ERR_OK ? hub_reads_ask(hub, query, false, on_remembered) : error;
}

enum err hub_query_presence(struct hub *hub, const char *user, const struct hub_query *query) {
    Pipit__PresenceQuery request = PIPIT__PRESENCE_QUERY__INIT;
    request.user = (char *)user;
    request.conversation = (char *)query->conversation;
    enum err error = hub_pack(hub, MESSAGE_PRESENCE_QUERY, &request.base);
    return error == ERR_OK ? hub_reads_ask(hub, query, false, on_presence) : error;
}

bool hub_event_of(const Pipit__StoredMessage *message, struct frame_event *event) {
    bool shows_body = message->kind != PIPIT__MESSAGE_KIND__MESSAGE_RECALL;
    if ((shows_body && message->body.len == 0) || message->id.len != ID_UUID_BYTES ||
        message->seq == 0 || message->seq > LIMIT_SEQ_MAX || message->conversation[0] == '\0' ||
        message->sender[0] == '\0' || (unsigned)message->kind > FRAME_EVENT_REACT) {
        return false;
    }
    *event = (struct frame_event){
        .kind = (enum frame_event_kind)message->kind,
        .conversation = message->conversation,
        .seq = message->seq,
        .id = message->id.data,
        .sender = message->sender,
        .device = message->device,
        .ts_ms = message->ts_ms,
        .target_seq = message->target_seq,
        .reply_seq = message->reply_seq,
        .body = slice_make(message->body.data, message->body.len),
    };
    return true;
}
