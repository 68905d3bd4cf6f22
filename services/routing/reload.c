/* reload: catching up with storage.
 *
 * Happy path: a conversation is loaded once, when its first message comes, and from then on kept
 * true by membership events and by its own appends. Everything else here is for the other days:
 *
 * - Members changed (an append's answer or an event names a newer version): they are loaded again,
 *   and the difference is published as MembersChanged before any delivery that follows, so no
 *   endpoint hands a message to somebody who was removed (I4).
 * - Another instance appended, or an append of ours ended in doubt: the rows after `published` are
 *   fetched and delivered in order. A row that carries the id of a message still waiting here is
 *   that message: it is acknowledged with the row's seq (I3). So is an MQTT publication of which
 *   another instance stored another copy while this one waited here (copies.h).
 * - The store was restored from a backup: its head may be lower than ours, and wins.
 * - A storage instance went while it was asked: the question goes to another one, a few times. All
 *   questions here may be asked twice.
 *
 * A conversation that moved far ahead was served by another instance, which delivered it: only the
 * last TAIL_ROWS_MAX rows are fetched then. */
#include "services/routing/reload.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "proto/storage.pb-c.h"
#include "services/routing/append.h"
#include "services/routing/copies.h"
#include "services/routing/fanout.h"
#include "services/routing/members.h"
#include "services/routing/recent.h"
#include "services/routing/storage_call.h"
#include "services/routing/targets.h"
#include <string.h>

#define TAIL_ROWS_MAX 128u
#define TAIL_PAGE_ROWS 64u
#define RELOAD_TRIES_MAX 3u /* storage answers with an older version than it announced */
#define LOST_CALLS_MAX 3u   /* storage instances that die one after the other */

static void fail_call(struct conversation *conversation, enum err error) {
    static struct log_limit limit;
    if (!conversation->routing->closing && log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "conversation not loaded; its messages are refused (retryable)",
                  F_TEXT("conversation", conversation->id), F_ERR(error));
    }
    conversation_fail(conversation, reason_from_err(error));
}

bool reload_again(struct conversation *conversation, enum err status) {
    if (status != ERR_CLOSED) {
        conversation->lost_calls = 0;
        return false;
    }
    return !conversation->routing->closing && rpc_available(conversation->routing->storage) &&
           ++conversation->lost_calls <= LOST_CALLS_MAX;
}

/* Nothing was sent. Without a free call the conversation waits for one. */
static void not_sent(struct conversation *conversation, enum err error) {
    if (error == ERR_FULL) {
        conversation_starve(conversation);
    } else {
        fail_call(conversation, error);
    }
}

/* --- members and head */

/* Tells endpoints what changed since they last heard of this conversation from us. */
static void publish_difference(struct conversation *conversation, const struct member_set *fresh,
                               const Pipit__Conversation *loaded) {
    struct routing *routing = conversation->routing;
    Pipit__MembersChanged change = PIPIT__MEMBERS_CHANGED__INIT;
    if (member_set_diff(conversation->members, fresh, &routing->turn, &change.changed,
                        &change.n_changed) != ERR_OK) {
        members_uncertain(routing); /* cannot say what changed: everybody loads afresh */
        return;
    }
    change.conversation = conversation->id;
    change.kind = loaded->kind;
    change.title = loaded->title;
    change.members_version = loaded->members_version;
    change.head = loaded->head;
    members_publish(routing, &change);
}

static enum err learn_members(struct conversation *conversation,
                              const Pipit__Conversation *loaded) {
    if (conversation->state == CONVERSATION_KNOWN &&
        loaded->members_version < conversation->members_version) {
        conversation->members_generation = conversation->asked_generation;
        return ERR_OK; /* an event overtook this answer */
    }
    struct member_set *fresh = NULL;
    enum err error = member_set_change(NULL, loaded->members, loaded->n_members, &fresh);
    if (error != ERR_OK) {
        return error;
    }
    if (conversation->members != NULL && loaded->members_version > conversation->members_version) {
        publish_difference(conversation, fresh, loaded);
    }
    conversation_set_members(conversation, fresh);
    conversation->members_generation = conversation->asked_generation;
    conversation->members_version = loaded->members_version;
    conversation->kind = loaded->kind;
    return ERR_OK;
}

static void learn_head(struct conversation *conversation, uint64_t head) {
    if (!conversation->head_known || head < conversation->published) {
        conversation->published = head;
        conversation->store_head = head;
        conversation->head_known = true;
    } else if (head != conversation->store_head) {
        conversation->conflicts = 0; /* progress: somebody appended */
        conversation->store_head = head;
    }
    conversation->head = head;
}

static enum err learn(struct conversation *conversation, const Pipit__Conversation *loaded) {
    if (loaded == NULL || strcmp(loaded->id, conversation->id) != 0) {
        return ERR_CORRUPT;
    }
    enum err error = learn_members(conversation, loaded);
    if (error != ERR_OK) {
        return error;
    }
    learn_head(conversation, loaded->head);
    conversation->state = CONVERSATION_KNOWN;
    conversation->stale = false;
    conversation->loaded_us = loop_now_us(conversation->routing->loop);
    if (conversation->members_version >= conversation->members_seen) {
        conversation->reload_tries = 0;
    } else if (++conversation->reload_tries >= RELOAD_TRIES_MAX) {
        conversation->members_seen = conversation->members_version;
        conversation->reload_tries = 0;
    }
    return ERR_OK;
}

static void learn_absence(struct conversation *conversation) {
    conversation->state = CONVERSATION_ABSENT;
    conversation->loaded_us = loop_now_us(conversation->routing->loop);
    conversation->stale = false;
    conversation->head_known = false;
    conversation->head = conversation->published = conversation->store_head = 0;
    conversation->members_version = conversation->members_seen = 0;
    conversation_set_members(conversation, NULL);
}

static void on_loaded(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct conversation *conversation = user;
    Pipit__ConversationReply *reply = NULL;
    enum err error = storage_reply(conversation->routing, status, MESSAGE_CONVERSATION_REPLY, body,
                                   body_bytes, (ProtobufCMessage **)&reply);
    conversation->busy = BUSY_NONE;
    conversation->routing->loads_out--;
    if (reload_again(conversation, status)) {
        conversation_run(conversation);
        return;
    }
    if (error == ERR_OK) {
        error = storage_error(reply->error);
    }
    if (error == ERR_OK) {
        error = learn(conversation, reply->conversation);
    } else if (error == ERR_NOT_FOUND && conversation->stored.count == 0) {
        learn_absence(conversation);
        error = ERR_OK;
    }
    if (error != ERR_OK) {
        fail_call(conversation, error);
        return;
    }
    conversation_run(conversation);
}

/* After a restart everything is loaded at once: half of the calls stay free for appends. */
static bool reload_room(const struct routing *routing) {
    return routing->loads_out < routing->settings->storage_calls_max / 2;
}

void reload_start(struct conversation *conversation) {
    struct routing *routing = conversation->routing;
    Pipit__ConversationLoad request = PIPIT__CONVERSATION_LOAD__INIT;
    request.conversation = conversation->id;
    conversation->asked_generation = conversations_generation(routing);
    enum err error = reload_room(routing) ? storage_call(routing, MESSAGE_CONVERSATION_LOAD,
                                                         &request.base, on_loaded, conversation)
                                          : ERR_FULL;
    if (error != ERR_OK) {
        not_sent(conversation, error);
        return;
    }
    metric_add(&routing_metrics.members_reloads, 1);
    routing->loads_out++;
    conversation->busy = BUSY_LOADING;
}

/* --- creation */

/* Only the message that asked for the conversation is refused: the next one may name another user.
 */
static void refuse_creator(struct conversation *conversation, enum err error) {
    struct list_node *node = list_pop_front(&conversation->inbox);
    if (node != NULL) {
        submit_refuse(CONTAINER_OF(node, struct pending, node), reason_from_err(error));
    }
}

static void on_created(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct conversation *conversation = user;
    Pipit__ConversationReply *reply = NULL;
    enum err error = storage_reply(conversation->routing, status, MESSAGE_CONVERSATION_REPLY, body,
                                   body_bytes, (ProtobufCMessage **)&reply);
    conversation->busy = BUSY_NONE;
    if (reload_again(conversation, status)) {
        conversation_run(conversation);
        return;
    }
    if (error != ERR_OK) {
        fail_call(conversation, error);
        return;
    }
    error = storage_error(reply->error);
    if (error == ERR_OK) {
        error = learn(conversation, reply->conversation);
    }
    if (error != ERR_OK) {
        refuse_creator(conversation, error);
    }
    conversation_run(conversation);
}

void reload_create(struct conversation *conversation, const struct pending *pending) {
    const Pipit__Submit *submit = pending->submit;
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    char *members[2] = {submit->user, submit->to_user};
    request.id = conversation->id;
    request.kind = PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT;
    request.creator = submit->user;
    request.members = members;
    request.n_members = strcmp(members[0], members[1]) == 0 ? 1 : 2; /* notes to oneself */
    request.now_ms = clock_wall_ms();
    conversation->asked_generation = conversations_generation(conversation->routing);
    enum err error = storage_call(conversation->routing, MESSAGE_CONVERSATION_CREATE, &request.base,
                                  on_created, conversation);
    if (error != ERR_OK) {
        not_sent(conversation, error);
        return;
    }
    conversation->busy = BUSY_CREATING;
}

/* --- tail */

static struct pending *find_id(struct list *list, const ProtobufCBinaryData *id) {
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node)) {
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        if (id->len == ID_UUID_BYTES &&
            memcmp(pending->submit->id.data, id->data, ID_UUID_BYTES) == 0) {
            return pending;
        }
    }
    return NULL;
}

/* A row that is one of ours after all: acknowledged with the seq it has. */
static uint64_t claim_row(struct conversation *conversation, const Pipit__StoredMessage *row) {
    struct pending *pending = find_id(&conversation->stored, &row->id);
    bool replay = pending == NULL;
    if (replay) {
        pending = find_id(&conversation->queue, &row->id);
        if (pending == NULL) {
            pending = copies_claim(&conversation->queue, row);
        }
        if (pending == NULL) {
            return 0;
        }
        list_remove(&conversation->queue, &pending->node);
        conversation->queue_bytes -= pending->submit->body.len;
    } else {
        list_remove(&conversation->stored, &pending->node);
    }
    if (strcmp(pending->submit->user, row->sender) != 0) {
        submit_refuse(pending, REASON_CONFLICT);
        return 0;
    }
    uint64_t session = pending->submit->session;
    submit_resolve(pending, &(struct submit_outcome){.reason = REASON_OK,
                                                     .seq = row->seq,
                                                     .ts_ms = row->ts_ms,
                                                     .replay = replay && !pending->in_doubt});
    return session;
}

static void deliver_row(struct conversation *conversation, Pipit__StoredMessage *row) {
    struct routing *routing = conversation->routing;
    row->conversation = conversation->id;
    uint64_t session = claim_row(conversation, row);
    fanout_message(routing, row, conversation->members_version, session);
    conversation->published = row->seq;
    if (row->ts_ms > conversation->last_ts_ms) {
        conversation->last_ts_ms = row->ts_ms;
    }
    if (row->id.len == ID_UUID_BYTES) {
        recent_ids_add(routing->recent, row->id.data, conversation->id, row->sender, row->seq,
                       row->ts_ms);
        copies_stored(conversation, row->origin, &row->id, row->sender, row->seq);
    }
    targets_add(routing->targets, conversation->id, row->seq, row->sender, row->kind);
}

static void on_tail(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct conversation *conversation = user;
    Pipit__HistoryReply *reply = NULL;
    enum err error = storage_reply(conversation->routing, status, MESSAGE_HISTORY_REPLY, body,
                                   body_bytes, (ProtobufCMessage **)&reply);
    conversation->busy = BUSY_NONE;
    if (reload_again(conversation, status)) {
        conversation_run(conversation);
        return;
    }
    if (error == ERR_OK) {
        error = storage_error(reply->error);
    }
    if (error != ERR_OK) {
        conversation_trouble(conversation);
        fail_call(conversation, error);
        return;
    }
    if (!conversation_members_fresh(conversation)) {
        conversation_run(conversation); /* members first (I4), then the tail again */
        return;
    }
    for (size_t i = 0; i < reply->n_messages; i++) {
        if (reply->messages[i]->seq == conversation->published + 1) {
            deliver_row(conversation, reply->messages[i]);
        }
    }
    if (reply->n_messages == 0) {
        conversation->published = conversation->store_head; /* nothing there to deliver */
    }
    if (conversation->store_head < conversation->published) {
        conversation->store_head = conversation->published;
    }
    if (conversation->head < conversation->published) {
        conversation->head = conversation->published;
    }
    conversation_run(conversation);
}

void reload_tail(struct conversation *conversation) {
    uint64_t behind = conversation->store_head - conversation->published;
    if (behind > TAIL_ROWS_MAX) {
        conversation->published = conversation->store_head - TAIL_ROWS_MAX;
    }
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = conversation->id;
    request.after_seq = conversation->published;
    request.limit = TAIL_PAGE_ROWS;
    enum err error = storage_call(conversation->routing, MESSAGE_HISTORY_REQUEST, &request.base,
                                  on_tail, conversation);
    if (error != ERR_OK) {
        conversation_trouble(conversation);
        not_sent(conversation, error);
        return;
    }
    conversation->busy = BUSY_TAIL;
}
