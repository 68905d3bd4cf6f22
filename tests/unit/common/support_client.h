/* support_client: a loop, a bus, servers that echo or keep what they get, and a peer that counts
 * how its calls end: what the tests of the bus's requests share. */
#ifndef PIPIT_TESTS_SUPPORT_CLIENT_H
#define PIPIT_TESTS_SUPPORT_CLIENT_H

#include "tests/unit/common/support_bus.h"

#define MESSAGE_BYTES_MAX 65536u
#define CONTEXTS 64u
#define TIMEOUT_US 10000000u

extern struct loop *loop;
extern struct bus *bus;
int client_setup(void **state);
int client_teardown(void **state);

/* --- servers */
void on_echo(struct bus_request *request, const uint8_t *body, size_t body_bytes, void *user);
extern struct bus_request *kept[CONTEXTS];
extern unsigned kept_count;
void on_keep(struct bus_request *request, const uint8_t *body, size_t body_bytes, void *user);
void reply_to_kept(void);
/* main() of the other process, "serve URL MODE": mode echo answers, any other never does. */
int serve(const char *url, const char *mode);
pid_t spawn_server(const char *url, const char *mode);

/* --- a peer that counts */
struct client {
    struct bus_peer *peer;
    unsigned ups, downs;
    unsigned ok, timeout, closed, other;
    unsigned ended; /* all of them */
    uint32_t expected, wrong;
};
void on_state(struct bus_peer *peer, bool up, void *user);
void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user);
/* Waits until it is up. */
void connect_client(struct client *client, struct bus *on, const char *url, uint32_t contexts);
void call(struct client *client, const void *bytes, size_t count, uint64_t timeout_us);
/* One call, answered: also shows that the server's side of the connection is complete. nng 1.5
 * loses the memory of a connection whose listener closes before that. */
void call_once(struct client *client);

/* --- addresses for requests */
void derive(const char *base, enum bus_url_kind kind, char url[BUS_URL_BYTES]);
void tcp_url(char url[BUS_URL_BYTES]);
void ipc_url(char url[BUS_URL_BYTES]);

#endif
