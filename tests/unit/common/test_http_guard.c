/* test_http_guard: each phase's limit over a pair of sockets, and connections that leave in time.
 */
#include "common/http_guard.h"
#include "common/clock.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    struct http_guarded guarded;
    int peer;
};

static struct http_guard *guard;

static int set_up(void **state) {
    (void)state;
    assert_int_equal(http_guard_create(30000, 60000, &guard), ERR_OK);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    http_guard_destroy(&guard);
    assert_null(guard);
    http_guard_destroy(&guard);
    return 0;
}

static void open_pair(struct pair *pair) {
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    memset(pair, 0, sizeof(*pair));
    pair->guarded.fd = ends[0];
    pair->peer = ends[1];
}

static void close_pair(struct pair *pair) {
    http_guard_leave(guard, &pair->guarded);
    (void)close(pair->guarded.fd);
    (void)close(pair->peer);
}

/* Waits for the cut; what was said before it stands in text. Returns the microseconds it took. */
static uint64_t wait_cut(struct pair *pair, uint64_t started_us, char text[256]) {
    size_t count = 0;
    ssize_t got = 0;
    while ((got = recv(pair->peer, text + count, 255 - count, 0)) > 0) {
        count += (size_t)got;
    }
    assert_int_equal(got, 0);
    text[count] = '\0';
    return clock_mono_us() - started_us;
}

static void a_late_request_is_told_so(void **state) {
    (void)state;
    struct pair pair;
    char text[256];
    open_pair(&pair);
    uint64_t started_us = clock_mono_us();
    http_guard_enter(guard, &pair.guarded, HTTP_PHASE_RECEIVING);
    assert_true(wait_cut(&pair, started_us, text) >= 30000);
    assert_memory_equal(text, "HTTP/1.1 408 ", 13);
    http_guard_enter(guard, &pair.guarded, HTTP_PHASE_IDLE); /* stays cut */
    close_pair(&pair);
}

static void other_phases_end_in_silence(void **state) {
    (void)state;
    struct pair pair;
    char text[256];
    open_pair(&pair);
    uint64_t started_us = clock_mono_us();
    http_guard_enter(guard, &pair.guarded, HTTP_PHASE_IDLE);
    assert_true(wait_cut(&pair, started_us, text) >= 90000);
    assert_string_equal(text, "");
    close_pair(&pair);
    open_pair(&pair);
    started_us = clock_mono_us();
    http_guard_enter(guard, &pair.guarded, HTTP_PHASE_SENDING);
    assert_true(wait_cut(&pair, started_us, text) >= 30000 * HTTP_GUARD_SENDING_FACTOR);
    assert_string_equal(text, "");
    close_pair(&pair);
}

static void the_next_request_starts_from_idle_only(void **state) {
    (void)state;
    struct pair idle;
    struct pair busy;
    struct pair witness;
    char text[256];
    open_pair(&idle);
    open_pair(&busy);
    open_pair(&witness);
    http_guard_enter(guard, &busy.guarded, HTTP_PHASE_ANSWERING);
    http_guard_begin(guard, &busy.guarded); /* no effect: our own work goes on */
    http_guard_enter(guard, &idle.guarded, HTTP_PHASE_IDLE);
    uint64_t started_us = clock_mono_us();
    http_guard_begin(guard, &idle.guarded);
    (void)wait_cut(&idle, started_us, text);
    assert_memory_equal(text, "HTTP/1.1 408 ", 13);
    http_guard_enter(guard, &witness.guarded,
                     HTTP_PHASE_RECEIVING); /* later than busy's would be */
    (void)wait_cut(&witness, started_us, text);
    assert_int_equal(recv(busy.peer, text, 1, MSG_DONTWAIT), -1); /* still open */
    close_pair(&idle);
    close_pair(&busy);
    close_pair(&witness);
}

static void who_left_is_not_touched(void **state) {
    (void)state;
    struct pair gone;
    struct pair witness;
    char text[256];
    open_pair(&gone);
    open_pair(&witness);
    http_guard_enter(guard, &gone.guarded, HTTP_PHASE_RECEIVING);
    http_guard_enter(guard, &witness.guarded, HTTP_PHASE_RECEIVING);
    http_guard_leave(guard, &gone.guarded);
    (void)wait_cut(&witness, 0, text);
    assert_int_equal(recv(gone.peer, text, 1, MSG_DONTWAIT), -1);
    close_pair(&gone);
    close_pair(&witness);
}

static void many_are_cut_in_order(void **state) {
    (void)state;
    static struct pair pairs[100];
    char text[256];
    for (size_t i = 0; i < 100; i++) {
        open_pair(&pairs[i]);
        http_guard_enter(guard, &pairs[i].guarded, HTTP_PHASE_RECEIVING);
    }
    for (size_t i = 0; i < 100; i++) {
        (void)wait_cut(&pairs[i], 0, text);
        assert_memory_equal(text, "HTTP/1.1 408 ", 13);
        close_pair(&pairs[i]);
    }
}

static void without_memory_there_is_no_guard(void **state) {
    (void)state;
    struct http_guard *none = NULL;
    (void)mem_fault_set(1, 1);
    assert_int_equal(http_guard_create(1, 1, &none), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_null(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_late_request_is_told_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_phases_end_in_silence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_next_request_starts_from_idle_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_left_is_not_touched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_are_cut_in_order, set_up, tear_down),
        cmocka_unit_test(without_memory_there_is_no_guard)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
