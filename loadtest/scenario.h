/* scenario: the loads that pipit-load can offer, and their outcome. */
#ifndef PIPIT_LOADTEST_SCENARIO_H
#define PIPIT_LOADTEST_SCENARIO_H

#include "loadtest/client.h"
#include "loadtest/histogram.h"
#include "loadtest/process_stats.h"

#define SCENARIO_PROCESSES_MAX 8

struct scenario_options {
    const struct client_protocol *protocol;
    const char *protocol_name;
    uint16_t port;
    const char *accounts;   /* file of "name token" lines; NULL = anonymous c0, c1, ... */
    const char *send_topic; /* %s = the receiver's name */
    const char *inbox;      /* %s = the own name */
    unsigned inbox_qos;
    uint32_t clients;
    uint32_t idle;   /* that many of the clients only listen */
    double rate;     /* messages a second over all; 0 = as fast as acknowledgements come */
    uint32_t window; /* sends not yet acknowledged per client, with rate 0 */
    uint32_t payload_bytes;
    double seconds;
    long pids[SCENARIO_PROCESSES_MAX];
    unsigned pid_count;
};
struct scenario_result {
    uint64_t sent, acked, received, duplicated, reordered, refused, closed;
    double seconds; /* from the first send to the last */
    double connect_seconds;
    struct histogram ack, delivery; /* from the intended send time */
    struct process_stats before[SCENARIO_PROCESSES_MAX], after[SCENARIO_PROCESSES_MAX];
    struct process_stats self_before, self_after;
};
/* Clients in pairs (0 and 1, 2 and 3, ...): each writes to the other. Fills *result; returns 0, or
 * 1 when the clients could not log in. */
int scenario_direct(const struct scenario_options *options, struct scenario_result *result);

#endif
