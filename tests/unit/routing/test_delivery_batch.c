/* Splicing encoded deliveries must give the very bytes that protobuf-c gives for the whole batch.
 */
#include "tests/unit/routing/support.h"

#include "services/routing/delivery_batch.h"
#include <string.h>

#define ARENA_BYTES (4u * 1024u * 1024u)

static void make(Pipit__Delivery *delivery, Pipit__StoredMessage *message, uint8_t *body,
                 size_t body_bytes, uint64_t seq) {
    static uint8_t id[16] = {1, 2, 3};
    pipit__stored_message__init(message);
    message->conversation = (char *)"c_family";
    message->seq = seq;
    message->id = (ProtobufCBinaryData){16, id};
    message->sender = (char *)"u_ann";
    message->body = (ProtobufCBinaryData){body_bytes, body};
    pipit__delivery__init(delivery);
    delivery->event_case = PIPIT__DELIVERY__EVENT_MESSAGE;
    delivery->message = message;
    delivery->members_version = 3;
    delivery->skip_session = seq;
}

/* Bodies around the lengths where the varint grows: 127/128, 16383/16384. */
static void spliced_equals_packed(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 60, 90, 127, 128, 300, 16300, 16384, 20000};
    static uint8_t body[20000];
    struct arena arena;
    arena_init(&arena, 65536, ARENA_BYTES);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        Pipit__Delivery deliveries[3];
        Pipit__StoredMessage messages[3];
        Pipit__Delivery *pointers[3];
        struct delivery_batch batch = {.count = 0};
        memset(body, (int)i + 1, sizeof body);
        for (size_t k = 0; k < 3; k++) {
            make(&deliveries[k], &messages[k], body, k == 1 ? sizes[i] : 5, k + 1);
            pointers[k] = &deliveries[k];
            struct delivery_bytes bytes;
            assert_int_equal(delivery_encode(&deliveries[k], &arena, &bytes), ERR_OK);
            if (delivery_batch_fits(&batch, &bytes)) {
                delivery_batch_add(&batch, &bytes);
            }
        }
        assert_int_equal(batch.count, 3);
        struct buf spliced;
        struct buf packed;
        buf_init(&spliced, ARENA_BYTES);
        buf_init(&packed, ARENA_BYTES);
        Pipit__DeliverBatch whole = PIPIT__DELIVER_BATCH__INIT;
        whole.n_deliveries = 3;
        whole.deliveries = pointers;
        assert_int_equal(delivery_batch_pack(&batch, &spliced), ERR_OK);
        assert_int_equal(envelope_pack(MESSAGE_DELIVER_BATCH, &whole.base, false, &packed), ERR_OK);
        assert_int_equal(buf_len(&spliced), buf_len(&packed));
        assert_memory_equal(buf_data(&spliced), buf_data(&packed), buf_len(&packed));
        buf_finish(&spliced);
        buf_finish(&packed);
    }
    arena_finish(&arena);
}

static void limits_hold(void **state) {
    (void)state;
    static uint8_t body[DELIVERY_BATCH_BYTES_MAX + 1];
    struct arena arena;
    arena_init(&arena, 65536, ARENA_BYTES);
    Pipit__Delivery delivery;
    Pipit__StoredMessage message;
    struct delivery_batch batch = {.count = 0};
    struct delivery_bytes small;
    struct delivery_bytes large;
    make(&delivery, &message, body, 10, 1);
    assert_int_equal(delivery_encode(&delivery, &arena, &small), ERR_OK);
    make(&delivery, &message, body, sizeof body, 2);
    assert_int_equal(delivery_encode(&delivery, &arena, &large), ERR_OK);
    assert_true(delivery_batch_fits(&batch, &large)); /* alone */
    delivery_batch_add(&batch, &large);
    assert_false(delivery_batch_fits(&batch, &small));
    delivery_batch_clear(&batch);
    for (size_t i = 0; i < DELIVERY_BATCH_COUNT_MAX; i++) {
        assert_true(delivery_batch_fits(&batch, &small));
        assert_false(i > 0 && delivery_batch_fits(&batch, &large));
        delivery_batch_add(&batch, &small);
    }
    assert_false(delivery_batch_fits(&batch, &small));
    arena_finish(&arena);
}

static void a_full_arena_is_an_error(void **state) {
    (void)state;
    static uint8_t body[4096];
    struct arena arena;
    arena_init(&arena, 1024, 1024);
    Pipit__Delivery delivery;
    Pipit__StoredMessage message;
    struct delivery_bytes bytes = {NULL, 0};
    make(&delivery, &message, body, sizeof body, 1);
    assert_int_equal(delivery_encode(&delivery, &arena, &bytes), ERR_NO_MEMORY);
    assert_null(bytes.bytes);
    arena_finish(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spliced_equals_packed),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_full_arena_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
