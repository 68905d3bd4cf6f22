/* documents: one session of its own for each. */
#include "tests/conformance/documents.h"

void document_plant(const struct fixture *fixture, enum mongo_collection collection, const char *id,
                    bson_t *change) {
    struct mongo_db *db = NULL;
    struct mongo_session session;
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(id));
    struct mongo_update update = {filter, change, true};
    size_t matched = 0;
    fixture_session(fixture, &db, &session);
    assert_int_equal(mongo_update(&session, collection, &update, 1, &matched), ERR_OK);
    assert_int_equal(matched, 1);
    fixture_session_end(&db, &session);
    bson_destroy(filter);
    bson_destroy(change);
}

void document_uproot(const struct fixture *fixture, enum mongo_collection collection,
                     const char *id) {
    document_uproot_by(fixture, collection, BCON_NEW("_id", BCON_UTF8(id)));
}

void document_uproot_by(const struct fixture *fixture, enum mongo_collection collection,
                        bson_t *filter) {
    struct mongo_db *db = NULL;
    struct mongo_session session;
    size_t deleted = 0;
    fixture_session(fixture, &db, &session);
    assert_int_equal(mongo_delete(&session, collection, filter, &deleted), ERR_OK);
    assert_int_equal(deleted, 1);
    fixture_session_end(&db, &session);
    bson_destroy(filter);
}
