/* test_hub_parts: the small parts by themselves: pool, pending refs, lanes, sent ids, revocations,
 * cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/mem.h"
#include "services/connection/lanes.h"
#include "services/connection/pending.h"
#include "services/connection/revocations.h"
#include "services/connection/sent.h"
#include "services/connection/token_cache.h"
#include <stdio.h>
#include <string.h>

static void a_pool_is_bounded_and_reuses(void **state) {
    (void)state;
    struct hub_pool pool;
    hub_pool_init(&pool, 24, 20);
    void *items[20];
    for (int i = 0; i < 20; i++) {
        items[i] = hub_pool_take(&pool);
        assert_non_null(items[i]);
        assert_int_equal((uintptr_t)items[i] % 16, 0);
        for (int k = 0; k < 24; k++) {
            assert_int_equal(((uint8_t *)items[i])[k], 0);
        }
        memset(items[i], 0xaa, 24);
    }
    assert_null(hub_pool_take(&pool));
    hub_pool_give(&pool, items[7]);
    hub_pool_give(&pool, NULL);
    (void)mem_fault_set(1, 1); /* takes nothing from the heap */
    uint8_t *again = hub_pool_take(&pool);
    (void)mem_fault_set(0, 0);
    assert_ptr_equal(again, items[7]);
    assert_int_equal(again[5], 0);
    hub_pool_finish(&pool);
    hub_pool_init(&pool, 24, 20);
    (void)mem_fault_set(1, 1);
    assert_null(hub_pool_take(&pool));
    (void)mem_fault_set(0, 0);
    assert_non_null(hub_pool_take(&pool));
    hub_pool_finish(&pool);
}

static void refs_name_one_use_of_an_entry(void **state) {
    (void)state;
    struct hub_pendings pendings;
    hub_pendings_init(&pendings, 300);
    struct hub_pending *taken[300];
    uint64_t refs[300];
    for (int i = 0; i < 300; i++) {
        taken[i] = hub_pending_take(&pendings);
        assert_non_null(taken[i]);
        refs[i] = taken[i]->ref;
        assert_ptr_equal(hub_pending_find(&pendings, refs[i]), taken[i]);
    }
    assert_null(hub_pending_take(&pendings));
    hub_pending_free(&pendings, taken[13]);
    assert_null(hub_pending_find(&pendings, refs[13]));
    struct hub_pending *again = hub_pending_take(&pendings);
    assert_ptr_equal(again, taken[13]);
    assert_true(again->ref != refs[13]);
    assert_null(hub_pending_find(&pendings, refs[13]));
    assert_null(hub_pending_find(&pendings, 0));
    assert_null(hub_pending_find(&pendings, UINT64_MAX));
    hub_pendings_finish(&pendings);
}

static void a_lane_lives_as_long_as_it_has_submits(void **state) {
    (void)state;
    struct hub_lanes lanes;
    assert_int_equal(hub_lanes_init(&lanes, 2), ERR_OK);
    struct hub_lane *one = hub_lane_enter(&lanes, "c_one");
    assert_non_null(one);
    assert_null(one->peer);
    one->peer = (struct hub_peer *)&lanes; /* never looked into */
    assert_ptr_equal(hub_lane_enter(&lanes, "c_one"), one);
    assert_int_equal(one->count, 2);
    struct hub_lane *other = hub_lane_enter(&lanes, "c_on");
    assert_ptr_not_equal(other, one);
    assert_null(hub_lane_enter(&lanes, "c_three")); /* the bound */
    hub_lane_leave(&lanes, other);
    assert_non_null(hub_lane_enter(&lanes, "c_three"));
    hub_lane_leave(&lanes, one);
    assert_ptr_equal(hub_lane_enter(&lanes, "c_one")->peer, (struct hub_peer *)&lanes);
    hub_lane_leave(&lanes, one);
    hub_lane_leave(&lanes, one);
    assert_null(hub_lane_enter(&lanes, "c_one")->peer); /* begins anew */
    hub_lane_leave(&lanes, NULL);
    hub_lanes_finish(&lanes);
    (void)mem_fault_set(1, 1);
    enum err error = hub_lanes_init(&lanes, 2);
    (void)mem_fault_set(0, 0);
    assert_int_equal(error, ERR_NO_MEMORY);
}

static void sent_ids_are_remembered_for_a_while(void **state) {
    (void)state;
    struct hub_sent *sent = calloc(1, sizeof *sent);
    uint8_t id[16], other[16];
    id_uuid7_make(1700000000000u, id);
    id_uuid7_make(1700000000000u, other);
    assert_true(hub_sent_session(sent, id) == 0);
    hub_sent_add(sent, id, 77);
    assert_true(hub_sent_session(sent, id) == 77);
    assert_true(hub_sent_session(sent, other) == 0);
    size_t kept = 0;
    for (uint64_t i = 1; i <= 1000; i++) {
        id_uuid7_make(1700000000000u, id);
        hub_sent_add(sent, id, i);
        kept += hub_sent_session(sent, id) == i;
    }
    assert_int_equal(kept, 1000);
    free(sent);
}

static void revoke(struct hub_revocations *revocations, const char *user, const char *device,
                   const char *except, uint64_t before_ms, uint64_t until_ms, bool disabled) {
    Pipit__Revocation revocation = PIPIT__REVOCATION__INIT;
    revocation.user = (char *)user;
    revocation.device = (char *)device;
    revocation.except_device = (char *)except;
    revocation.before_ms = before_ms;
    revocation.until_ms = until_ms;
    revocation.disabled = disabled;
    hub_revocations_add(revocations, &revocation, 1000);
}

static void revocations_say_what_is_dead(void **state) {
    (void)state;
    struct hub_revocations *made = NULL;
    assert_int_equal(hub_revocations_create(100, &made), ERR_OK);
    revoke(made, "u_ann", "d_1", "", 5000, 9000, false);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_1", 4999), REASON_TOKEN_REVOKED);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_1", 5000), REASON_OK);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_2", 4999), REASON_OK);
    assert_int_equal(hub_revocations_check(made, "u_bob", "d_1", 4999), REASON_OK);
    revoke(made, "u_ann", "", "d_3", 6000, 9000, false);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_2", 5999), REASON_TOKEN_REVOKED);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_3", 5999), REASON_OK);
    revoke(made, "u_ann", "", "", 7000, 9500, true);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_3", 6999), REASON_DISABLED);
    /* The same again, older: nothing moves back. Enabled and revoked later: no longer disabled. */
    revoke(made, "u_ann", "", "", 6500, 8000, false);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_3", 6999), REASON_DISABLED);
    revoke(made, "u_ann", "", "", 7100, 9500, false);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_3", 6999), REASON_TOKEN_REVOKED);
    assert_int_equal(hub_revocations_count(made), 3);
    hub_revocations_prune(made, 9000);
    assert_int_equal(hub_revocations_count(made), 1);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_2", 6999), REASON_TOKEN_REVOKED);
    hub_revocations_prune(made, 9500);
    assert_int_equal(hub_revocations_count(made), 0);
    assert_int_equal(hub_revocations_check(made, "u_ann", "d_2", 6999), REASON_OK);
    /* Not well-formed, or over already. */
    char long_name[80];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    revoke(made, long_name, "", "", 9000, 9000, false);
    revoke(made, "u_ann", long_name, "", 9000, 9000, false);
    revoke(made, "", "", "", 9000, 9000, false);
    revoke(made, "u_ann", "", "", 9000, 1000, false);
    assert_int_equal(hub_revocations_count(made), 0);
    hub_revocations_destroy(&made);
    hub_revocations_destroy(&made);
}

static void a_revocation_that_does_not_fit_is_not_lost(void **state) {
    (void)state;
    struct hub_revocations *made = NULL;
    assert_int_equal(hub_revocations_create(2, &made), ERR_OK);
    revoke(made, "u_a", "", "", 5000, 9000, false);
    revoke(made, "u_b", "", "", 5000, 9000, false);
    assert_int_equal(hub_revocations_check(made, "u_z", "d", 4000), REASON_OK);
    revoke(made, "u_c", "", "", 5500, 9000, false);
    assert_int_equal(hub_revocations_check(made, "u_c", "d", 5499), REASON_TOKEN_REVOKED);
    assert_int_equal(hub_revocations_check(made, "u_z", "d", 5499), REASON_TOKEN_REVOKED);
    assert_int_equal(hub_revocations_check(made, "u_z", "d", 5500), REASON_OK);
    hub_revocations_destroy(&made);
}

static void the_cache_keeps_the_tokens_used_last(void **state) {
    (void)state;
    struct hub_token_cache *cache = NULL;
    assert_int_equal(hub_token_cache_create(3, &cache), ERR_OK);
    struct token_claims claims = {.expires_ms = 10000}, found;
    for (int i = 0; i < 3; i++) {
        char token[8];
        (void)snprintf(token, sizeof token, "t%d", i);
        (void)snprintf(claims.user, sizeof claims.user, "u_%d", i);
        hub_token_cache_add(cache, token, 2, &claims);
        hub_token_cache_add(cache, token, 2, &claims);
    }
    assert_true(hub_token_cache_find(cache, "t0", 2, 9000, &found));
    assert_string_equal(found.user, "u_0");
    hub_token_cache_add(cache, "t3", 2, &claims);
    assert_false(hub_token_cache_find(cache, "t1", 2, 9000, &found)); /* used longest ago */
    assert_true(hub_token_cache_find(cache, "t0", 2, 9000, &found));
    assert_true(hub_token_cache_find(cache, "t0", 2, 10000 + TOKEN_LEEWAY_MS - 1, &found));
    assert_false(hub_token_cache_find(cache, "t0", 2, 10000 + TOKEN_LEEWAY_MS, &found));
    assert_false(hub_token_cache_find(cache, "t0", 2, 9000, &found)); /* dropped */
    hub_token_cache_clear(cache);
    assert_false(hub_token_cache_find(cache, "t2", 2, 9000, &found));
    hub_token_cache_destroy(&cache);
    hub_token_cache_destroy(&cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_is_bounded_and_reuses),
        cmocka_unit_test(refs_name_one_use_of_an_entry),
        cmocka_unit_test(a_lane_lives_as_long_as_it_has_submits),
        cmocka_unit_test(sent_ids_are_remembered_for_a_while),
        cmocka_unit_test(revocations_say_what_is_dead),
        cmocka_unit_test(a_revocation_that_does_not_fit_is_not_lost),
        cmocka_unit_test(the_cache_keeps_the_tokens_used_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
