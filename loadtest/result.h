/* result: what a run saw, and how it is told. */
#ifndef PIPIT_LOADTEST_RESULT_H
#define PIPIT_LOADTEST_RESULT_H

#include "loadtest/histogram.h"
#include "loadtest/options.h"
#include "loadtest/process_stats.h"

#define RESULT_SECONDS_MAX 3600

struct second {
    uint32_t acked, delivered, logins;
};
struct result {
    uint64_t sent, acked, expected, received, echoes, duplicated, reordered;
    uint64_t refused; /* answers that said no, and did not ask to try again */
    uint64_t retried; /* the others: busy, or a connection that failed */
    uint64_t closed;  /* connections the server ended without being asked to */
    uint64_t logins, back;
    uint64_t missing; /* users that did not get in, connections that did not come back */
    double seconds;   /* that were measured */
    double connect_seconds;
    struct histogram ack, delivery; /* from the intended send time */
    struct histogram delivery_during_logins;
    struct histogram login;   /* from the intended time to the token */
    struct histogram back_in; /* from the cut to being logged in again */
    struct process_stats before[LOAD_PROCESSES_MAX], after[LOAD_PROCESSES_MAX];
    struct process_stats empty[LOAD_PROCESSES_MAX]; /* before the first connection */
    struct process_stats self_before, self_after;
    struct second timeline[RESULT_SECONDS_MAX];
};

/* Messages that nobody will get any more, over all receivers; logins that failed and connections
 * that did not come back are not in it. */
uint64_t result_lost(const struct result *result);
/* Everything arrived once, in order, and nobody was refused or closed. */
bool result_whole(const struct result *result);
void result_print(const struct load_options *options, const struct result *result); /* JSON */

#endif
