/* repair: what a crash between two writes, a restored backup or an older program leaves in MongoDB,
 * and what the store makes of it. The test puts it there behind the store's back. */
#include "tests/conformance/documents.h"

#include "services/storage/mongo_schema.h"
#include <stdio.h>

static void group_with(struct fixture *f, size_t count) {
    user_make(f, "ann");
    group_make(f, "c_x", "u_ann", NULL);
    (void)append_texts(f, "c_x", "u_ann", count);
}

/* As after a crash between an insert and the raising of its head. */
static void lower_head(struct fixture *f, uint64_t head) {
    document_plant(f, MONGO_HEADS, "c_x",
                   BCON_NEW("$set", "{", "head", BCON_INT64((int64_t)head), "}"));
}

static void what_no_head_covers_is_not_shown(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    lower_head(f, 3);
    Pipit__HistoryReply *page = history_all(f, "c_x");
    assert_int_equal(page->n_messages, 3);
    assert_int_equal(page->head, 3);
    assert_false(page->has_more);
    assert_int_equal(conversation_load(f, "c_x")->head, 3);
}

static void a_repeated_message_mends_its_head(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    Pipit__StoredMessage *last = history_all(f, "c_x")->messages[4];
    lower_head(f, 3);
    fixture_reopen(f); /* the process that knew more is gone */
    Pipit__AppendResult *result = append_run(f, "c_x", 4, &last, 1);
    assert_int_equal(result->error, ERR_DUPLICATE_ID);
    assert_int_equal(result->existing_seq, 5);
    assert_int_equal(result->head, 5);
    assert_int_equal(history_all(f, "c_x")->n_messages, 5);
}

static void a_taken_seq_mends_the_head(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    lower_head(f, 3);
    fixture_reopen(f);
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    Pipit__AppendResult *result = append_run(f, "c_x", 4, &message, 1);
    assert_int_equal(result->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(result->head, 5);
    assert_int_equal(history_all(f, "c_x")->n_messages, 5); /* where its sender looks for it */
    assert_int_equal(append_run(f, "c_x", 6, &message, 1)->error, ERR_OK);
}

static void an_append_far_behind_the_stored_head(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    lower_head(f, 1);
    fixture_reopen(f);
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    assert_int_equal(append_run(f, "c_x", 6, &message, 1)->error, ERR_OK);
    assert_int_equal(history_all(f, "c_x")->n_messages, 6);
}

static void a_lost_head_is_found_again(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    document_uproot(f, MONGO_HEADS, "c_x");
    fixture_reopen(f);
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    assert_int_equal(append_run(f, "c_x", 1, &message, 1)->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(history_all(f, "c_x")->n_messages, 5);
}

/* A backup was restored, or a failover undid what was not acknowledged, while the store ran. */
static void what_the_database_lost_is_not_counted_on(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    document_uproot_by(f, MONGO_MESSAGES, BCON_NEW("conv", BCON_UTF8("c_x"), "seq", BCON_INT64(5)));
    lower_head(f, 4);
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    assert_int_equal(append_run(f, "c_x", 5, &message, 1)->error, ERR_OK);
    assert_int_equal(history_all(f, "c_x")->n_messages, 5);
}

static void heads_are_never_lowered(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    struct mongo_db *db = NULL;
    struct mongo_session session;
    struct mongo_head lower[] = {{"c_x", 2, 1}, {"c_new", 7, 70}};
    const char *ids[] = {"c_new", "c_x", "c_none", "c_x"};
    uint64_t heads[4];
    uint64_t ts_ms[4];
    fixture_session(f, &db, &session);
    assert_int_equal(mongo_heads_raise(&session, lower, 2), ERR_OK);
    assert_int_equal(mongo_heads_raise(&session, NULL, 0), ERR_OK);
    assert_int_equal(mongo_heads_read(&session, ids, 4, heads, ts_ms), ERR_OK);
    fixture_session_end(&db, &session);
    assert_int_equal(heads[0], 7);
    assert_int_equal(ts_ms[0], 70);
    assert_int_equal(heads[1], 5);
    assert_int_equal(ts_ms[1], f->now_ms);
    assert_int_equal(heads[2], 0);
    assert_int_equal(heads[3], 5);
}

static void a_hole_is_damage(void **state) {
    struct fixture *f = *state;
    group_with(f, 5);
    document_uproot_by(f, MONGO_MESSAGES, BCON_NEW("conv", BCON_UTF8("c_x"), "seq", BCON_INT64(3)));
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = "c_x";
    enum err error = ERR_OK;
    (void)history_page(f, request, &error);
    assert_int_equal(error, ERR_CORRUPT);
    request.before_seq = 6;
    (void)history_page(f, request, &error);
    assert_int_equal(error, ERR_CORRUPT);
    request.before_seq = 0;
    request.after_seq = 3;
    assert_int_equal(history_page(f, request, &error)->n_messages, 2);
    assert_int_equal(error, ERR_OK);
}

/* --- schema */

static void a_restored_backup_gets_a_new_epoch(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    const char *epoch = list_all(f, "u_ann")->epoch;
    fixture_reopen(f);
    assert_string_equal(list_all(f, "u_ann")->epoch, epoch);
    document_uproot(f, MONGO_META, "epoch"); /* what who restores does */
    fixture_reopen(f);
    assert_string_not_equal(list_all(f, "u_ann")->epoch, epoch);
}

static void a_newer_schema_is_refused(void **state) {
    struct fixture *f = *state;
    struct store *second = NULL;
    struct buf problem;
    document_plant(f, MONGO_META, "schema",
                   BCON_NEW("$set", "{", "version", BCON_INT64(mongo_schema_step_count + 1), "}"));
    buf_init(&problem, 1024);
    assert_int_equal(fixture_open(f, &second, &problem), ERR_UNSUPPORTED);
    assert_int_equal(buf_append(&problem, "", 1), ERR_OK);
    assert_non_null(strstr((const char *)buf_data(&problem), "start the newer version"));
    buf_finish(&problem);
}

static unsigned steps_run;

static enum err count_step(struct mongo_session *session) {
    (void)session;
    steps_run++;
    return ERR_OK;
}

static enum err fail_step(struct mongo_session *session) {
    (void)session;
    return ERR_UNAVAILABLE;
}

static void steps_run_forward_once_each(void **state) {
    struct fixture *f = *state;
    struct mongo_db *db = NULL;
    struct mongo_session session;
    static const mongo_schema_step steps[] = {count_step, count_step, fail_step};
    static const mongo_schema_step mended[] = {count_step, count_step, count_step};
    uint32_t found = 0;
    fixture_session(f, &db, &session);
    steps_run = 0;
    assert_int_equal(mongo_schema_step_count, 1); /* what the fixture's store brought about */
    assert_int_equal(mongo_schema_migrate(&session, steps, 3, &found), ERR_UNAVAILABLE);
    assert_int_equal(found, 1);
    assert_int_equal(steps_run, 1); /* the second step, then the one that fails */
    assert_int_equal(mongo_schema_migrate(&session, mended, 3, &found), ERR_OK);
    assert_int_equal(found, 2); /* went on where it had stopped */
    assert_int_equal(steps_run, 2);
    assert_int_equal(mongo_schema_migrate(&session, mended, 3, &found), ERR_OK);
    assert_int_equal(found, 3);
    assert_int_equal(steps_run, 2);
    assert_int_equal(mongo_schema_migrate(&session, mended, 2, &found), ERR_UNSUPPORTED);
    fixture_session_end(&db, &session);
}

static enum err insert_at(struct mongo_session *session, const char *conversation, int64_t seq) {
    bson_t *doc = BCON_NEW("conv", BCON_UTF8(conversation), "seq", BCON_INT64(seq));
    size_t inserted = 0;
    enum err error =
        mongo_insert(session, MONGO_MESSAGES, (const bson_t *const *)&doc, 1, &inserted);
    assert_int_equal(inserted, error == ERR_OK);
    bson_destroy(doc);
    return error;
}

static void a_lost_index_is_made_again(void **state) {
    struct fixture *f = *state;
    struct mongo_db *db = NULL;
    struct mongo_session session;
    bson_t *drop = BCON_NEW("dropIndexes", BCON_UTF8("messages"), "index", BCON_UTF8("conv_seq"));
    bson_t reply;
    group_with(f, 1);
    fixture_session(f, &db, &session);
    assert_int_equal(mongo_command(&session, drop, &reply), ERR_OK);
    bson_destroy(&reply);
    bson_destroy(drop);
    assert_int_equal(insert_at(&session, "c_y", 1), ERR_OK);
    assert_int_equal(insert_at(&session, "c_x", 2), ERR_OK);
    fixture_reopen(f);
    assert_int_equal(insert_at(&session, "c_x", 1), ERR_EXISTS);
    assert_int_equal(insert_at(&session, "c_y", 1), ERR_EXISTS);
    fixture_session_end(&db, &session);
}

/* --- the rules of mongo_db.h that only a server can show */

static void an_ordered_insert_stores_a_prefix(void **state) {
    struct fixture *f = *state;
    struct mongo_db *db = NULL;
    struct mongo_session session;
    bson_t *docs[250]; /* more than one command */
    size_t inserted = 0;
    uint64_t count = 0;
    fixture_session(f, &db, &session);
    for (size_t i = 0; i < 250; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "a_%zu", i == 230 ? (size_t)3 : i);
        docs[i] = BCON_NEW("_id", BCON_UTF8(id));
    }
    assert_int_equal(
        mongo_insert(&session, MONGO_AUDIT, (const bson_t *const *)docs, 250, &inserted),
        ERR_EXISTS);
    assert_int_equal(inserted, 230);
    bson_t all = BSON_INITIALIZER;
    assert_int_equal(mongo_count(&session, MONGO_AUDIT, &all, &count), ERR_OK);
    assert_int_equal(count, 230);
    bson_destroy(&all);
    fixture_session_end(&db, &session);
    for (size_t i = 0; i < 250; i++) {
        bson_destroy(docs[i]);
    }
}

static enum err stop_at_third(const bson_t *doc, void *user) {
    size_t *seen = user;
    (void)doc;
    return ++*seen == 3 ? ERR_EXISTS : ERR_OK;
}

static enum err fail_at_second(const bson_t *doc, void *user) {
    size_t *seen = user;
    (void)doc;
    return ++*seen == 2 ? ERR_NO_MEMORY : ERR_OK;
}

static void finding_stops_when_told(void **state) {
    struct fixture *f = *state;
    struct mongo_db *db = NULL;
    struct mongo_session session;
    bson_t *filter = BCON_NEW("conv", BCON_UTF8("c_x"));
    bson_t doc;
    size_t seen = 0;
    group_with(f, 5);
    fixture_session(f, &db, &session);
    struct mongo_find find = {.collection = MONGO_MESSAGES, .filter = filter};
    assert_int_equal(mongo_find(&session, &find, stop_at_third, &seen), ERR_OK);
    assert_int_equal(seen, 3);
    seen = 0;
    assert_int_equal(mongo_find(&session, &find, fail_at_second, &seen), ERR_NO_MEMORY);
    assert_int_equal(seen, 2);
    assert_int_equal(mongo_get(&session, MONGO_HEADS, "c_none", &doc), ERR_NOT_FOUND);
    bson_destroy(&doc);
    assert_int_equal(mongo_get(&session, MONGO_HEADS, "c_x", &doc), ERR_OK);
    assert_int_equal(mongo_u64(&doc, "head"), 5);
    bson_destroy(&doc);
    fixture_session_end(&db, &session);
    bson_destroy(filter);
}

int repair_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_no_head_covers_is_not_shown),
        STORE_TEST(a_repeated_message_mends_its_head),
        STORE_TEST(a_taken_seq_mends_the_head),
        STORE_TEST(an_append_far_behind_the_stored_head),
        STORE_TEST(a_lost_head_is_found_again),
        STORE_TEST(what_the_database_lost_is_not_counted_on),
        STORE_TEST(heads_are_never_lowered),
        STORE_TEST(a_hole_is_damage),
        STORE_TEST(a_restored_backup_gets_a_new_epoch),
        STORE_TEST(a_newer_schema_is_refused),
        STORE_TEST(steps_run_forward_once_each),
        STORE_TEST(a_lost_index_is_made_again),
        STORE_TEST(an_ordered_insert_stores_a_prefix),
        STORE_TEST(finding_stops_when_told),
    };
    const char *url = getenv("PIPIT_TEST_STORE");
    return url != NULL && strncmp(url, "mongodb", 7) == 0
               ? cmocka_run_group_tests_name("repair", tests, NULL, NULL)
               : 0;
}
