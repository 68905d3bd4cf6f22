/* hub_store: the little of storage that the hub's tests need behind scripted routing instances:
 * conversations with members, messages and device cursors, and answers to the questions of a hub.
 */
#ifndef PIPIT_TESTS_HUB_STORE_H
#define PIPIT_TESTS_HUB_STORE_H

#include "common/arena.h"
#include "common/id.h"
#include "proto/storage.pb-c.h"
#include <stdio.h>
#include <string.h>

#define STORE_CONVERSATIONS 2048
#define STORE_MEMBERS 8
#define STORE_MESSAGES 4096
#define STORE_CURSORS 128

struct stored_member {
    char user[40];
    uint64_t joined_seq;
    Pipit__MemberState state;
};
struct stored_message {
    uint8_t id[16];
    char sender[40], device[80], body[1024];
    Pipit__MessageKind kind;
};
struct stored_conversation {
    char id[48];
    uint64_t head, members_version;
    struct stored_member members[STORE_MEMBERS];
    size_t member_count;
    struct stored_message *messages; /* [seq - 1], of STORE_MESSAGES */
};
struct stored_cursor {
    char user[40], device[80], conversation[48];
    uint64_t delivered_seq;
};
struct hub_store {
    struct stored_conversation conversations[STORE_CONVERSATIONS];
    size_t conversation_count;
    struct stored_cursor cursors[STORE_CURSORS];
    size_t cursor_count;
    char epoch[41];
    unsigned histories, heads, lists, refreshes;
};

static inline struct stored_conversation *store_find(struct hub_store *store, const char *id) {
    for (size_t i = 0; i < store->conversation_count; i++) {
        if (strcmp(store->conversations[i].id, id) == 0) {
            return &store->conversations[i];
        }
    }
    return NULL;
}

static inline struct stored_member *store_member(struct stored_conversation *conversation,
                                                 const char *user) {
    for (size_t i = 0; i < conversation->member_count; i++) {
        if (strcmp(conversation->members[i].user, user) == 0) {
            return &conversation->members[i];
        }
    }
    return NULL;
}

/* Adds or changes; grows the version. */
static inline void store_set_member(struct stored_conversation *conversation, const char *user,
                                    Pipit__MemberState state) {
    struct stored_member *member = store_member(conversation, user);
    if (member == NULL) {
        member = &conversation->members[conversation->member_count++];
        (void)snprintf(member->user, sizeof member->user, "%s", user);
    }
    if (state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
        member->joined_seq = conversation->head;
    }
    member->state = state;
    conversation->members_version++;
}

/* A conversation of two; user2 may be NULL. */
static inline struct stored_conversation *store_add(struct hub_store *store, const char *id,
                                                    const char *user, const char *user2) {
    struct stored_conversation *made = &store->conversations[store->conversation_count++];
    (void)snprintf(made->id, sizeof made->id, "%s", id);
    store_set_member(made, user, PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    if (user2 != NULL) {
        store_set_member(made, user2, PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    }
    return made;
}

/* Appends a message; returns its seq. */
/* 0: this id is not stored. */
static inline uint64_t store_seq_of(const struct stored_conversation *conversation,
                                    const uint8_t id[16]) {
    for (uint64_t seq = 1; seq <= conversation->head; seq++) {
        if (memcmp(conversation->messages[seq - 1].id, id, 16) == 0) {
            return seq;
        }
    }
    return 0;
}
static inline uint64_t store_append(struct stored_conversation *conversation, const char *sender,
                                    const char *device, const uint8_t *id) {
    if (conversation->messages == NULL) {
        conversation->messages = calloc(STORE_MESSAGES, sizeof *conversation->messages);
    }
    struct stored_message *message = &conversation->messages[conversation->head++];
    (void)snprintf(message->sender, sizeof message->sender, "%s", sender);
    (void)snprintf(message->device, sizeof message->device, "%s", device);
    (void)snprintf(message->body, sizeof message->body, "{\"text\":\"%llu\"}",
                   (unsigned long long)conversation->head);
    if (id != NULL) {
        memcpy(message->id, id, 16);
    } else {
        id_uuid7_make(1700000000000u, message->id);
    }
    return conversation->head;
}

static inline void store_cursor(struct hub_store *store, const char *user, const char *device,
                                const char *conversation, uint64_t delivered_seq) {
    struct stored_cursor *cursor = &store->cursors[store->cursor_count++];
    (void)snprintf(cursor->user, sizeof cursor->user, "%s", user);
    (void)snprintf(cursor->device, sizeof cursor->device, "%s", device);
    (void)snprintf(cursor->conversation, sizeof cursor->conversation, "%s", conversation);
    cursor->delivered_seq = delivered_seq;
}

static inline void store_finish(struct hub_store *store) {
    for (size_t i = 0; i < store->conversation_count; i++) {
        free(store->conversations[i].messages);
    }
}

/* --- answers, in the arena */

static inline void store_row(const struct stored_conversation *conversation, uint64_t seq,
                             Pipit__StoredMessage *row) {
    const struct stored_message *message = &conversation->messages[seq - 1];
    pipit__stored_message__init(row);
    row->conversation = (char *)conversation->id;
    row->seq = seq;
    row->id.data = (uint8_t *)message->id;
    row->id.len = 16;
    row->sender = (char *)message->sender;
    row->device = (char *)message->device;
    row->kind = message->kind;
    row->ts_ms = 1700000000000u;
    row->body.data = (uint8_t *)message->body;
    row->body.len = strlen(message->body);
}

static inline void store_history(struct hub_store *store, const Pipit__HistoryRequest *ask,
                                 struct arena *arena, Pipit__HistoryReply *reply) {
    store->histories++;
    struct stored_conversation *conversation = store_find(store, ask->conversation);
    struct stored_member *viewer =
        conversation != NULL ? store_member(conversation, ask->viewer) : NULL;
    if (conversation == NULL ||
        (ask->viewer[0] != '\0' &&
         (viewer == NULL || viewer->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE))) {
        reply->error = ERR_NOT_MEMBER;
        return;
    }
    uint64_t from = ask->after_seq;
    from = viewer != NULL && viewer->joined_seq > from ? viewer->joined_seq : from;
    reply->messages = arena_alloc(arena, 256 * sizeof *reply->messages);
    for (uint64_t seq = from + 1; seq <= conversation->head && reply->n_messages < ask->limit;
         seq++) {
        Pipit__StoredMessage *row = arena_alloc(arena, sizeof *row);
        store_row(conversation, seq, row);
        reply->messages[reply->n_messages++] = row;
    }
    reply->has_more = from + reply->n_messages < conversation->head;
    reply->head = conversation->head;
}

static inline void store_heads(struct hub_store *store, const Pipit__HeadsRequest *ask,
                               struct arena *arena, Pipit__HeadsReply *reply) {
    store->heads++;
    reply->heads = arena_alloc(arena, (ask->n_conversations + 1) * sizeof *reply->heads);
    for (size_t i = 0; i < ask->n_conversations; i++) {
        struct stored_conversation *conversation = store_find(store, ask->conversations[i]);
        Pipit__ConversationHead *head = arena_alloc(arena, sizeof *head);
        pipit__conversation_head__init(head);
        if (conversation != NULL) {
            head->head = conversation->head;
            head->members_version = conversation->members_version;
        }
        reply->heads[reply->n_heads++] = head;
    }
}

static inline Pipit__Member *store_member_row(const struct stored_member *member,
                                              struct arena *arena) {
    Pipit__Member *row = arena_alloc(arena, sizeof *row);
    pipit__member__init(row);
    row->user = (char *)member->user;
    row->state = member->state;
    row->joined_seq = member->joined_seq;
    return row;
}

static inline Pipit__ConversationItem *store_item(struct hub_store *store,
                                                  struct stored_conversation *conversation,
                                                  const Pipit__ConversationsRequest *ask,
                                                  struct arena *arena) {
    Pipit__ConversationItem *item = arena_alloc(arena, sizeof *item);
    pipit__conversation_item__init(item);
    item->conversation = arena_alloc(arena, sizeof *item->conversation);
    pipit__conversation__init(item->conversation);
    item->conversation->id = conversation->id;
    item->conversation->head = conversation->head;
    item->conversation->members_version = conversation->members_version;
    item->conversation->title = (char *)"title";
    item->self = store_member_row(store_member(conversation, ask->user), arena);
    if (ask->with_members) {
        item->conversation->members = arena_alloc(arena, STORE_MEMBERS * sizeof(void *));
        for (size_t i = 0; i < conversation->member_count; i++) {
            if (conversation->members[i].state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
                item->conversation->members[item->conversation->n_members++] =
                    store_member_row(&conversation->members[i], arena);
            }
        }
    }
    for (size_t i = 0; i < store->cursor_count; i++) {
        const struct stored_cursor *cursor = &store->cursors[i];
        if (strcmp(cursor->user, ask->user) == 0 && strcmp(cursor->device, ask->device) == 0 &&
            strcmp(cursor->conversation, conversation->id) == 0) {
            item->device_known = true;
            item->device_delivered_seq = cursor->delivered_seq;
        }
    }
    return item;
}

static inline void store_list(struct hub_store *store, const Pipit__ConversationsRequest *ask,
                              struct arena *arena, Pipit__ConversationsReply *reply) {
    bool one = ask->conversation[0] != '\0';
    *(one ? &store->refreshes : &store->lists) += 1;
    reply->epoch = store->epoch;
    for (size_t i = 0; i < store->cursor_count; i++) {
        reply->device_known =
            reply->device_known || (strcmp(store->cursors[i].user, ask->user) == 0 &&
                                    strcmp(store->cursors[i].device, ask->device) == 0);
    }
    reply->items = arena_alloc(arena, 501 * sizeof *reply->items);
    bool skipping = ask->after[0] != '\0';
    for (size_t i = 0; i < store->conversation_count; i++) {
        struct stored_conversation *conversation = &store->conversations[i];
        struct stored_member *self = store_member(conversation, ask->user);
        if (skipping) {
            skipping = strcmp(conversation->id, ask->after) != 0;
            continue;
        }
        if (self == NULL || self->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE ||
            (one && strcmp(conversation->id, ask->conversation) != 0)) {
            continue;
        }
        if (reply->n_items == ask->limit) {
            reply->next = reply->items[reply->n_items - 1]->conversation->id;
            return;
        }
        reply->items[reply->n_items++] = store_item(store, conversation, ask, arena);
    }
}

#endif
