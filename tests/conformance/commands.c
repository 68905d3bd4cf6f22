/* commands: a judge of every command that the back end sends while the suite runs.
 *
 * The observer is called on whatever thread sends, so what it keeps is under a lock: a counter per
 * kind of command and each different complaint once. Values are left out of complaints (a filter's
 * shape is what an index serves), which also makes the same complaint of two calls one.
 *
 * A command that is not known here is a complaint as well: nothing passes unseen. The planted ones
 * go through the same judge into a tally of their own, each must be refused, so a judge that has
 * gone blind fails the suite on every back end. */
#include "tests/conformance/commands.h"

#include "services/storage/mongo_schema.h"
#include "tests/conformance/index_check.h"
#include "tests/conformance/support.h"
#include <pthread.h>
#include <stdio.h>

#define COMPLAINTS_MAX 40
#define COMPLAINT_BYTES 400
#define INDEXES_MAX 32

enum command { FIND, COUNT, INSERT, UPDATE, DELETE, MODIFY, OTHER, COMMAND_COUNT };
static const char *const NAMES[COMMAND_COUNT] = {
    [FIND] = "find",     [COUNT] = "count",          [INSERT] = "insert", [UPDATE] = "update",
    [DELETE] = "delete", [MODIFY] = "findAndModify", [OTHER] = "other"};

struct tally {
    uint64_t seen[COMMAND_COUNT];
    size_t complaint_count;
    char complaints[COMPLAINTS_MAX][COMPLAINT_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tally suite;

/* --- complaints */

/* The shape of a document: keys and operators, values as "?", strings of a $-key's name kept. */
static void describe(const bson_t *doc, char *out, size_t room) {
    bson_iter_t at;
    size_t used = strlen(out);
    const char *comma = "";
    if (doc == NULL || !bson_iter_init(&at, doc)) {
        return;
    }
    while (bson_iter_next(&at) && used + 1 < room) {
        bson_t inner;
        const uint8_t *bytes = NULL;
        uint32_t length = 0;
        (void)snprintf(out + used, room - used, "%s%s:", comma, bson_iter_key(&at));
        used = strlen(out);
        comma = ",";
        if (BSON_ITER_HOLDS_DOCUMENT(&at)) {
            bson_iter_document(&at, &length, &bytes);
        } else if (bson_iter_key(&at)[0] == '$' && BSON_ITER_HOLDS_ARRAY(&at) &&
                   strcmp(bson_iter_key(&at), "$in") != 0) {
            bson_iter_array(&at, &length, &bytes);
        }
        if (bytes != NULL && bson_init_static(&inner, bytes, length)) {
            (void)snprintf(out + used, room - used, "{");
            describe(&inner, out, room - 1);
            used = strlen(out);
            (void)snprintf(out + used, room - used, "}");
        } else {
            (void)snprintf(out + used, room - used, "?");
        }
        used = strlen(out);
    }
}

static void complain(struct tally *tally, const char *name, const char *collection,
                     const struct index_query *query, const char *reason) {
    char text[COMPLAINT_BYTES];
    (void)snprintf(text, sizeof(text), "%s %s", name, collection);
    if (query != NULL) {
        strncat(text, " filter {", sizeof(text) - strlen(text) - 1);
        describe(query->filter, text, sizeof(text));
        strncat(text, "} sort {", sizeof(text) - strlen(text) - 1);
        describe(query->sort, text, sizeof(text));
        strncat(text, "}", sizeof(text) - strlen(text) - 1);
    }
    strncat(text, ": ", sizeof(text) - strlen(text) - 1);
    strncat(text, reason, sizeof(text) - strlen(text) - 1);
    for (size_t i = 0; i < tally->complaint_count; i++) {
        if (strcmp(tally->complaints[i], text) == 0) {
            return;
        }
    }
    if (tally->complaint_count < COMPLAINTS_MAX) {
        memcpy(tally->complaints[tally->complaint_count++], text, sizeof(text));
    }
}

/* --- parts of a command */

static bool document_at(const bson_t *doc, const char *key, bson_t *out) {
    bson_iter_t at;
    const uint8_t *bytes = NULL;
    uint32_t length = 0;
    if (!bson_iter_init_find(&at, doc, key)) {
        return false;
    }
    if (BSON_ITER_HOLDS_DOCUMENT(&at)) {
        bson_iter_document(&at, &length, &bytes);
    } else if (BSON_ITER_HOLDS_ARRAY(&at)) {
        bson_iter_array(&at, &length, &bytes);
    }
    return bytes != NULL && bson_init_static(out, bytes, length);
}

static int64_t number_at(const bson_t *doc, const char *key) {
    bson_iter_t at;
    return bson_iter_init_find(&at, doc, key) ? bson_iter_as_int64(&at) : 0;
}

static void judge_query(struct tally *tally, const char *name, const char *collection,
                        const struct index_query *query) {
    struct index_shape indexes[INDEXES_MAX];
    size_t count = 0;
    char reason[128] = "";
    for (size_t i = 0; i < mongo_index_count && count < INDEXES_MAX; i++) {
        const struct mongo_index *known = &mongo_indexes[i];
        if (strcmp(mongo_collection_name(known->collection), collection) == 0) {
            indexes[count] = (struct index_shape){.unique = known->unique};
            memcpy(indexes[count++].keys, known->keys, sizeof(known->keys));
        }
    }
    if (!index_check(query, indexes, count, reason, sizeof(reason))) {
        complain(tally, name, collection, query, reason);
    }
}

/* The filters `q` of an update's or a delete's statements. */
static void judge_statements(struct tally *tally, const char *name, const char *collection,
                             const bson_t *command, const char *list) {
    bson_t statements;
    bson_iter_t at;
    if (!document_at(command, list, &statements) || !bson_iter_init(&at, &statements)) {
        complain(tally, name, collection, NULL, "its statements cannot be read");
        return;
    }
    while (bson_iter_next(&at)) {
        bson_t statement;
        bson_t filter;
        const uint8_t *bytes = NULL;
        uint32_t length = 0;
        bson_iter_document(&at, &length, &bytes);
        if (bytes == NULL || !bson_init_static(&statement, bytes, length) ||
            !document_at(&statement, "q", &filter)) {
            complain(tally, name, collection, NULL, "a statement without a filter");
            continue;
        }
        struct index_query query = {.filter = &filter};
        judge_query(tally, name, collection, &query);
    }
}

static void judge_durability(struct tally *tally, const char *name, const char *collection,
                             const bson_t *command) {
    bson_t concern;
    bson_iter_t at;
    bool majority = document_at(command, "writeConcern", &concern) &&
                    bson_iter_init_find(&at, &concern, "w") && BSON_ITER_HOLDS_UTF8(&at) &&
                    strcmp(bson_iter_utf8(&at, NULL), "majority") == 0;
    bool journal = majority && bson_iter_init_find(&at, &concern, "j") && bson_iter_as_bool(&at);
    if (!journal) {
        complain(tally, name, collection, NULL, "not w: majority, j: true");
    }
}

/* --- the judge */

/* A list that the API hands out wholly, to administrators, and that housekeeping keeps short. */
static bool is_listed_whole(const char *collection) {
    return strcmp(collection, mongo_collection_name(MONGO_INVITES)) == 0;
}

static void judge_one(struct tally *tally, const char *name, const char *collection,
                      const bson_t *command, const char *filter_key) {
    bson_t filter;
    bson_t sort;
    bool filtered = document_at(command, filter_key, &filter);
    bool sorted = document_at(command, "sort", &sort);
    bool everything = !filtered || bson_empty(&filter);
    bool counts = strcmp(name, NAMES[COUNT]) == 0; /* without a filter it reads a number kept */
    struct index_query query = {
        .filter = filtered ? &filter : NULL,
        .sort = sorted ? &sort : NULL,
        .bounded = number_at(command, "limit") != 0 || (counts && everything) ||
                   (everything && is_listed_whole(collection)),
    };
    judge_query(tally, name, collection, &query);
}

static bool is_harmless(const char *name) {
    static const char *const known[] = {
        "ping",        "hello",        "isMaster",      "ismaster",         "endSessions",
        "killCursors", "getMore",      "createIndexes", "saslStart",        "saslContinue",
        "drop",        "dropDatabase", "create",        "connectionStatus", "dbStats"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void judge(struct tally *tally, const char *name, const bson_t *command) {
    bson_iter_t at;
    const char *collection = "";
    if (bson_iter_init(&at, command) && bson_iter_next(&at) && BSON_ITER_HOLDS_UTF8(&at)) {
        collection = bson_iter_utf8(&at, NULL);
    }
    size_t kind = 0;
    while (kind < OTHER && strcasecmp(NAMES[kind], name) != 0) {
        kind++;
    }
    tally->seen[kind]++;
    switch (kind) {
    case FIND:
        judge_one(tally, NAMES[FIND], collection, command, "filter");
        break;
    case COUNT:
        judge_one(tally, NAMES[COUNT], collection, command, "query");
        break;
    case MODIFY:
        judge_one(tally, NAMES[MODIFY], collection, command, "query");
        judge_durability(tally, NAMES[MODIFY], collection, command);
        break;
    case UPDATE:
        judge_statements(tally, NAMES[UPDATE], collection, command, "updates");
        judge_durability(tally, NAMES[UPDATE], collection, command);
        break;
    case DELETE:
        judge_statements(tally, NAMES[DELETE], collection, command, "deletes");
        judge_durability(tally, NAMES[DELETE], collection, command);
        break;
    case INSERT:
        judge_durability(tally, NAMES[INSERT], collection, command);
        break;
    default:
        if (!is_harmless(name)) {
            complain(tally, name, collection, NULL, "a command that nobody allowed");
        }
    }
}

static void on_command(const char *name, const bson_t *command, void *user) {
    (void)pthread_mutex_lock(&lock); /* cannot fail: ours, not recursive */
    judge(user, name, command);
    (void)pthread_mutex_unlock(&lock);
}

void commands_watch(void) {
    mongo_db_observe(on_command, &suite);
}

/* --- proofs */

#define DURABLE "\"writeConcern\": {\"w\": \"majority\", \"j\": true}"
struct planted {
    const char *name, *json, *complaint; /* part of it; NULL: nothing is wrong */
};

static void judge_planted(const struct planted *planted) {
    bson_error_t error;
    bson_t *command = bson_new_from_json((const uint8_t *)planted->json, -1, &error);
    if (command == NULL) {
        fail_msg("%s: %s", planted->json, error.message);
    }
    struct tally tally = {0};
    judge(&tally, planted->name, command);
    bson_destroy(command);
    const char *said = tally.complaint_count > 0 ? tally.complaints[0] : "";
    bool right = planted->complaint == NULL ? tally.complaint_count == 0
                                            : strstr(said, planted->complaint) != NULL;
    if (!right) {
        fail_msg("%s: \"%s\", expected \"%s\"", planted->json, said,
                 planted->complaint != NULL ? planted->complaint : "nothing");
    }
}

static void test_planted_commands_are_refused(void **state) {
    (void)state;
    static const char none[] = "no index serves it";
    const struct planted planted[] = {
        {"find", "{\"find\": \"messages\", \"filter\": {\"sender\": \"u\"}}", none},
        {"find", "{\"find\": \"messages\", \"filter\": {\"seq\": 5}}", none},
        {"find", "{\"find\": \"messages\", \"filter\": {\"seq\": 5}, \"limit\": 1}", none},
        {"find", "{\"find\": \"messages\", \"filter\": {}}", none},
        {"find", "{\"find\": \"messages\", \"filter\": {\"conv\": \"c\", \"sender\": \"u\"}}",
         "filter {conv:?,sender:?} sort {}: no index serves it"},
        {"find", "{\"find\": \"messages\", \"filter\": {\"conv\": \"c\", \"seq\": {\"$ne\": 3}}}",
         none},
        {"find", "{\"find\": \"messages\", \"filter\": {\"conv\": \"c\"}, \"sort\": {\"ts\": -1}}",
         none},
        {"find",
         "{\"find\": \"messages\", \"filter\": {\"conv\": {\"$in\": [\"a\", \"b\"]}}, \"sort\": "
         "{\"seq\": 1}}",
         none},
        {"find", "{\"find\": \"messages\", \"filter\": {\"conv\": {\"$gt\": \"a\"}, \"seq\": 1}}",
         none},
        {"find",
         "{\"find\": \"messages\", \"filter\": {}, \"sort\": {\"conv\": 1, \"seq\": -1}, "
         "\"limit\": 5}",
         none},
        {"find",
         "{\"find\": \"messages\", \"filter\": {\"$or\": [{\"_id\": 1}, {\"sender\": \"u\"}]}}",
         none},
        {"find", "{\"find\": \"messages\", \"filter\": {\"$nor\": [{\"_id\": 1}]}}",
         "does not know"},
        {"count", "{\"count\": \"messages\", \"query\": {\"sender\": \"u\"}}", none},
        {"update",
         "{\"update\": \"users\", \"updates\": [{\"q\": {\"_id\": \"a\"}, \"u\": {}}, {\"q\": "
         "{\"nick\": \"b\"}, \"u\": {}}], " DURABLE "}",
         "update users filter {nick:?}"},
        {"delete",
         "{\"delete\": \"users\", \"deletes\": [{\"q\": {\"nick\": \"b\"}, \"limit\": 0}], " DURABLE
         "}",
         none},
        {"findAndModify",
         "{\"findAndModify\": \"users\", \"query\": {\"nick\": \"b\"}, " DURABLE "}", none},
        {"insert", "{\"insert\": \"users\", \"documents\": []}", "not w: majority"},
        {"insert",
         "{\"insert\": \"users\", \"documents\": [], \"writeConcern\": {\"w\": 1, \"j\": true}}",
         "not w: majority"},
        {"update",
         "{\"update\": \"users\", \"updates\": [], \"writeConcern\": {\"w\": \"majority\"}}",
         "not w: majority"},
        {"aggregate", "{\"aggregate\": \"messages\", \"pipeline\": []}", "nobody allowed"},
    };
    for (size_t i = 0; i < sizeof(planted) / sizeof(planted[0]); i++) {
        judge_planted(&planted[i]);
    }
}

static void test_good_commands_pass(void **state) {
    (void)state;
    const struct planted good[] = {
        {"find", "{\"find\": \"users\", \"filter\": {\"_id\": \"u\", \"disabled\": false}}", NULL},
        {"find", "{\"find\": \"users\", \"filter\": {\"_id\": {\"$in\": [\"a\", \"b\"]}}}", NULL},
        {"find",
         "{\"find\": \"users\", \"filter\": {\"_id\": {\"$gt\": \"a\", \"$lt\": \"b\"}}, \"sort\": "
         "{\"_id\": 1}}",
         NULL},
        {"find", "{\"find\": \"users\", \"filter\": {}, \"sort\": {\"_id\": 1}, \"limit\": 9}",
         NULL},
        {"find",
         "{\"find\": \"messages\", \"filter\": {\"conv\": \"c\", \"seq\": {\"$gt\": 1, \"$lte\": "
         "9}}, \"sort\": {\"seq\": -1}}",
         NULL},
        {"find", "{\"find\": \"messages\", \"filter\": {\"conv\": \"c\"}, \"sort\": {\"seq\": 1}}",
         NULL},
        {"find",
         "{\"find\": \"messages\", \"filter\": {\"$or\": [{\"conv\": \"a\", \"seq\": 1}, "
         "{\"conv\": \"b\", \"seq\": 2}]}}",
         NULL},
        {"find",
         "{\"find\": \"messages\", \"filter\": {\"$and\": [{\"conv\": {\"$eq\": \"a\"}}, {\"seq\": "
         "{\"$in\": [1, 2]}}]}}",
         NULL},
        {"count", "{\"count\": \"messages\", \"query\": {}}", NULL},
        {"update",
         "{\"update\": \"users\", \"updates\": [{\"q\": {\"_id\": \"a\", \"revision\": 3}, \"u\": "
         "{}}], " DURABLE "}",
         NULL},
        {"insert", "{\"insert\": \"users\", \"documents\": [], " DURABLE "}", NULL},
        {"ping", "{\"ping\": 1}", NULL},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        judge_planted(&good[i]);
    }
}

static bool store_is_mongodb(void) {
    const char *store = getenv("PIPIT_TEST_STORE");
    return store != NULL && strncmp(store, "mongodb", 7) == 0;
}

static void test_every_command_of_the_suite_is_right(void **state) {
    (void)state;
    for (size_t i = 0; i < suite.complaint_count; i++) {
        print_message("%s\n", suite.complaints[i]);
    }
    assert_int_equal(suite.complaint_count, 0);
    if (store_is_mongodb()) { /* the whole suite went by */
        for (size_t i = 0; i < COMMAND_COUNT; i++) {
            print_message("%8llu %s\n", (unsigned long long)suite.seen[i], NAMES[i]);
        }
        assert_true(suite.seen[FIND] > 500);
        assert_true(suite.seen[INSERT] > 100);
        assert_true(suite.seen[UPDATE] > 100);
        assert_true(suite.seen[DELETE] > 0);
    }
}

int commands_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted_commands_are_refused),
        cmocka_unit_test(test_good_commands_pass),
        cmocka_unit_test(test_every_command_of_the_suite_is_right),
    };
    return cmocka_run_group_tests_name("commands", tests, NULL, NULL);
}
