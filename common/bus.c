/* bus: what all four socket kinds share: the way from nng's threads to the loop, the registry of
 * immortal endpoints, addresses, dialing and listening.
 *
 * nng calls back on its own threads, which must never block or run our code. A callback pushes its
 * operation on the bus's lock-free stack; only the push that finds the stack empty posts to the
 * loop, so a burst costs one wake-up. The mailbox (core) outlives the bus: when it has no loop any
 * more, whoever pushes runs the operation, which then only gives its memory back.
 *
 * Endpoints are never closed: nng_close can deadlock or crash in Debian's versions, nng_aio_cancel
 * in 1.10. Closing means: close dialer, listener and pipes, forget the owner, and leave the socket
 * in the registry until nng has finished what it holds (busy, pipes, event_queued are all zero);
 * then the next owner may have it.
 *
 * A connection given up is replaced by a new dialer; nng's own redialling is not waited for. It is
 * hung up first, as is every connection that this process ends (bus_hangup.c).
 *
 * nng has no connect time-out, so a dialer whose peer lost its power sits in the kernel's SYN
 * back-off for up to two minutes after the peer is back: a dialer that stays down for
 * BUS_REDIAL_US is replaced by a fresh one.
 *
 * nng is included in bus_private.h and the bus*.c files alone. */
#include "common/bus_private.h"

#include "common/contract.h"
#include "common/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BUS_RECONNECT_MIN_MS 50
#define BUS_RECONNECT_MAX_MS 1000
/* Bytes nng puts before a body on the wire: REQ's request id. */
#define BUS_HEADER_BYTES 8u
#define BUS_HANG_UP_TRIES 1000
#define BUS_REDIAL_US 5000000u
#define BUS_REDIAL_CHECK_US 1000000u

_Atomic uint64_t bus_late_hang_ups;

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list registry_endpoints; /* all there ever were; initialised on first use */
static struct list registry_cores;
static bool workers_limited;

enum err bus_err_from_nng(int code) {
    switch (code) {
    case 0:
        return ERR_OK;
    case NNG_ENOMEM:
        return ERR_NO_MEMORY;
    case NNG_EINVAL:
    case NNG_EADDRINVAL:
        return ERR_INVALID;
    case NNG_ETIMEDOUT:
        return ERR_TIMEOUT;
    case NNG_ECLOSED:
    case NNG_ECANCELED:
    case NNG_ECONNRESET:
    case NNG_ECONNABORTED:
    case NNG_ECONNSHUT:
        return ERR_CLOSED;
    case NNG_EADDRINUSE:
        return ERR_EXISTS;
    case NNG_EPERM:
        return ERR_DENIED;
    case NNG_ENOENT:
        return ERR_NOT_FOUND;
    case NNG_EMSGSIZE:
        return ERR_TOO_LARGE;
    case NNG_ENOTSUP:
        return ERR_UNSUPPORTED;
    default:
        return ERR_IO;
    }
}

/* --- from nng's threads to the loop */

static void run_ops(struct bus_core *core) {
    struct bus_op *newest = atomic_exchange(&core->ops, NULL);
    struct bus_op *oldest = NULL;
    while (newest != NULL) {
        struct bus_op *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct bus_op *op = oldest;
        oldest = op->next; /* run may push the op again */
        op->run(op);
    }
}

static void run_core(struct loop_call *call) {
    struct bus_core *core = CONTAINER_OF(call, struct bus_core, call);
    atomic_store(&core->posted, false);
    run_ops(core);
}

void bus_core_push(struct bus_core *core, struct bus_op *op) {
    struct bus_op *newest = atomic_load_explicit(&core->ops, memory_order_relaxed);
    do {
        op->next = newest;
    } while (!atomic_compare_exchange_weak(&core->ops, &newest, op));
    if (newest != NULL) {
        return; /* whoever pushed the first has posted */
    }
    pthread_mutex_lock(&core->lock);
    bool orphaned = core->loop == NULL;
    /* Posted already when run_core took this op between clearing `posted` and the line above: the
     * call in flight serves whatever came since, and must not be posted twice. */
    if (!orphaned && !atomic_exchange(&core->posted, true)) {
        loop_post_call(core->loop, &core->call, run_core);
    }
    pthread_mutex_unlock(&core->lock);
    if (orphaned) {
        run_ops(core);
    }
}

static enum err take_core(struct loop *loop, struct bus_core **out) {
    struct bus_core *core = NULL;
    pthread_mutex_lock(&registry_lock);
    if (registry_cores.head.next == NULL) {
        list_init(&registry_cores);
        list_init(&registry_endpoints);
    }
    for (struct list_node *node = list_first(&registry_cores); node != NULL;
         node = list_next(&registry_cores, node)) {
        core = CONTAINER_OF(node, struct bus_core, node);
        if (!core->taken && !atomic_load(&core->posted) && atomic_load(&core->ops) == NULL) {
            break;
        }
        core = NULL;
    }
    if (core == NULL && (core = mem_zalloc(1, sizeof *core)) != NULL) {
        pthread_mutex_init(&core->lock, NULL);
        list_push_back(&registry_cores, &core->node);
    }
    if (core != NULL) {
        core->taken = true;
        pthread_mutex_lock(&core->lock);
        core->loop = loop;
        pthread_mutex_unlock(&core->lock);
    }
    pthread_mutex_unlock(&registry_lock);
    *out = core;
    return core != NULL ? ERR_OK : ERR_NO_MEMORY;
}

static void release_core(struct bus_core *core) {
    pthread_mutex_lock(&core->lock);
    core->loop = NULL;
    pthread_mutex_unlock(&core->lock);
    run_ops(core);
    pthread_mutex_lock(&registry_lock);
    core->taken = false;
    pthread_mutex_unlock(&registry_lock);
}

/* --- pipes come and go */

static void run_event(struct bus_op *op) {
    struct bus_endpoint *endpoint = CONTAINER_OF(op, struct bus_endpoint, event);
    /* While it is attached, which is to this loop, nobody else can take the endpoint; else it may
     * be taken as soon as nothing is queued, so the flag is the last thing touched. */
    bool owned = endpoint->owner != NULL;
    bool lingering = endpoint->lingering;
    atomic_store(&endpoint->event_queued, false); /* what comes from here on is a new event */
    if (owned && endpoint->on_event != NULL) {
        endpoint->on_event(endpoint);
    } else if (lingering) {
        bus_endpoint_settle(endpoint);
    }
}

void bus_endpoint_signal(struct bus_endpoint *endpoint) {
    if (!atomic_exchange(&endpoint->event_queued, true)) {
        bus_core_push(atomic_load(&endpoint->core), &endpoint->event);
    }
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg) {
    struct bus_endpoint *endpoint = arg;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    switch (event) {
    case NNG_PIPE_EV_ADD_PRE:
        atomic_store(&endpoint->last_pipe, id);
        atomic_fetch_add(&endpoint->pipes, 1);
        if (atomic_load(&endpoint->ending)) { /* nng redials at once, whatever RECONNMINT says */
            (void)nng_pipe_close(pipe);
        }
        return;
    case NNG_PIPE_EV_ADD_POST:
        atomic_store(&endpoint->pipe_id, id);
        atomic_fetch_add(&endpoint->connects, 1);
        break;
    case NNG_PIPE_EV_REM_POST:
        (void)atomic_compare_exchange_strong(&endpoint->pipe_id, &id, 0);
        atomic_fetch_sub(&endpoint->pipes, 1);
        break;
    default:
        return;
    }
    if (endpoint->kind == BUS_REQ) {
        bus_endpoint_signal(endpoint);
    }
}

/* --- the registry of endpoints */

enum err bus_endpoint_init(struct bus_endpoint *endpoint, enum bus_endpoint_kind kind,
                           uint32_t contexts, nng_socket socket) {
    endpoint->kind = kind;
    endpoint->contexts = contexts;
    endpoint->socket = socket;
    endpoint->event.run = run_event;
    static const nng_pipe_ev events[] = {NNG_PIPE_EV_ADD_PRE, NNG_PIPE_EV_ADD_POST,
                                         NNG_PIPE_EV_REM_POST};
    int code = 0;
    for (size_t i = 0; i < sizeof events / sizeof *events && code == 0; i++) {
        code = nng_pipe_notify(socket, events[i], on_pipe, endpoint);
    }
    if (code == 0) {
        code = nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, BUS_RECONNECT_MIN_MS);
    }
    if (code == 0) {
        code = nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, BUS_RECONNECT_MAX_MS);
    }
    return bus_err_from_nng(code);
}

static bool endpoint_idle(struct bus_endpoint *endpoint) {
    return !endpoint->attached && atomic_load(&endpoint->busy) == 0 &&
           atomic_load(&endpoint->pipes) == 0 && !atomic_load(&endpoint->event_queued);
}

static struct bus_endpoint *find_idle(enum bus_endpoint_kind kind, uint32_t contexts) {
    for (struct list_node *node = list_first(&registry_endpoints); node != NULL;
         node = list_next(&registry_endpoints, node)) {
        struct bus_endpoint *endpoint = CONTAINER_OF(node, struct bus_endpoint, node);
        if (endpoint->kind == kind && endpoint->contexts == contexts && endpoint_idle(endpoint)) {
            return endpoint;
        }
    }
    return NULL;
}

enum err bus_endpoint_take(struct bus *bus, enum bus_endpoint_kind kind, uint32_t contexts,
                           bus_endpoint_create_fn create, struct bus_endpoint **out) {
    pthread_mutex_lock(&registry_lock);
    struct bus_endpoint *endpoint = find_idle(kind, contexts);
    enum err error = ERR_OK;
    if (endpoint == NULL) {
        error = create(contexts, &endpoint);
        if (error == ERR_OK) {
            list_push_back(&registry_endpoints, &endpoint->node);
        }
    }
    if (error == ERR_OK && !workers_limited) {
        workers_limited = true;
        bus_workers_limit();
    }
    if (error == ERR_OK) {
        error = bus_err_from_nng(nng_socket_set_size(endpoint->socket, NNG_OPT_RECVMAXSZ,
                                                     bus->message_bytes_max + BUS_HEADER_BYTES));
    }
    if (error == ERR_OK) {
        endpoint->attached = true;
        endpoint->bus = bus;
        endpoint->generation++;
        endpoint->down_since_us = 0;
        atomic_store(&endpoint->ending, false);
        atomic_store(&endpoint->stale_pipe, atomic_load(&endpoint->last_pipe));
        atomic_store(&endpoint->core, bus->core);
        *out = endpoint;
    }
    pthread_mutex_unlock(&registry_lock);
    return error;
}

/* Ends the connections, and waits until nng has buried them: only then its dialer or listener may
 * be closed (bus_hangup.c). Takes less than a millisecond, unless a request waits unread before
 * busy contexts; then nothing is being read, and there is no danger. */
static void hang_up(struct bus_endpoint *endpoint) {
    atomic_store(&endpoint->ending, true);
    if (atomic_load(&endpoint->pipes) == 0 || !bus_hang_up(endpoint)) {
        return;
    }
    static const struct timespec pause = {.tv_nsec = 100000};
    int tries = 0;
    while (atomic_load(&endpoint->pipes) > 0 && tries++ < BUS_HANG_UP_TRIES) {
        (void)nanosleep(&pause, NULL);
    }
    if (tries > BUS_HANG_UP_TRIES) {
        atomic_fetch_add(&bus_late_hang_ups, 1);
    }
}

void bus_endpoint_release(struct bus_endpoint *endpoint) {
    endpoint->owner = NULL;
    endpoint->on_event = NULL;
    endpoint->close_owner = NULL;
    hang_up(endpoint);
    if (endpoint->dialing) {
        (void)nng_dialer_close(endpoint->dialer); /* fails only for one that is closed */
    }
    if (endpoint->listening) {
        (void)nng_listener_close(endpoint->listener);
    }
    endpoint->dialing = endpoint->listening = endpoint->lingering = false;
    atomic_store(&endpoint->pipe_id, 0);
    pthread_mutex_lock(&registry_lock);
    endpoint->bus = NULL;
    endpoint->attached = false;
    pthread_mutex_unlock(&registry_lock);
}

void bus_endpoint_retire(struct bus_endpoint *endpoint) {
    endpoint->owner = NULL;
    endpoint->on_event = NULL;
    endpoint->close_owner = NULL;
    endpoint->lingering = true;
    bus_endpoint_settle(endpoint);
}

void bus_endpoint_settle(struct bus_endpoint *endpoint) {
    if (endpoint->lingering &&
        (atomic_load(&endpoint->busy) == 0 || atomic_load(&endpoint->pipe_id) == 0)) {
        bus_endpoint_release(endpoint);
    }
}

/* --- addresses */

static const char *after_prefix(const char *text, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* host:port, the host in brackets when it is IPv6; ERR_INVALID otherwise. */
static enum err parse_port(const char *authority, size_t *host_bytes, unsigned *port) {
    const char *colon = strrchr(authority, ':');
    if (colon == NULL || colon == authority || strlen(colon + 1) > 5 ||
        strcspn(authority, " \t\r\n/,?#@") != strlen(authority)) {
        return ERR_INVALID;
    }
    bool bracketed = authority[0] == '[';
    if (bracketed != (colon[-1] == ']') ||
        (!bracketed && memchr(authority, ':', (size_t)(colon - authority)) != NULL)) {
        return ERR_INVALID;
    }
    unsigned value = 0;
    for (const char *digit = colon + 1; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9') {
            return ERR_INVALID;
        }
        value = value * 10 + (unsigned)(*digit - '0');
    }
    if (value == 0 || value > 65535 - BUS_URL_PULSE) { /* P + 2 must be a port as well */
        return ERR_INVALID;
    }
    *host_bytes = (size_t)(colon - authority);
    *port = value;
    return ERR_OK;
}

enum err bus_url_derive(const char *base, enum bus_url_kind kind, char url[BUS_URL_BYTES]) {
    const char *path = after_prefix(base, "ipc://");
    if (path != NULL) {
        struct sockaddr_un address;
        if (*path == '\0') {
            return ERR_INVALID;
        }
        if (strlen(path) + sizeof ".pulse" > sizeof address.sun_path) {
            return ERR_TOO_LARGE;
        }
        static const char *const suffixes[] = {".rep", ".pub", ".pulse"};
        (void)snprintf(url, BUS_URL_BYTES, "%s%s", base, suffixes[kind]);
        return ERR_OK;
    }
    const char *authority = after_prefix(base, "tcp://");
    if (authority == NULL) {
        authority = after_prefix(base, "tls+tcp://");
    }
    size_t host_bytes;
    unsigned port;
    if (authority == NULL || parse_port(authority, &host_bytes, &port) != ERR_OK) {
        return ERR_INVALID;
    }
    size_t before_port = (size_t)(authority - base) + host_bytes;
    if (before_port + sizeof ":65535" > BUS_URL_BYTES) {
        return ERR_TOO_LARGE;
    }
    (void)snprintf(url, BUS_URL_BYTES, "%.*s:%u", (int)before_port, base, port + (unsigned)kind);
    return ERR_OK;
}

static enum err check_url(const struct bus *bus, const char *url, bool *tls) {
    *tls = after_prefix(url, "tls+tcp://") != NULL;
    if (strlen(url) >= BUS_URL_BYTES) {
        return ERR_TOO_LARGE;
    }
    bool known = *tls || after_prefix(url, "tcp://") != NULL || after_prefix(url, "ipc://") != NULL;
    return known && (!*tls || bus->tls_client != NULL) ? ERR_OK : ERR_INVALID;
}

/* A socket file whose process is gone would keep its name for ever: removes it when nobody listens
 * there. The probe is a datagram socket: the kernel refuses it as the wrong type (EPROTOTYPE) when
 * somebody listens, and no connection is made; nng 1.5 stops accepting on a listener whose client
 * hangs up before the handshake (nng#1518). ERR_EXISTS: in use, or the name of something else. */
static enum err remove_stale_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    if (strlen(path) >= sizeof address.sun_path) {
        return ERR_TOO_LARGE;
    }
    if (lstat(path, &status) != 0) {
        return errno == ENOENT ? ERR_OK : err_from_errno(errno);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return ERR_EXISTS;
    }
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return err_from_errno(errno);
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int result = connect(probe, (struct sockaddr *)&address, sizeof address);
    bool dead = result != 0 && (errno == ECONNREFUSED || errno == ENOENT);
    (void)close(probe);
    if (!dead) {
        return ERR_EXISTS;
    }
    return unlink(path) == 0 || errno == ENOENT ? ERR_OK : err_from_errno(errno);
}

enum err bus_endpoint_listen(struct bus_endpoint *endpoint, const char *url) {
    bool tls;
    enum err error = check_url(endpoint->bus, url, &tls);
    const char *path = after_prefix(url, "ipc://");
    if (error == ERR_OK && path != NULL) {
        error = remove_stale_socket(path);
    }
    if (error != ERR_OK) {
        return error;
    }
    nng_listener listener;
    int code = nng_listener_create(&listener, endpoint->socket, url);
    if (code != 0) {
        return bus_err_from_nng(code);
    }
    if (tls) {
        code = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, endpoint->bus->tls_server);
    }
    if (code == 0) {
        code = nng_listener_start(listener, 0);
    }
    if (code != 0) {
        (void)nng_listener_close(listener);
        return bus_err_from_nng(code);
    }
    endpoint->listener = listener;
    endpoint->listening = true;
    (void)snprintf(endpoint->url, sizeof endpoint->url, "%s", url);
    return ERR_OK;
}

/* --- dialing */

static int start_dialer(struct bus_endpoint *endpoint) {
    nng_dialer dialer;
    int code = nng_dialer_create(&dialer, endpoint->socket, endpoint->url);
    if (code != 0) {
        return code;
    }
    if (after_prefix(endpoint->url, "tls+tcp://") != NULL) {
        code = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, endpoint->bus->tls_client);
    }
    if (code == 0) {
        atomic_store(&endpoint->ending, false);
        code = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    }
    if (code != 0) {
        (void)nng_dialer_close(dialer);
        return code;
    }
    endpoint->dialer = dialer;
    endpoint->dialing = true;
    return 0;
}

/* A fresh dialer; closing the old one closes its pipe. */
static void replace_dialer(struct bus_endpoint *endpoint) {
    if (endpoint->dialing) {
        hang_up(endpoint);
        (void)nng_dialer_close(endpoint->dialer); /* fails only for one that is closed */
        endpoint->dialing = false;
    }
    (void)start_dialer(endpoint); /* out of memory: the redial timer tries again */
}

void bus_endpoint_drop_pipe(struct bus_endpoint *endpoint) {
    if (atomic_exchange(&endpoint->pipe_id, 0) == 0) {
        return;
    }
    replace_dialer(endpoint);
    if (endpoint->kind == BUS_REQ) {
        bus_endpoint_signal(endpoint);
    }
}

static void redial_if_stuck(struct bus_endpoint *endpoint, uint64_t now_us) {
    if (atomic_load(&endpoint->pipe_id) != 0) {
        endpoint->down_since_us = 0;
    } else if (endpoint->down_since_us == 0) {
        endpoint->down_since_us = now_us;
    } else if (now_us - endpoint->down_since_us >= BUS_REDIAL_US) {
        replace_dialer(endpoint);
        endpoint->down_since_us = now_us;
    }
}

static void on_redial_timer(struct loop_timer *timer) {
    struct bus *bus = CONTAINER_OF(timer, struct bus, redial_timer);
    uint64_t now_us = loop_now_us(bus->loop);
    pthread_mutex_lock(&registry_lock);
    for (struct list_node *node = list_first(&registry_endpoints); node != NULL;
         node = list_next(&registry_endpoints, node)) {
        struct bus_endpoint *endpoint = CONTAINER_OF(node, struct bus_endpoint, node);
        if (endpoint->attached && endpoint->bus == bus && endpoint->owner != NULL &&
            (endpoint->kind == BUS_REQ || endpoint->kind == BUS_SUB)) {
            redial_if_stuck(endpoint, now_us);
        }
    }
    pthread_mutex_unlock(&registry_lock);
    loop_timer_start(bus->loop, &bus->redial_timer, BUS_REDIAL_CHECK_US, on_redial_timer);
}

enum err bus_endpoint_dial(struct bus_endpoint *endpoint, const char *url) {
    bool tls;
    enum err error = check_url(endpoint->bus, url, &tls);
    if (error != ERR_OK) {
        return error;
    }
    (void)snprintf(endpoint->url, sizeof endpoint->url, "%s", url);
    return bus_err_from_nng(start_dialer(endpoint));
}

/* --- the bus itself */

enum err bus_create(struct loop *loop, const struct bus_config *config, struct bus **out) {
    CONTRACT(config->message_bytes_max > 0 && bus_hangup_linked);
    struct bus *bus = mem_zalloc(1, sizeof *bus);
    if (bus == NULL) {
        return ERR_NO_MEMORY;
    }
    bus->loop = loop;
    bus->message_bytes_max = config->message_bytes_max;
    enum err error = bus_tls_load(config, &bus->tls_server, &bus->tls_client);
    if (error == ERR_OK) {
        error = take_core(loop, &bus->core);
    }
    if (error != ERR_OK) {
        bus_destroy(&bus);
        return error;
    }
    loop_timer_start(loop, &bus->redial_timer, BUS_REDIAL_CHECK_US, on_redial_timer);
    *out = bus;
    return ERR_OK;
}

static struct bus_endpoint *first_attached(const struct bus *bus) {
    struct bus_endpoint *found = NULL;
    pthread_mutex_lock(&registry_lock);
    for (struct list_node *node = list_first(&registry_endpoints); node != NULL && found == NULL;
         node = list_next(&registry_endpoints, node)) {
        struct bus_endpoint *endpoint = CONTAINER_OF(node, struct bus_endpoint, node);
        if (endpoint->attached && endpoint->bus == bus) {
            found = endpoint;
        }
    }
    pthread_mutex_unlock(&registry_lock);
    return found;
}

void bus_destroy(struct bus **bus) {
    struct bus *gone = *bus;
    if (gone == NULL) {
        return;
    }
    *bus = NULL;
    if (gone->core != NULL) {
        struct bus_endpoint *endpoint;
        while ((endpoint = first_attached(gone)) != NULL) {
            if (endpoint->owner != NULL) {
                endpoint->close_owner(endpoint->owner);
            } else {
                bus_endpoint_release(endpoint); /* lingering: there is no time for that now */
            }
        }
        loop_timer_stop(gone->loop, &gone->redial_timer);
        release_core(gone->core);
    }
    if (gone->tls_server != NULL) {
        nng_tls_config_free(gone->tls_server);
    }
    if (gone->tls_client != NULL) {
        nng_tls_config_free(gone->tls_client);
    }
    mem_free(gone);
}
