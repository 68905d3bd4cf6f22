/* metrics: the counters of auth (pipit_*), static as common/metrics.h asks. */
#ifndef PIPIT_AUTH_METRICS_H
#define PIPIT_AUTH_METRICS_H

#include "common/metrics.h"
#include <stddef.h>

enum auth_login { /* pipit_logins_total{result} */
                  LOGIN_OK,
                  LOGIN_WRONG,    /* user or password */
                  LOGIN_LIMITED,  /* too many failures before */
                  LOGIN_DISABLED, /* right password, account disabled */
                  LOGIN_FAILED,   /* storage or memory */
                  LOGIN_COUNT
};
enum auth_refresh { /* pipit_token_refreshes_total{result} */
                    REFRESH_OK,
                    REFRESH_REFUSED,
                    REFRESH_REUSED,
                    REFRESH_FAILED,
                    REFRESH_COUNT
};
struct auth_metrics {
    struct metric_counter logins[LOGIN_COUNT], refreshes[REFRESH_COUNT];
    struct metric_counter limited_login, limited_address;
    struct metric_counter counts_told, counts_heard;
    struct metric_counter api_queue_full, hash_queue_full, refused_busy;
    struct metric_counter registrations, revocations;
    struct metric_histogram login_us, request_us;
    struct metric_gauge api_queue, hash_queue, in_flight, revocations_held, rate_entries;
};
extern struct auth_metrics auth_metrics;

/* Registers all of the above and one counter a route and class of status; idempotent. */
void auth_metrics_register(void);
/* pipit_http_requests_total{route,method,code}; route_count = a path that no route has. */
void auth_metrics_request(size_t route, int status, uint64_t duration_us);

#endif
