/* turns: a short list, searched from its end: it is empty but for the seconds after trouble. */
#include "services/routing/turns.h"

#include "common/mem.h"

#include <string.h>

#define FIRST_ROOM 8u

void turns_finish(struct turns *turns) {
    mem_free(turns->refused);
    *turns = (struct turns){0};
}

static void forget(struct turns *turns, size_t index) {
    turns->count--;
    memmove(&turns->refused[index], &turns->refused[index + 1],
            (turns->count - index) * sizeof turns->refused[0]);
    if (turns->count == 0) {
        turns_finish(turns);
    }
}

static void forget_old(struct turns *turns, uint64_t now_us) {
    while (turns->count > 0 && now_us - turns->refused[0].at_us >= TURNS_KEPT_US) {
        forget(turns, 0);
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

void turns_refused(struct turns *turns, uint64_t session, uint64_t turn, uint64_t now_us) {
    forget_old(turns, now_us);
    if (turns->count == TURNS_MAX) {
        forget(turns, 0);
    }
    if (turns->count == turns->room && !grow(turns)) {
        return;
    }
    turns->refused[turns->count++] =
        (struct refused_turn){.session = session, .turn = turn, .at_us = now_us};
}

bool turns_may(struct turns *turns, uint64_t session, uint64_t turn, uint64_t oldest,
               uint64_t now_us) {
    forget_old(turns, now_us);
    for (size_t i = turns->count; i-- > 0;) {
        const struct refused_turn *refused = &turns->refused[i];
        if (refused->session == session && refused->turn < turn && refused->turn >= oldest) {
            return false;
        }
    }
    for (size_t i = turns->count; i-- > 0;) {
        if (turns->refused[i].session == session && turns->refused[i].turn < oldest) {
            forget(turns, i);
        }
    }
    return true;
}
