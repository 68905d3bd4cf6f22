/* The envelope of bus messages: round trips, compression, hostile bytes, versions N-1 and N+1,
 * memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"
#include "proto/deliver.pb-c.h"
#include "proto/envelope.h"
#include "proto/storage.pb-c.h"
#include "proto/submit.pb-c.h"

static struct arena arena;
static struct buf out;

static int setup(void **state) {
    (void)state;
    arena_init(&arena, 4096, 1u << 20);
    buf_init(&out, 1u << 20);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_finish(&arena);
    buf_finish(&out);
    return 0;
}

static void pack_history(const char *conversation, bool compress) {
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)conversation;
    request.after_seq = 41;
    assert_int_equal(envelope_pack(MESSAGE_HISTORY_REQUEST, &request.base, compress, &out), ERR_OK);
}

static void test_round_trip(void **state) {
    (void)state;
    pack_history("c_family", false);
    assert_int_equal(envelope_type(buf_data(&out), buf_len(&out)), MESSAGE_HISTORY_REQUEST);
    Pipit__HistoryRequest *request = NULL;
    assert_int_equal(
        ENVELOPE_UNPACK(HISTORY_REQUEST, buf_data(&out), buf_len(&out), &arena, &request), ERR_OK);
    assert_string_equal(request->conversation, "c_family");
    assert_int_equal(request->after_seq, 41);
}

static void test_other_type_is_refused(void **state) {
    (void)state;
    pack_history("c_family", false);
    Pipit__HeadsRequest *request = NULL;
    assert_int_equal(
        ENVELOPE_UNPACK(HEADS_REQUEST, buf_data(&out), buf_len(&out), &arena, &request),
        ERR_INVALID);
    assert_null(request);
}

static void test_compression(void **state) {
    (void)state;
    static char text[20001];
    memset(text, 'a', sizeof text - 1);
    pack_history(text, true);
    assert_true(buf_len(&out) < 1000);
    Pipit__HistoryRequest *request = NULL;
    assert_int_equal(
        ENVELOPE_UNPACK(HISTORY_REQUEST, buf_data(&out), buf_len(&out), &arena, &request), ERR_OK);
    assert_string_equal(request->conversation, text);
    buf_clear(&out);
    text[100] = '\0';
    pack_history(text, true); /* below the threshold: as it is */
    assert_true(buf_len(&out) > 100);
}

static void test_every_prefix_and_every_flipped_byte(void **state) {
    (void)state;
    static char text[6000];
    memset(text, 'b', sizeof text - 1);
    for (int compress = 0; compress < 2; compress++) {
        buf_clear(&out);
        pack_history(compress ? text : "c_family", compress);
        size_t count = buf_len(&out);
        for (size_t cut = 0; cut < count; cut++) {
            uint8_t *exact = mem_alloc(cut + 1);
            memcpy(exact, buf_data(&out), cut);
            Pipit__HistoryRequest *request = NULL;
            arena_reset(&arena);
            assert_int_not_equal(ENVELOPE_UNPACK(HISTORY_REQUEST, exact, cut, &arena, &request),
                                 ERR_OK);
            mem_free(exact);
        }
        for (size_t at = 0; at < count; at++) { /* any outcome but a crash */
            out.bytes[out.start + at] ^= 0x55;
            Pipit__HistoryRequest *request = NULL;
            arena_reset(&arena);
            enum err error =
                ENVELOPE_UNPACK(HISTORY_REQUEST, buf_data(&out), count, &arena, &request);
            assert_true(error == ERR_OK || error == ERR_INVALID || error == ERR_TOO_LARGE ||
                        error == ERR_NO_MEMORY);
            out.bytes[out.start + at] ^= 0x55;
        }
    }
}

static void test_expansion_is_bounded(void **state) {
    (void)state;
    /* Announces 4 GiB - 1 behind a tiny payload. */
    const uint8_t bomb[] = {1, 1, 16, 0, 0xff, 0xff, 0xff, 0xff, 0x1f, 0x61, 0x01, 0x00, 0xff};
    Pipit__HistoryRequest *request = NULL;
    assert_int_equal(ENVELOPE_UNPACK(HISTORY_REQUEST, bomb, sizeof bomb, &arena, &request),
                     ERR_TOO_LARGE);
    /* Within the envelope's cap but beyond the arena's. */
    const uint8_t large[] = {1, 1, 16, 0, 0, 0, 0x40, 0, 0x1f, 0x61, 0x01, 0x00, 0xff};
    assert_int_equal(ENVELOPE_UNPACK(HISTORY_REQUEST, large, sizeof large, &arena, &request),
                     ERR_NO_MEMORY);
}

static void test_unknown_version_and_flags_are_refused(void **state) {
    (void)state;
    pack_history("c_family", false);
    Pipit__HistoryRequest *request = NULL;
    for (unsigned at = 0; at < 2; at++) {
        uint8_t *byte = out.bytes + out.start + at;
        uint8_t old = *byte;
        *byte = at == 0 ? 2 : 0x80;
        assert_int_equal(
            ENVELOPE_UNPACK(HISTORY_REQUEST, buf_data(&out), buf_len(&out), &arena, &request),
            ERR_INVALID);
        *byte = old;
    }
}

/* A later version adds a field; an earlier one lacks a field: both are read (rolling update). */
static void test_versions_side_by_side(void **state) {
    (void)state;
    pack_history("c_family", false);
    const uint8_t later[] = {0xa2, 0x06, 3, 'n', 'e', 'w', 0xa8, 0x06, 0x07}; /* fields 100, 101 */
    assert_int_equal(buf_append(&out, later, sizeof later), ERR_OK);
    out.bytes[out.start + 4] = (uint8_t)(out.bytes[out.start + 4] + sizeof later);
    Pipit__HistoryRequest *request = NULL;
    assert_int_equal(
        ENVELOPE_UNPACK(HISTORY_REQUEST, buf_data(&out), buf_len(&out), &arena, &request), ERR_OK);
    assert_string_equal(request->conversation, "c_family");
    const uint8_t earlier[] = {1, 0, 16, 0, 0, 0, 0, 0};
    assert_int_equal(ENVELOPE_UNPACK(HISTORY_REQUEST, earlier, sizeof earlier, &arena, &request),
                     ERR_OK);
    assert_string_equal(request->conversation, "");
    assert_int_equal(request->limit, 0);
}

static void test_out_of_memory_leaves_the_buffer(void **state) {
    (void)state;
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)"c_family";
    assert_int_equal(buf_append(&out, "x", 1), ERR_OK);
    static char text[100000];
    memset(text, 'c', sizeof text - 1);
    request.conversation = text;
    (void)mem_fault_set(1, 1);
    enum err error = envelope_pack(MESSAGE_HISTORY_REQUEST, &request.base, false, &out);
    (void)mem_fault_set(0, 0);
    assert_int_equal(error, ERR_NO_MEMORY);
    assert_int_equal(buf_len(&out), 1);
}

static void test_buffer_cap(void **state) {
    (void)state;
    struct buf small;
    buf_init(&small, 16);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)"a conversation id that is too long";
    assert_int_equal(envelope_pack(MESSAGE_HISTORY_REQUEST, &request.base, false, &small),
                     ERR_TOO_LARGE);
    assert_int_equal(buf_len(&small), 0);
    buf_finish(&small);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_type_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compression, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_prefix_and_every_flipped_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expansion_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_version_and_flags_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_versions_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory_leaves_the_buffer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buffer_cap, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
