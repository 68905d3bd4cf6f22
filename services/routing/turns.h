/* turns: sessions that were refused something in a conversation and will send it again by
 * themselves. What such a session had sent behind it, before it knew, must not be stored first: it
 * is refused, too, wherever it was on its way, and comes again behind the other.
 *
 * A turn is the session's own count of what it sends, tries included; 0: this sender copes with
 * refusals itself. One per conversation; loop's thread. */
#ifndef PIPIT_ROUTING_TURNS_H
#define PIPIT_ROUTING_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURNS_KEPT_US 15000000u /* sessions do not try for longer */
#define TURNS_MAX 4096u         /* of one conversation; the oldest goes */

struct refused_turn {
    uint64_t session, turn, at_us;
};
struct turns { /* zeroed is empty */
    struct refused_turn *refused;
    size_t count, room;
};

void turns_finish(struct turns *turns);
/* False: this one, or the oldest, is not remembered, for lack of memory or because of TURNS_MAX;
 * the order is then the order of arrival. */
bool turns_refused(struct turns *turns, uint64_t session, uint64_t turn, uint64_t now_us);
/* Whether this one knows of all refusals: `oldest` is the lowest turn of the session in this
 * conversation that was without an answer when it was sent, itself included. Forgets them then. */
bool turns_may(struct turns *turns, uint64_t session, uint64_t turn, uint64_t oldest,
               uint64_t now_us);

#endif
