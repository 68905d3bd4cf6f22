/* support_client: see the header. */
#include "tests/unit/common/support_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct loop *loop;
struct bus *bus;
struct bus_request *kept[CONTEXTS];
unsigned kept_count;

int client_setup(void **state) {
    (void)state;
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    return loop_create(64, &loop) == ERR_OK && bus_create(loop, &config, &bus) == ERR_OK ? 0 : -1;
}

int client_teardown(void **state) {
    (void)state;
    bus_destroy(&bus);
    loop_destroy(&loop);
    support_remove_folders();
    return 0;
}

/* --- a server that echoes, and one that keeps what it gets */

void on_echo(struct bus_request *request, const uint8_t *body, size_t body_bytes, void *user) {
    (void)user;
    bus_reply(request, body, body_bytes);
}

void on_keep(struct bus_request *request, const uint8_t *body, size_t body_bytes, void *user) {
    (void)body, (void)body_bytes, (void)user;
    kept[kept_count++] = request;
}

void reply_to_kept(void) {
    while (kept_count > 0) {
        bus_reply(kept[--kept_count], "late", 4);
    }
}

/* The other process: echoes, or never answers. */
int serve(const char *url, const char *mode) {
    struct loop *own_loop;
    struct bus *own_bus;
    struct bus_server *server;
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    if (loop_create(8, &own_loop) != ERR_OK || bus_create(own_loop, &config, &own_bus) != ERR_OK ||
        bus_server_create(own_bus, url, CONTEXTS, strcmp(mode, "echo") == 0 ? on_echo : on_keep,
                          NULL, &server) != ERR_OK) {
        return 1;
    }
    support_child_ready();
    return loop_run(own_loop) == ERR_OK ? 0 : 1;
}

pid_t spawn_server(const char *url, const char *mode) {
    return support_spawn((const char *const[]){"serve", url, mode, NULL});
}

/* --- a peer that counts */

void on_state(struct bus_peer *peer, bool up, void *user) {
    struct client *client = user;
    assert_int_equal(bus_peer_up(peer), up);
    client->ups += up;
    client->downs += !up;
}

void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct client *client = user;
    client->ended++;
    client->ok += status == ERR_OK;
    client->timeout += status == ERR_TIMEOUT;
    client->closed += status == ERR_CLOSED;
    client->other += status != ERR_OK && status != ERR_TIMEOUT && status != ERR_CLOSED;
    if (status != ERR_OK) {
        assert_null(body);
        assert_int_equal(body_bytes, 0);
    }
}

void connect_client(struct client *client, struct bus *on, const char *url, uint32_t contexts) {
    memset(client, 0, sizeof *client);
    assert_int_equal(bus_peer_create(on, url, contexts, on_state, client, &client->peer), ERR_OK);
    assert_false(bus_peer_up(client->peer));
    assert_int_equal(bus_call(client->peer, "x", 1, TIMEOUT_US, on_reply, client), ERR_UNAVAILABLE);
    assert_true(support_turn_until_count(loop, &client->ups, 1));
}

void call(struct client *client, const void *bytes, size_t count, uint64_t timeout_us) {
    assert_int_equal(bus_call(client->peer, bytes, count, timeout_us, on_reply, client), ERR_OK);
}

/* One call, answered: also shows that the server's side of the connection is complete. nng 1.5
 * loses the memory of a connection whose listener closes before that. */
void call_once(struct client *client) {
    unsigned ok = client->ok;
    call(client, "x", 1, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &client->ok, ok + 1));
}

void derive(const char *base, enum bus_url_kind kind, char url[BUS_URL_BYTES]) {
    assert_int_equal(bus_url_derive(base, kind, url), ERR_OK);
}

void tcp_url(char url[BUS_URL_BYTES]) {
    char base[BUS_URL_BYTES];
    support_tcp_address(base);
    derive(base, BUS_URL_REP, url);
}

void ipc_url(char url[BUS_URL_BYTES]) {
    char base[BUS_URL_BYTES];
    support_ipc_address(base);
    derive(base, BUS_URL_REP, url);
}
