/* admin: signing keys, statistics, the audit log. */
#include "tests/conformance/support.h"

#include <stdio.h>

static enum err put_key(struct fixture *f, const char *kid, uint32_t expected_count) {
    static uint8_t x[32] = "x coordinate";
    static uint8_t y[32] = "y coordinate";
    Pipit__SigningKey key = PIPIT__SIGNING_KEY__INIT;
    key.kid = (char *)kid;
    key.private_pem = (ProtobufCBinaryData){3, (uint8_t *)"PEM"};
    key.x = (ProtobufCBinaryData){32, x};
    key.y = (ProtobufCBinaryData){32, y};
    key.created_ms = f->now_ms;
    key.signs_from_ms = f->now_ms + 60000;
    Pipit__KeyPut request = PIPIT__KEY_PUT__INIT;
    request.key = &key;
    request.expected_count = expected_count;
    request.now_ms = f->now_ms;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    return f->store->ops->key_put(f->store, &request, &f->arena, &reply);
}

static Pipit__KeysReply keys(struct fixture *f, bool with_private) {
    Pipit__KeysRequest request = PIPIT__KEYS_REQUEST__INIT;
    request.with_private = with_private;
    request.now_ms = f->now_ms;
    Pipit__KeysReply reply = PIPIT__KEYS_REPLY__INIT;
    assert_int_equal(f->store->ops->keys(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply;
}

static void one_instance_makes_the_key(void **state) {
    struct fixture *f = *state;
    assert_int_equal(keys(f, true).n_keys, 0);
    assert_int_equal(put_key(f, "k1", 0), ERR_OK);
    assert_int_equal(put_key(f, "k2", 0), ERR_CONFLICT); /* another instance was faster */
    f->now_ms += 1000;
    assert_int_equal(put_key(f, "k2", 1), ERR_OK);
    assert_int_equal(put_key(f, "k2", 2), ERR_CONFLICT);
    fixture_reopen(f);
    Pipit__KeysReply reply = keys(f, true);
    assert_int_equal(reply.n_keys, 2);
    assert_string_equal(reply.keys[0]->kid, "k1"); /* oldest first */
    assert_int_equal(reply.keys[0]->private_pem.len, 3);
    assert_memory_equal(reply.keys[0]->private_pem.data, "PEM", 3);
    assert_int_equal(reply.keys[0]->x.len, 32);
    assert_memory_equal(reply.keys[1]->y.data, "y coordinate", 12);
    assert_int_equal(reply.keys[1]->signs_from_ms, f->now_ms + 60000);
    assert_int_equal(keys(f, false).keys[0]->private_pem.len, 0);
}

static void keys_retire(void **state) {
    struct fixture *f = *state;
    assert_int_equal(put_key(f, "k1", 0), ERR_OK);
    Pipit__KeyRetire request = PIPIT__KEY_RETIRE__INIT;
    request.kid = "k1";
    request.retires_ms = f->now_ms + 1000;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    assert_int_equal(f->store->ops->key_retire(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(f->store->ops->key_retire(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(keys(f, false).n_keys, 1);
    f->now_ms += 1000;
    assert_int_equal(keys(f, false).n_keys, 0);
    assert_int_equal(put_key(f, "k2", 0), ERR_OK); /* retired ones are not counted */
    request.kid = "unknown";
    assert_int_equal(f->store->ops->key_retire(f->store, &request, &f->arena, &reply),
                     ERR_NOT_FOUND);
}

static void statistics_count(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    user_make(f, "bob");
    user_disable(f, "u_bob", true);
    group_make(f, "c_a", "u_ann", NULL);
    (void)append_texts(f, "c_a", "u_ann", 7);
    Pipit__StatsRequest request = PIPIT__STATS_REQUEST__INIT;
    Pipit__StatsReply reply = PIPIT__STATS_REPLY__INIT;
    assert_int_equal(f->store->ops->stats(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(reply.users, 2);
    assert_int_equal(reply.users_disabled, 1);
    assert_int_equal(reply.devices, 0);
    assert_int_equal(reply.conversations, 1);
    assert_int_equal(reply.messages, 7);
    assert_true(reply.store_bytes > 4096);
    assert_true(reply.schema_version >= 1);
    assert_true(strlen(reply.backend) > 0);
    assert_string_equal(reply.epoch, list_all(f, "u_ann")->epoch);
}

static void audit(struct fixture *f, const char *action) {
    Pipit__AuditAppend request = PIPIT__AUDIT_APPEND__INIT;
    request.actor = "u_ann";
    request.action = (char *)action;
    request.subject = "u_bob";
    request.detail = "because";
    request.address = "192.0.2.1";
    request.now_ms = f->now_ms;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    assert_int_equal(f->store->ops->audit_append(f->store, &request, &f->arena, &reply), ERR_OK);
}

static Pipit__AuditReply audit_page(struct fixture *f, uint64_t before_id, uint32_t limit) {
    Pipit__AuditRequest request = PIPIT__AUDIT_REQUEST__INIT;
    request.before_id = before_id;
    request.limit = limit;
    Pipit__AuditReply reply = PIPIT__AUDIT_REPLY__INIT;
    assert_int_equal(f->store->ops->audit(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply;
}

static void audit_pages_newest_first(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 5; i++) {
        char action[16];
        (void)snprintf(action, sizeof(action), "act%u", i);
        audit(f, action);
    }
    Pipit__AuditReply reply = audit_page(f, 0, 3);
    assert_int_equal(reply.n_entries, 3);
    assert_string_equal(reply.entries[0]->action, "act4");
    assert_string_equal(reply.entries[0]->actor, "u_ann");
    assert_string_equal(reply.entries[0]->subject, "u_bob");
    assert_string_equal(reply.entries[0]->detail, "because");
    assert_string_equal(reply.entries[0]->address, "192.0.2.1");
    assert_int_equal(reply.entries[0]->at_ms, f->now_ms);
    assert_string_equal(reply.entries[2]->action, "act2");
    reply = audit_page(f, reply.entries[2]->id, 3);
    assert_int_equal(reply.n_entries, 2);
    assert_string_equal(reply.entries[1]->action, "act0");
    assert_int_equal(audit_page(f, reply.entries[1]->id, 3).n_entries, 0);
    assert_int_equal(audit_page(f, 0, 0).n_entries, 5);
}

int admin_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(one_instance_makes_the_key),
        STORE_TEST(keys_retire),
        STORE_TEST(statistics_count),
        STORE_TEST(audit_pages_newest_first),
    };
    return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
