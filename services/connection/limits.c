/* limits: admission of sockets and the budget of unsent bytes.
 *
 * A client that is refused should be told so in its own protocol (HTTP 503, CONNACK 0x97), which
 * needs a socket and a little memory for a moment; so a bounded number of refusals is let in above
 * the limits and closed as soon as they have been told. When even those are used up, sockets are
 * closed in silence: an attacker then, and the counter shows it.
 *
 * Descriptors: each connection needs one; the bus, the listeners, files and the operations port
 * need LIMITS_OTHER_FILES more. Running out inside accept would hurt clients that were already told
 * yes, so the limit is lowered at start instead. */
#include "services/connection/limits.h"

#include "common/contract.h"
#include "common/log.h"
#include "services/connection/connection_metrics.h"

#include <sys/resource.h>

#define LIMITS_OTHER_FILES 256

static uint64_t allowed_by_files(uint64_t wanted) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return wanted; /* cannot fail for this resource; accept copes with EMFILE anyway */
    }
    uint64_t needed = wanted + LIMITS_OTHER_FILES + LIMITS_REFUSALS_MAX;
    if (files.rlim_cur < needed && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* within the hard limit: always allowed */
        (void)getrlimit(RLIMIT_NOFILE, &files); /* as above */
    }
    if (files.rlim_cur >= needed) {
        return wanted;
    }
    uint64_t spare = files.rlim_cur > LIMITS_OTHER_FILES + LIMITS_REFUSALS_MAX
                         ? files.rlim_cur - LIMITS_OTHER_FILES - LIMITS_REFUSALS_MAX
                         : files.rlim_cur / 2;
    uint64_t allowed = spare > 0 ? spare : 1;
    log_event(LOG_WARN, "fewer connections than configured: the limit of open files is too low",
              F_UINT("connections_max", wanted), F_UINT("allowed", allowed),
              F_UINT("open_files", files.rlim_cur), F_UINT("open_files_needed", needed));
    return allowed;
}

enum err limits_init(struct limits *limits, const struct connection_settings *settings) {
    *limits = (struct limits){.connections_max = allowed_by_files(settings->connections_max),
                              .connections_per_address_max = settings->connections_per_address_max,
                              .unsent_bytes_max = settings->unsent_bytes_max};
    return address_table_create(&limits->addresses);
}

void limits_finish(struct limits *limits) {
    address_table_destroy(&limits->addresses);
}

static enum reason refuse(struct limits *limits, struct limits_share *share, enum reason reason) {
    uint64_t before = atomic_fetch_add(&limits->refusals, 1);
    if (before >= LIMITS_REFUSALS_MAX) {
        atomic_fetch_sub(&limits->refusals, 1);
        connection_metrics_limit(LIMIT_HIT_REFUSALS);
        return reason;
    }
    share->refused = true;
    share->counted = true;
    return reason;
}

enum reason limits_enter(struct limits *limits, const struct sockaddr *peer,
                         struct limits_share *share) {
    *share = (struct limits_share){0};
    if (atomic_fetch_add(&limits->connections, 1) >= limits->connections_max) {
        atomic_fetch_sub(&limits->connections, 1);
        connection_metrics_limit(LIMIT_HIT_CONNECTIONS);
        return refuse(limits, share, REASON_OVERLOAD);
    }
    enum err error = address_table_enter(limits->addresses, peer,
                                         limits->connections_per_address_max, &share->address);
    if (error != ERR_OK) {
        atomic_fetch_sub(&limits->connections, 1);
        connection_metrics_limit(LIMIT_HIT_ADDRESS);
        return refuse(limits, share,
                      error == ERR_FULL ? REASON_TOO_MANY_SESSIONS : REASON_OVERLOAD);
    }
    share->counted = true;
    return REASON_OK;
}

void limits_leave(struct limits *limits, struct limits_share *share) {
    address_table_leave(limits->addresses, &share->address);
    if (share->counted) {
        atomic_fetch_sub(share->refused ? &limits->refusals : &limits->connections, 1);
    }
    *share = (struct limits_share){0};
}

void limits_unsent(struct limits *limits, int64_t difference) {
    atomic_fetch_add_explicit(&limits->unsent_bytes, (uint64_t)difference, memory_order_relaxed);
    connection_metrics_unsent(difference);
}

bool limits_unsent_exceeded(const struct limits *limits) {
    return atomic_load_explicit(&limits->unsent_bytes, memory_order_relaxed) >
           limits->unsent_bytes_max;
}
