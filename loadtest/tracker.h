/* tracker: what has arrived of each sender's messages at each receiver of its group, so that
 * nothing lost, doubled or overtaken goes unseen. Numbers of a sender begin at 0. */
#ifndef PIPIT_LOADTEST_TRACKER_H
#define PIPIT_LOADTEST_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

enum tracker_verdict { TRACKER_NEXT, TRACKER_AHEAD, TRACKER_LATE, TRACKER_AGAIN };

struct tracker_stream {
    uint32_t next; /* above the highest number that came */
    uint64_t seen; /* of the 64 numbers below next; bit 0: next - 1 */
};
struct tracker {
    struct tracker_stream *streams; /* [receiver][place of the sender in its group] */
    uint32_t clients, group_size;
};

/* Exits the process without memory. */
void tracker_create(struct tracker *tracker, uint32_t clients, uint32_t group_size);
void tracker_destroy(struct tracker *tracker);
/* AHEAD: numbers between are missing so far. LATE: one of those, out of order. AGAIN: came before;
 * one that is more than 64 behind counts as that, too. The receiver is in the sender's group. */
enum tracker_verdict tracker_arrived(struct tracker *tracker, uint32_t receiver, uint32_t sender,
                                     uint32_t number);
bool tracker_same_group(const struct tracker *tracker, uint32_t receiver, uint32_t sender);

#endif
