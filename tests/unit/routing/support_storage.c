/* support_storage: see the header. The rules are kept as simple as they can be stated, in arrays,
 * so that a test's expectation can be checked by eye; services/storage has its own conformance
 * tests. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include <stdio.h>
#include <string.h>

static void serve(struct scripted_storage *storage, enum message_type type, const uint8_t *body,
                  size_t body_bytes, struct buf *answer);

static void copy_text(char *to, size_t bytes, const char *from) {
    (void)snprintf(to, bytes, "%s", from);
}

/* --- data */

struct script_conversation *script_find(struct scripted_storage *storage, const char *id) {
    for (size_t i = 0; i < storage->conversation_count; i++) {
        if (strcmp(storage->conversations[i].id, id) == 0) {
            return &storage->conversations[i];
        }
    }
    return NULL;
}

struct script_member *script_member(struct script_conversation *conversation, const char *user) {
    for (size_t i = 0; i < conversation->member_count; i++) {
        if (strcmp(conversation->members[i].user, user) == 0) {
            return &conversation->members[i];
        }
    }
    return NULL;
}

static struct script_member *add_member(struct script_conversation *conversation,
                                        const char *user) {
    CONTRACT(conversation->member_count < SCRIPT_MEMBERS_MAX);
    struct script_member *member = &conversation->members[conversation->member_count++];
    memset(member, 0, sizeof *member);
    copy_text(member->user, sizeof member->user, user);
    member->joined_seq = conversation->head;
    return member;
}

struct script_conversation *script_conversation(struct scripted_storage *storage, const char *id,
                                                const char *const *members) {
    CONTRACT(storage->conversation_count < SCRIPT_CONVERSATIONS_MAX);
    struct script_conversation *made = &storage->conversations[storage->conversation_count++];
    memset(made, 0, sizeof *made);
    copy_text(made->id, sizeof made->id, id);
    made->version = 1;
    made->rows = mem_zalloc(SCRIPT_ROWS_MAX, sizeof *made->rows);
    CONTRACT(made->rows != NULL);
    bool direct = strncmp(id, "c_dm-", 5) == 0;
    made->kind = direct ? PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT
                        : PIPIT__CONVERSATION_KIND__CONVERSATION_GROUP;
    for (size_t i = 0; members[i] != NULL; i++) {
        struct script_member *member = add_member(made, members[i]);
        member->role =
            i == 0 && !direct ? PIPIT__MEMBER_ROLE__ROLE_OWNER : PIPIT__MEMBER_ROLE__ROLE_MEMBER;
    }
    return made;
}

/* Where an id is stored, over all conversations. */
static struct script_conversation *find_id(struct scripted_storage *storage, const uint8_t *id,
                                           uint64_t *seq) {
    for (size_t i = 0; i < storage->conversation_count; i++) {
        struct script_conversation *conversation = &storage->conversations[i];
        for (uint64_t s = 1; s <= conversation->head; s++) {
            if (memcmp(conversation->rows[s - 1].id, id, 16) == 0) {
                *seq = s;
                return conversation;
            }
        }
    }
    return NULL;
}

static struct script_row *new_row(struct script_conversation *conversation) {
    CONTRACT(conversation->head < SCRIPT_ROWS_MAX);
    return &conversation->rows[conversation->head++];
}

uint64_t script_append(struct scripted_storage *storage, struct script_conversation *conversation,
                       const char *sender, const uint8_t *id, const char *body) {
    (void)storage;
    struct script_row *row = new_row(conversation);
    copy_text(row->sender, sizeof row->sender, sender);
    copy_text(row->body, sizeof row->body, body);
    row->ts_ms = clock_wall_ms();
    if (id != NULL) {
        memcpy(row->id, id, 16);
    } else {
        fresh_id(row->id);
    }
    return conversation->head;
}

static void fill_member(Pipit__Member *out, const struct script_member *member) {
    pipit__member__init(out);
    out->user = (char *)member->user;
    out->role = member->role;
    out->state = member->state;
    out->joined_seq = member->joined_seq;
    out->delivered_seq = member->delivered_seq;
    out->read_seq = member->read_seq;
}

static void publish(struct scripted_storage *storage, const Pipit__MembersChanged *change) {
    buf_clear(&storage->scratch);
    CONTRACT(envelope_pack(MESSAGE_MEMBERS_CHANGED, &change->base, false, &storage->scratch) ==
             ERR_OK);
    CONTRACT(stream_publish(storage->publisher, STREAM_TOPIC_ALL, buf_data(&storage->scratch),
                            buf_len(&storage->scratch)) == ERR_OK);
}

void script_publish_version(struct scripted_storage *storage, const char *conversation,
                            uint64_t version) {
    Pipit__MembersChanged change = PIPIT__MEMBERS_CHANGED__INIT;
    change.conversation = (char *)conversation;
    change.members_version = version;
    publish(storage, &change);
}

static void publish_change(struct scripted_storage *storage,
                           const struct script_conversation *conversation,
                           const struct script_member *member) {
    Pipit__Member changed;
    Pipit__Member *pointer = &changed;
    fill_member(&changed, member);
    Pipit__MembersChanged change = PIPIT__MEMBERS_CHANGED__INIT;
    change.conversation = (char *)conversation->id;
    change.kind = conversation->kind;
    change.members_version = conversation->version;
    change.head = conversation->head;
    change.n_changed = 1;
    change.changed = &pointer;
    publish(storage, &change);
}

void script_change_member(struct scripted_storage *storage,
                          struct script_conversation *conversation, const char *user,
                          Pipit__MemberState state, bool publish) {
    struct script_member *member = script_member(conversation, user);
    if (member == NULL) {
        member = add_member(conversation, user);
    }
    member->state = state;
    conversation->version++;
    if (publish) {
        publish_change(storage, conversation, member);
    }
}

void script_publish_garbage(struct scripted_storage *storage) {
    static const uint8_t garbage[] = {0xff};
    CONTRACT(stream_publish(storage->publisher, STREAM_TOPIC_ALL, garbage, sizeof garbage) ==
             ERR_OK);
}

/* --- requests */

static struct script_row *put_row(struct script_conversation *conversation,
                                  const Pipit__StoredMessage *message) {
    struct script_row *row = new_row(conversation);
    memset(row, 0, sizeof *row);
    memcpy(row->id, message->id.data, 16);
    copy_text(row->sender, sizeof row->sender, message->sender);
    copy_text(row->device, sizeof row->device, message->device);
    (void)snprintf(row->body, sizeof row->body, "%.*s", (int)message->body.len,
                   (const char *)message->body.data);
    row->ts_ms = message->ts_ms;
    row->kind = message->kind;
    row->target_seq = message->target_seq;
    if (message->origin != NULL && message->origin->hash.len == 16) {
        memcpy(row->origin_hash, message->origin->hash.data, 16);
        copy_text(row->origin_device, sizeof row->origin_device, message->origin->device);
        row->origin_packet = message->origin->packet_id;
        row->has_origin = true;
    }
    return row;
}

static void append_run(struct scripted_storage *storage, const Pipit__AppendRun *run,
                       Pipit__AppendResult *result) {
    struct script_conversation *conversation = script_find(storage, run->conversation);
    if (conversation == NULL) {
        result->error = ERR_NOT_FOUND;
        return;
    }
    result->error = run->first_seq == conversation->head + 1 ? ERR_OK : ERR_DUPLICATE_SEQ;
    if (storage->run_error != ERR_OK) {
        result->error = storage->run_error;
    }
    for (size_t i = 0; i < run->n_messages && result->error == ERR_OK; i++) {
        uint64_t seq = 0;
        struct script_conversation *where = find_id(storage, run->messages[i]->id.data, &seq);
        if (where != NULL) {
            result->error = ERR_DUPLICATE_ID;
            result->existing_conversation = where->id;
            result->existing_seq = seq;
            result->existing_sender = where->rows[seq - 1].sender;
            result->existing_ts_ms = where->rows[seq - 1].ts_ms;
        } else {
            (void)put_row(conversation, run->messages[i]);
            storage->appended_messages++;
            result->stored_count++;
        }
    }
    result->members_version = conversation->version;
    result->head = conversation->head;
}

static void answer_append(struct scripted_storage *storage, const Pipit__AppendBatch *batch,
                          struct buf *answer) {
    Pipit__AppendReply reply = PIPIT__APPEND_REPLY__INIT;
    reply.results = arena_alloc(&storage->arena, (batch->n_runs + 1) * sizeof *reply.results);
    reply.n_results = batch->n_runs;
    if (batch->n_runs > storage->append_runs_max) {
        storage->append_runs_max = (unsigned)batch->n_runs;
    }
    for (size_t i = 0; i < batch->n_runs; i++) {
        reply.results[i] = arena_alloc(&storage->arena, sizeof *reply.results[i]);
        pipit__append_result__init(reply.results[i]);
        append_run(storage, batch->runs[i], reply.results[i]);
    }
    CONTRACT(envelope_pack(MESSAGE_APPEND_REPLY, &reply.base, false, answer) == ERR_OK);
}

static Pipit__Origin *origin_of(struct scripted_storage *storage, const struct script_row *row) {
    Pipit__Origin *origin = arena_alloc(&storage->arena, sizeof *origin);
    pipit__origin__init(origin);
    origin->device = (char *)row->origin_device;
    origin->packet_id = row->origin_packet;
    origin->hash = (ProtobufCBinaryData){16, (uint8_t *)row->origin_hash};
    return origin;
}

static void answer_history(struct scripted_storage *storage, const Pipit__HistoryRequest *request,
                           struct buf *answer) {
    Pipit__HistoryReply reply = PIPIT__HISTORY_REPLY__INIT;
    struct script_conversation *conversation = script_find(storage, request->conversation);
    struct script_member *viewer =
        conversation != NULL ? script_member(conversation, request->viewer) : NULL;
    uint64_t from = request->after_seq;
    if (conversation == NULL) {
        reply.error = ERR_NOT_FOUND;
    } else if (request->viewer[0] != '\0' &&
               (viewer == NULL || viewer->state == PIPIT__MEMBER_STATE__MEMBER_LEFT)) {
        reply.error = ERR_NOT_MEMBER;
    } else {
        from = viewer != NULL && viewer->joined_seq > from ? viewer->joined_seq : from;
        reply.head = conversation->head;
        reply.messages = arena_alloc(&storage->arena, 256 * sizeof *reply.messages);
        for (uint64_t seq = from + 1;
             seq <= conversation->head && reply.n_messages < request->limit; seq++) {
            const struct script_row *row = &conversation->rows[seq - 1];
            Pipit__StoredMessage *message = arena_alloc(&storage->arena, sizeof *message);
            pipit__stored_message__init(message);
            message->conversation = conversation->id;
            message->seq = seq;
            message->id = (ProtobufCBinaryData){16, (uint8_t *)row->id};
            message->sender = (char *)row->sender;
            message->device = (char *)row->device;
            message->kind = row->kind;
            message->target_seq = row->target_seq;
            message->ts_ms = row->ts_ms;
            message->body = (ProtobufCBinaryData){strlen(row->body), (uint8_t *)row->body};
            message->origin = row->has_origin ? origin_of(storage, row) : NULL;
            reply.messages[reply.n_messages++] = message;
        }
        reply.has_more = from + reply.n_messages < conversation->head;
    }
    CONTRACT(envelope_pack(MESSAGE_HISTORY_REPLY, &reply.base, false, answer) == ERR_OK);
}

static void answer_conversation(struct scripted_storage *storage,
                                const struct script_conversation *conversation, enum err error,
                                struct buf *answer) {
    Pipit__ConversationReply reply = PIPIT__CONVERSATION_REPLY__INIT;
    Pipit__Conversation body = PIPIT__CONVERSATION__INIT;
    reply.error = error;
    if (error == ERR_OK) {
        body.id = (char *)conversation->id;
        body.kind = conversation->kind;
        body.members_version = conversation->version;
        body.head = conversation->head;
        body.members =
            arena_alloc(&storage->arena, (conversation->member_count + 1) * sizeof *body.members);
        for (size_t i = 0; i < conversation->member_count; i++) {
            if (conversation->members[i].state == PIPIT__MEMBER_STATE__MEMBER_LEFT) {
                continue;
            }
            body.members[body.n_members] = arena_alloc(&storage->arena, sizeof(Pipit__Member));
            fill_member(body.members[body.n_members++], &conversation->members[i]);
        }
        reply.conversation = &body;
    }
    CONTRACT(envelope_pack(MESSAGE_CONVERSATION_REPLY, &reply.base, false, answer) == ERR_OK);
}

static void answer_create(struct scripted_storage *storage,
                          const Pipit__ConversationCreate *request, struct buf *answer) {
    struct script_conversation *known = script_find(storage, request->id);
    const char *members[3] = {0};
    for (size_t i = 0; i < request->n_members && i < 2; i++) {
        members[i] = request->members[i];
        if (strcmp(members[i], "u_nobody") == 0) {
            answer_conversation(storage, NULL, ERR_NOT_FOUND, answer);
            return;
        }
    }
    if (known == NULL) {
        known = script_conversation(storage, request->id, members);
    }
    answer_conversation(storage, known, ERR_OK, answer);
}

static void answer_cursors(struct scripted_storage *storage, const Pipit__CursorsRequest *request,
                           struct buf *answer) {
    Pipit__CursorsReply reply = PIPIT__CURSORS_REPLY__INIT;
    reply.results = arena_alloc(&storage->arena, (request->n_updates + 1) * sizeof *reply.results);
    reply.n_results = request->n_updates;
    for (size_t i = 0; i < request->n_updates; i++) {
        const Pipit__CursorUpdate *update = request->updates[i];
        Pipit__CursorResult *result = arena_alloc(&storage->arena, sizeof *result);
        pipit__cursor_result__init(result);
        reply.results[i] = result;
        struct script_conversation *conversation = script_find(storage, update->conversation);
        struct script_member *member =
            conversation != NULL ? script_member(conversation, update->user) : NULL;
        if (member == NULL) {
            result->error = ERR_NOT_MEMBER;
            continue;
        }
        if (update->delivered_seq > member->delivered_seq) {
            member->delivered_seq = update->delivered_seq;
            result->changed = true;
        }
        if (update->read_seq > member->read_seq) {
            member->read_seq = update->read_seq;
            result->changed = true;
        }
        result->delivered_seq = member->delivered_seq;
        result->read_seq = member->read_seq;
    }
    CONTRACT(envelope_pack(MESSAGE_CURSORS_REPLY, &reply.base, false, answer) == ERR_OK);
}

static void answer_origin(struct scripted_storage *storage, const Pipit__OriginRequest *request,
                          struct buf *answer) {
    Pipit__OriginReply reply = PIPIT__ORIGIN_REPLY__INIT;
    struct script_conversation *conversation = script_find(storage, request->conversation);
    reply.error = ERR_NOT_FOUND;
    for (uint64_t seq = 1; conversation != NULL && seq <= conversation->head; seq++) {
        const struct script_row *row = &conversation->rows[seq - 1];
        if (row->has_origin && memcmp(row->origin_hash, request->origin->hash.data, 16) == 0) {
            reply.error = ERR_OK;
            reply.seq = seq;
            reply.ts_ms = row->ts_ms;
        }
    }
    CONTRACT(envelope_pack(MESSAGE_ORIGIN_REPLY, &reply.base, false, answer) == ERR_OK);
}

static void answer_heads(struct scripted_storage *storage, const Pipit__HeadsRequest *request,
                         struct buf *answer) {
    Pipit__HeadsReply reply = PIPIT__HEADS_REPLY__INIT;
    Pipit__ConversationHead heads[8];
    Pipit__ConversationHead *pointers[8];
    for (size_t i = 0; i < request->n_conversations && i < 8; i++) {
        struct script_conversation *known = script_find(storage, request->conversations[i]);
        pipit__conversation_head__init(&heads[i]);
        heads[i].head = known != NULL ? known->head : 0;
        pointers[i] = &heads[i];
        reply.n_heads++;
    }
    reply.heads = pointers;
    CONTRACT(envelope_pack(MESSAGE_HEADS_REPLY, &reply.base, false, answer) == ERR_OK);
}

static void serve(struct scripted_storage *storage, enum message_type type, const uint8_t *body,
                  size_t body_bytes, struct buf *answer) {
    ProtobufCMessage *message = NULL;
    CONTRACT(envelope_unpack(type, body, body_bytes, &storage->arena, &message) == ERR_OK);
    switch (type) {
    case MESSAGE_APPEND_BATCH:
        answer_append(storage, (Pipit__AppendBatch *)message, answer);
        break;
    case MESSAGE_HISTORY_REQUEST:
        answer_history(storage, (Pipit__HistoryRequest *)message, answer);
        break;
    case MESSAGE_CONVERSATION_LOAD: {
        struct script_conversation *known =
            script_find(storage, ((Pipit__ConversationLoad *)message)->conversation);
        answer_conversation(storage, known, known != NULL ? ERR_OK : ERR_NOT_FOUND, answer);
        break;
    }
    case MESSAGE_CONVERSATION_CREATE:
        answer_create(storage, (Pipit__ConversationCreate *)message, answer);
        break;
    case MESSAGE_CURSORS_REQUEST:
        answer_cursors(storage, (Pipit__CursorsRequest *)message, answer);
        break;
    case MESSAGE_ORIGIN_REQUEST:
        answer_origin(storage, (Pipit__OriginRequest *)message, answer);
        break;
    case MESSAGE_HEADS_REQUEST:
        answer_heads(storage, (Pipit__HeadsRequest *)message, answer);
        break;
    default:
        fail_msg("a request that routing never sends");
    }
}

/* --- the script */

static void answer_failure(struct scripted_storage *storage, enum message_type type,
                           struct buf *answer) {
    uint32_t error = (uint32_t)storage->fail_with;
    Pipit__AppendReply append = PIPIT__APPEND_REPLY__INIT;
    Pipit__HistoryReply history = PIPIT__HISTORY_REPLY__INIT;
    Pipit__ConversationReply conversation = PIPIT__CONVERSATION_REPLY__INIT;
    Pipit__CursorsReply cursors = PIPIT__CURSORS_REPLY__INIT;
    Pipit__OriginReply origin = PIPIT__ORIGIN_REPLY__INIT;
    append.error = history.error = conversation.error = cursors.error = origin.error = error;
    enum err packed = ERR_OK;
    switch (type) {
    case MESSAGE_APPEND_BATCH:
        packed = envelope_pack(MESSAGE_APPEND_REPLY, &append.base, false, answer);
        break;
    case MESSAGE_HISTORY_REQUEST:
        packed = envelope_pack(MESSAGE_HISTORY_REPLY, &history.base, false, answer);
        break;
    case MESSAGE_CURSORS_REQUEST:
        packed = envelope_pack(MESSAGE_CURSORS_REPLY, &cursors.base, false, answer);
        break;
    case MESSAGE_ORIGIN_REQUEST:
        packed = envelope_pack(MESSAGE_ORIGIN_REPLY, &origin.base, false, answer);
        break;
    default:
        packed = envelope_pack(MESSAGE_CONVERSATION_REPLY, &conversation.base, false, answer);
        break;
    }
    CONTRACT(packed == ERR_OK);
}

static void hold(struct scripted_storage *storage, struct bus_request *request,
                 enum message_type type, const uint8_t *body, size_t body_bytes, bool apply) {
    CONTRACT(storage->held_count < SCRIPT_HELD_MAX);
    struct script_held *held = &storage->held[storage->held_count++];
    held->request = request;
    held->applied = apply;
    held->second = storage->serves_second;
    held->body = mem_alloc(body_bytes);
    CONTRACT(held->body != NULL);
    memcpy(held->body, body, body_bytes);
    held->body_bytes = body_bytes;
    buf_init(&held->answer, ENVELOPE_RAW_BYTES_MAX);
    if (apply) {
        serve(storage, type, body, body_bytes, &held->answer);
    }
}

static void on_request(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                       void *user) {
    struct scripted_storage *storage = user;
    enum message_type type = envelope_type(body, body_bytes);
    CONTRACT(type != MESSAGE_NONE && type < 128);
    storage->requests[type]++;
    enum script_action action = storage->action[type];
    if (action == SCRIPT_HOLD || action == SCRIPT_HOLD_ANSWER) {
        hold(storage, request, type, body, body_bytes, action == SCRIPT_HOLD_ANSWER);
        return;
    }
    buf_clear(&storage->scratch);
    if (action == SCRIPT_FAIL) {
        answer_failure(storage, type, &storage->scratch);
    } else {
        serve(storage, type, body, body_bytes, &storage->scratch);
    }
    bus_reply(request, buf_data(&storage->scratch), buf_len(&storage->scratch));
    arena_reset(&storage->arena);
}

static void on_second_request(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                              void *user) {
    struct scripted_storage *storage = user;
    storage->serves_second = true;
    on_request(request, body, body_bytes, user);
    storage->serves_second = false;
}

void script_lose_holder(struct scripted_storage *storage) {
    CONTRACT(storage->held_count > 0);
    bus_server_close(storage->held[storage->held_count - 1].second ? &storage->second_server
                                                                   : &storage->server);
}

void script_on(struct scripted_storage *storage, enum message_type type,
               enum script_action action) {
    storage->action[type] = action;
}

void script_release(struct scripted_storage *storage) {
    for (size_t i = 0; i < storage->held_count; i++) {
        struct script_held *held = &storage->held[i];
        if (!held->applied && !storage->forget_held) {
            serve(storage, envelope_type(held->body, held->body_bytes), held->body,
                  held->body_bytes, &held->answer);
        }
        bus_reply(held->request, buf_data(&held->answer), buf_len(&held->answer));
        buf_finish(&held->answer);
        mem_free(held->body);
    }
    storage->held_count = 0;
    arena_reset(&storage->arena);
}

void script_start(struct scripted_storage *storage, struct loop *loop, struct bus *bus,
                  const char *address) {
    char url[BUS_URL_BYTES];
    storage->loop = loop;
    storage->bus = bus;
    arena_init(&storage->arena, 65536, 64u * 1024u * 1024u);
    buf_init(&storage->scratch, 2 * ENVELOPE_RAW_BYTES_MAX);
    CONTRACT(bus_url_derive(address, BUS_URL_PUB, url) == ERR_OK);
    CONTRACT(stream_publisher_create(loop, bus, url, 4, &storage->publisher) == ERR_OK);
    CONTRACT(bus_url_derive(address, BUS_URL_REP, url) == ERR_OK);
    CONTRACT(bus_server_create(bus, url, 64, on_request, storage, &storage->server) == ERR_OK);
}

void script_join(struct scripted_storage *storage, const char *address) {
    char url[BUS_URL_BYTES];
    CONTRACT(bus_url_derive(address, BUS_URL_PUB, url) == ERR_OK);
    CONTRACT(stream_publisher_create(storage->loop, storage->bus, url, 4,
                                     &storage->second_publisher) == ERR_OK);
    CONTRACT(bus_url_derive(address, BUS_URL_REP, url) == ERR_OK);
    CONTRACT(bus_server_create(storage->bus, url, 64, on_second_request, storage,
                               &storage->second_server) == ERR_OK);
}

void script_restart_server(struct scripted_storage *storage, const char *url) {
    CONTRACT(bus_server_create(storage->bus, url, 64, on_request, storage, &storage->server) ==
             ERR_OK);
}

void script_finish(struct scripted_storage *storage) {
    script_release(storage);
    bus_server_close(&storage->server);
    bus_server_close(&storage->second_server);
    stream_publisher_destroy(&storage->publisher);
    stream_publisher_destroy(&storage->second_publisher);
    for (size_t i = 0; i < storage->conversation_count; i++) {
        mem_free(storage->conversations[i].rows);
    }
    buf_finish(&storage->scratch);
    arena_finish(&storage->arena);
}
