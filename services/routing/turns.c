/* turns: a list, oldest first; empty and without memory but for the seconds after trouble. */
#include "services/routing/turns.h"

#include "common/mem.h"

#include <string.h>

#define FIRST_ROOM 8u

void turns_finish(struct turns *turns) {
    mem_free(turns->refused);
    *turns = (struct turns){0};
}

static void forget_first(struct turns *turns, size_t count) {
    if (count > 0) {
        turns->count -= count;
        memmove(turns->refused, turns->refused + count, turns->count * sizeof turns->refused[0]);
    }
}

static void forget_old(struct turns *turns, uint64_t now_us) {
    size_t old = 0;
    while (old < turns->count && now_us - turns->refused[old].at_us >= TURNS_KEPT_US) {
        old++;
    }
    forget_first(turns, old);
}

/* What this session knows by now. */
static void forget_known(struct turns *turns, uint64_t session, uint64_t oldest) {
    size_t kept = 0;
    for (size_t i = 0; i < turns->count; i++) {
        if (turns->refused[i].session != session || turns->refused[i].turn >= oldest) {
            turns->refused[kept++] = turns->refused[i];
        }
    }
    turns->count = kept;
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

bool turns_refused(struct turns *turns, uint64_t session, uint64_t turn, uint64_t now_us) {
    forget_old(turns, now_us);
    bool bounded = turns->count == TURNS_MAX;
    if (bounded) {
        forget_first(turns, 1);
    } else if (turns->count == turns->room && !grow(turns)) {
        return false;
    }
    turns->refused[turns->count++] =
        (struct refused_turn){.session = session, .turn = turn, .at_us = now_us};
    return !bounded;
}

bool turns_may(struct turns *turns, uint64_t session, uint64_t turn, uint64_t oldest,
               uint64_t now_us) {
    if (turns->count == 0) {
        return true;
    }
    forget_old(turns, now_us);
    for (size_t i = 0; i < turns->count; i++) {
        const struct refused_turn *refused = &turns->refused[i];
        if (refused->session == session && refused->turn < turn && refused->turn >= oldest) {
            return false;
        }
    }
    forget_known(turns, session, oldest);
    if (turns->count == 0) {
        turns_finish(turns);
    }
    return true;
}
