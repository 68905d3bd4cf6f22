/* turns: sessions that were refused something in a conversation and will send it again by
 * themselves. What such a session had sent behind it, before it knew, must not be stored first: it
 * is refused, too, wherever it was on its way, and comes again behind the other.
 *
 * A turn is the session's own count of what it sends, tries included; 0: this sender copes with
 * refusals itself. A message's place among those of its session is the turn of its first refused
 * try: one that comes again waits for those that were sent before it, and not for those behind it
 * that were refused as well.
 *
 * One `turns` per conversation. What it cannot remember (no memory, TURNS_MAX, a conversation that
 * is not cached or leaves the cache) goes to the one `turns_rough` of the instance, which knows
 * less and so refuses more, and never lets anything overtake. Loop's thread. */
#ifndef PIPIT_ROUTING_TURNS_H
#define PIPIT_ROUTING_TURNS_H

#include "common/id.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURNS_KEPT_US 15000000u /* sessions do not try for longer */
#define TURNS_MAX 4096u         /* messages of one conversation */
#define TURNS_ROUGH_SLOTS 4096u /* sessions share them; 24 bytes each */

/* One try of one message. */
struct turn {
    const uint8_t *id; /* bytes[ID_UUID_BYTES], borrowed; turns_rough does not read it */
    uint64_t session, turn;
    uint64_t oldest; /* the lowest turn of the session in this conversation that was without an
                        answer when this one was sent, itself included */
    uint64_t place;  /* turn, or less: its place as far as the caller knows it */
};

struct refused_turn {
    uint8_t id[ID_UUID_BYTES];
    uint64_t session, place, turn, at_us; /* turn and time of its last refusal */
};
struct turns { /* zeroed is empty */
    struct refused_turn *refused;
    size_t count, room;
};

void turns_finish(struct turns *turns);
/* False: it is not remembered, for lack of memory or because of TURNS_MAX, and is to go to
 * turns_rough. turn->oldest is not used. */
bool turns_refused(struct turns *turns, const struct turn *turn, uint64_t now_us);
/* Whether the session knows of all refusals of what it sent before this message. Fills in
 * turn->place from what is remembered of the id; the caller keeps it for another refusal. */
bool turns_may(struct turns *turns, struct turn *turn, uint64_t now_us);
/* It may, and its turn has come: whatever of this session is asked about from now on was sent
 * later. Forgets this message, and the others of the session when it knows of all refusals. */
void turns_take(struct turns *turns, const struct turn *turn);

struct turns_rough { /* zeroed is empty */
    struct {
        uint64_t session; /* 0: several */
        uint64_t turn;    /* the highest refused; 0: none */
        uint64_t at_us;
    } slots[TURNS_ROUGH_SLOTS];
};

void turns_rough_refused(struct turns_rough *rough, uint64_t session, uint64_t turn,
                         uint64_t now_us);
/* Takes over all of them: their conversation leaves the cache. */
void turns_rough_take(struct turns_rough *rough, struct turns *turns, uint64_t now_us);
/* False while a message that was sent before this one, to whichever conversation, may have been
 * refused and the session may not know. One that was sent when no other to its conversation was
 * without an answer (oldest = turn) always may, so a session goes on, one message at a time. */
bool turns_rough_may(const struct turns_rough *rough, const struct turn *turn, uint64_t now_us);

#endif
