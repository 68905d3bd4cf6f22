/* test_mongo_log: a message survives its document; a damaged document becomes its own recall. */
#include "tests/unit/storage/support.h"

#include "services/storage/mongo_log.h"

#define BODY_BYTES 2000u

struct world {
    struct arena arena;
    struct body_packer packer;
    Pipit__Origin origin;
    Pipit__StoredMessage message;
    uint8_t body[BODY_BYTES];
};

static int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    arena_init(&world->arena, 4096, 1u << 20);
    memset(world->body, 'a', sizeof(world->body));
    pipit__origin__init(&world->origin);
    world->origin.device = "m:lamp";
    world->origin.packet_id = 65535;
    world->origin.hash = (ProtobufCBinaryData){16, (uint8_t *)"0123456789abcdef"};
    Pipit__StoredMessage *message = &world->message;
    pipit__stored_message__init(message);
    message->id = (ProtobufCBinaryData){16, (uint8_t *)"fedcba9876543210"};
    message->seq = 41;
    message->kind = PIPIT__MESSAGE_KIND__MESSAGE_EDIT;
    message->target_seq = 7;
    message->reply_seq = 8;
    message->ts_ms = SUPPORT_NOW_MS;
    message->sender = "u_ann";
    message->device = "d_phone";
    message->origin = &world->origin;
    message->body = (ProtobufCBinaryData){BODY_BYTES, world->body};
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    body_packer_finish(&world->packer);
    arena_finish(&world->arena);
    free(world);
    return 0;
}

static bson_t *encode(struct world *world) {
    bson_t *doc = NULL;
    assert_int_equal(mongo_log_encode("c_x", &world->message, &world->packer, &doc), ERR_OK);
    return doc;
}

static Pipit__StoredMessage *decode(struct world *world, const bson_t *doc) {
    Pipit__StoredMessage *message = NULL;
    assert_int_equal(mongo_log_decode(doc, "c_x", &world->arena, &message), ERR_OK);
    return message;
}

static void every_field_comes_back(void **state) {
    struct world *world = *state;
    static const size_t sizes[] = {0, 1, BODY_COMPRESS_BYTES_MIN - 1, BODY_COMPRESS_BYTES_MIN,
                                   BODY_BYTES};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        world->message.body.len = sizes[i];
        bson_t *doc = encode(world);
        const Pipit__StoredMessage *message = decode(world, doc);
        if (sizes[i] == BODY_BYTES) {
            assert_true(doc->len < BODY_BYTES / 2); /* compressed */
        }
        assert_string_equal(message->conversation, "c_x");
        assert_int_equal(message->seq, 41);
        assert_int_equal(message->kind, PIPIT__MESSAGE_KIND__MESSAGE_EDIT);
        assert_int_equal(message->target_seq, 7);
        assert_int_equal(message->reply_seq, 8);
        assert_int_equal(message->ts_ms, SUPPORT_NOW_MS);
        assert_string_equal(message->sender, "u_ann");
        assert_string_equal(message->device, "d_phone");
        assert_memory_equal(message->id.data, "fedcba9876543210", 16);
        assert_int_equal(message->body.len, sizes[i]);
        assert_memory_equal(message->body.data, world->body, sizes[i]);
        assert_string_equal(message->origin->device, "m:lamp");
        assert_int_equal(message->origin->packet_id, 65535);
        assert_memory_equal(message->origin->hash.data, "0123456789abcdef", 16);
        bson_destroy(doc);
    }
    world->message.origin = NULL;
    bson_t *doc = encode(world);
    assert_null(decode(world, doc)->origin);
    bson_destroy(doc);
}

static void the_id_is_a_uuid(void **state) {
    struct world *world = *state;
    bson_t *doc = encode(world);
    bson_iter_t iter;
    bson_subtype_t subtype = BSON_SUBTYPE_BINARY;
    uint32_t bytes = 0;
    const uint8_t *id = NULL;
    assert_true(bson_iter_init_find(&iter, doc, "_id"));
    bson_iter_binary(&iter, &subtype, &bytes, &id);
    assert_int_equal(subtype, BSON_SUBTYPE_UUID);
    assert_int_equal(bytes, 16);
    assert_memory_equal(id, "fedcba9876543210", 16);
    bson_destroy(doc);
}

static void check_recall(const Pipit__StoredMessage *message, uint64_t seq) {
    assert_int_equal(message->kind, PIPIT__MESSAGE_KIND__MESSAGE_RECALL);
    assert_int_equal(message->seq, seq);
    assert_int_equal(message->target_seq, seq);
    assert_int_equal(message->body.len, 2);
    assert_memory_equal(message->body.data, "{}", 2);
    assert_string_equal(message->sender, "");
    assert_null(message->origin);
}

/* The same document with one field left out, or with another number or text in it. */
static bson_t *damage(const bson_t *doc, const char *key, bool remove) {
    bson_t *copy = bson_new();
    bson_iter_t iter;
    assert_true(bson_iter_init(&iter, doc));
    while (bson_iter_next(&iter)) {
        if (strcmp(bson_iter_key(&iter), key) != 0) {
            assert_true(bson_append_iter(copy, NULL, -1, &iter));
        } else if (!remove && BSON_ITER_HOLDS_INT64(&iter)) {
            BSON_APPEND_INT64(copy, key, bson_iter_int64(&iter) ^ 1);
        } else if (!remove && BSON_ITER_HOLDS_UTF8(&iter)) {
            BSON_APPEND_UTF8(copy, key, "u_eve");
        } else if (!remove) {
            BSON_APPEND_BINARY(copy, key, BSON_SUBTYPE_BINARY, (const uint8_t *)"xxxx", 4);
        }
    }
    return copy;
}

static void damage_becomes_a_recall(void **state) {
    struct world *world = *state;
    static const char *const keys[] = {"_id",    "seq",    "kind", "target", "reply", "ts",
                                       "sender", "device", "raw",  "hash",   "body",  "origin"};
    bson_t *doc = encode(world);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        for (unsigned remove = 0; remove < 2; remove++) {
            bson_t *damaged = damage(doc, keys[i], remove != 0);
            uint64_t seq = mongo_u64(damaged, "seq");
            check_recall(decode(world, damaged), seq);
            bson_destroy(damaged);
        }
    }
    Pipit__StoredMessage *elsewhere = NULL; /* a document under another conversation's key */
    assert_int_equal(mongo_log_decode(doc, "c_y", &world->arena, &elsewhere), ERR_OK);
    check_recall(elsewhere, 41);
    bson_destroy(doc);
}

static void what_may_not_be_stored(void **state) {
    struct world *world = *state;
    Pipit__StoredMessage *message = &world->message;
    char long_id[STORE_ID_BYTES_MAX + 2];
    memset(long_id, 'a', sizeof(long_id));
    long_id[sizeof(long_id) - 1] = '\0';
    assert_true(mongo_log_valid(message));
    message->sender = "u_\xff";
    assert_false(mongo_log_valid(message)); /* no UTF-8: a server may hang up over it */
    message->sender = "";
    assert_false(mongo_log_valid(message));
    message->sender = long_id;
    assert_false(mongo_log_valid(message));
    message->sender = "u_ann";
    message->device = "\xc0\x80";
    assert_false(mongo_log_valid(message));
    message->device = "";
    assert_true(mongo_log_valid(message));
    world->origin.device = "\x80";
    assert_false(mongo_log_valid(message));
    world->origin.device = "";
    message->id.len = 15;
    assert_false(mongo_log_valid(message));
}

static void out_of_memory(void **state) {
    struct world *world = *state;
    bson_t *doc = encode(world);
    struct arena small;
    for (size_t cap = 64; cap < 4096; cap += 64) { /* ends at each of its allocations */
        Pipit__StoredMessage *message = NULL;
        arena_init(&small, 64, cap);
        enum err error = mongo_log_decode(doc, "c_x", &small, &message);
        assert_true(error == ERR_OK || error == ERR_NO_MEMORY);
        if (error == ERR_OK) {
            assert_int_equal(message->body.len, BODY_BYTES);
        }
        arena_finish(&small);
    }
    bson_destroy(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_field_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(the_id_is_a_uuid, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_becomes_a_recall, setup, teardown),
        cmocka_unit_test_setup_teardown(what_may_not_be_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(out_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
