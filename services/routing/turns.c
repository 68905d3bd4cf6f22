/* turns: a list in no order, empty and without memory but for the seconds after trouble.
 *
 * There is one entry per refused message, found by session and id when the message comes again. It
 * blocks what has a higher place while the session cannot know of its last refusal. When it is
 * known it blocks nothing any more, but stays, for its place, as long as another refusal of the
 * session is unknown: without its place the message would look as if it had been sent behind that
 * one.
 *
 * The rough memory is a direct-mapped table by session, without allocation, so that remembering
 * never fails. Sessions that share a slot hold each other up, never overtake. */
#include "services/routing/turns.h"

#include "common/mem.h"

#include <string.h>

#define FIRST_ROOM 4u

void turns_finish(struct turns *turns) {
    mem_free(turns->refused);
    *turns = (struct turns){0};
}

static void forget_old(struct turns *turns, uint64_t now_us) {
    size_t i = 0;
    while (i < turns->count) {
        if (now_us - turns->refused[i].at_us < TURNS_KEPT_US) {
            i++;
        } else {
            turns->refused[i] = turns->refused[--turns->count];
        }
    }
    if (turns->count == 0) {
        turns_finish(turns);
    }
}

static void forget_session(struct turns *turns, uint64_t session) {
    size_t i = 0;
    while (i < turns->count) {
        if (turns->refused[i].session != session) {
            i++;
        } else {
            turns->refused[i] = turns->refused[--turns->count];
        }
    }
}

static bool grow(struct turns *turns) {
    size_t room = turns->room == 0 ? FIRST_ROOM : turns->room * 2;
    struct refused_turn *larger = mem_realloc(turns->refused, room * sizeof *larger);
    if (larger != NULL) {
        turns->refused = larger;
        turns->room = room;
    }
    return larger != NULL;
}

/* What is remembered of this message; NULL: nothing. */
static struct refused_turn *find(const struct turns *turns, const struct turn *turn) {
    for (size_t i = 0; i < turns->count; i++) {
        struct refused_turn *refused = &turns->refused[i];
        if (refused->session == turn->session &&
            memcmp(refused->id, turn->id, ID_UUID_BYTES) == 0) {
            return refused;
        }
    }
    return NULL;
}

static uint64_t lower(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

bool turns_refused(struct turns *turns, const struct turn *turn, uint64_t now_us) {
    struct refused_turn *own = find(turns, turn);
    if (own != NULL) {
        own->place = lower(own->place, turn->place);
        own->turn = turn->turn > own->turn ? turn->turn : own->turn;
        own->at_us = now_us;
        return true;
    }
    if (turns->count == turns->room) {
        forget_old(turns, now_us);
    }
    if (turns->count == TURNS_MAX || (turns->count == turns->room && !grow(turns))) {
        return false;
    }
    own = &turns->refused[turns->count++];
    *own = (struct refused_turn){
        .session = turn->session, .place = turn->place, .turn = turn->turn, .at_us = now_us};
    memcpy(own->id, turn->id, ID_UUID_BYTES);
    return true;
}

/* Its session may not know of this refusal yet. */
static bool unknown(const struct refused_turn *refused, const struct turn *turn) {
    return refused->session == turn->session && refused->turn >= turn->oldest;
}

bool turns_may(struct turns *turns, struct turn *turn, uint64_t now_us) {
    if (turns->count == 0) {
        return true;
    }
    forget_old(turns, now_us);
    struct refused_turn *own = find(turns, turn);
    if (own != NULL) {
        turn->place = lower(turn->place, own->place);
    }
    for (size_t i = 0; i < turns->count; i++) {
        const struct refused_turn *other = &turns->refused[i];
        if (other != own && unknown(other, turn) && other->place < turn->place) {
            return false;
        }
    }
    return true;
}

void turns_take(struct turns *turns, const struct turn *turn) {
    struct refused_turn *own = find(turns, turn);
    if (own != NULL) {
        *own = turns->refused[--turns->count];
    }
    size_t i = 0;
    while (i < turns->count && !unknown(&turns->refused[i], turn)) {
        i++;
    }
    if (i == turns->count) {
        forget_session(turns, turn->session);
    }
    if (turns->count == 0) {
        turns_finish(turns);
    }
}

/* --- rough */

void turns_rough_refused(struct turns_rough *rough, uint64_t session, uint64_t turn,
                         uint64_t now_us) {
    size_t slot = session % TURNS_ROUGH_SLOTS; /* session ids are random */
    bool taken = rough->slots[slot].turn != 0 && now_us - rough->slots[slot].at_us < TURNS_KEPT_US;
    if (!taken) {
        rough->slots[slot].session = session;
        rough->slots[slot].turn = turn;
    } else if (rough->slots[slot].session != session) {
        rough->slots[slot].session = 0;
        rough->slots[slot].turn = UINT64_MAX;
    } else if (rough->slots[slot].turn < turn) {
        rough->slots[slot].turn = turn;
    }
    rough->slots[slot].at_us = now_us;
}

void turns_rough_take(struct turns_rough *rough, struct turns *turns, uint64_t now_us) {
    forget_old(turns, now_us);
    for (size_t i = 0; i < turns->count; i++) {
        turns_rough_refused(rough, turns->refused[i].session, turns->refused[i].turn, now_us);
    }
    turns_finish(turns);
}

bool turns_rough_may(const struct turns_rough *rough, const struct turn *turn, uint64_t now_us) {
    size_t slot = turn->session % TURNS_ROUGH_SLOTS;
    uint64_t session = rough->slots[slot].session, highest = rough->slots[slot].turn;
    return highest == 0 || (session != 0 && session != turn->session) ||
           turn->turn <= turn->oldest || highest < turn->oldest ||
           now_us - rough->slots[slot].at_us >= TURNS_KEPT_US;
}
