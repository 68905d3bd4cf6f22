/* copies: stored ones are kept with the recent ids, under a hash of their origin. */
#include "services/routing/copies.h"

#include "common/contract.h"
#include "common/map.h"
#include "services/routing/conversation.h"
#include "services/routing/recent.h"
#include <string.h>

#define WATCHED_US 60000000u

static bool same_origin(const Pipit__Origin *a, const Pipit__Origin *b) {
    return a != NULL && b != NULL && a->packet_id == b->packet_id && a->hash.len == b->hash.len &&
           memcmp(a->hash.data, b->hash.data, a->hash.len) == 0 &&
           strcmp(a->device, b->device) == 0;
}

static void key_of(const Pipit__Origin *origin, uint8_t key[ID_UUID_BYTES]) {
    uint8_t text[1 + sizeof origin->packet_id + ORIGIN_HASH_BYTES + ROUTING_DEVICE_BYTES_MAX] = {0};
    size_t device_bytes = strnlen(origin->device, ROUTING_DEVICE_BYTES_MAX);
    uint8_t *at = text + 1;
    memcpy(at, &origin->packet_id, sizeof origin->packet_id);
    at += sizeof origin->packet_id;
    memcpy(at, origin->hash.data,
           origin->hash.len < ORIGIN_HASH_BYTES ? origin->hash.len : ORIGIN_HASH_BYTES);
    at += ORIGIN_HASH_BYTES;
    memcpy(at, origin->device, device_bytes);
    at += device_bytes;
    for (size_t half = 0; half < 2; half++) {
        text[0] = (uint8_t)half;
        uint64_t hash = map_hash(text, (size_t)(at - text));
        memcpy(key + half * sizeof hash, &hash, sizeof hash);
    }
}

/* Our ids begin with their time. */
static uint64_t id_ms(const uint8_t id[ID_UUID_BYTES]) {
    uint64_t ms = 0;
    for (size_t i = 0; i < 6; i++) {
        ms = ms << 8 | id[i];
    }
    return ms;
}

void copies_admitted(struct conversation *conversation) {
    conversation->copied_us = loop_now_us(conversation->routing->loop);
}

static bool watched(const struct conversation *conversation) {
    return conversation->copied_us != 0 &&
           loop_now_us(conversation->routing->loop) - conversation->copied_us < WATCHED_US;
}

void copies_stored(struct conversation *conversation, const Pipit__Origin *origin,
                   const ProtobufCBinaryData *id, const char *sender, uint64_t seq) {
    if (origin == NULL || id->len != ID_UUID_BYTES) {
        return;
    }
    uint8_t key[ID_UUID_BYTES];
    key_of(origin, key);
    /* The time kept is that of the copy's id: what came before is its first one. */
    recent_ids_add(conversation->routing->recent, key, conversation->id, sender, seq,
                   id_ms(id->data));
    copies_admitted(conversation);
}

static bool has_copy(const struct list *list, const Pipit__Submit *first) {
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node)) {
        const Pipit__Submit *submit = CONTAINER_OF(node, struct pending, node)->submit;
        if (submit->maybe_copy && same_origin(submit->origin, first->origin) &&
            memcmp(first->id.data, submit->id.data, ID_UUID_BYTES) < 0 &&
            strcmp(submit->user, first->user) == 0) {
            return true;
        }
    }
    return false;
}

bool copies_under_way(const struct conversation *conversation, const struct pending *first) {
    return watched(conversation) && (has_copy(&conversation->queue, first->submit) ||
                                     has_copy(&conversation->flight, first->submit) ||
                                     has_copy(&conversation->stored, first->submit));
}

bool copies_find(const struct conversation *conversation, const struct pending *first,
                 struct submit_outcome *outcome) {
    const Pipit__Submit *submit = first->submit;
    uint8_t key[ID_UUID_BYTES];
    uint64_t copy_ms = 0;
    if (!watched(conversation)) {
        return false;
    }
    key_of(submit->origin, key);
    if (!recent_ids_find(conversation->routing->recent, key, conversation->id, submit->user,
                         &outcome->seq, &copy_ms) ||
        id_ms(submit->id.data) >= copy_ms) {
        return false;
    }
    outcome->ts_ms = copy_ms; /* nearly: nobody waits for this answer any more */
    outcome->reason = REASON_OK;
    outcome->replay = true;
    return true;
}

struct pending *copies_claim(struct list *list, const Pipit__StoredMessage *row) {
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node)) {
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        const Pipit__Submit *submit = pending->submit;
        bool first = row->id.len == ID_UUID_BYTES &&
                     memcmp(submit->id.data, row->id.data, ID_UUID_BYTES) < 0;
        if ((first || submit->maybe_copy) && same_origin(submit->origin, row->origin) &&
            strcmp(submit->user, row->sender) == 0) {
            return pending;
        }
    }
    return NULL;
}
