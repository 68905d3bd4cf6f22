/* instance_streams: the list of instances that discovery gives is compared with the subscribers we
 * have; what is new is subscribed to, what is gone is dropped. An instance that cannot be listened
 * to (no memory, a bad address) is logged and tried again with the next change of the list; its
 * revocations come with snapshots meanwhile, its failed logins are counted by itself alone. */
#include "services/auth/instance_streams.h"

#include "common/contract.h"
#include "common/discovery.h"
#include "common/log.h"
#include "common/mem.h"
#include <string.h>

struct source { /* one auth instance */
    char *address;
    struct stream_subscriber *subscribers[INSTANCE_TOPICS_MAX];
    bool listed; /* while a new list is compared */
};
struct instance_streams {
    struct loop *loop;
    struct bus *bus;
    struct instance_topic topics[INSTANCE_TOPICS_MAX];
    size_t topic_count;
    struct discovery *discovery;
    struct source sources[DISCOVERY_ADDRESSES_MAX];
    size_t source_count;
};

static void drop_source(struct source *source) {
    for (size_t i = 0; i < INSTANCE_TOPICS_MAX; i++) {
        stream_subscriber_destroy(&source->subscribers[i]);
    }
    mem_free(source->address);
    *source = (struct source){0};
}

static enum err fill_source(struct instance_streams *streams, const char *address,
                            struct source *source) {
    char url[BUS_URL_BYTES];
    source->listed = true;
    source->address = mem_strdup(address);
    enum err error =
        source->address == NULL ? ERR_NO_MEMORY : bus_url_derive(address, BUS_URL_PUB, url);
    for (size_t i = 0; error == ERR_OK && i < streams->topic_count; i++) {
        const struct instance_topic *topic = &streams->topics[i];
        error = stream_subscriber_create(streams->loop, streams->bus, url, topic->topic,
                                         topic->on_message, topic->on_trouble, topic->user,
                                         &source->subscribers[i]);
    }
    return error;
}

static void add_source(struct instance_streams *streams, const char *address) {
    struct source *source = &streams->sources[streams->source_count];
    enum err error = fill_source(streams, address, source);
    if (error != ERR_OK) {
        log_event(LOG_ERROR, "an auth instance cannot be listened to", F_TEXT("address", address),
                  F_ERR(error));
        drop_source(source);
        return;
    }
    streams->source_count++;
}

static struct source *find_source(struct instance_streams *streams, const char *address) {
    for (size_t i = 0; i < streams->source_count; i++) {
        if (strcmp(streams->sources[i].address, address) == 0) {
            return &streams->sources[i];
        }
    }
    return NULL;
}

static void on_instances(const char *const *addresses, size_t count, void *user) {
    struct instance_streams *streams = user;
    for (size_t i = 0; i < streams->source_count; i++) {
        streams->sources[i].listed = false;
    }
    for (size_t i = 0; i < count; i++) {
        struct source *known = find_source(streams, addresses[i]);
        if (known != NULL) {
            known->listed = true;
        }
    }
    for (size_t i = streams->source_count; i > 0; i--) {
        if (!streams->sources[i - 1].listed) {
            drop_source(&streams->sources[i - 1]);
            streams->sources[i - 1] = streams->sources[--streams->source_count];
        }
    }
    for (size_t i = 0; i < count && streams->source_count < DISCOVERY_ADDRESSES_MAX; i++) {
        if (find_source(streams, addresses[i]) == NULL) {
            add_source(streams, addresses[i]);
        }
    }
    for (size_t i = 0; i < streams->topic_count; i++) {
        if (streams->topics[i].on_changed != NULL) {
            streams->topics[i].on_changed(streams->topics[i].user);
        }
    }
}

enum err instance_streams_create(struct loop *loop, struct bus *bus, const char *instances,
                                 const struct instance_topic *topics, size_t topic_count,
                                 struct instance_streams **out) {
    CONTRACT(topic_count <= INSTANCE_TOPICS_MAX);
    struct instance_streams *streams = mem_zalloc(1, sizeof *streams);
    if (streams == NULL) {
        return ERR_NO_MEMORY;
    }
    streams->loop = loop;
    streams->bus = bus;
    memcpy(streams->topics, topics, topic_count * sizeof *topics);
    streams->topic_count = topic_count;
    enum err error = discovery_create(loop, instances, on_instances, streams, &streams->discovery);
    if (error != ERR_OK) {
        mem_free(streams);
        return error;
    }
    *out = streams;
    return ERR_OK;
}

void instance_streams_destroy(struct instance_streams **streams) {
    struct instance_streams *old = *streams;
    if (old == NULL) {
        return;
    }
    *streams = NULL;
    discovery_destroy(&old->discovery);
    while (old->source_count > 0) {
        drop_source(&old->sources[--old->source_count]);
    }
    mem_free(old);
}
