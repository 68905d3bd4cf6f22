/* tracker: one number and a window of 64 bits for each pair of people who hear each other. */
#include "loadtest/tracker.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW 64u

void tracker_create(struct tracker *tracker, uint32_t clients, uint32_t group_size) {
    *tracker = (struct tracker){.clients = clients, .group_size = group_size};
    tracker->streams = calloc((size_t)clients * group_size, sizeof *tracker->streams);
    if (tracker->streams == NULL) {
        perror("pipit-load: memory");
        exit(1);
    }
}

void tracker_destroy(struct tracker *tracker) {
    free(tracker->streams);
    *tracker = (struct tracker){0};
}

bool tracker_same_group(const struct tracker *tracker, uint32_t receiver, uint32_t sender) {
    return receiver < tracker->clients && sender < tracker->clients &&
           receiver / tracker->group_size == sender / tracker->group_size;
}

enum tracker_verdict tracker_arrived(struct tracker *tracker, uint32_t receiver, uint32_t sender,
                                     uint32_t number) {
    struct tracker_stream *stream =
        &tracker->streams[(size_t)receiver * tracker->group_size + sender % tracker->group_size];
    if (number >= stream->next) {
        uint32_t ahead = number - stream->next;
        stream->seen = ahead + 1 < WINDOW ? stream->seen << (ahead + 1) : 0;
        stream->seen |= 1;
        stream->next = number + 1;
        return ahead == 0 ? TRACKER_NEXT : TRACKER_AHEAD;
    }
    uint32_t behind = stream->next - 1 - number;
    uint64_t bit = behind < WINDOW ? 1ull << behind : 0;
    if (bit == 0 || (stream->seen & bit) != 0) {
        return TRACKER_AGAIN;
    }
    stream->seen |= bit;
    return TRACKER_LATE;
}
