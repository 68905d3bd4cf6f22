/* messages: append. Order, once-ness, stops at the first error, and bodies of all sizes. */
#include "tests/conformance/support.h"

#include "common/id.h"

static void users_and_group(struct fixture *f) {
    user_make(f, "ann");
    user_make(f, "bob");
    group_make(f, "c_x", "u_ann", "u_bob", NULL);
}

static void assigns_dense_seqs_from_one(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    assert_int_equal(append_texts(f, "c_x", "u_ann", 3), 3);
    assert_int_equal(append_texts(f, "c_x", "u_bob", 2), 5);
    Pipit__HistoryReply *all = history_all(f, "c_x");
    assert_int_equal(all->n_messages, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(all->messages[i]->seq, i + 1);
    }
    assert_string_equal(all->messages[3]->sender, "u_bob");
    assert_int_equal(all->head, 5);
}

static void keeps_every_field(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    (void)append_texts(f, "c_x", "u_ann", 2); /* something to point at */
    Pipit__StoredMessage *message = message_make(f, "u_bob", "{\"emoji\":\"x\"}", 13);
    uint8_t hash[16] = "0123456789abcde";
    Pipit__Origin origin = PIPIT__ORIGIN__INIT;
    origin.device = "m:lamp";
    origin.packet_id = 65535;
    origin.hash = (ProtobufCBinaryData){sizeof(hash), hash};
    message->kind = PIPIT__MESSAGE_KIND__MESSAGE_REACT;
    message->target_seq = 1;
    message->reply_seq = 2;
    message->device = "d_kitchen";
    message->origin = &origin;
    Pipit__AppendResult *result = append_run(f, "c_x", 3, &message, 1);
    assert_int_equal(result->error, ERR_OK);
    assert_int_equal(result->members_version, conversation_load(f, "c_x")->members_version);
    Pipit__StoredMessage *read = history_all(f, "c_x")->messages[2];
    assert_string_equal(read->conversation, "c_x");
    assert_int_equal(read->seq, 3);
    assert_memory_equal(read->id.data, message->id.data, 16);
    assert_string_equal(read->sender, "u_bob");
    assert_string_equal(read->device, "d_kitchen");
    assert_int_equal(read->kind, PIPIT__MESSAGE_KIND__MESSAGE_REACT);
    assert_int_equal(read->target_seq, 1);
    assert_int_equal(read->reply_seq, 2);
    assert_int_equal(read->ts_ms, f->now_ms);
    assert_int_equal(read->body.len, 13);
    assert_memory_equal(read->body.data, "{\"emoji\":\"x\"}", 13);
    assert_non_null(read->origin);
    assert_string_equal(read->origin->device, "m:lamp");
    assert_int_equal(read->origin->packet_id, 65535);
    assert_memory_equal(read->origin->hash.data, hash, 16);
    assert_null(history_all(f, "c_x")->messages[0]->origin);
}

static void unknown_conversation(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    Pipit__AppendResult *result = append_run(f, "c_none", 1, &message, 1);
    assert_int_equal(result->error, ERR_NOT_FOUND);
    assert_int_equal(result->stored_count, 0);
    assert_int_equal(result->members_version, 0);
}

static void refuses_taken_seqs_and_holes(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    (void)append_texts(f, "c_x", "u_ann", 2);
    const uint64_t wrong[] = {0, 1, 2, 4, UINT64_MAX};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
        Pipit__AppendResult *result = append_run(f, "c_x", wrong[i], &message, 1);
        assert_int_equal(result->error, ERR_DUPLICATE_SEQ);
        assert_int_equal(result->stored_count, 0);
        assert_int_equal(result->head, 2);
    }
    assert_int_equal(append_texts(f, "c_x", "u_ann", 1), 3);
}

static void a_known_id_names_its_place(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    group_make(f, "c_y", "u_ann", NULL);
    Pipit__StoredMessage *first = message_make(f, "u_ann", "{\"n\":1}", 7);
    assert_int_equal(append_run(f, "c_x", 1, &first, 1)->error, ERR_OK);
    uint64_t first_ms = f->now_ms;
    f->now_ms += 1000;
    Pipit__StoredMessage *again = message_make(f, "u_bob", "{\"n\":2}", 7);
    memcpy(again->id.data, first->id.data, 16);
    const char *places[] = {"c_x", "c_y"}; /* also across conversations */
    for (size_t i = 0; i < 2; i++) {
        Pipit__AppendResult *result = append_run(f, places[i], i == 0 ? 2 : 1, &again, 1);
        assert_int_equal(result->error, ERR_DUPLICATE_ID);
        assert_int_equal(result->stored_count, 0);
        assert_string_equal(result->existing_conversation, "c_x");
        assert_int_equal(result->existing_seq, 1);
        assert_string_equal(result->existing_sender, "u_ann");
        assert_int_equal(result->existing_ts_ms, first_ms);
    }
    assert_int_equal(conversation_load(f, "c_x")->head, 1);
    assert_int_equal(conversation_load(f, "c_y")->head, 0);
}

static void a_run_stops_at_its_first_error(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    Pipit__StoredMessage *known = message_make(f, "u_ann", "{}", 2);
    assert_int_equal(append_run(f, "c_x", 1, &known, 1)->error, ERR_OK);
    Pipit__StoredMessage *run[4];
    for (size_t i = 0; i < 4; i++) {
        run[i] = message_make(f, "u_bob", "{}", 2);
    }
    memcpy(run[2]->id.data, known->id.data, 16);
    Pipit__AppendResult *result = append_run(f, "c_x", 2, run, 4);
    assert_int_equal(result->error, ERR_DUPLICATE_ID);
    assert_int_equal(result->stored_count, 2);
    assert_int_equal(result->head, 3);
    Pipit__HistoryReply *all = history_all(f, "c_x");
    assert_int_equal(all->n_messages, 3);
    assert_memory_equal(all->messages[2]->id.data, run[1]->id.data, 16);
    assert_int_equal(append_run(f, "c_x", 4, &run[3], 1)->error, ERR_OK); /* it was not stored */
}

static void an_id_twice_in_one_run(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    Pipit__StoredMessage *run[2] = {message_make(f, "u_ann", "{}", 2),
                                    message_make(f, "u_ann", "{}", 2)};
    memcpy(run[1]->id.data, run[0]->id.data, 16);
    Pipit__AppendResult *result = append_run(f, "c_x", 1, run, 2);
    assert_int_equal(result->error, ERR_DUPLICATE_ID);
    assert_int_equal(result->stored_count, 1);
    assert_int_equal(result->existing_seq, 1);
}

static void invalid_messages_stop_a_run(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    char *long_text = arena_alloc(&f->arena, STORE_ID_BYTES_MAX + 2);
    assert_non_null(long_text);
    memset(long_text, 'x', STORE_ID_BYTES_MAX + 1);
    long_text[STORE_ID_BYTES_MAX + 1] = '\0';
    Pipit__StoredMessage *bad[4];
    for (size_t i = 0; i < 4; i++) {
        bad[i] = message_make(f, "u_ann", "{}", 2);
    }
    bad[0]->id.len = 15;
    bad[1]->sender = long_text;
    bad[2]->device = long_text;
    bad[3]->sender = "";
    for (size_t i = 0; i < 4; i++) {
        Pipit__AppendResult *result = append_run(f, "c_x", 1, &bad[i], 1);
        assert_int_equal(result->error, ERR_INVALID);
        assert_int_equal(result->stored_count, 0);
    }
    assert_int_equal(conversation_load(f, "c_x")->head, 0);
}

static void bodies_of_all_sizes_come_back(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    static const size_t sizes[] = {0, 1, 511, 512, 513, 4096, 65536, 1048576};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned random = 0; random < 2; random++) { /* shrinks well, and not at all */
            uint8_t *body = arena_alloc(&f->arena, sizes[i] + 1);
            assert_non_null(body);
            memset(body, 'a', sizes[i]);
            if (random != 0) {
                id_random(body, sizes[i]);
            }
            Pipit__StoredMessage *message = message_make(f, "u_ann", body, sizes[i]);
            uint64_t head = conversation_load(f, "c_x")->head;
            assert_int_equal(append_run(f, "c_x", head + 1, &message, 1)->error, ERR_OK);
            Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
            request.conversation = "c_x";
            request.after_seq = head;
            enum err error = ERR_OK;
            Pipit__HistoryReply *page = history_page(f, request, &error);
            assert_int_equal(error, ERR_OK);
            assert_int_equal(page->n_messages, 1);
            assert_int_equal(page->messages[0]->body.len, sizes[i]);
            assert_memory_equal(page->messages[0]->body.data, body, sizes[i]);
        }
    }
}

static void one_batch_with_good_and_bad_runs(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    group_make(f, "c_y", "u_ann", NULL);
    Pipit__StoredMessage *messages[3];
    Pipit__AppendRun runs[4];
    Pipit__AppendRun *pointers[4];
    static const char *const places[] = {"c_x", "c_none", "c_y", "c_x"};
    static const uint64_t seqs[] = {1, 1, 7, 2};
    for (size_t i = 0; i < 4; i++) {
        pipit__append_run__init(&runs[i]);
        runs[i].conversation = (char *)places[i];
        runs[i].first_seq = seqs[i];
        pointers[i] = &runs[i];
        if (i != 1) {
            messages[i > 1 ? i - 1 : i] = message_make(f, "u_ann", "{}", 2);
            runs[i].messages = &messages[i > 1 ? i - 1 : i];
            runs[i].n_messages = 1;
        }
    }
    Pipit__AppendBatch batch = PIPIT__APPEND_BATCH__INIT;
    batch.runs = pointers;
    batch.n_runs = 4;
    Pipit__AppendBatch empty = PIPIT__APPEND_BATCH__INIT;
    Pipit__AppendReply replies[2] = {PIPIT__APPEND_REPLY__INIT, PIPIT__APPEND_REPLY__INIT};
    struct store_append items[2] = {{&batch, &f->arena, &replies[0]},
                                    {&empty, &f->arena, &replies[1]}};
    assert_int_equal(f->store->ops->append(f->store, items, 2), ERR_OK);
    assert_int_equal(replies[0].n_results, 4);
    assert_int_equal(replies[1].n_results, 0);
    assert_int_equal(replies[0].results[0]->error, ERR_OK);
    assert_int_equal(replies[0].results[1]->error, ERR_NOT_FOUND);
    assert_int_equal(replies[0].results[2]->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(replies[0].results[3]->error, ERR_OK);
    assert_int_equal(replies[0].results[3]->head, 2);
    assert_int_equal(conversation_load(f, "c_x")->head, 2);
}

static void survives_reopening(void **state) {
    struct fixture *f = *state;
    users_and_group(f);
    (void)append_texts(f, "c_x", "u_ann", 5);
    Pipit__StoredMessage *last = history_all(f, "c_x")->messages[4];
    fixture_reopen(f);
    Pipit__HistoryReply *all = history_all(f, "c_x");
    assert_int_equal(all->n_messages, 5);
    assert_memory_equal(all->messages[4]->id.data, last->id.data, 16);
    Pipit__AppendResult *result = append_run(f, "c_x", 6, &last, 1);
    assert_int_equal(result->error, ERR_DUPLICATE_ID);
    assert_int_equal(result->existing_seq, 5);
    assert_int_equal(append_texts(f, "c_x", "u_ann", 1), 6);
}

int messages_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(assigns_dense_seqs_from_one),
        STORE_TEST(keeps_every_field),
        STORE_TEST(unknown_conversation),
        STORE_TEST(refuses_taken_seqs_and_holes),
        STORE_TEST(a_known_id_names_its_place),
        STORE_TEST(a_run_stops_at_its_first_error),
        STORE_TEST(an_id_twice_in_one_run),
        STORE_TEST(invalid_messages_stop_a_run),
        STORE_TEST(bodies_of_all_sizes_come_back),
        STORE_TEST(one_batch_with_good_and_bad_runs),
        STORE_TEST(survives_reopening),
    };
    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
