/* doubt: looking for what was stored late.
 *
 * An append went to a storage instance that froze. Its conversation was loaded anew and went on
 * through another instance. When the first one wakes up, it carries the append out, and the
 * database decides: the seq is taken, or the id is (nothing happens), or neither, because the
 * sender gave up and nobody wrote since. Then the message is in the log, in order, and routing does
 * not know: no answer comes, and the members would see it only behind the next message. So the
 * conversation is loaded after 1, 2, 4 ... seconds for a minute, and at once when a storage
 * instance connects, which is what one that wakes up does; a head that moved brings the tail to
 * everybody (reload.c).
 *
 * Conversations with messages on the way are left out: their own append finds out. Nothing here
 * keeps a conversation in memory; one that is evicted is loaded at its next use. */
#include "services/routing/doubt.h"

#include "common/contract.h"
#include "common/mem.h"
#include "services/routing/reload.h"

#define DOUBT_FIRST_US 1000000u
#define DOUBT_LAST_US 60000000u
#define DOUBTS_MAX 8192u    /* the oldest is dropped for a new one */
#define DOUBT_LOADS_MAX 64u /* a second: messages come first */

struct doubts {
    struct list list;
};

enum err doubts_create(struct routing *routing, struct doubts **out) {
    (void)routing; /* alike for all modules */
    struct doubts *doubts = mem_zalloc(1, sizeof *doubts);
    if (doubts == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&doubts->list);
    *out = doubts;
    return ERR_OK;
}

void doubts_destroy(struct doubts **doubts) {
    mem_free(*doubts);
    *doubts = NULL;
}

void doubt_forget(struct conversation *conversation) {
    if (list_node_linked(&conversation->doubt_node)) {
        list_remove(&conversation->routing->doubts->list, &conversation->doubt_node);
    }
}

static void begin(struct conversation *conversation, uint64_t next_us) {
    conversation->doubt_since_us = loop_now_us(conversation->routing->loop);
    conversation->doubt_next_us = next_us;
}

void doubt_add(struct conversation *conversation) {
    struct list *list = &conversation->routing->doubts->list;
    doubt_forget(conversation);
    if (list->count >= DOUBTS_MAX) {
        doubt_forget(CONTAINER_OF(list_first(list), struct conversation, doubt_node));
    }
    begin(conversation, loop_now_us(conversation->routing->loop) + DOUBT_FIRST_US);
    list_push_back(list, &conversation->doubt_node);
}

void doubts_hurry(struct routing *routing) {
    const struct list *list = &routing->doubts->list;
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node)) {
        begin(CONTAINER_OF(node, struct conversation, doubt_node), loop_now_us(routing->loop));
    }
}

/* True when storage was asked. */
static bool look(struct conversation *conversation, uint64_t now_us) {
    uint64_t waited_us = now_us - conversation->doubt_since_us;
    conversation->doubt_next_us =
        now_us + (waited_us > DOUBT_FIRST_US ? waited_us : DOUBT_FIRST_US);
    if (conversation->state != CONVERSATION_KNOWN || conversation->busy != BUSY_NONE ||
        conversation->pending_count > 0) {
        return false;
    }
    conversation->stale = true;
    reload_start(conversation);
    return true;
}

void doubts_tick(struct routing *routing) {
    const struct list *list = &routing->doubts->list;
    uint64_t now_us = loop_now_us(routing->loop);
    size_t loads = 0;
    struct list_node *node = list_first(list);
    while (node != NULL && loads < DOUBT_LOADS_MAX) {
        struct conversation *conversation = CONTAINER_OF(node, struct conversation, doubt_node);
        node = list_next(list, node);
        if (now_us >= conversation->doubt_next_us && look(conversation, now_us)) {
            loads++;
        }
        if (now_us - conversation->doubt_since_us >= DOUBT_LAST_US) {
            doubt_forget(conversation);
        }
    }
}
