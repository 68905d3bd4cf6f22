/* instance_streams: this instance listens to the streams of all auth instances, itself included:
 * which exist is discovery's matter, each topic has a subscriber per instance. */
#ifndef PIPIT_AUTH_INSTANCE_STREAMS_H
#define PIPIT_AUTH_INSTANCE_STREAMS_H

#include "common/stream.h"

#define INSTANCE_TOPICS_MAX 2

/* What one part of auth listens to. All three are called on the loop's thread and may not destroy
 * the streams. */
struct instance_topic {
    uint64_t topic;
    stream_message_fn on_message; /* of any instance */
    stream_trouble_fn on_trouble;
    void (*on_changed)(void *user); /* instances came or went; NULL = does not matter */
    void *user;
};
struct instance_streams;
/* instances: discovery specification, borrowed for the call; topics: copied, at most
 * INSTANCE_TOPICS_MAX. Loop's thread, as is destroy. Errors of discovery_create. */
enum err instance_streams_create(struct loop *loop, struct bus *bus, const char *instances,
                                 const struct instance_topic *topics, size_t topic_count,
                                 struct instance_streams **out) MUST_CHECK;
/* Before the bus. */
void instance_streams_destroy(struct instance_streams **streams);

#endif
