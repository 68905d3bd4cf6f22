/* expiry: a wheel of one-second slots, so adding, renewing and closing a session cost the same
 * however many there are. Tokens live 15 minutes and the wheel turns in 17, so a slot holds what
 * ends in its second and rarely anything for a later turn. Wall time, because tokens speak of it: a
 * clock that steps forward ends sessions, one that steps back lets them live longer, by what it
 * stepped. */
#include "services/connection/expiry.h"

#include "common/clock.h"
#include "common/mem.h"

#define EXPIRY_SLOTS 1024u /* seconds per turn */

struct hub_expiry {
    uint64_t done_s; /* all slots up to this second were looked at */
    struct list slots[EXPIRY_SLOTS];
};

enum err hub_expiry_create(struct hub *hub) {
    struct hub_expiry *expiry = mem_zalloc(1, sizeof *expiry);
    if (expiry == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < EXPIRY_SLOTS; i++) {
        list_init(&expiry->slots[i]);
    }
    expiry->done_s = clock_wall_ms() / 1000u;
    hub->expiry = expiry;
    return ERR_OK;
}

void hub_expiry_destroy(struct hub *hub) {
    mem_free(hub->expiry);
    hub->expiry = NULL;
}

/* The first second that begins at or after the end of the token. A token that has ended already is
 * looked at next. */
static struct list *slot_of(struct hub_expiry *expiry, const struct session *session) {
    uint64_t second = session->expiry_second;
    return &expiry->slots[second % EXPIRY_SLOTS];
}

void hub_expiry_add(struct hub *hub, struct session *session) {
    hub_expiry_remove(hub, session);
    uint64_t second = (session->token_expires_ms + 999u) / 1000u;
    session->expiry_second = second > hub->expiry->done_s ? second : hub->expiry->done_s + 1;
    list_push_back(slot_of(hub->expiry, session), &session->expiry_node);
}

void hub_expiry_remove(struct hub *hub, struct session *session) {
    if (list_node_linked(&session->expiry_node)) {
        list_remove(slot_of(hub->expiry, session), &session->expiry_node);
    }
}

static void look(struct hub *hub, uint64_t second) {
    struct list *slot = &hub->expiry->slots[second % EXPIRY_SLOTS];
    for (size_t count = slot->count; count > 0 && slot->count > 0; count--) {
        struct list_node *node = list_pop_front(slot);
        struct session *session = CONTAINER_OF(node, struct session, expiry_node);
        if (session->expiry_second > second) {
            list_push_back(slot, node); /* of a later turn */
        } else {
            session_end(session, REASON_TOKEN_EXPIRED);
        }
    }
}

void hub_expiry_tick(struct hub *hub) {
    struct hub_expiry *expiry = hub->expiry;
    uint64_t now_s = clock_wall_ms() / 1000u;
    if (now_s < expiry->done_s) {
        expiry->done_s = now_s; /* the clock was set back */
    }
    if (now_s - expiry->done_s > EXPIRY_SLOTS) {
        expiry->done_s = now_s - EXPIRY_SLOTS; /* each slot once is enough */
    }
    while (expiry->done_s < now_s) {
        look(hub, ++expiry->done_s);
    }
}
