/* options: what pipit-load is asked to do. */
#ifndef PIPIT_LOADTEST_OPTIONS_H
#define PIPIT_LOADTEST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define LOAD_PROCESSES_MAX 32
#define LOAD_WINDOW_MAX 1024

struct client_protocol;

struct load_options {
    const char *scenario;
    const struct client_protocol *protocol;
    const char *protocol_name; /* mqtt or ws */
    uint16_t port;             /* of the protocol; mixed: MQTT's */
    uint16_t ws_port;          /* mixed */
    uint16_t rest_port;
    uint32_t doors;         /* connection instances: this many ports in a row; clients take turns */
    const char *accounts;   /* file of "name token" lines; NULL: anonymous c0, c1, ... */
    const char *groups;     /* file with the conversation of each block of group_size clients */
    const char *password;   /* for logins over REST */
    const char *send_topic; /* {me}, {peer} and {group} stand for names */
    const char *inbox;      /* the same; what is subscribed to (MQTT) */
    unsigned inbox_qos;
    uint32_t clients, group_size;
    uint32_t idle; /* that many of the clients only listen */
    double rate;   /* messages, logins or requests a second over all; 0: as fast as answers come */
    uint32_t window; /* unanswered sends of one client, with rate 0 */
    uint32_t links;  /* REST connections */
    uint32_t payload_bytes;
    double seconds;
    long pids[LOAD_PROCESSES_MAX];
    unsigned pid_count;
    bool progress;
};

/* Fills *options; false: wrong usage, and it has been said on stderr. */
bool options_parse(struct load_options *options, int argc, char **argv);

#endif
