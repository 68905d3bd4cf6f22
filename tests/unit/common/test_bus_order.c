/* test_bus_order: requests of one peer reach the server in the order in which they were sent,
 * although nng completes its receives on several threads. Many contexts and bursts make a swap
 * likely when nothing prevents it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/common/support_bus.h"

#define CALLS 60000u
#define CONTEXTS 32u

static struct loop *loop;
static struct bus *bus;
static struct bus_peer *peer;
static uint32_t sent;
static unsigned answered, arrived, swapped, up;
static uint32_t expected;

static void on_request(struct bus_request *request, const uint8_t *body, size_t bytes, void *user) {
    (void)user;
    uint32_t number = 0;
    assert_int_equal(bytes, sizeof number);
    memcpy(&number, body, sizeof number);
    swapped += number != expected;
    expected = number + 1;
    arrived++;
    bus_reply(request, body, bytes);
}

static void send_more(void);

static void on_reply(enum err status, const uint8_t *body, size_t bytes, void *user) {
    (void)body;
    (void)bytes;
    (void)user;
    assert_int_equal(status, ERR_OK);
    answered++;
    send_more();
}

static void send_more(void) {
    while (sent < CALLS && bus_peer_outstanding(peer) < CONTEXTS) {
        assert_int_equal(bus_call(peer, &sent, sizeof sent, 10000000u, on_reply, NULL), ERR_OK);
        sent++;
    }
}

static void on_state(struct bus_peer *which, bool is_up, void *user) {
    (void)which;
    (void)user;
    up += is_up;
}

static void requests_of_a_peer_keep_their_order(void **state) {
    (void)state;
    char base[BUS_URL_BYTES], url[BUS_URL_BYTES];
    struct bus_server *server = NULL;
    const struct bus_config config = {.message_bytes_max = 4096};
    support_ipc_address(base);
    assert_int_equal(bus_url_derive(base, BUS_URL_REP, url), ERR_OK);
    assert_int_equal(loop_create(64, &loop), ERR_OK);
    assert_int_equal(bus_create(loop, &config, &bus), ERR_OK);
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_request, NULL, &server), ERR_OK);
    assert_int_equal(bus_peer_create(bus, url, CONTEXTS, on_state, NULL, &peer), ERR_OK);
    assert_true(support_turn_until_count(loop, &up, 1));
    send_more();
    assert_true(support_turn_until_count(loop, &answered, CALLS));
    assert_int_equal(arrived, CALLS);
    assert_int_equal(swapped, 0);
    bus_peer_close(&peer);
    bus_server_close(&server);
    bus_destroy(&bus);
    loop_destroy(&loop);
    support_remove_folders();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_of_a_peer_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
