/* metrics: names and help texts of auth's time series. Requests are counted per route and class of
 * status (2xx, 4xx, 5xx); durations in one histogram, because a histogram a route would be a
 * thousand series for a question that the logs answer better. Labels of routes are made once, from
 * the route table. */
#include "services/auth/metrics.h"

#include "common/contract.h"
#include "services/auth/route.h"
#include <stdio.h>

#define COUNTER(metric, text) {.name = (metric), .help = (text)}
#define LABELLED(metric, text, label) {.name = (metric), .help = (text), .labels = (label)}
#define LOGINS(result)                                                                             \
    LABELLED("pipit_logins_total", "Login attempts.", "method=\"password\",result=\"" result "\"")
#define REFRESHES(result)                                                                          \
    LABELLED("pipit_token_refreshes_total", "Refresh tokens presented.", "result=\"" result "\"")
#define LIMITED(bucket)                                                                            \
    LABELLED("pipit_ratelimited_total", "Requests refused by a rate limit.",                       \
             "bucket=\"" bucket "\"")
#define SHARED(direction)                                                                          \
    LABELLED("pipit_ratelimit_counts_total",                                                       \
             "Counts of failed attempts exchanged with other auth instances.",                     \
             "direction=\"" direction "\"")
#define LIMIT_HIT(limit)                                                                           \
    LABELLED("pipit_limit_hits_total", "Times a limit refused or dropped something.",              \
             "limit=\"" limit "\"")

struct auth_metrics auth_metrics = {
    .logins = {LOGINS("ok"), LOGINS("wrong"), LOGINS("limited"), LOGINS("disabled"),
               LOGINS("failed")},
    .refreshes = {REFRESHES("ok"), REFRESHES("refused"), REFRESHES("reused"), REFRESHES("failed")},
    .limited_login = LIMITED("login"),
    .limited_address = LIMITED("login_address"),
    .counts_told = SHARED("told"),
    .counts_heard = SHARED("heard"),
    .api_queue_full = LIMIT_HIT("api_queue"),
    .hash_queue_full = LIMIT_HIT("hash_queue"),
    .refused_busy = COUNTER("pipit_http_busy_total", "Requests answered 503."),
    .registrations = COUNTER("pipit_registrations_total", "Accounts made."),
    .revocations = COUNTER("pipit_revocations_total", "Logouts and other ends of sessions."),
    .login_us = COUNTER("pipit_login_duration_seconds",
                        "Logins from the queue to the answer, password hash included."),
    .request_us = COUNTER("pipit_http_request_duration_seconds",
                          "REST requests from their arrival to the answer."),
    .api_queue = COUNTER("pipit_api_queue_jobs", "Requests waiting for a thread."),
    .hash_queue = COUNTER("pipit_hash_queue_jobs", "Logins waiting for a thread."),
    .in_flight = COUNTER("pipit_http_requests_in_flight", "REST requests not yet answered."),
    .revocations_held = COUNTER("pipit_revocations_held", "Revocations in memory."),
    .rate_entries = COUNTER("pipit_rate_limit_entries", "Addresses and users remembered."),
};

#define ROUTES_MAX 96
static const char *const classes[] = {"2xx", "4xx", "5xx"};
#define CLASS_COUNT (sizeof classes / sizeof classes[0])
static struct metric_counter requests[ROUTES_MAX][CLASS_COUNT];
static char request_labels[ROUTES_MAX][CLASS_COUNT][160];

static void register_route(size_t index, const char *path, const char *method) {
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        (void)snprintf(request_labels[index][i], sizeof request_labels[index][i],
                       "route=\"%.96s\",method=\"%.10s\",code=\"%s\"", path, method, classes[i]);
        requests[index][i].name = "pipit_http_requests_total";
        requests[index][i].help = "REST requests answered.";
        requests[index][i].labels = request_labels[index][i];
        metric_counter_register(&requests[index][i]);
    }
}

void auth_metrics_request(size_t route, int status, uint64_t duration_us) {
    size_t class = status >= 500 ? 2 : status >= 400 ? 1 : 0;
    metric_add(&requests[route < route_count ? route : route_count][class], 1);
    metric_observe(&auth_metrics.request_us, duration_us);
}

void auth_metrics_register(void) {
    static bool registered;
    struct auth_metrics *all = &auth_metrics;
    if (registered) {
        return;
    }
    registered = true;
    for (size_t i = 0; i < LOGIN_COUNT; i++) {
        metric_counter_register(&all->logins[i]);
    }
    for (size_t i = 0; i < REFRESH_COUNT; i++) {
        metric_counter_register(&all->refreshes[i]);
    }
    struct metric_counter *counters[] = {
        &all->limited_login, &all->limited_address, &all->counts_told,
        &all->counts_heard,  &all->api_queue_full,  &all->hash_queue_full,
        &all->refused_busy,  &all->registrations,   &all->revocations};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        metric_counter_register(counters[i]);
    }
    metric_histogram_register(&all->login_us);
    metric_histogram_register(&all->request_us);
    struct metric_gauge *gauges[] = {&all->api_queue, &all->hash_queue, &all->in_flight,
                                     &all->revocations_held, &all->rate_entries};
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++) {
        metric_gauge_register(gauges[i]);
    }
    CONTRACT(route_count < ROUTES_MAX);
    for (size_t i = 0; i < route_count; i++) {
        register_route(i, routes[i].path, routes[i].method);
    }
    register_route(route_count, "none", "any");
}
