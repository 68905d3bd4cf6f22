/* discovery: the instances of a service, by name. A Kubernetes headless service answers with the
 * addresses of all ready pods, and nng would only ever dial the first, so all records are read
 * here, again every 2 s, and each becomes an address of its own.
 *
 * getaddrinfo blocks for seconds when a name server is away, so it runs on a thread, one round at a
 * time: the loop's timer asks for a round, the thread hands its list to the loop. That thread may
 * outlive the discovery (nobody can interrupt getaddrinfo); what both touch is counted and freed by
 * whoever leaves last. A specification without names needs no thread.
 *
 * Failures keep the last known list: a peer that is really gone is noticed by its connection. */
#include "common/discovery.h"

#include "common/bus.h"
#include "common/contract.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef char address_text[BUS_URL_BYTES];

struct addresses {
    size_t count;
    address_text texts[DISCOVERY_ADDRESSES_MAX];
};

/* One entry of the specification. Static ones are in `known` from the start. */
struct source {
    bool named;
    char scheme[16]; /* with :// */
    char host[BUS_URL_BYTES];
    char port[8];
    struct addresses known;
};

/* What the resolving thread and the loop share. */
struct shared {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned owners; /* the discovery and the thread; under lock, as is all below */
    bool closed;
    bool asked;  /* the thread is to do a round */
    bool posted; /* call is on its way */
    struct addresses found;
    struct loop *loop; /* not to be touched once closed */
    struct loop_call call;
    struct discovery *discovery; /* the loop's thread only */
    /* The thread's own. */
    discovery_resolve_fn resolve;
    struct addresses scratch;
    size_t source_count;
    struct source sources[];
};

struct discovery {
    struct loop *loop;
    discovery_fn on_change;
    void *user;
    struct shared *shared;
    struct loop_timer timer;
    struct loop_call first; /* hands over a list without names */
    struct addresses current;
};

/* --- lists */

static int compare_texts(const void *a, const void *b) {
    return strcmp(a, b);
}

static void sort_unique(struct addresses *list) {
    qsort(list->texts, list->count, sizeof list->texts[0], compare_texts);
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (kept == 0 || strcmp(list->texts[kept - 1], list->texts[i]) != 0) {
            memmove(list->texts[kept++], list->texts[i], sizeof list->texts[0]);
        }
    }
    list->count = kept;
}

static bool same(const struct addresses *a, const struct addresses *b) {
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->texts[i], b->texts[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* Adds what `more` has to a sorted list and keeps the first DISCOVERY_ADDRESSES_MAX in order. */
static void merge(struct addresses *list, const struct addresses *more) {
    for (size_t i = 0; i < more->count; i++) {
        size_t at = 0;
        int order = 1;
        while (at < list->count && (order = strcmp(more->texts[i], list->texts[at])) > 0) {
            at++;
        }
        if (at == DISCOVERY_ADDRESSES_MAX || (at < list->count && order == 0)) {
            continue;
        }
        if (list->count < DISCOVERY_ADDRESSES_MAX) {
            list->count++;
        }
        memmove(list->texts[at + 1], list->texts[at],
                (list->count - 1 - at) * sizeof list->texts[0]);
        memcpy(list->texts[at], more->texts[i], sizeof list->texts[0]);
    }
}

static void collect(const struct shared *shared, struct addresses *list) {
    list->count = 0;
    for (size_t i = 0; i < shared->source_count; i++) {
        merge(list, &shared->sources[i].known);
    }
}

/* --- resolving, on its thread */

static enum err resolve_by_getaddrinfo(const char *host, char (*addresses)[DISCOVERY_HOST_BYTES],
                                       size_t max, size_t *count) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *results;
    if (getaddrinfo(host, NULL, &hints, &results) != 0) {
        return ERR_NOT_FOUND;
    }
    size_t found = 0;
    for (struct addrinfo *at = results; at != NULL && found < max; at = at->ai_next) {
        if (getnameinfo(at->ai_addr, at->ai_addrlen, addresses[found], DISCOVERY_HOST_BYTES, NULL,
                        0, NI_NUMERICHOST) == 0) {
            found++;
        }
    }
    freeaddrinfo(results);
    *count = found;
    return ERR_OK;
}

static _Atomic(discovery_resolve_fn) resolver = resolve_by_getaddrinfo;

void discovery_set_resolver(discovery_resolve_fn replacement) {
    atomic_store(&resolver, replacement != NULL ? replacement : resolve_by_getaddrinfo);
}

static void resolve_source(struct shared *shared, struct source *source) {
    char hosts[DISCOVERY_ADDRESSES_MAX][DISCOVERY_HOST_BYTES];
    size_t count = 0;
    if (shared->resolve(source->host, hosts, DISCOVERY_ADDRESSES_MAX, &count) != ERR_OK ||
        count == 0) {
        return; /* keeps what was known */
    }
    struct addresses *known = &source->known;
    known->count = 0;
    for (size_t i = 0; i < count; i++) {
        bool v6 = strchr(hosts[i], ':') != NULL;
        int length = snprintf(known->texts[known->count], sizeof known->texts[0], "%s%s%s%s:%s",
                              source->scheme, v6 ? "[" : "", hosts[i], v6 ? "]" : "", source->port);
        if (length > 0 && (size_t)length < sizeof known->texts[0]) {
            known->count++;
        }
    }
    sort_unique(known);
}

static void on_found(struct loop_call *call);

/* Unlocks; frees when nobody is left. */
static void leave(struct shared *shared) {
    unsigned left = --shared->owners;
    pthread_mutex_unlock(&shared->lock);
    if (left == 0) {
        pthread_cond_destroy(&shared->wake);
        pthread_mutex_destroy(&shared->lock);
        mem_free(shared);
    }
}

static void *resolve_rounds(void *arg) {
    struct shared *shared = arg;
    pthread_mutex_lock(&shared->lock);
    while (!shared->closed) {
        if (!shared->asked) {
            pthread_cond_wait(&shared->wake, &shared->lock);
            continue;
        }
        pthread_mutex_unlock(&shared->lock);
        for (size_t i = 0; i < shared->source_count; i++) {
            if (shared->sources[i].named) {
                resolve_source(shared, &shared->sources[i]);
            }
        }
        collect(shared, &shared->scratch);
        pthread_mutex_lock(&shared->lock);
        shared->asked = false;
        shared->found = shared->scratch;
        if (!shared->closed && !shared->posted) {
            shared->posted = true;
            loop_post_call(shared->loop, &shared->call, on_found);
        }
    }
    leave(shared);
    return NULL;
}

/* --- on the loop */

static void take_list(struct discovery *discovery, const struct addresses *list) {
    if (same(&discovery->current, list)) {
        return;
    }
    discovery->current = *list;
    const char *texts[DISCOVERY_ADDRESSES_MAX];
    for (size_t i = 0; i < discovery->current.count; i++) {
        texts[i] = discovery->current.texts[i];
    }
    discovery->on_change(texts, discovery->current.count, discovery->user);
}

static void on_first(struct loop_call *call) {
    struct discovery *discovery = CONTAINER_OF(call, struct discovery, first);
    struct addresses list;
    collect(discovery->shared, &list);
    take_list(discovery, &list);
}

static void on_found(struct loop_call *call) {
    struct shared *shared = CONTAINER_OF(call, struct shared, call);
    struct addresses list;
    pthread_mutex_lock(&shared->lock);
    shared->posted = false;
    list = shared->found;
    pthread_mutex_unlock(&shared->lock);
    take_list(shared->discovery, &list);
}

static void on_timer(struct loop_timer *timer) {
    struct discovery *discovery = CONTAINER_OF(timer, struct discovery, timer);
    struct shared *shared = discovery->shared;
    pthread_mutex_lock(&shared->lock);
    shared->asked = true; /* while a round is under way it counts for that one */
    pthread_cond_signal(&shared->wake);
    pthread_mutex_unlock(&shared->lock);
    loop_timer_start(discovery->loop, timer, DISCOVERY_INTERVAL_US, on_timer);
}

/* --- the specification */

static bool is_numeric(const char *host, size_t bytes) {
    char text[DISCOVERY_HOST_BYTES];
    struct in6_addr address; /* large enough for both */
    if (bytes > 0 && host[0] == '[') {
        return true; /* bus_url_derive has seen the other bracket; nothing else goes in there */
    }
    if (bytes >= sizeof text) {
        return false;
    }
    memcpy(text, host, bytes);
    text[bytes] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

static enum err parse_entry(const char *entry, struct source *source) {
    char url[BUS_URL_BYTES];
    enum err error = bus_url_derive(entry, BUS_URL_REP, url);
    if (error != ERR_OK) {
        return error;
    }
    const char *host = strstr(entry, "://") + strlen("://");
    const char *colon = strrchr(entry, ':');
    size_t scheme_bytes = (size_t)(host - entry);
    size_t host_bytes = (size_t)(colon - host);
    if (strncmp(entry, "ipc://", strlen("ipc://")) == 0 || is_numeric(host, host_bytes)) {
        source->known.count = 1;
        (void)snprintf(source->known.texts[0], sizeof source->known.texts[0], "%s", entry);
        return ERR_OK;
    }
    source->named = true;
    (void)snprintf(source->scheme, sizeof source->scheme, "%.*s", (int)scheme_bytes, entry);
    (void)snprintf(source->host, sizeof source->host, "%.*s", (int)host_bytes, host);
    (void)snprintf(source->port, sizeof source->port, "%s", colon + 1);
    return ERR_OK;
}

static enum err parse(const char *specification, struct shared *shared) {
    for (size_t i = 0; i < shared->source_count; i++) {
        size_t bytes = strcspn(specification, ",");
        const char *entry = specification;
        specification += bytes + 1;
        while (bytes > 0 && (entry[0] == ' ' || entry[0] == '\t')) {
            entry++;
            bytes--;
        }
        while (bytes > 0 && (entry[bytes - 1] == ' ' || entry[bytes - 1] == '\t')) {
            bytes--;
        }
        char text[BUS_URL_BYTES];
        if (bytes >= sizeof text) {
            return ERR_TOO_LARGE;
        }
        memcpy(text, entry, bytes);
        text[bytes] = '\0';
        enum err error = parse_entry(text, &shared->sources[i]);
        if (error != ERR_OK) {
            return error;
        }
    }
    return ERR_OK;
}

static size_t count_entries(const char *specification) {
    size_t count = 1;
    for (; *specification != '\0'; specification++) {
        count += *specification == ',';
    }
    return count;
}

/* --- life */

static enum err make_shared(struct loop *loop, const char *specification, struct shared **out) {
    size_t count = count_entries(specification);
    if (count > DISCOVERY_SOURCES_MAX) {
        return ERR_TOO_LARGE;
    }
    struct shared *shared = mem_zalloc(1, sizeof *shared + count * sizeof(struct source));
    if (shared == NULL) {
        return ERR_NO_MEMORY;
    }
    shared->source_count = count;
    enum err error = parse(specification, shared);
    if (error != ERR_OK) {
        mem_free(shared);
        return error;
    }
    shared->loop = loop;
    shared->owners = 1;
    shared->resolve = atomic_load(&resolver);
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->wake, NULL);
    *out = shared;
    return ERR_OK;
}

static enum err start_thread(struct shared *shared) {
    pthread_t thread;
    shared->owners = 2;
    shared->asked = true;
    if (pthread_create(&thread, NULL, resolve_rounds, shared) != 0) {
        shared->owners = 1;
        return ERR_FULL;
    }
    (void)pthread_setname_np(thread, "discovery"); /* a name is for the eye alone */
    pthread_detach(thread);
    return ERR_OK;
}

enum err discovery_create(struct loop *loop, const char *specification, discovery_fn on_change,
                          void *user, struct discovery **out) {
    CONTRACT(on_change != NULL);
    struct discovery *discovery = mem_zalloc(1, sizeof *discovery);
    if (discovery == NULL) {
        return ERR_NO_MEMORY;
    }
    discovery->loop = loop;
    discovery->on_change = on_change;
    discovery->user = user;
    enum err error = make_shared(loop, specification, &discovery->shared);
    bool named = false;
    if (error == ERR_OK) {
        discovery->shared->discovery = discovery;
        for (size_t i = 0; i < discovery->shared->source_count; i++) {
            named = named || discovery->shared->sources[i].named;
        }
    }
    if (error == ERR_OK && named) {
        error = start_thread(discovery->shared);
    }
    if (error != ERR_OK) {
        discovery_destroy(&discovery);
        return error;
    }
    if (named) {
        loop_timer_start(loop, &discovery->timer, DISCOVERY_INTERVAL_US, on_timer);
    } else {
        loop_post_call(loop, &discovery->first, on_first);
    }
    *out = discovery;
    return ERR_OK;
}

void discovery_destroy(struct discovery **discovery) {
    struct discovery *gone = *discovery;
    if (gone == NULL) {
        return;
    }
    *discovery = NULL;
    loop_timer_stop(gone->loop, &gone->timer);
    loop_call_cancel(gone->loop, &gone->first);
    struct shared *shared = gone->shared;
    if (shared != NULL) {
        pthread_mutex_lock(&shared->lock);
        shared->closed = true; /* from here on the thread does not touch the loop */
        pthread_cond_signal(&shared->wake);
        loop_call_cancel(gone->loop, &shared->call);
        leave(shared);
    }
    mem_free(gone);
}
